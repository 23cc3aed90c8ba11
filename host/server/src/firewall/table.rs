//! What our table looks like: its chains, rules and sets as messages for the
//! kernel. As `nft list ruleset` shows it:
//!
//! ```text
//! table inet portcullis {
//!     counter dropped { packets 0 bytes 0 }
//!     set ports { type inet_service; elements = { 80, 443 } }
//!     set protocols { type inet_proto; elements = { tcp } }
//!     set spared_v4_24 { type ipv4_addr; elements = { 192.0.2.0 } }
//!     set v4_32 { type ipv4_addr; flags timeout; }
//!     set v6_64 { type ipv6_addr; flags timeout; }
//!     chain banned { counter name "dropped" drop }
//!     chain input {
//!         type filter hook input priority filter - 10; policy accept;
//!         iif "lo" return
//!         meta l4proto != @protocols return
//!         th dport != @ports return
//!         ip saddr & 255.255.255.0 == @spared_v4_24 return
//!         ip saddr @v4_32 goto banned
//!         ip6 saddr & ffff:ffff:ffff:ffff:: == @v6_64 goto banned
//!     }
//! }
//! ```
//!
//! There is one set for each length of prefix in use, as in the gate's own
//! ledger, so that a network and one within it are two elements with an end
//! each. One interval set would refuse the second, and would have to be cut
//! anew whenever one of them ends. A look-up in a set is one hash.
//!
//! Names and numbers are those of the kernel's
//! `include/uapi/linux/netfilter/nf_tables.h`. It must not know sockets.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use netlink_packet_core::{DefaultNla, NLA_F_NESTED, NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::nftables::{
    Bitwise, ChainAttribute, ChainMessage, Cmp, DataAttribute, ExpressionAttribute, Expressions, Hook, HookNumber,
    Immediate, InetHookNumber, ListAttribute, Lookup, Meta, MetaKey, NfTablesMessage, Operator, Payload, Register,
    RuleAttribute, RuleMessage, SetAttribute, SetElementAttribute, SetElementList, SetElementMessage, SetFlags,
    SetMessage, TableAttribute, TableFlags, TableMessage, Verdict, VerdictAttribute,
};

use super::batch::Batch;
use crate::config::{Firewall, FirewallAction, FirewallProtocol};

/// Our table, in the family `inet`.
pub(super) const TABLE: &str = "portcullis";
/// The chain on the hook.
const INPUT: &str = "input";
/// Where packets of banned sources end.
const BANNED: &str = "banned";
const PORTS: &str = "ports";
const PROTOCOLS: &str = "protocols";
/// Counts packets of banned sources.
const DROPPED: &str = "dropped";

/// Elements in one message: their list is one attribute, whose length has 16 bits.
const ELEMENTS_MAX: usize = 1000;

/// Types of keys, as `nft` numbers them (`enum datatypes` in its
/// `include/datatype.h`); the kernel only keeps them for `nft list`.
const TYPE_IPADDR: u32 = 7;
const TYPE_IP6ADDR: u32 = 8;
const TYPE_INET_PROTOCOL: u32 = 12;
const TYPE_INET_SERVICE: u32 = 13;

/// `enum nft_payload_bases`.
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;

const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
/// Loopback is the first interface of every network namespace.
const LOOPBACK: u32 = 1;

const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
const NFT_LOOKUP_F_INV: u32 = 1;
const NFT_OBJECT_COUNTER: u32 = 1;
const NFTA_OBJ_TABLE: u16 = 1;
const NFTA_OBJ_NAME: u16 = 2;
const NFTA_OBJ_TYPE: u16 = 3;
const NFTA_OBJ_DATA: u16 = 4;
const NFTA_OBJREF_IMM_TYPE: u16 = 1;
const NFTA_OBJREF_IMM_NAME: u16 = 2;
const NFTA_REJECT_TYPE: u16 = 1;
const NFTA_REJECT_ICMP_CODE: u16 = 2;
const NFT_REJECT_TCP_RST: u32 = 1;
const NFT_REJECT_ICMPX_UNREACH: u32 = 2;
const NFT_REJECT_ICMPX_ADMIN_PROHIBITED: u8 = 3;

