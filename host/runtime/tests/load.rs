//! What is refused at load or at configuring, and what the refusal says.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up fails")]

mod common;

use common::{RUNTIME, plugin};
use portcullis_domain::Kind;
use portcullis_runtime::{
    Cause, ConfigureError, LimitError, Limits, LoadError, PLUGIN_BYTES_MAX, SettingProblem, SettingValue, Settings,
};

fn refusal(fixture: &str) -> LoadError {
    RUNTIME.load(&portcullis_guests::component(fixture), fixture).unwrap_err()
}

#[test]
fn noise_is_not_webassembly() {
    assert_eq!(refusal("random-bytes"), LoadError::NotWasm);
    assert_eq!(RUNTIME.load(b"", "empty").unwrap_err(), LoadError::NotWasm);
    assert_eq!(RUNTIME.load(b"<html>", "page").unwrap_err(), LoadError::NotWasm);
}

#[test]
fn a_file_that_ends_early_is_said_to_be_cut_short() {
    assert!(matches!(refusal("truncated"), LoadError::Truncated { .. }));
}

#[test]
fn wherever_a_file_is_cut_it_is_refused() {
    const CUSTOM_SECTION: u8 = 0;
    let whole = portcullis_guests::component("always-bans");
    for bytes in 0..whole.len() {
        let loaded = RUNTIME.load(&whole[..bytes], "cut");
        // Before a custom section, which means nothing, it can be whole.
        assert!(loaded.is_err() || whole[bytes] == CUSTOM_SECTION, "after {bytes} of {} bytes", whole.len());
    }
}

#[test]
fn a_file_of_200_mb_is_too_large() {
    assert!(matches!(refusal("too-large"), LoadError::TooLarge { bytes } if bytes > PLUGIN_BYTES_MAX));
}

#[test]
fn a_core_module_is_told_how_to_become_a_component() {
    let error = refusal("core-module");
    assert_eq!(error, LoadError::CoreModule);
    assert!(error.to_string().contains("wasm-tools component new"), "{error}");
}

#[test]
fn a_component_of_another_world_is_told_what_it_exports() {
    assert_eq!(refusal("other-world"), LoadError::NoPolicy { exports: vec!["run".to_owned()] });
}

#[test]
fn another_version_of_the_interface_is_named() {
    let error = refusal("other-version");
    assert_eq!(error, LoadError::Version { found: "0.9.0".to_owned() });
    assert!(error.to_string().contains("0.1.0"), "{error}");
}

#[test]
fn names_with_other_types_behind_them_are_refused() {
    let error = refusal("other-types");
    assert!(matches!(error, LoadError::Interface { .. }), "{error:?}");
}

#[test]
fn an_import_that_no_plugin_gets_is_named_with_its_remedy() {
    let error = refusal("imports-sockets");
    assert!(
        matches!(&error, LoadError::Import { import, .. } if import == "wasi:sockets/instance-network@0.2.0"),
        "{error:?}"
    );
    assert!(error.to_string().contains("--stub-wasi"), "{error}");
}

#[test]
fn a_guest_that_spins_while_it_comes_up_runs_into_its_deadline() {
    assert!(matches!(refusal("spins-in-start"), LoadError::Describe(failure) if failure.cause == Cause::Deadline));
}

#[test]
fn a_guest_that_traps_while_it_comes_up_is_refused() {
    assert!(matches!(refusal("traps-in-start"), LoadError::Describe(failure) if failure.cause == Cause::Trap));
}

#[test]
fn a_plugin_says_what_it_is() {
    let plugin = plugin("counts-failures");
    let bytes = portcullis_guests::component("counts-failures");
    assert_eq!(plugin.kinds(), [Kind::Ban]);
    assert_eq!(plugin.description().state_format.as_str(), "counts-failures/1");
    assert_eq!(plugin.description().name, "fixture");
    assert_eq!(plugin.size(), bytes.len());
    assert_eq!(plugin.origin(), "counts-failures");
    assert!(plugin.imports().iter().any(|import| import.starts_with("portcullis:policy/types@")));
    assert_eq!(plugin.digest_hex().len(), 64);
}

#[test]
fn a_guest_that_spins_over_its_settings_runs_into_its_deadline() {
    let error = plugin("spins-in-configure").configure(Kind::Ban, &Settings::new(), &Limits::default()).unwrap_err();
    assert!(matches!(error, ConfigureError::Failed(failure) if failure.cause == Cause::Deadline));
}

#[test]
fn a_thousand_names_that_are_one_large_text_are_never_copied() {
    let error = plugin("aliased-list").configure(Kind::Ban, &Settings::new(), &Limits::default()).unwrap_err();
    assert!(matches!(error, ConfigureError::Failed(failure) if failure.cause == Cause::Unreadable));
}

#[test]
fn all_that_a_plugin_dislikes_in_its_settings_is_told() {
    let error = plugin("refuses-settings").configure(Kind::Ban, &Settings::new(), &Limits::default()).unwrap_err();
    let refused =
        |name: &str, message: &str| SettingProblem::Refused { name: name.to_owned(), message: message.to_owned() };
    assert_eq!(error, ConfigureError::Settings(vec![refused("wait", "too short"), refused("limit", "too high")]));
}

#[test]
fn a_setting_that_the_plugin_does_not_have_is_refused() {
    let settings = Settings::from([("max".to_owned(), SettingValue::Integer(1))]);
    let error = plugin("always-bans").configure(Kind::Ban, &settings, &Limits::default()).unwrap_err();
    assert_eq!(error, ConfigureError::Settings(vec![SettingProblem::Unknown { name: "max".to_owned() }]));
}

#[test]
fn a_plugin_is_only_configured_as_what_it_is() {
    let error = plugin("always-bans").configure(Kind::Wait, &Settings::new(), &Limits::default()).unwrap_err();
    assert_eq!(error, ConfigureError::Kind { kind: Kind::Wait });
}

#[test]
fn limits_that_can_not_be_kept_are_told_all_at_once() {
    let limits = Limits { deadline: std::time::Duration::ZERO, memory_bytes: usize::MAX, ..Limits::default() };
    let error = plugin("always-bans").configure(Kind::Ban, &Settings::new(), &limits).unwrap_err();
    let ConfigureError::Limits(errors) = error else { unreachable!("{error}") };
    assert!(matches!(errors[..], [LimitError::Deadline { .. }, LimitError::Memory { .. }]), "{errors:?}");
}

#[test]
fn every_fixture_has_a_test() {
    const TESTS: [&str; 4] =
        [include_str!("load.rs"), include_str!("bounds.rs"), include_str!("ladder.rs"), include_str!("purity.rs")];
    for name in portcullis_guests::names() {
        let quoted = format!("\"{name}\"");
        assert!(TESTS.iter().any(|test| test.contains(&quoted)), "no test uses the fixture {name}");
    }
}
