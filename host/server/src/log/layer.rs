//! Operational events of `tracing`, into the same log (rules 25 and 28).
//!
//! Ours (targets that begin with `portcullis`) by the log's level, those of
//! other crates only from warn on. Words of strangers belong into fields, whose
//! values are escaped, and not into messages.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::line::{Line, Operational};
use super::{Level, Log};

/// Most fields that a line shows.
const FIELDS_MAX: usize = 16;

/// A layer that writes events to a log.
pub struct LogLayer {
    log: Log,
}

impl LogLayer {
    pub(super) const fn new(log: Log) -> Self {
        Self { log }
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let level = level_of(*metadata.level());
        self.log.writes(level) && (is_ours(metadata.target()) || level <= Level::Warn)
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if !self.wants(metadata) {
            return;
        }
        let mut words = Words::default();
        event.record(&mut words);
        self.log.write(&Line::Operational(Operational {
            level: level_of(*metadata.level()),
            target: metadata.target(),
            text: &words.message,
            foreign: !is_ours(metadata.target()),
            fields: &words.fields,
        }));
    }
}

fn is_ours(target: &str) -> bool {
    target.split("::").next().is_some_and(|krate| krate.starts_with("portcullis"))
}

fn level_of(level: tracing::Level) -> Level {
    match level {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::TRACE => Level::Trace,
    }
}

#[derive(Default)]
struct Words {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // Writing to a String can't fail.
            let _ = write!(self.message, "{value:?}");
        } else {
            self.add(field, format!("{value:?}"));
        }
    }
}

impl Words {
    fn add(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message.push_str(&value);
        } else if self.fields.len() < FIELDS_MAX {
            self.fields.push((field.name(), value));
        }
    }
}
