use std::path::Path;

use super::look::Metrics;
use super::*;
use crate::admin::api::{Recent, RecentOrder, RefusedSource, Status};

/// Set to have the frames written anew.
const WRITE: &str = "PORTCULLIS_WRITE_DOCS";

fn status(seconds: u64, bans: u64) -> Status {
    let policy = |name: &str, plugin: &str| {
        serde_json::json!({
            "name": name, "kind": name, "mode": "enforce", "subject": "source",
            "plugin": {
                "origin": format!("bundle:{name}"), "name": plugin, "version": "0.1.0", "sha256": "00".repeat(32),
                "settings_sha256": "00".repeat(32)
            },
            "subjects": 12, "subjects_evicted": 0, "failed_total": 31, "banned": bans, "bans_total": bans,
            "waits_total": 4,
            "health": {
                "calls": 1000 * seconds, "failures": {"trap": 2}, "recovered": 1, "fallbacks": 1, "denied": 0,
                "quarantines": 0, "quarantined_until": null, "tripped": null
            }
        })
    };
    let mut tripped = policy("scanner", "my-scanner");
    tripped["health"]["tripped"] = serde_json::json!({"since": "2026-11-22T14:16:00Z", "not_enforced": 7});
    let status = serde_json::json!({
        "version": "0.1.0", "pid": 4711, "started": "2026-11-22T12:13:00.000Z",
        "now": format!("2026-11-22T14:16:{:02}.000Z", 30 + seconds), "in_force_since": "2026-11-22T12:13:00.000Z",
        "listen": ["0.0.0.0:8080"], "upstream": "http://127.0.0.1:3000", "auth_mode": "upstream",
        "ready": {"ready": true, "reasons": []}, "bans": bans, "waits": 2,
        "state": {
            "store": "sqlite:/var/lib/portcullis/state.sqlite", "lag_ms": 42, "pending": 17, "unsettled_replies": 0,
            "failing": null
        },
        "journal": {"dir": "/var/lib/portcullis/journal", "written": 123456, "dropped": 0, "bytes": 45678901, "failing": null},
        "log": {"dropped": 0, "unwritten": 0, "refusals_suppressed": 1234}, "totals": {},
        "policies": [policy("wait", "wait"), policy("ban", "ban"), tripped]
    });
    serde_json::from_value(status).unwrap()
}

fn metrics(seconds: u64) -> Metrics {
    let mut text = format!(
        "portcullis_requests_total {}\nportcullis_attempts_total{{outcome=\"failure\"}} {}\n\
         portcullis_attempts_total{{outcome=\"success\"}} {}\nportcullis_verified_requests_total {}\n\
         portcullis_refusals_total{{why=\"banned\"}} {}\nportcullis_refusals_total{{why=\"waiting\"}} 77\n\
         portcullis_refusals_total{{why=\"busy\"}} 3\nportcullis_refusals_total{{why=\"malformed\"}} 0\n\
         portcullis_refusals_total{{why=\"overloaded\"}} 0\nportcullis_denied_total 0\n\
         portcullis_upstream_head_seconds_bucket{{le=\"0.001\"}} {}\n\
         portcullis_upstream_head_seconds_bucket{{le=\"0.0025\"}} {}\n\
         portcullis_upstream_head_seconds_bucket{{le=\"+Inf\"}} {}\nportcullis_upstream_failures_total 0\n\
         portcullis_connections 64\nportcullis_connections_max 10000\nprocess_cpu_seconds_total {}\n\
         process_resident_memory_bytes 83886080\nportcullis_journal_bytes 45678901\n\
         portcullis_orders_total{{policy=\"ban\",kind=\"ban\",code=\"max-failed-login\",fate=\"enforced\"}} {}\n",
        1_000_000 + 1234 * seconds,
        31_000 + 12 * seconds,
        4_000 + seconds,
        900_000 + 800 * seconds,
        5_000_000 + 4321 * seconds,
        400 * seconds,
        950 * seconds,
        1000 * seconds,
        100 + seconds / 2,
        40 + seconds,
    );
    for (policy, fast) in [("wait", 800), ("ban", 700), ("scanner", 100)] {
        let labels = format!("policy=\"{policy}\",kind=\"{policy}\"");
        text.push_str(&format!(
            "portcullis_policy_calls_total{{{labels}}} {}\n\
             portcullis_policy_judge_seconds_bucket{{{labels},le=\"0.0000005\"}} {}\n\
             portcullis_policy_judge_seconds_bucket{{{labels},le=\"0.000001\"}} {}\n\
             portcullis_policy_judge_seconds_bucket{{{labels},le=\"0.02\"}} {}\n\
             portcullis_policy_judge_seconds_bucket{{{labels},le=\"+Inf\"}} {}\n",
            fast * seconds,
            fast * seconds,
            995 * seconds,
            1000 * seconds,
            1000 * seconds,
        ));
    }
    Metrics::parse(&text)
}

