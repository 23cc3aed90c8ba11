//! Guests that misbehave, each in its own way, for tests of the host.
//!
//! They are core modules in text form under `wat/`; what they have in common
//! is under `parts/`, and any part is left out where a guest brings its own.
//! They become components when a test asks for one. Knows nothing of the host.

use anyhow::{Context as _, Result};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const POLICY_WIT: &str = include_str!("../../../wit/policy.wit");
const WORLDS_WIT: &str = include_str!("../worlds.wit");
const LOG_IMPORT: &str = r#"(import "portcullis:policy/log@0.1.0" "log" (func $log (param i32 i32 i32)))"#;
const MEMORY: &str = include_str!("../parts/memory.wat");
/// Parts by the export that they provide.
const PARTS: [(&str, &str); 3] = [
    ("cabi_realloc", include_str!("../parts/realloc.wat")),
    ("portcullis:policy/plugin@0.1.0#describe", include_str!("../parts/describe.wat")),
    ("portcullis:policy/plugin@0.1.0#configure", include_str!("../parts/configure.wat")),
];
/// Over any limit for a plugin's file.
const TOO_LARGE_BYTES: usize = 200 << 20;
const COMPONENT_HEADER: [u8; 8] = *b"\0asm\x0d\0\x01\0";

/// How a fixture's bytes come about.
enum Make {
    /// A core module in text form, in a world.
    Wat { world: &'static str, text: &'static str },
    /// As a module, without a component around it.
    CoreModule,
    /// For a later version of the interface.
    OtherVersion,
    /// With the interface's names and another type in it.
    OtherTypes,
    /// The first half of a component.
    Truncated,
    /// Noise.
    Random,
    /// A component's header, and zeros.
    TooLarge,
}

macro_rules! wat {
    ($world:literal, $name:literal) => {
        ($name, Make::Wat { world: $world, text: include_str!(concat!("../wat/", $name, ".wat")) })
    };
}

const BAN: &str = "always-bans";

const FIXTURES: &[(&str, Make)] = &[
    wat!("ban-policy", "always-bans"),
    wat!("ban-policy", "aliased-list"),
    wat!("ban-policy", "answers-error"),
    wat!("clocks", "calls-a-clock"),
    ("core-module", Make::CoreModule),
    wat!("ban-policy", "counts-failures"),
    wat!("ban-policy", "echoes-attribute"),
    wat!("ban-policy", "extreme-bans"),
    wat!("wait-policy", "extreme-waits"),
    wat!("ban-policy", "floods-log"),
    wat!("ban-policy", "grows-memory"),
    wat!("ban-policy", "hidden-state"),
    wat!("ban-policy", "huge-tables"),
    wat!("sockets", "imports-sockets"),
    wat!("ban-policy", "large-state"),
    wat!("ban-policy", "no-text"),
    wat!("ban-policy", "odd-reason-code"),
    ("other-types", Make::OtherTypes),
    ("other-version", Make::OtherVersion),
    wat!("other", "other-world"),
    ("random-bytes", Make::Random),
    wat!("ban-policy", "recurses-without-end"),
    wat!("ban-policy", "refuses-settings"),
    wat!("ban-policy", "returns-megabytes"),
    wat!("ban-policy", "spins-in-configure"),
    wat!("ban-policy", "spins-in-judge"),
    wat!("ban-policy", "spins-in-realloc"),
    wat!("ban-policy", "spins-in-start"),
    ("too-large", Make::TooLarge),
    wat!("ban-policy", "traps-always"),
    wat!("ban-policy", "traps-every-third-call"),
    wat!("ban-policy", "traps-in-start"),
    wat!("scanner-policy", "traps-on-one-path"),
    ("truncated", Make::Truncated),
    wat!("ban-policy", "two-memories"),
    wat!("stdout", "writes-to-stdout"),
];

/// The names of all fixtures.
pub fn names() -> impl Iterator<Item = &'static str> {
    FIXTURES.iter().map(|(name, _)| *name)
}