/// A family and a length of prefix: networks of one width are in one set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Width {
    V4(u8),
    V6(u8),
}

impl Width {
    pub(super) const fn of(network: &IpNet) -> Self {
        match network {
            IpNet::V4(network) => Self::V4(network.prefix_len()),
            IpNet::V6(network) => Self::V6(network.prefix_len()),
        }
    }

    /// The set's name.
    pub(super) fn set(self) -> String {
        match self {
            Self::V4(prefix) => format!("v4_{prefix}"),
            Self::V6(prefix) => format!("v6_{prefix}"),
        }
    }

    const fn key(self) -> (u32, u32) {
        match self {
            Self::V4(_) => (TYPE_IPADDR, 4),
            Self::V6(_) => (TYPE_IP6ADDR, 16),
        }
    }

    /// What of the packet's source goes into the look-up.
    fn source(self) -> Vec<Expressions> {
        // Where the headers have the source address.
        let (family, offset) = match self {
            Self::V4(_) => (NFPROTO_IPV4, 12),
            Self::V6(_) => (NFPROTO_IPV6, 8),
        };
        let (_, length) = self.key();
        let mut source = vec![
            meta(MetaKey::Nfproto),
            compare(Operator::Equal, vec![family]),
            payload(NETWORK_HEADER, offset, length),
        ];
        let (mask, whole) = match self {
            Self::V4(prefix) => (mask(prefix, 4), prefix == 32),
            Self::V6(prefix) => (mask(prefix, 16), prefix == 128),
        };
        if !whole {
            source.push(and(mask));
        }
        source
    }
}

fn mask(prefix: u8, bytes: u8) -> Vec<u8> {
    let bits = |byte: u8| 0xff_u8.checked_shl(u32::from(8 - prefix.saturating_sub(byte * 8).min(8))).unwrap_or(0);
    (0..bytes).map(bits).collect()
}

/// Adds what makes the table, with empty sets for those widths and no others;
/// whoever is `spared` isn't looked up in them. Where there is a table already,
/// it is made to look like this, without a moment in which it is without rules:
/// `leftover` are the names of the sets it has.
pub(super) fn whole(
    batch: &mut Batch,
    config: &Firewall,
    spared: &BTreeSet<IpNet>,
    widths: &BTreeSet<Width>,
    leftover: &[String],
) {
    let attributes = vec![TableAttribute::Name(TABLE.to_owned()), TableAttribute::Flags(TableFlags::empty())];
    batch.push(NLM_F_CREATE, NfTablesMessage::NewTable(TableMessage { attributes }));
    batch.push(NLM_F_CREATE, counter());
    let chains = [(BANNED, None), (INPUT, Some(config.priority))];
    for (name, priority) in chains {
        batch.push(NLM_F_CREATE, NfTablesMessage::NewChain(chain(name, priority)));
    }
    for (name, _) in chains {
        batch.push(0, NfTablesMessage::DeleteRule(RuleMessage { attributes: in_chain(name) }));
    }
    for name in leftover {
        batch.push(0, flush(name));
    }
    let constants = constants(config, spared);
    let wanted: BTreeSet<String> =
        widths.iter().map(|width| width.set()).chain(constants.iter().map(|set| set.name.clone())).collect();
    for name in leftover.iter().filter(|name| !wanted.contains(*name)) {
        batch.push(0, NfTablesMessage::DeleteSet(SetMessage { attributes: named(name) }));
    }
    for (number, Constant { name, key, elements, .. }) in (1..).zip(&constants) {
        batch.push(NLM_F_CREATE, NfTablesMessage::NewSet(set(name, number, *key, SetFlags::empty())));
        for some in elements.chunks(ELEMENTS_MAX) {
            let some = some.iter().map(|key| ListAttribute::Element(vec![key_of(key.clone())])).collect();
            batch.push(NLM_F_CREATE, NfTablesMessage::NewSetElement(within(name, some)));
        }
    }
    for expressions in refusal(config.action) {
        rule(batch, BANNED, expressions);
    }
    let loopback = compare(Operator::Equal, LOOPBACK.to_ne_bytes().to_vec());
    rule(batch, INPUT, vec![meta(MetaKey::Iif), loopback, verdict(Verdict::Return)]);
    for Constant { name, what, passes_if_in, .. } in &constants {
        let mut expressions = what.clone();
        expressions.extend([look_up(name, if *passes_if_in { 0 } else { NFT_LOOKUP_F_INV }), verdict(Verdict::Return)]);
        rule(batch, INPUT, expressions);
    }
    for (number, width) in (1 + u32::try_from(constants.len()).unwrap_or(u32::MAX)..).zip(widths) {
        add_width(batch, *width, number);
    }
}

