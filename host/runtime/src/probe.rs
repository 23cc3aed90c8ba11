//! One instance by itself, for measuring what a plugin costs. Nothing in
//! service uses it: no pool, no ladder, no store.

use portcullis_domain::event::Dated;
use portcullis_domain::{Interest, Keep, Verdict};

use crate::configured::Configured;
use crate::failure::Failure;
use crate::instance::Judging;

/// An instance of a configured plugin.
pub struct Probe {
    judging: Judging,
    interest: Interest,
    state_bytes: usize,
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probe").field("memory_bytes", &self.memory_bytes()).finish_non_exhaustive()
    }
}

impl Configured {
    /// A new instance that has taken its settings.
    ///
    /// # Errors
    /// [`Failure`] if none could be made.
    pub fn probe(&self) -> Result<Probe, Failure> {
        Ok(Probe { judging: self.start()?, interest: self.interest().clone(), state_bytes: self.limits().state_bytes })
    }
}

impl Probe {
    /// Judges one event; `None` for an event that its kind doesn't judge. After
    /// a failure the instance is of no use.
    ///
    /// # Errors
    /// [`Failure`], as in service.
    pub fn judge(&mut self, dated: &Dated<'_>, state: Option<&[u8]>) -> Result<Option<(Verdict, Keep)>, Failure> {
        let answer = self.judging.judge(dated, state, &self.interest, self.state_bytes);
        drop(self.judging.take_log());
        answer
    }

    /// Bytes of all its memories and tables.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.judging.memory_bytes()
    }

    /// Fuel that it has used up since it was made, nearly the number of
    /// WebAssembly instructions; only in a [metered](crate::RuntimeConfig::metered) runtime.
    #[must_use]
    pub fn fuel_used(&self) -> Option<u64> {
        self.judging.fuel_used()
    }
}
