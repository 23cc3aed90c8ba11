//! `portcullis reload`: everything loaded anew, and what came of it.

use std::time::Duration;

use clap::Args;
use http::Method;

use super::{Common, print_json};
use crate::admin::api::{ReloadRequest, Reloaded};
use crate::cli::{Failed, client, print};
use crate::config::printable;

#[derive(Args)]
pub(in crate::cli) struct ReloadArgs {
    #[command(flatten)]
    common: Common,
    /// Even if a changed policy would newly ban more sources than guard.max_new_bans
    #[arg(long)]
    force: bool,
}

pub(in crate::cli) fn reload(args: &ReloadArgs) -> Result<(), Failed> {
    let request = ReloadRequest { force: args.force };
    let value = args.common.server.client()?.call(Method::POST, "/v1/reload", Some(&request))?;
    if args.common.json {
        return print_json(&value);
    }
    let reloaded: Reloaded = client::read(&value)?;
    let changed = match reloaded.changed.as_slice() {
        [] => "all policies run what they ran".to_owned(),
        changed => format!("something else runs as {}", printable(&changed.join(", "))),
    };
    let took = humantime::format_duration(Duration::from_micros(reloaded.took_us));
    let mut text = format!("In force, {took} after it was loaded; {changed}.\n");
    for warning in &reloaded.warnings {
        text.push_str(&format!("warning: {}\n", printable(warning)));
    }
    print(&text)
}