/// Adds a set for that width, and the rule that looks into it. `number` is the
/// set's alone in the batch.
pub(super) fn add_width(batch: &mut Batch, width: Width, number: u32) {
    let name = width.set();
    batch.push(NLM_F_CREATE, NfTablesMessage::NewSet(set(&name, number, width.key(), SetFlags::Timeout)));
    let mut expressions = width.source();
    expressions.push(look_up(&name, 0));
    expressions.push(verdict_to(Verdict::Goto, BANNED));
    rule(batch, INPUT, expressions);
}

/// Removes the table with all that is in it, whether there is one or not.
pub(super) fn remove(batch: &mut Batch) {
    let table = || TableMessage { attributes: vec![TableAttribute::Name(TABLE.to_owned())] };
    // Removing what isn't there is refused, making what is there isn't.
    batch.push(NLM_F_CREATE, NfTablesMessage::NewTable(table()));
    batch.push(0, NfTablesMessage::DeleteTable(table()));
}

/// Adds networks of that width, each until so much time has passed.
pub(super) fn add(batch: &mut Batch, width: Width, networks: &[(IpNet, Duration)]) {
    for some in networks.chunks(ELEMENTS_MAX) {
        let element = |(network, timeout): &(IpNet, Duration)| {
            // None at all would be for ever.
            let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1);
            ListAttribute::Element(vec![key_of(key_bytes(network)), SetElementAttribute::Timeout(millis)])
        };
        let elements = some.iter().map(element).collect();
        batch.push(NLM_F_CREATE, NfTablesMessage::NewSetElement(within(&width.set(), elements)));
    }
}

/// Takes out a network; the number of the message, which is refused if it isn't in.
pub(super) fn take_out(batch: &mut Batch, network: &IpNet) -> u32 {
    let elements = vec![ListAttribute::Element(vec![key_of(key_bytes(network))])];
    batch.push(0, NfTablesMessage::DeleteSetElement(within(&Width::of(network).set(), elements)))
}

/// Asks for the names of the sets in our table.
pub(super) fn ask_for_sets() -> NfTablesMessage {
    NfTablesMessage::GetSet(SetMessage { attributes: vec![SetAttribute::Table(TABLE.to_owned())] })
}

/// Asks for the counter of dropped packets.
pub(super) fn ask_for_counter() -> NfTablesMessage {
    NfTablesMessage::GetObject(vec![
        text(NFTA_OBJ_TABLE, TABLE),
        text(NFTA_OBJ_NAME, DROPPED),
        number(NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER),
    ])
}

/// The name of a set that is in our table.
pub(super) fn set_name(attributes: Vec<SetAttribute>) -> Option<String> {
    let mut ours = false;
    let mut name = None;
    for attribute in attributes {
        if let SetAttribute::Table(table) = attribute {
            ours = table == TABLE;
        } else if let SetAttribute::Name(its) = attribute {
            name = Some(its);
        }
    }
    name.filter(|_| ours)
}

