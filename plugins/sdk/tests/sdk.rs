//! What an author relies on: settings, state, the keep rules and the export, seen
//! from outside through the very functions that a host calls.

use portcullis_sdk::SettingValue::{Boolean, Integer, Integers, Json as JsonValue, Number, Numbers, Text, Texts};
use portcullis_sdk::ban::*;
use portcullis_sdk::glue::{self, About, Slot};
use portcullis_sdk::testing::{self, attempt, defaults, request, settings, try_settings};
use portcullis_sdk::{BanKind, Request, SettingType, SettingValue, Settings as _, State as _};

#[derive(Debug, PartialEq, Settings)]
#[settings(validate = not_both)]
struct Everything {
    /// A switch.
    #[setting(default = true)]
    switch: bool,
    /// May be
    /// negative.
    #[setting(default = -3)]
    signed: i64,
    /// Small.
    #[setting(default = 7)]
    small: u16,
    /// Not negative.
    #[setting(default = 8)]
    unsigned: u32,
    /// Not negative, and large.
    #[setting(default = 9)]
    large: u64,
    /// A share.
    #[setting(default = 0.5, check = share)]
    share: f64,
    /// Seconds of something.
    #[setting(default = 1.5)]
    time: Seconds,
    /// A name, which must be set.
    name: String,
    /// Numbers.
    #[setting(default = [1, -1])]
    integers: Vec<i64>,
    /// Statuses.
    #[setting(default = [404])]
    statuses: Vec<u16>,
    /// Shares.
    #[setting(default = [0.25])]
    shares: Vec<f64>,
    /// Paths.
    #[setting(default = ["/a"])]
    paths: Vec<String>,
    /// Nested.
    #[setting(default = "{}")]
    nested: Json,
}

fn share(share: &f64) -> Result<(), String> {
    if (0.0..=1.0).contains(share) { Ok(()) } else { Err("0 to 1".to_owned()) }
}

fn not_both(settings: &Everything, problems: &mut Problems) {
    if settings.small == 1 && settings.unsigned == 1 {
        problems.add("small", "not together with unsigned");
        problems.add("unsigned", "not together with small");
    }
}

#[derive(Clone, Debug, PartialEq, State)]
#[state(format = "mixed/1")]
struct Mixed {
    count: u32,
    names: Vec<String>,
    part: Part,
}

#[derive(Clone, Debug, PartialEq, State)]
#[state(part)]
struct Part(Option<u8>, [u16; 2]);

fn mixed() -> Mixed {
    Mixed { count: 258, names: vec!["é".to_owned()], part: Part(Some(1), [2, 3]) }
}

fn messages(values: &[(&str, SettingValue)]) -> Vec<String> {
    let errors = try_settings::<Everything>(values).expect_err("wrong settings");
    errors.into_iter().map(|error| format!("{}: {}", error.name, error.message)).collect()
}

#[test]
fn settings_are_described_with_types_docs_and_defaults() {
    let specs = Everything::specs();
    let told: Vec<_> = specs.iter().map(|spec| (spec.name.as_str(), spec.kind)).collect();
    assert_eq!(
        told,
        [
            ("switch", SettingType::Boolean),
            ("signed", SettingType::Integer),
            ("small", SettingType::Integer),
            ("unsigned", SettingType::Integer),
            ("large", SettingType::Integer),
            ("share", SettingType::Number),
            ("time", SettingType::Number),
            ("name", SettingType::Text),
            ("integers", SettingType::Integers),
            ("statuses", SettingType::Integers),
            ("shares", SettingType::Numbers),
            ("paths", SettingType::Texts),
            ("nested", SettingType::Json),
        ]
    );
    assert_eq!(specs[1].doc, "May be negative.");
    assert_eq!(specs[1].default_value, Some(Integer(-3)));
    assert_eq!(specs[6].default_value, Some(Number(1.5)));
    assert_eq!(specs[7].default_value, None);
    assert_eq!(specs[9].default_value, Some(Integers(vec![404])));
}

