//! What is counted, as Prometheus reads it.
//!
//! Nothing is counted for this alone where it is counted anyway: everything is
//! read when somebody asks. The list of metrics is [`FAMILIES`], each with the
//! function that reads it, so that documents made from the list can't lie. It
//! must not know who asks.

mod families;
mod process;
mod scrape;

use std::fmt::Write as _;

use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;

pub use families::FAMILIES;
pub use scrape::{Family, Metric};

use crate::running::Running;
use scrape::{Scrape, Seen};

/// The type of what [`render`] answers: the classic text format, which every
/// scraper reads.
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// All metrics at this moment.
#[must_use]
pub fn render(running: &Running) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape::of(&Seen::of(running))));
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = prometheus_text::encode(&mut text, &registry);
    text
}

/// The list of metrics, as a document.
#[must_use]
pub fn reference() -> String {
    let mut text = "| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for family in FAMILIES {
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, labels) = (family.name, labels.join(", "));
        let kind = if family.lasting { "lasting counter" } else { family.metric.name() };
        // Writing to a String can't fail.
        let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {} |", family.doc);
    }
    text
}

#[cfg(test)]
mod tests;