/// Packets that the counter has counted.
pub(super) fn counted(attributes: &[DefaultNla]) -> Option<u64> {
    use netlink_packet_core::{NLA_TYPE_MASK, Nla as _, NlasIterator};
    const NFTA_COUNTER_PACKETS: u16 = 2;
    let data = attributes.iter().find(|attribute| attribute.kind() & NLA_TYPE_MASK == NFTA_OBJ_DATA)?;
    let mut bytes = vec![0; data.value_len()];
    data.emit_value(&mut bytes);
    let mut within = NlasIterator::new(&bytes).map_while(Result::ok);
    let packets = within.find(|attribute| attribute.kind() == NFTA_COUNTER_PACKETS)?;
    packets.value().try_into().ok().map(u64::from_be_bytes)
}

fn counter() -> NfTablesMessage {
    NfTablesMessage::NewObject(vec![
        text(NFTA_OBJ_TABLE, TABLE),
        text(NFTA_OBJ_NAME, DROPPED),
        number(NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER),
        DefaultNla::new(NFTA_OBJ_DATA | NLA_F_NESTED, Vec::new()),
    ])
}

fn chain(name: &str, priority: Option<i32>) -> ChainMessage {
    let mut attributes = vec![ChainAttribute::Table(TABLE.to_owned()), ChainAttribute::Name(name.to_owned())];
    if let Some(priority) = priority {
        attributes.extend([
            ChainAttribute::Hook(vec![
                Hook::Number(HookNumber::Inet(InetHookNumber::LocalIn)),
                Hook::Priority(priority.cast_unsigned()),
            ]),
            ChainAttribute::Policy(NF_ACCEPT),
            ChainAttribute::Type("filter".to_owned()),
        ]);
    }
    ChainMessage { attributes }
}

/// A set whose elements last, and the rule that looks into it before anybody
/// looks for bans: whoever passes isn't looked for.
struct Constant {
    name: String,
    key: (u32, u32),
    elements: Vec<Vec<u8>>,
    /// What of the packet is looked up.
    what: Vec<Expressions>,
    passes_if_in: bool,
}

fn constants(config: &Firewall, spared: &BTreeSet<IpNet>) -> Vec<Constant> {
    let mut constants = Vec::new();
    if !config.ports.is_empty() {
        let number = |protocol: &FirewallProtocol| match protocol {
            FirewallProtocol::Tcp => vec![IPPROTO_TCP],
            FirewallProtocol::Udp => vec![IPPROTO_UDP],
        };
        constants.push(Constant {
            name: PROTOCOLS.to_owned(),
            key: (TYPE_INET_PROTOCOL, 1),
            elements: config.protocols.iter().map(number).collect(),
            what: vec![meta(MetaKey::L4Proto)],
            passes_if_in: false,
        });
        constants.push(Constant {
            name: PORTS.to_owned(),
            key: (TYPE_INET_SERVICE, 2),
            elements: config.ports.iter().map(|port| port.to_be_bytes().to_vec()).collect(),
            what: vec![payload(TRANSPORT_HEADER, 2, 2)],
            passes_if_in: false,
        });
    }
    let widths: BTreeSet<Width> = spared.iter().map(Width::of).collect();
    constants.extend(widths.into_iter().map(|width| Constant {
        name: format!("spared_{}", width.set()),
        key: width.key(),
        elements: spared.iter().filter(|network| Width::of(network) == width).map(key_bytes).collect(),
        what: width.source(),
        passes_if_in: true,
    }));
    constants
}

/// What becomes of a packet of a banned source: rules, one after the other.
fn refusal(action: FirewallAction) -> Vec<Vec<Expressions>> {
    let count =
        other("objref", vec![number(NFTA_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER), text(NFTA_OBJREF_IMM_NAME, DROPPED)]);
    match action {
        FirewallAction::Drop => vec![vec![count, verdict(Verdict::Other(NF_DROP))]],
        FirewallAction::Reject => {
            let is_tcp = compare(Operator::Equal, vec![IPPROTO_TCP]);
            let reset = other(
                "reject",
                vec![number(NFTA_REJECT_TYPE, NFT_REJECT_TCP_RST), DefaultNla::new(NFTA_REJECT_ICMP_CODE, vec![0])],
            );
            let prohibited = other(
                "reject",
                vec![
                    number(NFTA_REJECT_TYPE, NFT_REJECT_ICMPX_UNREACH),
                    DefaultNla::new(NFTA_REJECT_ICMP_CODE, vec![NFT_REJECT_ICMPX_ADMIN_PROHIBITED]),
                ],
            );
            vec![vec![count], vec![meta(MetaKey::L4Proto), is_tcp, reset], vec![prohibited]]
        }
    }
}

