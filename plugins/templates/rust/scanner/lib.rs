//! {{doc}}

use portcullis_sdk::scanner::*;

/// What the operator can set.
#[derive(Clone, Debug, Settings)]
pub struct Settings {
    /// HTTP statuses that are a hit, at least one.
    #[setting(default = [404], check = at_least_one_status)]
    pub statuses: Vec<u16>,
    /// Hits within a window that ban the source, at least 1.
    #[setting(default = 5, check = at_least_one)]
    pub max_hits: u32,
    /// Seconds that a window lasts, from its first hit on, fractions count.
    #[setting(default = 60.0)]
    pub window: Seconds,
    /// Seconds that a ban lasts, fractions count.
    #[setting(default = 3600.0)]
    pub ban_time: Seconds,
}

fn at_least_one_status(statuses: &[u16]) -> Result<(), String> {
    if statuses.is_empty() { Err("at least one status".to_owned()) } else { Ok(()) }
}

fn at_least_one(count: &u32) -> Result<(), String> {
    if *count > 0 { Ok(()) } else { Err("at least 1".to_owned()) }
}

/// What the host keeps for a source. Whoever changes the fields changes the format's name, too.
#[derive(Clone, Debug, PartialEq, State)]
#[state(format = "{{name}}/1")]
pub struct Hits {
    /// In this window.
    pub count: u32,
    /// When the first of them came, in milliseconds since the Unix epoch.
    pub first_ms: u64,
}

/// Judges one request. What is left in `hits` is kept until the source's next one.
pub fn judge(settings: &Settings, request: &Request, hits: &mut Option<Hits>) -> Verdict {
    if request.authenticated() || !settings.statuses.contains(&request.status) {
        return pass();
    }
    let (now_ms, window_ms) = (request.at_ms, settings.window.as_ms());
    let open = hits.take().filter(|hits| now_ms.saturating_sub(hits.first_ms) < window_ms);
    let mut now = open.unwrap_or(Hits { count: 0, first_ms: now_ms });
    now.count = now.count.saturating_add(1);
    if now.count < settings.max_hits {
        let left_ms = window_ms.saturating_sub(now_ms.saturating_sub(now.first_ms));
        *hits = Some(now);
        return pass().keep_for(Duration::from_millis(left_ms));
    }
    let text = format!("{} hits within {}.", now.count, settings.window.text());
    ban(settings.ban_time).because("too-many-hits", text)
}

/// Only these answers are judged: the host spares the policy the rest.
fn interest(settings: &Settings) -> Interest {
    let statuses = settings.statuses.iter();
    statuses.fold(Interest::everything(), |interest, status| interest.statuses(*status..=*status))
}

export!(name = "{{name}}", judge, interest = interest);

#[cfg(test)]
mod tests;
