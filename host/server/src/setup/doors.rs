//! From listeners of the configuration to doors: certificates loaded and
//! checked, sessions of before going on.

use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::crypto::CryptoProvider;

use crate::config::{Cause, CertificateFiles, Config, Listener, Mistake, Place};
use crate::http::{Door, Entrance, Redirect};
use crate::tls::{Certificate, Clients, Names, Tls};

/// What is to be in force at the addresses of a listener.
#[derive(Clone, Debug)]
pub struct PreparedDoor {
    /// The listener's addresses as configured.
    pub addresses: Vec<SocketAddr>,
    /// Its door.
    pub door: Arc<Door>,
}

/// The doors of `config`; sessions of those `before` at the same addresses go on.
/// What the operator should hear is added to `warnings`.
pub(super) fn prepare(
    config: &Config,
    before: &[PreparedDoor],
    warnings: &mut Vec<String>,
) -> Result<Vec<PreparedDoor>, Vec<Mistake>> {
    let provider = Tls::provider();
    let mut mistakes = Vec::new();
    let mut tls = Vec::with_capacity(config.listeners.len());
    for (number, listener) in config.listeners.iter().enumerate() {
        let known = at(before, number, &listener.address).and_then(|known| known.door.tls.as_deref());
        match prepare_tls(listener, known, &provider) {
            Ok(prepared) => tls.push(prepared),
            Err(wrong) => mistakes.extend(wrong),
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let now = Timestamp::now();
    let certificates = || tls.iter().flatten().flat_map(|tls| tls.certificates());
    for warning in certificates().flat_map(|certificate| certificate.warnings(now)) {
        // Several listeners can show the same one.
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    let mut hosts = Names::default();
    for name in certificates().flat_map(|certificate| certificate.names()) {
        hosts.insert(name, ());
    }
    // Without TLS of ours somebody else has it, for hosts that only he knows.
    let hosts = certificates().next().is_some().then(|| Arc::new(hosts));
    let door = |(listener, tls): (&Listener, Option<Arc<Tls>>)| {
        let redirect = listener.redirect_port.map(|port| Redirect { port, hosts: hosts.clone() });
        let door = Door { proxy_protocol: listener.proxy_protocol, tls, banned: listener.banned, redirect };
        PreparedDoor { addresses: listener.address.clone(), door: Arc::new(door) }
    };
    Ok(config.listeners.iter().zip(tls.clone()).map(door).collect())
}

fn prepare_tls(
    listener: &Listener,
    before: Option<&Tls>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<Tls>>, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let mut wrong = |line: usize, key: &str, why: String| {
        mistakes.push(Mistake::new(Place::from(line), key, Cause::Conflict { why }));
    };
    let mut certificates = Vec::with_capacity(listener.certificates.len());
    for CertificateFiles { file, key, names, line } in &listener.certificates {
        match Certificate::load(file, key.as_deref(), names, provider) {
            Ok(certificate) => certificates.push(Arc::new(certificate)),
            Err(error) if error.is_about_the_key() => {
                wrong(line.0, "listener.certificate.key", error.to_string());
            }
            Err(error) => wrong(line.0, "listener.certificate.file", error.to_string()),
        }
    }
    let clients = listener.clients.as_ref().map(|files| {
        Clients::load(&files.ca, files.crl.as_deref(), files.required, files.field, provider).map(Arc::new)
    });
    let clients = clients.transpose().unwrap_or_else(|error| {
        wrong(listener.line.0, "listener.client_ca", error.to_string());
        None
    });
    if mistakes.is_empty() && !certificates.is_empty() {
        match Tls::new(certificates, clients, provider, before) {
            Ok(tls) => return Ok(Some(Arc::new(tls))),
            Err(error) => {
                let place = Place::from(listener.line.0);
                mistakes.push(Mistake::new(place, "listener", Cause::Conflict { why: error.to_string() }));
            }
        }
    }
    if mistakes.is_empty() { Ok(None) } else { Err(mistakes) }
}

/// Entrances for the listeners of a configuration, without doors yet.
#[must_use]
pub fn entrances(config: &Config) -> Vec<Arc<Entrance>> {
    config.listeners.iter().map(|listener| Arc::new(Entrance::new(listener.address.clone()))).collect()
}

/// Puts doors in force at the entrances that they are for. An entrance whose
/// listener is gone keeps its own: it is closed at the next start.
pub fn hang(doors: &[PreparedDoor], entrances: &[Arc<Entrance>]) {
    for (number, entrance) in entrances.iter().enumerate() {
        if let Some(found) = at(doors, number, entrance.addresses()) {
            entrance.set(Arc::clone(&found.door));
        }
    }
}

/// The door for these addresses: that of this number if it is for them (several
/// may ask for port 0), else whichever is, else the one that has taken over: it
/// alone is for some of them, as when its listener got or lost an address.
fn at<'d>(doors: &'d [PreparedDoor], number: usize, addresses: &[SocketAddr]) -> Option<&'d PreparedDoor> {
    let is_for = |door: &&PreparedDoor| door.addresses == addresses;
    let shares =
        |door: &&PreparedDoor| door.addresses.iter().any(|address| address.port() != 0 && addresses.contains(address));
    let taken_over = || {
        let mut sharing = doors.iter().filter(shares);
        // Two for one entrance: neither may be put before the addresses of the other.
        sharing.next().filter(|_| sharing.next().is_none())
    };
    doors.get(number).filter(is_for).or_else(|| doors.iter().find(is_for)).or_else(taken_over)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(addresses: &[&str]) -> PreparedDoor {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        PreparedDoor { addresses, door: Arc::default() }
    }

    #[test]
    fn a_listener_that_gets_or_loses_an_address_is_still_the_same() {
        let (v4, v6, other) = ("192.0.2.1:443", "[2001:db8::1]:443", "192.0.2.1:8443");
        for (doors, entrance, found) in [
            (vec![door(&[other]), door(&[v4])], vec![v4], Some(1)),
            (vec![door(&[other]), door(&[v4, v6])], vec![v4], Some(1)),
            (vec![door(&[v6]), door(&[other])], vec![v4, v6], Some(0)),
            (vec![door(&[v6, v4])], vec![v4, v6], Some(0)),
            (vec![door(&[v4]), door(&[v6])], vec![v4, v6], None),
            (vec![door(&[other])], vec![v4, v6], None),
            // Which of them it was nobody can say.
            (vec![door(&["127.0.0.1:0", other])], vec!["127.0.0.1:0"], None),
            (vec![door(&["127.0.0.1:0"]), door(&["127.0.0.1:0"])], vec!["127.0.0.1:0"], Some(0)),
        ] {
            let entrance = Arc::new(Entrance::new(door(&entrance).addresses));
            hang(&doors, std::slice::from_ref(&entrance));
            let hung = entrance.door();
            let number = doors.iter().position(|door| hung.as_ref().is_some_and(|hung| Arc::ptr_eq(hung, &door.door)));
            assert_eq!(number, found, "{:?} at {:?}", doors, entrance.addresses());
        }
    }
}
