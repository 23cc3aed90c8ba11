//! `[firewall]`: bans in the kernel as well.

use portcullis_harness::document::mistake::Cause;
use portcullis_harness::document::reader::{Reader, Section};
use portcullis_harness::document::value;

/// Most ports that can be named; who has more means all.
const PORTS_MAX: usize = 1024;
/// Priorities that make sense at the hook `input`: conntrack is at -200, most filters are at 0.
const PRIORITY_MIN: i32 = -500;
const PRIORITY_MAX: i32 = 500;

/// Bans in the kernel, by nftables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firewall {
    /// Ports that banned sources don't reach; empty: all, whatever the protocol.
    pub ports: Vec<u16>,
    /// Whose ports these are.
    pub protocols: Vec<FirewallProtocol>,
    /// What becomes of their packets.
    pub action: FirewallAction,
    /// When among the chains of the hook `input` ours is asked; lower is earlier.
    pub priority: i32,
    /// What becomes of the table when the server ends.
    pub on_stop: OnStop,
}

/// A protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirewallProtocol {
    /// TCP.
    Tcp,
    /// UDP, which HTTP/3 goes by.
    Udp,
}

impl FirewallProtocol {
    /// Its name in a configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// What becomes of a banned source's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirewallAction {
    /// Nothing comes back.
    Drop,
    /// A reset for TCP, else an ICMP error.
    Reject,
}

/// What becomes of the table when the server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStop {
    /// It stays, and each ban in it ends in its time.
    Keep,
    /// It is removed.
    Remove,
}

pub(super) fn read<'t>(reader: &mut Reader<'t>, section: Section<'t>) -> Option<Firewall> {
    let backend = reader.maybe(section, "firewall.backend", |value| value::choice(value, &[("nftables", ())]));
    let ports = reader.list(section, "firewall.ports", |value| value::count(value, 1, u16::MAX));
    let protocols = [FirewallProtocol::Tcp, FirewallProtocol::Udp].map(|protocol| (protocol.name(), protocol));
    let protocols = reader.maybe_list(section, "firewall.protocols", |value| value::choice(value, &protocols));
    let actions = [("drop", FirewallAction::Drop), ("reject", FirewallAction::Reject)];
    let action = reader.get(section, "firewall.action", |value| value::choice(value, &actions));
    let priority = reader.get(section, "firewall.priority", |value| value::count(value, PRIORITY_MIN, PRIORITY_MAX));
    let ends = [("keep", OnStop::Keep), ("remove", OnStop::Remove)];
    let on_stop = reader.get(section, "firewall.on_stop", |value| value::choice(value, &ends));
    let mut conflict = |key: &'static str, why: &str| {
        let line = reader.line_of(section, key);
        reader.mistake(line, key, Cause::Conflict { why: why.to_owned() });
    };
    if ports.len() > PORTS_MAX {
        conflict("firewall.ports", &format!("{} ports; at most {PORTS_MAX}, or none for all", ports.len()));
    }
    match &protocols {
        Some(_) if ports.is_empty() => {
            conflict("firewall.protocols", "only used with firewall.ports: without ports all packets are meant");
        }
        Some(protocols) if protocols.is_empty() => {
            conflict("firewall.protocols", "at least one is needed: these ports are nobody's");
        }
        Some(_) | None => {}
    }
    let has_any = section.table.is_some_and(|table| !table.is_empty());
    if backend.is_none() && has_any && reader.clean("firewall.backend") {
        let why = "\"nftables\" is needed: without it nothing of this section is used";
        let line = reader.line_of(section, "firewall.backend");
        reader.mistake(line, "firewall.backend", Cause::Conflict { why: why.to_owned() });
    }
    let protocols = protocols.unwrap_or_else(|| vec![FirewallProtocol::Tcp]);
    backend.map(|()| Firewall { ports, protocols, action, priority, on_stop })
}
