//! Long lists a page at a time: where a page begins, and how long it may be.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ipnet::IpNet;
use portcullis_domain::{ClientId, Subject, Timestamp};

use super::api::{PAGE_DEFAULT, PAGE_MAX};
use super::problem::Problem;

/// The place in the list of bans: everything after it comes next.
pub(super) type BanPlace = (Timestamp, IpNet);
/// The place in the list of waits.
pub(super) type WaitPlace = (Timestamp, Subject);

/// How many entries are wanted.
pub(super) fn limit(wanted: Option<usize>) -> Result<usize, Problem> {
    let limit = wanted.unwrap_or(PAGE_DEFAULT);
    if (1..=PAGE_MAX).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::bad_request(format!("limit={limit}: expected 1 to {PAGE_MAX}")))
}

/// A place among bans as the client keeps it for us.
pub(super) fn ban_cursor((until, network): &BanPlace) -> String {
    encode(*until, None, Some(network))
}

/// And back.
pub(super) fn ban_place(cursor: &str) -> Result<BanPlace, Problem> {
    match decode(cursor)? {
        (until, None, Some(network)) => Ok((until, network)),
        _ => Err(not_ours(cursor)),
    }
}

/// A place among waits as the client keeps it for us.
pub(super) fn wait_cursor((until, subject): &WaitPlace) -> String {
    match subject {
        Subject::Id(id) => encode(*until, Some(id), None),
        Subject::Source(network) => encode(*until, None, Some(network)),
        Subject::Pair(id, network) => encode(*until, Some(id), Some(network)),
    }
}

/// And back.
pub(super) fn wait_place(cursor: &str) -> Result<WaitPlace, Problem> {
    let subject = match decode(cursor)? {
        (until, Some(id), None) => (until, Subject::Id(id)),
        (until, None, Some(network)) => (until, Subject::Source(network)),
        (until, Some(id), Some(network)) => (until, Subject::Pair(id, network)),
        (_, None, None) => return Err(not_ours(cursor)),
    };
    Ok(subject)
}

fn encode(until: Timestamp, id: Option<&ClientId>, network: Option<&IpNet>) -> String {
    let place = (until.as_millis(), id.map(ClientId::as_str), network.map(ToString::to_string));
    // Numbers and text: writing them can't fail.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&place).unwrap_or_default())
}

type Place = (Timestamp, Option<ClientId>, Option<IpNet>);

fn decode(cursor: &str) -> Result<Place, Problem> {
    let place = || -> Option<Place> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (until, id, network): (u64, Option<String>, Option<String>) = serde_json::from_slice(&bytes).ok()?;
        let id = id.map(|id| ClientId::new(&id)).transpose().ok()?;
        let network = network.map(|network| network.parse()).transpose().ok()?;
        Some((Timestamp::from_millis(until), id, network))
    };
    place().ok_or_else(|| not_ours(cursor))
}

fn not_ours(cursor: &str) -> Problem {
    let shown: String = cursor.chars().take(80).collect();
    Problem::bad_request(format!("cursor={shown}: expected what `next` of the page before says, as it stands"))
}

/// A network, or an address as the network that it counts as (rule 3).
pub(super) fn network(text: &str, ipv6_prefix: u8) -> Result<IpNet, Problem> {
    let wrong = || {
        let shown: String = text.chars().take(80).collect();
        Problem::bad_request(format!("{shown}: expected a network such as 203.0.113.0/24, or an address"))
    };
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(portcullis_domain::Source::new(address, ipv6_prefix).network());
    }
    let network: IpNet = text.parse().map_err(|_| wrong())?;
    match network {
        IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some() => Err(wrong()),
        IpNet::V4(_) | IpNet::V6(_) => Ok(network.trunc()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back_as_they_went() {
        let at = Timestamp::from_millis(1_700_000_000_123);
        let (id, network) = (ClientId::new("ab\u{202e}c/ d").unwrap(), "2001:db8::/64".parse().unwrap());
        assert_eq!(ban_place(&ban_cursor(&(at, network))).unwrap(), (at, network));
        for subject in [Subject::Id(id.clone()), Subject::Source(network), Subject::Pair(id, network)] {
            let place = (at, subject);
            assert_eq!(wait_place(&wait_cursor(&place)).unwrap(), place);
        }
        for wrong in ["", "x", "!!", "W10", &URL_SAFE_NO_PAD.encode("[1,null,null]"), &URL_SAFE_NO_PAD.encode("[1]")] {
            assert!(ban_place(wrong).is_err() && wait_place(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_is_the_network_it_counts_as() {
        for (text, network_of) in [
            ("203.0.113.7", "203.0.113.7/32"),
            ("203.0.113.7/24", "203.0.113.0/24"),
            ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
            ("2001:db8:1:2:3::4/128", "2001:db8:1:2:3::4/128"),
            ("::ffff:203.0.113.7", "203.0.113.7/32"),
        ] {
            assert_eq!(network(text, 64).unwrap().to_string(), network_of);
        }
        for wrong in ["", "abc", "203.0.113.7/33", "203.0.113", "::ffff:203.0.113.7/120", "203.0.113.7 "] {
            assert!(network(wrong, 64).is_err(), "{wrong}");
        }
    }
}
