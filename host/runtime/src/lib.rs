//! Plugins: WebAssembly components that judge, held to their bounds.
//!
//! The only crate that names wasmtime. It knows no HTTP, no configuration file
//! and no log: it loads plugins, calls them, and answers as
//! [`portcullis_domain::Judge`]. Rule numbers in comments refer to `RULES.md`
//! of `portcullis-domain`.
//!
//! From bytes to verdicts: [`Runtime::load`] makes a [`Plugin`],
//! [`Plugin::configure`] a [`Configured`], and [`PolicyJudge::new`] the judge
//! that a gate calls.

mod bindings;
mod breaker;
mod bundle;
mod cache;
mod configured;
mod convert;
mod digest;
mod engine;
mod failure;
mod histogram;
mod inspect;
mod instance;
mod ladder;
mod limits;
mod load;
mod log;
mod notice;
mod pool;
mod probe;
mod quarantine;
mod report;
mod runtime;
mod settings;
mod source;

pub use configured::{ConfigureError, Configured, Mode};
pub use engine::EngineError;
pub use failure::{Cause, Failure};
pub use histogram::{Distribution, Histogram};
pub use inspect::INTERFACE_VERSION;
pub use ladder::{JUDGE_TIMES_SAMPLED, KindsDiffer, OnFailure, PolicyJudge};
pub use limits::{
    DEADLINE_MAX, HOSTCALL_BYTES_MAX, LOG_LINES_MAX, LimitError, Limits, MEMORY_BYTES_MAX, PLUGIN_BYTES_MAX,
    STATE_BYTES_MAX,
};
pub use load::{Description, LoadError, Plugin};
pub use log::{LOG_MESSAGE_BYTES_MAX, LogLevel};
pub use notice::Notice;
pub use probe::Probe;
pub use report::{FellBack, Report, Reporter, Rung, Silent, Snapshot};
pub use runtime::{Runtime, RuntimeConfig};
pub use settings::{SettingKind, SettingProblem, SettingSpec, SettingValue, Settings};
pub use source::{PluginSource, ReadError, SourceError, read_plugin};
