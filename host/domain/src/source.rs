//! Who is it: the source of a request, decided once (rules 1 to 3).

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The client's address, decided once per request, and the network that
/// subjects and bans group it by. Only [`SourceRules::decide`] makes one from a
/// connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    address: IpAddr,
    network: IpNet,
}

impl Source {
    /// A source from an address already decided; IPv4-mapped IPv6 becomes IPv4
    /// and IPv6 is grouped by `ipv6_prefix` bits (rule 3).
    #[must_use]
    pub fn new(address: IpAddr, ipv6_prefix: u8) -> Self {
        let address = address.to_canonical();
        Self { address, network: group(address, ipv6_prefix) }
    }

    /// The full address: what plugins and logs see.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// The network it counts as: a /32, or the operator's IPv6 prefix.
    #[must_use]
    pub const fn network(&self) -> IpNet {
        self.network
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// The network of `address`, `ipv6_prefix` bits wide for IPv6 and one address for IPv4.
fn group(address: IpAddr, ipv6_prefix: u8) -> IpNet {
    match address {
        IpAddr::V4(v4) => IpNet::V4(Ipv4Net::from(v4)),
        IpAddr::V6(v6) => IpNet::V6(Ipv6Net::new_assert(v6, ipv6_prefix.min(128)).trunc()),
    }
}

/// What the operator says about addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRules {
    /// Peers whose X-Forwarded-For is believed; never banned.
    pub trusted_proxies: Vec<IpNet>,
    /// Bits of an IPv6 address that subjects and bans go by.
    pub ipv6_prefix: u8,
    /// Networks that are never banned.
    pub never_ban: Vec<IpNet>,
}

impl Default for SourceRules {
    fn default() -> Self {
        Self { trusted_proxies: Vec::new(), ipv6_prefix: 64, never_ban: Vec::new() }
    }
}

/// A source, and what is worth telling about how it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The source.
    pub source: Source,
    /// The peer is a trusted proxy, so its forwarding headers are appended to and not begun anew.
    pub peer_trusted: bool,
    /// An untrusted peer sent X-Forwarded-For; it changed nothing.
    pub header_ignored: bool,
}

impl SourceRules {
    /// Rule 2: the peer, or the rightmost X-Forwarded-For entry that isn't a
    /// trusted proxy if the peer is one. A malformed entry ends the walk, and
    /// the last trusted hop is the source; so it is if every entry is trusted.
    ///
    /// `forwarded_for` are the header's values in the order received.
    pub fn decide<'a, I>(&self, peer: IpAddr, forwarded_for: I) -> Decided
    where
        I: IntoIterator<Item = &'a [u8]>,
        I::IntoIter: DoubleEndedIterator,
    {
        let peer = peer.to_canonical();
        let mut values = forwarded_for.into_iter().peekable();
        let peer_trusted = contains(&self.trusted_proxies, peer);
        if !peer_trusted {
            let header_ignored = values.peek().is_some();
            return Decided { source: Source::new(peer, self.ipv6_prefix), peer_trusted, header_ignored };
        }
        let hop = self.walk(values).unwrap_or(peer);
        Decided { source: Source::new(hop, self.ipv6_prefix), peer_trusted, header_ignored: false }
    }

    /// The source of a request that a proxy holds and asks about, whose own word
    /// is believed whatever `trusted_proxies` says: the rightmost entry, from
    /// where the walk goes on as in rule 2 (rule 40). None if there is no entry
    /// or the rightmost makes no sense: then only the proxy itself is known.
    pub fn of_forwarded<'a, I>(&self, forwarded_for: I) -> Option<Source>
    where
        I: IntoIterator<Item = &'a [u8]>,
        I::IntoIter: DoubleEndedIterator,
    {
        self.walk(forwarded_for.into_iter()).map(|address| Source::new(address, self.ipv6_prefix))
    }

    /// From the right to the first entry that isn't a trusted proxy, or to the
    /// last before one that makes no sense.
    fn walk<'a>(&self, values: impl DoubleEndedIterator<Item = &'a [u8]>) -> Option<IpAddr> {
        let mut hop = None;
        for entry in values.rev().flat_map(|value| value.rsplit(|&byte| byte == b',')) {
            let Some(address) = parse_entry(entry) else { break };
            hop = Some(address);
            if !contains(&self.trusted_proxies, address) {
                break;
            }
        }
        hop
    }

    /// Rule 2: whoever speaks for itself where everyone else is announced. It is
    /// the source, and what it says about others isn't looked at.
    #[must_use]
    pub fn decide_for_itself(&self, peer: IpAddr) -> Decided {
        Decided { source: Source::new(peer, self.ipv6_prefix), peer_trusted: false, header_ignored: false }
    }

    /// Whether this peer is a trusted proxy.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        contains(&self.trusted_proxies, peer.to_canonical())
    }

    /// Networks that are never banned (rule 4): those named so, and trusted proxies.
    pub fn spared(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.never_ban.iter().chain(&self.trusted_proxies).copied()
    }

    /// Rule 4: whether this address may never be banned.
    #[must_use]
    pub fn spares(&self, address: IpAddr) -> bool {
        contains(&self.never_ban, address) || contains(&self.trusted_proxies, address)
    }
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// One entry of X-Forwarded-For: an address, as some proxies write it also with
/// a port (`203.0.113.7:4711`, `[2001:db8::1]:4711`) or in brackets.
fn parse_entry(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Ok(with_port) = text.parse::<std::net::SocketAddr>() {
        return Some(with_port.ip().to_canonical());
    }
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    inner.parse::<std::net::Ipv6Addr>().ok().map(|v6| IpAddr::V6(v6).to_canonical())
}
