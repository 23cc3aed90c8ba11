//! The state of a subject: a typed value to the author, bytes to the host.
//!
//! The encoding is borsh (<https://borsh.io>): specified, the same in every
//! language, and one byte string per value, so that equal states are equal bytes.

use crate::bindings::types::{Keep, Kept};
use crate::verdict::to_ms;
use std::time::Duration;

/// What the host keeps for a subject between two calls. Derive it:
/// `#[derive(State)] #[state(format = "failures-in-a-row/1")]`.
pub trait State: Sized {
    /// Names the layout. The host hands state only to plugins that name the same
    /// format, so a changed layout needs a new name.
    const FORMAT: &'static str;

    /// Appends the state's bytes.
    ///
    /// # Errors
    /// When a collection is too long for the encoding.
    fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), String>;

    /// Reads a state back; anything but exactly one whole state is an error.
    ///
    /// # Errors
    /// When the bytes are too few, too many or no such state.
    fn decode(bytes: &[u8]) -> Result<Self, String>;
}

/// The state of a policy that keeps none: a judge of two arguments has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoState;

impl State for NoState {
    const FORMAT: &'static str = "none/1";

    fn encode(&self, _: &mut Vec<u8>) -> Result<(), String> {
        Ok(())
    }

    fn decode(_: &[u8]) -> Result<Self, String> {
        Ok(Self)
    }
}

/// What to tell the host about a subject's state after a judge ran.
///
/// - none before, none after: `unchanged`;
/// - some before, none after: `forget`;
/// - the same bytes before and after, and the judge asked for no time to live:
///   `unchanged`, so the state keeps the time that it had;
/// - anything else: `put`.
pub(crate) fn keep<S: State>(
    before: Option<&[u8]>,
    after: Option<&S>,
    keep_for: Option<Duration>,
) -> Result<Keep, String> {
    let Some(after) = after else {
        return Ok(if before.is_some() { Keep::Forget } else { Keep::Unchanged });
    };
    let mut data = Vec::with_capacity(before.map_or(16, <[u8]>::len));
    after.encode(&mut data)?;
    if keep_for.is_none() && before == Some(data.as_slice()) {
        return Ok(Keep::Unchanged);
    }
    Ok(Keep::Put(Kept { data, ttl: keep_for.map(to_ms) }))
}

/// What borsh says of bytes that it can't read; for the derive.
pub fn text(why: borsh::io::Error) -> String {
    // Not by `to_string`: printing would be larger than all of the state's code.
    why.into_inner().unwrap_or_default()
}