/// The bytes of the fixture of that name.
///
/// # Panics
/// If there is none, or if it doesn't build: a mistake in the fixture.
#[must_use]
#[expect(clippy::panic, reason = "only tests call it, and the message is for their author")]
pub fn component(name: &str) -> Vec<u8> {
    let Some((_, make)) = FIXTURES.iter().find(|(fixture, _)| *fixture == name) else {
        panic!("there is no fixture {name}");
    };
    bytes(make).unwrap_or_else(|error| panic!("the fixture {name} doesn't build: {error:#}"))
}

fn bytes(make: &Make) -> Result<Vec<u8>> {
    match make {
        Make::Wat { world, text } => encode(world, text, POLICY_WIT),
        Make::CoreModule => Ok(wat::parse_str(module(always_bans()?))?),
        Make::OtherVersion => {
            let text = module(always_bans()?).replace("@0.1.0", "@0.9.0");
            let wit = POLICY_WIT.replace("package portcullis:policy@0.1.0;", "package portcullis:policy@0.9.0;");
            wrap(&text, &[("policy.wit", &wit)], "ban-policy")
        }
        Make::OtherTypes => {
            let wit = POLICY_WIT.replace("prefix-length: option<u8>", "prefix-length: option<u16>");
            wrap(&module(always_bans()?), &[("policy.wit", &wit)], "ban-policy")
        }
        Make::Truncated => {
            let mut whole = component(BAN);
            whole.truncate(whole.len() / 2);
            Ok(whole)
        }
        Make::Random => {
            let mut state = 1u64;
            let next = move || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state.to_be_bytes()[0]
            };
            Ok(std::iter::repeat_with(next).take(4096).collect())
        }
        Make::TooLarge => {
            let mut bytes = vec![0; TOO_LARGE_BYTES];
            bytes[..COMPONENT_HEADER.len()].copy_from_slice(&COMPONENT_HEADER);
            Ok(bytes)
        }
    }
}

fn always_bans() -> Result<&'static str> {
    FIXTURES
        .iter()
        .find_map(|(name, make)| if let (&BAN, Make::Wat { text, .. }) = (name, make) { Some(*text) } else { None })
        .context("the fixture that the others are made from")
}

fn encode(world: &str, text: &str, policy_wit: &str) -> Result<Vec<u8>> {
    match world {
        "other" => wrap(&format!("(module {text})"), &[("policy.wit", policy_wit), ("worlds.wit", WORLDS_WIT)], world),
        "clocks" | "sockets" | "stdout" => {
            wrap(&module(text), &[("policy.wit", policy_wit), ("worlds.wit", WORLDS_WIT)], world)
        }
        _ => wrap(&module(text), &[("policy.wit", policy_wit)], world),
    }
}

/// Puts a guest's own text and the parts that it doesn't bring into one
/// module. Imports come first: each is a line of its own.
fn module(text: &str) -> String {
    let (imports, own): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with("(import "));
    let parts = PARTS.iter().filter(|(export, _)| !text.contains(&format!("(export \"{export}\")")));
    let parts: Vec<_> = parts.map(|(_, part)| *part).collect();
    format!("(module\n{}\n{LOG_IMPORT}\n{MEMORY}\n{}\n{})", imports.join("\n"), parts.join("\n"), own.join("\n"))
}

/// Makes a component of a module that speaks the last of these packages' world.
fn wrap(text: &str, packages: &[(&str, &str)], world: &str) -> Result<Vec<u8>> {
    let mut module = wat::parse_str(text)?;
    let mut resolve = Resolve::default();
    let mut package = None;
    for (file, wit) in packages {
        package = Some(resolve.push_str(file, wit)?);
    }
    let world = resolve.select_world(&[package.context("a package")?], Some(world))?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)?;
    let mut encoder = ComponentEncoder::default();
    encoder.module(&module)?.validate(true);
    encoder.encode()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fixture_builds() {
        for name in names() {
            assert!(!component(name).is_empty(), "{name}");
        }
    }

    #[test]
    fn every_text_is_a_fixture() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("wat");
        for file in std::fs::read_dir(folder).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            let name = name.strip_suffix(".wat").unwrap();
            assert!(names().any(|fixture| fixture == name), "wat/{name}.wat isn't in the list");
        }
    }
}
