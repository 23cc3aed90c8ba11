//! Which changed keys take effect only at the next start.

use std::net::SocketAddr;

use super::{Config, Firewall, KEYS};

/// The keys that differ between the two and that a reload can't change; all
/// else is in force as soon as the new configuration is.
#[must_use]
pub fn restart_required(old: &Config, new: &Config) -> Vec<&'static str> {
    let differs = |path: &str| match path {
        "listen.address" => old.listen.address != new.listen.address,
        "listen.workers" => old.listen.workers != new.listen.workers,
        "listen.max_connections" => old.listen.max_connections != new.listen.max_connections,
        "listen.header_timeout" => old.listen.header_timeout != new.listen.header_timeout,
        "listen.handshake_timeout" => old.listen.handshake_timeout != new.listen.handshake_timeout,
        "listen.max_handshakes" => old.listen.max_handshakes != new.listen.max_handshakes,
        "listen.max_handshakes_per_source" => {
            old.listen.max_handshakes_per_source != new.listen.max_handshakes_per_source
        }
        "listener.address" => addresses(old).ne(addresses(new)),
        "listen.idle_timeout" => old.listen.idle_timeout != new.listen.idle_timeout,
        "listen.max_header_bytes" => old.listen.max_header_bytes != new.listen.max_header_bytes,
        "listen.drain_timeout" => old.listen.drain_timeout != new.listen.drain_timeout,
        "decide.address" => old.decide.address != new.decide.address,
        "auth.hashing_threads" => old.auth.hashing_threads != new.auth.hashing_threads,
        "log.format" => old.log.format != new.log.format,
        "log.file" => old.log.file != new.log.file,
        "firewall.backend" => old.firewall.is_some() != new.firewall.is_some(),
        "firewall.ports" => both(old, new, |old, new| old.ports != new.ports),
        "firewall.protocols" => both(old, new, |old, new| old.protocols != new.protocols),
        "firewall.action" => both(old, new, |old, new| old.action != new.action),
        "firewall.priority" => both(old, new, |old, new| old.priority != new.priority),
        "firewall.on_stop" => both(old, new, |old, new| old.on_stop != new.on_stop),
        "state.store" => old.state != new.state,
        "journal.dir" => old.journal.dir != new.journal.dir,
        "journal.max_size" => old.journal.max_size != new.journal.max_size,
        "journal.max_age" => old.journal.max_age != new.journal.max_age,
        "admin.socket" => old.admin.socket != new.admin.socket,
        "admin.address" => old.admin.address != new.admin.address,
        "admin.token_file" => old.admin.token_file != new.admin.token_file,
        "admin.health_address" => old.admin.health_address != new.admin.health_address,
        "service.user" => old.service != new.service,
        "plugins.cache" => old.plugins.cache != new.plugins.cache,
        _ => false,
    };
    KEYS.iter().filter(|key| key.restart && differs(key.path)).map(|key| key.path).collect()
}

/// Whether there is a firewall in both and it differs so.
fn both(old: &Config, new: &Config, differ: impl Fn(&Firewall, &Firewall) -> bool) -> bool {
    old.firewall.as_ref().zip(new.firewall.as_ref()).is_some_and(|(old, new)| differ(old, new))
}

/// Of each listener: a door can be exchanged, an address can't.
fn addresses(config: &Config) -> impl Iterator<Item = &[SocketAddr]> {
    config.listeners.iter().map(|listener| &listener.address[..])
}
