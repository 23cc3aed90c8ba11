//! Who is it: rules 1 to 3.
#![allow(clippy::unwrap_used, reason = "a broken test stops")]

use std::net::IpAddr;

use portcullis_domain::SourceRules;
use portcullis_domain::source::Decided;

fn behind_proxies() -> SourceRules {
    SourceRules {
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8:ffff::/48".parse().unwrap()],
        ..SourceRules::default()
    }
}

fn decide(peer: &str, forwarded_for: &[&str]) -> Decided {
    let peer: IpAddr = peer.parse().unwrap();
    behind_proxies().decide(peer, forwarded_for.iter().map(|value| value.as_bytes()))
}

fn source_of(peer: &str, forwarded_for: &[&str]) -> String {
    decide(peer, forwarded_for).source.to_string()
}

#[test]
fn rule_2_from_an_untrusted_peer_the_header_changes_nothing_and_is_noticed() {
    let decided = decide("203.0.113.7", &["8.8.8.8"]);
    assert_eq!(decided.source.to_string(), "203.0.113.7");
    assert!(decided.header_ignored && !decided.peer_trusted);
    assert!(!decide("203.0.113.7", &[]).header_ignored);
}

#[test]
fn rule_2_from_a_trusted_peer_the_rightmost_untrusted_entry_is_the_source() {
    for (forwarded_for, source) in [
        (vec!["203.0.113.7"], "203.0.113.7"),
        (vec!["8.8.8.8, 203.0.113.7"], "203.0.113.7"),
        (vec!["8.8.8.8, 203.0.113.7, 10.0.0.2 , 10.0.0.3"], "203.0.113.7"),
        (vec!["8.8.8.8", "203.0.113.7", "10.9.9.9"], "203.0.113.7"),
        (vec!["203.0.113.7:4711"], "203.0.113.7"),
        (vec!["[2001:db8::7]:4711"], "2001:db8::7"),
        (vec!["2001:db8::7, 2001:db8:ffff::1"], "2001:db8::7"),
        (vec!["::ffff:203.0.113.7"], "203.0.113.7"),
    ] {
        assert_eq!(source_of("10.0.0.1", &forwarded_for), source, "{forwarded_for:?}");
    }
}

#[test]
fn rule_2_a_malformed_entry_ends_the_walk_at_the_last_trusted_hop() {
    for (forwarded_for, source) in [
        (vec![], "10.0.0.1"),
        (vec![""], "10.0.0.1"),
        (vec!["unknown"], "10.0.0.1"),
        (vec!["8.8.8.8, nonsense"], "10.0.0.1"),
        (vec!["8.8.8.8, nonsense, 10.0.0.2"], "10.0.0.2"),
        (vec!["8.8.8.8,, 10.0.0.2"], "10.0.0.2"),
        (vec!["8.8.8.8, 203.0.113.7 x"], "10.0.0.1"),
        (vec!["10.0.0.5, 10.0.0.2"], "10.0.0.5"),
    ] {
        assert_eq!(source_of("10.0.0.1", &forwarded_for), source, "{forwarded_for:?}");
    }
}

#[test]
fn rule_3_mapped_addresses_are_ipv4_and_ipv6_counts_by_its_prefix() {
    let mapped = decide("::ffff:203.0.113.7", &[]).source;
    assert_eq!((mapped.to_string(), mapped.network().to_string()), ("203.0.113.7".into(), "203.0.113.7/32".into()));
    let trusted = decide("::ffff:10.0.0.1", &["203.0.113.7"]);
    assert!(trusted.peer_trusted, "a mapped proxy is the same proxy");
    let v6 = decide("2001:db8:1:2:3:4:5:6", &[]).source;
    assert_eq!(v6.to_string(), "2001:db8:1:2:3:4:5:6", "plugins and logs see the full address");
    assert_eq!(v6.network().to_string(), "2001:db8:1:2::/64");
}

#[test]
fn rule_40_a_proxy_that_asks_is_believed_about_the_last_hop_and_no_client_about_itself() {
    let source = |forwarded_for: &[&str]| {
        let values = forwarded_for.iter().map(|value| value.as_bytes());
        behind_proxies().of_forwarded(values).map(|source| source.to_string())
    };
    for (forwarded_for, expected) in [
        (vec!["203.0.113.7"], Some("203.0.113.7")),
        (vec!["8.8.8.8, 203.0.113.7"], Some("203.0.113.7")),
        (vec!["8.8.8.8", "203.0.113.7"], Some("203.0.113.7")),
        (vec!["8.8.8.8, 203.0.113.7, 10.0.0.2"], Some("203.0.113.7")),
        (vec!["nonsense, 10.0.0.2"], Some("10.0.0.2")),
        (vec!["203.0.113.7:4711"], Some("203.0.113.7")),
        (vec![], None),
        (vec![""], None),
        (vec!["203.0.113.7, unknown"], None),
        (vec!["203.0.113.7,"], None),
    ] {
        assert_eq!(source(&forwarded_for).as_deref(), expected, "{forwarded_for:?}");
    }
}
