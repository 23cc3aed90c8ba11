//! The documents that are made from the code say what the code says.
#![allow(clippy::unwrap_used, reason = "a broken test stops")]

use std::path::Path;

use portcullis_harness::scenario::{EVENTS_MAX, SCENARIO_BYTES_MAX, reference};

/// Set to have the documents written anew.
const WRITE: &str = "PORTCULLIS_WRITE_DOCS";

const EXAMPLE: &str = include_str!("../../../tests/scenarios/bundle/ban.toml");

#[test]
fn the_reference_of_scenarios_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/SCENARIOS.md");
    let text = format!(
        "# Scenarios\n\n\
         Made from the code; `{WRITE}=1 cargo test -p portcullis-harness --test reference` writes it anew.\n\n\
         A scenario is a TOML file of events in virtual time and what they have to come to. \
         `portcullis test PLUGIN.wasm FOLDER` runs all of a folder, `portcullis test --config FILE FOLDER` runs them \
         against a whole configuration. Tests in Rust say the same by `portcullis_harness::scenario::Trial`.\n\n\
         ```toml\n{EXAMPLE}```\n\n\
         - **Policies.** Exactly those named by `[policy.NAME]` are in force. None named: `wait`, `ban` and `scanner`, each \
         with the plugin under test if it judges as that kind, else the bundle's; with `--config` the configuration's. \
         With `--config` a policy of the configuration that is named here starts from what the configuration says; what \
         is said here goes over it.\n\
         - **Steps** happen in their order. First time passes (`after`, `at`), then there is one event: `attempt`, \
         `request`, `restart` or `swap`; without any only time passes. Attempts and requests can be repeated; `{{n}}` in \
         `client`, `from`, `path` and `secret` is the number of the repetition, from 1.\n\
         - **Hidden state.** Each scenario runs on instances that have judged before, where what is expected has to \
         come, and beside it on a fresh instance for each call. A policy that answers differently there keeps something \
         where the host doesn't see it, and the scenario fails.\n\
         - **Failed plugins** fail the step, unless it expects `\"denied\"` or `\"any\"` or names them as `failing`.\n\
         - **Durations** are texts such as `\"20ms\"`, `\"3s\"`, `\"59m59s\"` or `\"365d\"`; months and years aren't taken. \
         Times are in UTC.\n\
         - **Bounds.** A file has at most {} KiB, a scenario at most {EVENTS_MAX} events.\n\n\
         NAME is a policy's name (`[a-z0-9-]{{1,32}}`). Unknown keys are refused.\n\n{}",
        SCENARIO_BYTES_MAX >> 10,
        reference()
    );
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let stands = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(stands, text, "plugins/SCENARIOS.md is out of date: run with {WRITE}=1");
}
