//! What a policy may be called.

/// As many bytes as the host takes of a plugin's name.
const LEN_MAX: usize = 64;
/// Names of what policies are made with: a package can't depend on one of its own name.
const TAKEN: [&str; 3] = ["portcullis-sdk", "portcullis-sdk-macros", "componentize-qjs"];

/// It becomes the name of a folder, a package, a plugin and of what the plugin keeps.
pub(super) fn check(name: &str) -> Result<(), String> {
    if TAKEN.contains(&name) {
        return Err(format!("{name} can't be the policy's name: it depends on what has that name"));
    }
    let is_good = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && name.len() <= LEN_MAX;
    if is_good {
        return Ok(());
    }
    let right = format!("a name is a-z, 0-9 and -, begins with a letter and has at most {LEN_MAX} of them");
    match near(name) {
        Some(near) => Err(format!("{name:?} can't be the policy's name: {right}, such as {near}")),
        None => Err(format!("{name:?} can't be the policy's name: {right}, such as office-hours")),
    }
}

/// A name that would be right, if much is left of this one.
fn near(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit()).filter(|word| !word.is_empty());
    let near = words.collect::<Vec<_>>().join("-");
    let near: String = near.trim_start_matches(|c: char| !c.is_ascii_lowercase()).chars().take(LEN_MAX).collect();
    (!near.is_empty() && check(&near).is_ok()).then_some(near)
}
