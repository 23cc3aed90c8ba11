//! A policy author's test in Rust: a plugin's file, its settings, and what has to
//! happen. `cargo run -p portcullis-harness --example trial -- PLUGIN.wasm` runs
//! it against a ban policy of your own.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use portcullis_harness::domain::Kind;
use portcullis_harness::runtime::{RuntimeConfig, SettingValue};
use portcullis_harness::scenario::{Attempt, Sum, Trial};
use portcullis_harness::{PolicyPlan, RestartKeeps, Shelf};

fn main() -> Result<(), Box<dyn Error>> {
    let (mut shelf, _) = Shelf::new(&RuntimeConfig::default())?;
    let plugin = std::env::args().nth(1).unwrap_or_else(|| "bundle:ban".to_owned());
    let plugin = shelf.plugin(&plugin, Path::new(""))?;
    let policy = PolicyPlan::new("ban", Kind::Ban, plugin).setting("max_failed_login", SettingValue::Integer(3));
    let hour = Duration::from_secs(3600);
    let report = Trial::new("three failures in a row ban the source, and a restart changes nothing")
        .policy(policy)
        .attempt(Attempt::failure("client-{n}", "203.0.113.7"))
        .times(2, Duration::from_secs(60))
        .expect_pass()
        .restart(RestartKeeps::State)
        .attempt(Attempt::failure("abc", "203.0.113.7"))
        .note("the third")
        .expect_ban(hour)
        .attempt(Attempt::success("abc", "203.0.113.7"))
        .at_once(100, Duration::from_millis(50))
        .expect_refused(423)
        .expect_total(Sum::Refused, 100)
        .after(hour)
        .attempt(Attempt::success("abc", "203.0.113.7"))
        .expect_pass()
        .run()?;
    println!("{report}");
    if report.passed() { Ok(()) } else { Err("it failed".into()) }
}