fn recent(seconds: u64) -> Recent {
    let refused = |source: &str, why: &str, times, last: &str| RefusedSource {
        source: source.to_owned(),
        why: why.to_owned(),
        times,
        last: format!("2026-11-22T14:16:{last}Z"),
    };
    let order = |whom: &str, policy: &str, reason: &str, duration_ms, fate: &str| RecentOrder {
        at: "2026-11-22T14:15:12Z".to_owned(),
        whom: whom.to_owned(),
        source: "203.0.113.7".to_owned(),
        policy: policy.to_owned(),
        code: "code".to_owned(),
        reason: reason.to_owned(),
        duration_ms,
        fate: fate.to_owned(),
    };
    Recent {
        now: format!("2026-11-22T14:16:{:02}.000Z", 30 + seconds),
        refused: vec![
            refused("203.0.113.7", "banned", 1234, "30.5"),
            refused("2001:db8:1234:5678:9abc:def0:1234:5678", "waiting", 5678, "28"),
            refused("198.51.100.23", "malformed", 1, "01"),
        ],
        bans: vec![
            order("203.0.113.7", "ban", "Maximum of 5 login attempts reached.", 3_600_000, "enforced"),
            order("2001:db8:1234:5678::/64", "scanner", "2 hits within 20s.", 3_600_000, "log-only"),
            order("192.0.2.1", "ban", "Maximum of 5 login attempts reached.\u{1b}[2J", 0, "spared"),
        ],
        waits: vec![
            order("alice", "wait", "failed login", 2_000, "enforced"),
            order("bob 198.51.100.0/24", "wait", "failed login", 500, "enforced"),
        ],
    }
}

fn view() -> View {
    let look =
        |seconds| Look { status: status(seconds, 3 + seconds), recent: recent(seconds), metrics: metrics(seconds) };
    let mut view = View::of(look(0));
    (1..=5).for_each(|seconds| view.next(look(seconds)));
    view
}

#[track_caller]
fn stands(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/operate/top/frames").join(name);
    if std::env::var_os(WRITE).is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let stands = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stands == text, "{name} shows something else (look, then run with {WRITE}=1):\n{text}");
}

#[test]
fn a_frame_of_80_columns() {
    stands("80.txt", &frame(&view(), 80).unwrap());
}

#[test]
fn a_frame_of_160_columns() {
    stands("160.txt", &frame(&view(), 160).unwrap());
}

#[test]
fn what_is_wrong_is_seen_first() {
    let mut view = view();
    view.lost("no server answers at\n  /run/portcullis/admin.sock");
    let lines = |view: &View| frame(view, 80).unwrap().lines().take(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(&view)[1], "NO ANSWER: no server answers at /run/portcullis/admin.sock");
    let mut look = Look { status: status(6, 0), recent: recent(6), metrics: metrics(6) };
    look.status.ready.reasons.push("state isn't durable: disk full".to_owned());
    view.next(look.clone());
    assert_eq!(lines(&view)[1], "NOT READY: state isn't durable: disk full");
    view.pause();
    assert_eq!(lines(&view)[1], "PAUSED");
    let paused = frame(&view, 80).unwrap();
    look.status.bans = 99;
    view.next(look);
    assert_eq!(frame(&view, 80).unwrap(), paused, "nothing new is shown");
}

#[test]
fn the_key_for_sorting_turns_lists_around() {
    let mut view = view();
    let first = |view: &View| (view.policies()[0].name.clone(), view.refused()[0].source.clone());
    assert_eq!(first(&view), ("wait".to_owned(), "203.0.113.7".to_owned()));
    view.sort = view.sort.next();
    assert!(first(&view).1.starts_with("2001:db8"), "{:?}", first(&view));
    view.sort = view.sort.next();
    assert_eq!(view.sort, Sort::Latest);
}

#[test]
fn a_server_begun_anew_starts_from_nothing() {
    let mut view = view();
    let mut look = Look { status: status(9, 0), recent: recent(9), metrics: metrics(0) };
    look.status.started = "2026-11-22T14:16:38Z".to_owned();
    view.next(look);
    assert!(view.rates().iter().all(|rate| rate.per_second == 0.0), "{:?}", view.rates());
}

#[test]
fn no_size_of_a_terminal_is_too_small() {
    for (width, height) in [(1, 1), (20, 5), (80, 24), (300, 100)] {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw::draw(frame, &view(), Style::Colour)).unwrap();
    }
}

#[test]
fn intervals_are_seconds_within_reason() {
    assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
    for wrong in ["0", "-1", "soon", "NaN", "1e9"] {
        assert!(interval(wrong).is_err(), "{wrong}");
    }
}
