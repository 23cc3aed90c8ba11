//! What others ask about requests that they hold themselves (rule 40).

use super::{Gate, Refusal};
use crate::event::ClientId;
use crate::source::Source;

/// What is asked about a request that somebody else holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inquiry<'a> {
    /// No login: only a ban concerns it.
    Request,
    /// A login, of that id where it is known.
    Login(Option<&'a ClientId>),
}

impl Gate {
    /// Whether a request that somebody else holds would be let pass at this
    /// moment: rule 11, and nothing more. It takes no turn, changes nothing and
    /// calls no policy, and so it can be asked any number of times.
    ///
    /// # Errors
    /// [`Refusal::Banned`], or for a login [`Refusal::Waiting`].
    pub fn look(&self, source: Source, inquiry: Inquiry<'_>) -> Result<(), Refusal> {
        self.admit(source)?;
        let Inquiry::Login(id) = inquiry else { return Ok(()) };
        let now = self.clock.now();
        self.waits_until(source, id, now).map_or(Ok(()), |until| Err(Refusal::Waiting(until.since(now))))
    }
}
