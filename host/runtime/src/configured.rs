//! A plugin with its settings and limits: what a policy calls.
//!
//! Owns the instances. Knows nothing of what happens when a call fails beyond
//! that the instance must go.

use std::sync::Arc;

use portcullis_domain::event::{Dated, cut};
use portcullis_domain::{Event, Interest, Kind, Provenance, StateFormat};

use crate::convert::Answer;
use crate::digest;
use crate::failure::{Cause, Failure};
use crate::instance::{Instance, Judging};
use crate::limits::{LimitError, Limits};
use crate::load::Plugin;
use crate::log::Logged;
use crate::pool::Pool;
use crate::settings::{Complete, SettingProblem, SettingValue, Settings};

/// Longest message of a plugin about a setting, in bytes; the rest is cut.
const MESSAGE_BYTES_MAX: usize = 300;
/// Most mistakes that a plugin may find; the rest is left out.
const PROBLEMS_MAX: usize = 64;

/// Why a plugin can't serve a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigureError {
    /// It doesn't judge as that.
    #[error("the plugin doesn't judge as {kind}")]
    Kind {
        /// What was asked of it.
        kind: Kind,
    },
    /// Limits that the host can't keep.
    #[error("limits out of range: {}", lines(.0))]
    Limits(Vec<LimitError>),
    /// Mistakes in the settings, all of them.
    #[error("settings: {}", lines(.0))]
    Settings(Vec<SettingProblem>),
    /// It failed while it was given its settings.
    #[error("it could not be configured: {0}")]
    Failed(Failure),
}

fn lines<T: ToString>(errors: &[T]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Which instance answers a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Any that is there. For service.
    #[default]
    Pooled,
    /// A new one each time. A policy whose answers differ from those of a
    /// pooled run isn't pure.
    FreshPerCall,
}

/// A plugin, ready to judge as one kind.
pub struct Configured {
    plugin: Arc<Plugin>,
    kind: Kind,
    settings: Complete,
    provenance: Provenance,
    limits: Limits,
    interest: Interest,
    mode: Mode,
    pool: Pool<Judging>,
}

impl std::fmt::Debug for Configured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Configured").field("plugin", &self.plugin).field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Plugin {
    /// Checks settings and limits and hands them to the plugin.
    ///
    /// # Errors
    /// [`ConfigureError`], with every mistake that could be found.
    pub fn configure(
        self: &Arc<Self>,
        kind: Kind,
        settings: &Settings,
        limits: &Limits,
    ) -> Result<Configured, ConfigureError> {
        if !self.kinds().contains(&kind) {
            return Err(ConfigureError::Kind { kind });
        }
        limits.check().map_err(ConfigureError::Limits)?;
        let settings = Complete::merge(&self.description().settings, settings).map_err(ConfigureError::Settings)?;
        let mut instance = Instance::start(self.prepared(), limits).map_err(ConfigureError::Failed)?;
        let answer = settings.with_wire(|settings| instance.configure(settings)).map_err(ConfigureError::Failed)?;
        let interest = answer.map_err(|errors| {
            let refused = errors.iter().take(PROBLEMS_MAX).map(|error| SettingProblem::Refused {
                name: cut(&error.name, MESSAGE_BYTES_MAX).to_owned(),
                message: cut(&error.message, MESSAGE_BYTES_MAX).to_owned(),
            });
            ConfigureError::Settings(refused.collect())
        })?;
        Ok(Configured {
            plugin: Arc::clone(self),
            kind,
            provenance: Provenance { plugin: *self.digest(), settings: digest::of_settings(settings.values()) },
            settings,
            limits: limits.clone(),
            interest,
            mode: Mode::default(),
            pool: Pool::new(),
        })
    }
}

impl Configured {
    /// The same in another mode, for proofs of purity.
    #[must_use]
    pub fn with_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// The plugin.
    #[must_use]
    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// Its settings by name, those left out filled in.
    #[must_use]
    pub fn settings(&self) -> &[(String, SettingValue)] {
        self.settings.values()
    }

    /// What it is and how it is set: the same pair gives the same answers.
    #[must_use]
    pub const fn provenance(&self) -> Provenance {
        self.provenance
    }

    /// What it judges as.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What it wants to see with these settings.
    #[must_use]
    pub const fn interest(&self) -> &Interest {
        &self.interest
    }

    /// How its state is written.
    #[must_use]
    pub fn state_format(&self) -> &StateFormat {
        &self.plugin.description().state_format
    }

    /// Its limits.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many calls have begun.
    pub(crate) fn calls(&self) -> u64 {
        self.pool.counted()
    }

    /// Counts a call on this thread, see [`Pool::count`].
    pub(crate) fn count_call(&self) -> u64 {
        self.pool.count()
    }

    /// Whether it would answer such an event at all.
    pub(crate) fn wants(&self, event: &Event<'_>) -> bool {
        match (self.kind, event) {
            (Kind::Wait | Kind::Ban, Event::Attempt(_)) => true,
            (Kind::Scanner, Event::Request(request)) => self.interest.wants_status(request.status),
            (Kind::Wait | Kind::Ban, Event::Request(_)) | (Kind::Scanner, Event::Attempt(_)) => false,
        }
    }

    /// One call, on any instance.
    pub(crate) fn judge(
        &self,
        dated: &Dated<'_>,
        state: Option<&[u8]>,
        logged: &mut Option<Logged>,
    ) -> Result<Option<Answer>, Failure> {
        if self.mode == Mode::FreshPerCall {
            return self.run(&mut self.start()?, dated, state, logged);
        }
        // Nothing stays in the slot while the guest runs: an instance comes
        // back only after a good answer.
        let mut slot = self.pool.hold();
        let mut judging = match slot.as_mut().and_then(|slot| slot.take()) {
            Some(judging) => judging,
            None => self.start()?,
        };
        let answer = self.run(&mut judging, dated, state, logged)?;
        if let Some(slot) = &mut slot {
            slot.put(judging);
        }
        Ok(answer)
    }

    /// One call, on an instance that has never judged.
    pub(crate) fn judge_fresh(
        &self,
        dated: &Dated<'_>,
        state: Option<&[u8]>,
        logged: &mut Option<Logged>,
    ) -> Result<Option<Answer>, Failure> {
        let mut judging = self.start()?;
        let answer = self.run(&mut judging, dated, state, logged)?;
        if self.mode == Mode::Pooled
            && let Some(mut slot) = self.pool.hold()
        {
            slot.put(judging);
        }
        Ok(answer)
    }

    fn run(
        &self,
        judging: &mut Judging,
        dated: &Dated<'_>,
        state: Option<&[u8]>,
        logged: &mut Option<Logged>,
    ) -> Result<Option<Answer>, Failure> {
        let answer = judging.judge(dated, state, &self.interest, self.limits.state_bytes);
        *logged = judging.take_log();
        answer
    }

    pub(crate) fn start(&self) -> Result<Judging, Failure> {
        let mut instance = Instance::start(self.plugin.prepared(), &self.limits)?;
        // What it has to say to its settings was heard when it was configured.
        let answer = self.settings.with_wire(|settings| instance.configure(settings))?;
        drop(instance.take_log());
        match answer {
            Ok(_) => instance.judging(self.plugin.prepared(), self.kind),
            Err(_) => Err(Failure::new(Cause::Start, "it refused settings that it had taken before")),
        }
    }
}