fn set(name: &str, number: u32, (kind, length): (u32, u32), flags: SetFlags) -> SetMessage {
    let mut attributes = named(name);
    attributes.extend([
        SetAttribute::Flags(flags),
        SetAttribute::KeyType(kind),
        SetAttribute::KeyLen(length),
        SetAttribute::Id(number),
    ]);
    SetMessage { attributes }
}

fn named(set: &str) -> Vec<SetAttribute> {
    vec![SetAttribute::Table(TABLE.to_owned()), SetAttribute::Name(set.to_owned())]
}

fn within(set: &str, elements: Vec<ListAttribute<SetElementAttribute>>) -> SetElementMessage {
    let (table, set) = (SetElementList::Table(TABLE.to_owned()), SetElementList::Set(set.to_owned()));
    SetElementMessage { attributes: vec![table, set, SetElementList::Elements(elements)] }
}

/// Without any elements all go.
fn flush(set: &str) -> NfTablesMessage {
    let (table, set) = (SetElementList::Table(TABLE.to_owned()), SetElementList::Set(set.to_owned()));
    NfTablesMessage::DeleteSetElement(SetElementMessage { attributes: vec![table, set] })
}

fn key_of(bytes: Vec<u8>) -> SetElementAttribute {
    SetElementAttribute::Key(DataAttribute::Value(bytes))
}