#[test]
fn every_type_of_setting_makes_the_round_trip() {
    let read: Everything = settings(&[("name", Text("n".to_owned()))]);
    assert_eq!(
        read,
        Everything {
            switch: true,
            signed: -3,
            small: 7,
            unsigned: 8,
            large: 9,
            share: 0.5,
            time: Seconds::from(Duration::from_millis(1500)),
            name: "n".to_owned(),
            integers: vec![1, -1],
            statuses: vec![404],
            shares: vec![0.25],
            paths: vec!["/a".to_owned()],
            nested: Json("{}".to_owned()),
        }
    );
}

#[test]
fn every_mistake_is_told_at_once_with_what_was_found_and_expected() {
    let told = messages(&[
        ("switch", Text("yes".to_owned())),
        ("signed", Boolean(true)),
        ("small", Integer(65_536)),
        ("unsigned", Integer(-1)),
        ("large", Integer(i64::MIN)),
        ("share", Number(1.25)),
        ("time", Number(-0.5)),
        ("statuses", Integers(vec![404, 70_000])),
        ("shares", Numbers(vec![f64::NAN])),
        ("paths", Integers(vec![])),
        ("nested", Texts(vec!["x".repeat(50)])),
        ("nmae", JsonValue("{}".to_owned())),
    ]);
    assert_eq!(
        told,
        [
            "switch: found \"yes\", expected true or false",
            "signed: found true, expected a whole number",
            "small: found 65536, expected a whole number from 0 to 65535",
            "unsigned: found -1, expected a whole number from 0 to 4294967295",
            "large: found -9223372036854775808, expected a whole number that is not negative",
            "share: found 1.25, expected 0 to 1",
            "time: found -0.5, expected a number of seconds, 0 or more and below 9007199254740",
            "name: missing, expected a text",
            "statuses: found [404, 70000], expected a list of whole numbers from 0 to 65535",
            "shares: found [not a number], expected a list of numbers",
            "paths: found [], expected a list of texts",
            &format!("nested: found [\"{}…\"], expected JSON", "x".repeat(40)),
            "nmae: no such setting",
        ]
    );
}

#[test]
fn seconds_are_bounded_by_what_the_interface_can_carry() {
    for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -f64::MIN_POSITIVE, 9_007_199_254_741.0] {
        assert_eq!(Seconds::from_secs(wrong), None, "{wrong}");
    }
    assert_eq!(Seconds::from_secs(9_007_199_254_739.0).map(Seconds::as_ms), Some(9_007_199_254_739_000));
    assert_eq!(Seconds::from_secs(2.7).map(Seconds::as_ms), Some(2700));
    assert_eq!(Seconds::from_secs(1.9999999999).map(Seconds::as_ms), Some(2000));
    assert_eq!(Seconds::from_secs(0.0004).map(Seconds::as_ms), Some(1));
    assert_eq!(Seconds::from_secs(-0.0).map(Seconds::is_zero), Some(true));
}

#[test]
fn the_authors_own_validation_sees_all_settings() {
    let told = messages(&[("name", Text(String::new())), ("small", Integer(1)), ("unsigned", Integer(1))]);
    assert_eq!(told, ["small: not together with unsigned", "unsigned: not together with small"]);
}

#[test]
fn a_state_makes_the_round_trip_as_borsh() {
    let mut bytes = Vec::new();
    mixed().encode(&mut bytes).unwrap();
    assert_eq!(bytes, [2, 1, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0xc3, 0xa9, 1, 1, 2, 0, 3, 0]);
    assert_eq!(Mixed::decode(&bytes), Ok(mixed()));
}

#[test]
fn bytes_that_are_no_state_are_an_error_and_never_a_panic() {
    let mut bytes = Vec::new();
    mixed().encode(&mut bytes).unwrap();
    for length in 0..bytes.len() {
        assert!(Mixed::decode(&bytes[..length]).is_err(), "{length}");
    }
    bytes.push(0);
    assert!(Mixed::decode(&bytes).is_err());
    assert!(Mixed::decode(&[0xff; 64]).is_err());
}

