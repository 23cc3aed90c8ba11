//! A scenario's table: each contender's figures, and how many times as much CPU
//! as it Portcullis needs for a request.

use super::contender::{Contender, Turn};
use super::measure::Spread;
use super::scenario::{Scenario, Which};

pub(crate) fn print(scenario: &Scenario, contenders: &[Contender]) {
    println!("\n{}", scenario.name);
    println!(
        "  {:<18} {:>9} {:>8} {:>15} {:>8} {:>8} {:>8} {:>8} {:>22}",
        "", "req/s", "CPU µs", "(min to max)", "p50 ms", "p99 ms", "RSS MiB", "refused", "Portcullis / it"
    );
    let ours = contenders.iter().find(|contender| contender.which == Which::Portcullis);
    for contender in contenders {
        let figure = |figure: fn(&Turn) -> f64| Spread::of(contender.turns.iter().map(figure));
        let cpu = figure(|turn| turn.cpu_us);
        let ratio = ours.map(|ours| {
            // Pair by pair: what drifts from round to round drifts for both.
            Spread::of(ours.turns.iter().zip(&contender.turns).map(|(ours, other)| ours.cpu_us / other.cpu_us))
        });
        let ratio =
            ratio.map_or(String::new(), |ratio| format!("{:.2} ({:.2} to {:.2})", ratio.median, ratio.min, ratio.max));
        println!(
            "  {:<18} {:>9.0} {:>8.2} {:>15} {:>8.2} {:>8.2} {:>8.1} {:>7.0}% {:>22}",
            format!("{:?}", contender.which),
            figure(|turn| turn.requests_per_second).median,
            cpu.median,
            format!("({:.2} to {:.2})", cpu.min, cpu.max),
            figure(|turn| turn.p50_us).median / 1000.0,
            figure(|turn| turn.p99_us).median / 1000.0,
            figure(|turn| turn.resident_mib).median,
            figure(|turn| turn.refused).median * 100.0,
            ratio
        );
    }
}
