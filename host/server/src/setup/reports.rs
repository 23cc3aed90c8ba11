//! What policies have to tell, into the log: at a limited rate, so that a
//! plugin that fails or talks at every call can't crowd out the rest.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use portcullis_runtime::{LogLevel, Report, Reporter};

use crate::log::{Level, Line, Log, PluginMessage};

/// Lines about one policy in one window.
const LINES_PER_WINDOW: u32 = 20;
/// A window.
const WINDOW: Duration = Duration::from_secs(10);

/// Hears policies and writes to the log.
pub struct LogReporter {
    log: Log,
    /// By policy name: as many as the operator configures.
    windows: Mutex<HashMap<Box<str>, Window>>,
}

struct Window {
    began: Instant,
    lines: u32,
    left_out: u64,
}

impl LogReporter {
    /// A reporter to `log`.
    #[must_use]
    pub fn new(log: Log) -> Self {
        Self { log, windows: Mutex::new(HashMap::new()) }
    }

    /// Whether a line of that policy may be written now; and how many weren't
    /// in the window before, if this one begins the next.
    fn admit(&self, policy: &str) -> (bool, u64) {
        let mut windows = self.windows.lock();
        let now = Instant::now();
        if !windows.contains_key(policy) {
            windows.insert(policy.into(), Window { began: now, lines: 0, left_out: 0 });
        }
        let Some(window) = windows.get_mut(policy) else { return (false, 0) };
        let mut left_out = 0;
        if now.duration_since(window.began) >= WINDOW {
            left_out = window.left_out;
            *window = Window { began: now, lines: 0, left_out: 0 };
        }
        window.lines += 1;
        let admitted = window.lines <= LINES_PER_WINDOW;
        window.left_out += u64::from(!admitted);
        (admitted, left_out)
    }
}

impl Reporter for LogReporter {
    fn report(&self, policy: &str, report: Report<'_>) {
        // What happens once in a while is always told.
        let seldom = matches!(report, Report::Quarantined { .. } | Report::TriedAgain | Report::Trusted);
        if !seldom {
            let (admitted, left_out) = self.admit(policy);
            if left_out > 0 {
                tracing::warn!("policy {policy}: {left_out} more lines about it were left out");
            }
            if !admitted {
                return;
            }
        }
        match report {
            Report::Log { level, message } => {
                let level = match level {
                    LogLevel::Debug => Level::Debug,
                    LogLevel::Info => Level::Info,
                    LogLevel::Warn => Level::Warn,
                };
                self.log.write(&Line::Plugin(PluginMessage { policy, level, text: message }));
            }
            Report::LogDropped { lines } => {
                tracing::warn!("policy {policy}: {lines} log lines of one call were dropped");
            }
            // The failure's words can be the plugin's own: as a field they are encoded.
            Report::Failed { rung, failure } => {
                tracing::warn!(why = %failure, "policy {policy}: its plugin failed ({rung:?})");
            }
            Report::Recovered => tracing::info!("policy {policy}: a new instance answered"),
            Report::FellBack(to) => tracing::warn!("policy {policy}: its plugin can't judge, on_failure: {to:?}"),
            Report::Quarantined { period, .. } => {
                tracing::error!(
                    "policy {policy}: its plugin fails for many sources and isn't called for {} s (on_failure holds)",
                    period.as_secs()
                );
            }
            Report::Spared { source, .. } => tracing::warn!(
                %source,
                "policy {policy}: its plugin keeps failing for one source and isn't called for that one for a while \
                 (on_failure holds)"
            ),
            Report::TriedAgain => tracing::warn!("policy {policy}: its plugin is tried again"),
            Report::Trusted => tracing::info!("policy {policy}: its plugin works again"),
            _ => {}
        }
    }
}