/// Does with its state what the attempt's id says.
fn keeper(_: &NoSettings, attempt: &Attempt, state: &mut Option<Mixed>) -> Result<Verdict, String> {
    match attempt.client_auth_id.as_deref() {
        Some("put") => *state = Some(mixed()),
        Some("put for 5 s") => {
            *state = Some(mixed());
            return Ok(pass().keep_for(Duration::from_secs(5)));
        }
        Some("forget") => *state = None,
        Some("fail") => {
            *state = None;
            return Err("as asked".to_owned());
        }
        _ => {}
    }
    Ok(if state.is_some() { ban(Seconds::new(1)).because("kept", "Kept.") } else { pass() })
}

#[test]
fn what_the_judge_leaves_is_kept_and_what_it_does_not_touch_stays() {
    let source = "203.0.113.7";
    let event = |id: &str, secs| attempt(source).id(id).at_secs(secs);
    let mut host = testing::ban(keeper, NoSettings);
    assert!(host.judge(event("look", 0)).is_pass());
    assert_eq!(host.state(source), None);
    let _ = host.judge(event("put for 5 s", 1));
    // Looking at it, or putting the same again, doesn't make it last longer.
    assert!(!host.judge(event("look", 2)).is_pass());
    assert!(!host.judge(event("put", 3)).is_pass());
    assert!(!host.judge(event("look", 5)).is_pass());
    assert!(host.judge(event("look", 6)).is_pass());
    // Asking for the time again does.
    let _ = host.judge(event("put for 5 s", 7));
    let _ = host.judge(event("put for 5 s", 11));
    assert!(!host.judge(event("look", 15)).is_pass());
    // An error changes nothing.
    assert_eq!(host.try_judge(event("fail", 15)), Err("as asked".to_owned()));
    assert!(!host.judge(event("look", 15)).is_pass());
    let _ = host.judge(event("forget", 15));
    assert_eq!(host.state(source), None);
}

#[test]
fn state_that_cannot_be_read_counts_as_none_and_is_cleared_away() {
    let source = "203.0.113.7";
    for garbage in [&[][..], &[1, 2, 3], &[0xff; 1024]] {
        let mut host = testing::ban(keeper, NoSettings);
        host.put_state(source, garbage);
        assert!(host.judge(attempt(source)).is_pass());
        assert_eq!(host.state(source), None);
    }
}

fn scan(_: &NoSettings, request: &Request) -> Verdict {
    if request.attribute("user-agent") == Some("zgrab") {
        return ban(Duration::from_secs(1)).network(24).because("zgrab", "A scanner by name.");
    }
    pass()
}

#[test]
fn a_judge_without_state_and_a_ban_of_a_network() {
    let mut host = testing::scanner(scan, NoSettings);
    assert!(host.judge(request("203.0.113.7")).is_pass());
    let verdict = host.judge(request("203.0.113.7").attribute("user-agent", "zgrab"));
    assert_eq!(verdict.order().unwrap().prefix_length, Some(24));
}

fn interest(_: &NoSettings) -> Interest {
    Interest::everything().statuses(400..=499).attribute("user-agent")
}

// Two kinds in one file; that it compiles is what is tested here.
portcullis_sdk::export!(name = "two", doc = "Two kinds.", ban = keeper, scanner = scan, interest = interest);

#[test]
fn a_plugin_of_several_kinds_names_all_their_formats() {
    let about = About { name: "two", version: "1.2.3", doc: "Two kinds." };
    let described = glue::describe(&about, Everything::specs(), &["mixed/1", "none/1", "mixed/1"]);
    assert_eq!(described.state_format, "mixed/1+none/1");
    assert_eq!(described.version, "1.2.3");
    assert_eq!(described.settings.len(), 13);
}

#[test]
fn an_instance_is_configured_once_and_tells_its_interest() {
    let slot = Slot::new();
    let wanted = glue::configure::<BanKind, _, _>(&slot, &keeper, vec![], interest).unwrap();
    assert_eq!((wanted.statuses[0].first, wanted.statuses[0].last), (400, 499));
    assert_eq!(wanted.attributes, ["user-agent"]);
    let again = glue::configure::<BanKind, _, _>(&slot, &keeper, vec![], glue::everything);
    assert!(again.is_err());
    assert_eq!(defaults::<NoSettings>(), NoSettings);
}
