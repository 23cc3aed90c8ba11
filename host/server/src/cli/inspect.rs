//! `portcullis inspect`: what a plugin says about itself, and what it is.

use std::fmt::Write as _;

use portcullis_runtime::{Plugin, SettingSpec};
use serde_json::json;

use super::{Failed, InspectArgs, harness};
use crate::config::printable;
use crate::setup::setting_as_json;

pub(super) fn inspect(args: &InspectArgs) -> Result<(), Failed> {
    let mut shelf = harness::shelf()?;
    let plugin = harness::plugin(&mut shelf, &args.plugin)?;
    let text = if args.json { format!("{:#}\n", as_json(&plugin)) } else { as_text(&plugin) };
    super::print(&text)
}

fn as_json(plugin: &Plugin) -> serde_json::Value {
    let description = plugin.description();
    let setting = |spec: &SettingSpec| {
        json!({
            "name": spec.name,
            "type": spec.kind.to_string(),
            "default": spec.default.as_ref().map(setting_as_json),
            "required": spec.default.is_none(),
            "doc": spec.doc,
        })
    };
    json!({
        "name": description.name,
        "version": description.version,
        "doc": description.doc,
        "kinds": plugin.kinds().iter().map(|kind| kind.name()).collect::<Vec<_>>(),
        "state_format": description.state_format.as_str(),
        "settings": description.settings.iter().map(setting).collect::<Vec<_>>(),
        "imports": plugin.imports(),
        "size_bytes": plugin.size(),
        "sha256": plugin.digest_hex(),
    })
}

fn as_text(plugin: &Plugin) -> String {
    let description = plugin.description();
    let kinds: Vec<_> = plugin.kinds().iter().map(|kind| kind.name()).collect();
    let imports = if plugin.imports().is_empty() { "none".to_owned() } else { plugin.imports().join(", ") };
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<14}{}", printable(value));
    };
    row("name", &description.name);
    row("version", &description.version);
    row("does", &description.doc);
    row("kinds", &kinds.join(", "));
    row("state format", description.state_format.as_str());
    row("imports", &imports);
    row("size", &format!("{} bytes", plugin.size()));
    row("sha256", &plugin.digest_hex());
    row("settings", if description.settings.is_empty() { "none" } else { "" });
    for spec in &description.settings {
        let default = match &spec.default {
            Some(default) => format!("= {}", setting_as_json(default)),
            None => "has to be set".to_owned(),
        };
        row("", &format!("{} ({}) {default}", spec.name, spec.kind));
        row("", &format!("    {}", spec.doc));
    }
    text
}