fn key_bytes(network: &IpNet) -> Vec<u8> {
    match network.network() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn in_chain(chain: &str) -> Vec<RuleAttribute> {
    vec![RuleAttribute::Table(TABLE.to_owned()), RuleAttribute::Chain(chain.to_owned())]
}

fn rule(batch: &mut Batch, chain: &str, expressions: Vec<Expressions>) {
    let mut attributes = in_chain(chain);
    let expressions = expressions.into_iter().map(ListAttribute::<ExpressionAttribute>::from).collect();
    attributes.push(RuleAttribute::Expressions(expressions));
    batch.push(NLM_F_CREATE | NLM_F_APPEND, NfTablesMessage::NewRule(RuleMessage { attributes }));
}

fn meta(key: MetaKey) -> Expressions {
    Expressions::Meta(vec![Meta::Key(key), Meta::DestinationRegister(Register::Reg1)])
}

fn compare(operator: Operator, data: Vec<u8>) -> Expressions {
    let data = Cmp::Data(DataAttribute::Value(data));
    Expressions::Cmp(vec![Cmp::SourceRegister(Register::Reg1), Cmp::Op(operator), data])
}

fn payload(base: u32, offset: u32, length: u32) -> Expressions {
    let into = Payload::DestinationRegister(Register::Reg1);
    Expressions::Payload(vec![into, Payload::Base(base), Payload::Offset(offset), Payload::Len(length)])
}

fn and(mask: Vec<u8>) -> Expressions {
    Expressions::Bitwise(vec![
        Bitwise::SourceRegister(Register::Reg1),
        Bitwise::DestinationRegister(Register::Reg1),
        Bitwise::Length(u32::try_from(mask.len()).unwrap_or(0)),
        Bitwise::Xor(DataAttribute::Value(vec![0; mask.len()])),
        Bitwise::Mask(DataAttribute::Value(mask)),
    ])
}

fn look_up(set: &str, flags: u32) -> Expressions {
    let mut look_up = vec![Lookup::Set(set.to_owned()), Lookup::SourceRegister(Register::Reg1)];
    if flags != 0 {
        look_up.push(Lookup::Flags(flags));
    }
    Expressions::Lookup(look_up)
}

fn verdict(code: Verdict) -> Expressions {
    immediate(vec![VerdictAttribute::Code(code)])
}

fn verdict_to(code: Verdict, chain: &str) -> Expressions {
    immediate(vec![VerdictAttribute::Code(code), VerdictAttribute::Chain(chain.to_owned())])
}

fn immediate(verdict: Vec<VerdictAttribute>) -> Expressions {
    let data = Immediate::Data(DataAttribute::Verdict(verdict));
    Expressions::Immediate(vec![Immediate::DestinationRegister(Register::Verdict), data])
}

fn other(name: &str, attributes: Vec<DefaultNla>) -> Expressions {
    Expressions::Other { expression_type: name.to_owned(), attributes }
}

fn text(kind: u16, text: &str) -> DefaultNla {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    DefaultNla::new(kind, bytes)
}

fn number(kind: u16, number: u32) -> DefaultNla {
    DefaultNla::new(kind, number.to_be_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_as_many_bits_as_the_prefix_is_long() {
        for bytes in [4_u8, 16] {
            for prefix in 0..=bytes * 8 {
                let ones: u32 = mask(prefix, bytes).iter().map(|byte| byte.count_ones()).sum();
                assert_eq!(ones, u32::from(prefix));
                let text: String = mask(prefix, bytes).iter().map(|byte| format!("{byte:08b}")).collect();
                assert!(!text.contains("01"), "{prefix} of {bytes}: {text}");
            }
        }
    }

    /// `add element inet portcullis v4_24 { 203.0.113.0 timeout 1h }`.
    #[test]
    #[cfg(target_endian = "little")]
    fn an_element_is_what_the_kernels_header_says() {
        let mut batch = Batch::new();
        let network = "203.0.113.0/24".parse().unwrap();
        add(&mut batch, Width::of(&network), &[(network, Duration::from_secs(3600))]);
        #[rustfmt::skip]
        let expected = [
            // NFT_MSG_NEWSETELEM of subsystem 10, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE; inet
            80, 0, 0, 0, 12, 10, 5, 4, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0,
            // NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_ELEM_LIST_SET
            15, 0, 1, 0, b'p', b'o', b'r', b't', b'c', b'u', b'l', b'l', b'i', b's', 0, 0,
            10, 0, 2, 0, b'v', b'4', b'_', b'2', b'4', 0, 0, 0,
            // NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_LIST_ELEM, NFTA_SET_ELEM_KEY, NFTA_DATA_VALUE
            32, 0, 3, 128, 28, 0, 1, 128, 12, 0, 1, 128, 8, 0, 1, 0, 203, 0, 113, 0,
            // NFTA_SET_ELEM_TIMEOUT in ms
            12, 0, 4, 0, 0, 0, 0, 0, 0, 0x36, 0xee, 0x80,
        ];
        let bytes = batch.finish().bytes;
        assert_eq!(bytes[20..bytes.len() - 20], expected);
    }

    #[test]
    fn a_thousand_elements_fit_an_attribute_and_more_are_more_messages() {
        let mut batch = Batch::new();
        let one = |n: u32| (IpNet::new(std::net::Ipv6Addr::from(u128::from(n)).into(), 128).unwrap(), Duration::ZERO);
        let networks: Vec<_> = (0..2001).map(one).collect();
        add(&mut batch, Width::V6(128), &networks);
        let transaction = batch.finish();
        assert_eq!(transaction.last, 3);
        let length = u32::from_le_bytes(transaction.bytes[20..24].try_into().unwrap());
        assert!(length < u32::from(u16::MAX), "{length}");
    }

    #[test]
    fn no_element_is_for_ever() {
        let mut batch = Batch::new();
        let network = "203.0.113.7/32".parse().unwrap();
        add(&mut batch, Width::of(&network), &[(network, Duration::ZERO)]);
        let bytes = batch.finish().bytes;
        assert!(bytes.ends_with(&[20, 0, 0, 0, 17, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10]));
        assert_eq!(bytes[bytes.len() - 28..bytes.len() - 20], 1_u64.to_be_bytes());
    }
}
