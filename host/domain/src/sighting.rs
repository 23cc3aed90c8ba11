//! Events that were seen elsewhere, after the fact: by whoever reads a log, or
//! by a proxy that asks and reports.

use std::net::IpAddr;

use crate::time::Timestamp;

/// Where the gate knows an event from. It is for people who ask why; no policy
/// sees it, so that an offence is an offence wherever it was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin<'a> {
    /// From the gateway itself: the client was at the gate.
    #[default]
    Gateway,
    /// From a line of a log.
    Log {
        /// The file, or the command whose output it is.
        name: &'a str,
        /// The line's number in it, from 1.
        line: u64,
    },
    /// From somebody who reports what happened behind them.
    Report {
        /// Their address.
        by: IpAddr,
    },
}

/// When and where an event was seen that didn't pass the gate (rule 39).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting<'a> {
    /// When it happened, as whoever saw it has it.
    pub at: Timestamp,
    /// Who saw it.
    pub origin: Origin<'a>,
}
