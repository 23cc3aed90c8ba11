//! `portcullis bench`: what calls into plugins cost, side by side.

use std::sync::Arc;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use portcullis_domain::Kind;
use portcullis_harness::bench::{self, Contender, Cost, Effort};
use portcullis_harness::runtime;
use portcullis_runtime::{Limits, Plugin, RuntimeConfig, Settings};
use serde_json::json;

use super::{Failed, harness};
use crate::config::printable;

#[derive(Args)]
pub(super) struct BenchArgs {
    /// Plugins to measure, each a file or bundle:wait, bundle:ban or bundle:scanner; ratios are to the first of a kind
    #[arg(value_name = "PLUGIN.wasm", required = true)]
    plugins: Vec<String>,
    /// Measure only as this kind, for plugins that judge as several
    #[arg(long, value_name = "KIND", value_parser = ["wait", "ban", "scanner"])]
    kind: Option<String>,
    /// A setting for all plugins that have it, as TOML: --set max_failed_login=3
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Rounds; each plugin has its turn in each
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Calls of each plugin in a round
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    calls: u32,
    /// Print JSON for machines
    #[arg(long)]
    json: bool,
}

pub(super) fn bench(args: &BenchArgs) -> Result<(), Failed> {
    let mut shelf = harness::shelf()?;
    let mut metered = harness::shelf_with(RuntimeConfig { metered: true, ..RuntimeConfig::default() })?;
    let mut plugins = Vec::new();
    for name in &args.plugins {
        plugins.push((name, harness::plugin(&mut shelf, name)?, harness::plugin(&mut metered, name)?));
    }
    let settings = harness::settings(&args.set, plugins.iter().map(|(_, plugin, _)| &**plugin))?;
    let mut costs = Vec::new();
    let wanted = |kind: &Kind| args.kind.as_deref().is_none_or(|wanted| wanted == kind.name());
    for kind in Kind::ALL.into_iter().filter(wanted) {
        let mut contenders = Vec::new();
        for (name, plugin, metered) in plugins.iter().filter(|(_, plugin, _)| plugin.kinds().contains(&kind)) {
            contenders.push(contender(name, kind, plugin, metered, &settings)?);
        }
        if !contenders.is_empty() {
            let effort = Effort { rounds: args.rounds, calls: args.calls };
            let measured = bench::run(&contenders, effort, |_| {});
            costs.extend(measured.map_err(|error| Failed::No(error.to_string()))?);
        }
    }
    if costs.is_empty() {
        return Err(Failed::Usage(format!(
            "none of the plugins judges as {}",
            args.kind.as_deref().unwrap_or("any kind")
        )));
    }
    let text = if args.json {
        format!("{:#}\n", json!(costs.iter().map(as_json).collect::<Vec<_>>()))
    } else {
        format!("{}\n", as_table(&costs))
    };
    super::print(&text)
}

fn contender(
    name: &str,
    kind: Kind,
    plugin: &Arc<Plugin>,
    metered: &Arc<Plugin>,
    settings: &Settings,
) -> Result<Contender, Failed> {
    let known = |name: &String| plugin.description().settings.iter().any(|spec| spec.name == *name);
    let settings = settings.iter().filter(|(name, _)| known(name)).map(|(name, value)| (name.clone(), value.clone()));
    let settings: Settings = settings.collect();
    let configure = |plugin: &Arc<Plugin>| {
        let configured =
            plugin.configure(kind, &settings, &Limits { deadline: runtime::DEADLINE_MAX, ..Limits::default() });
        configured.map(Arc::new).map_err(|error| Failed::Usage(format!("{name}: {error}")))
    };
    Ok(Contender { name: name.to_owned(), plugin: configure(plugin)?, metered: configure(metered)? })
}

fn as_json(cost: &Cost) -> serde_json::Value {
    json!({
        "plugin": cost.name,
        "kind": cost.kind.name(),
        "size_bytes": cost.size_bytes,
        "call_ns": { "p50": cost.p50_ns, "p99": cost.p99_ns, "mean": cost.mean_ns },
        "ratio": cost.ratio,
        "instantiation_ns": u64::try_from(cost.instantiation.as_nanos()).unwrap_or(u64::MAX),
        "memory_bytes": cost.memory_bytes,
        "memory_bytes_after": cost.memory_bytes_after,
        "fuel_per_call": cost.fuel_per_call,
    })
}

fn as_table(costs: &[Cost]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["plugin", "kind", "p50", "p99", "mean", "ratio", "fuel", "instance", "memory", "after", "size"]);
    for cost in costs {
        table.add_row([
            printable(&cost.name).to_string(),
            cost.kind.to_string(),
            time(cost.p50_ns),
            time(cost.p99_ns),
            time(cost.mean_ns),
            format!("{:.2}", cost.ratio),
            format!("{:.0}", cost.fuel_per_call),
            time(cost.instantiation.as_secs_f64() * 1e9),
            size(cost.memory_bytes),
            size(cost.memory_bytes_after),
            size(cost.size_bytes),
        ]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn time(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds {
        ns if ns < 1e4 => return format!("{ns:.0} ns"),
        ns if ns < 1e7 => (ns / 1e3, "µs"),
        ns => (ns / 1e6, "ms"),
    };
    format!("{value:.1} {unit}")
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn size(bytes: usize) -> String {
    match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
