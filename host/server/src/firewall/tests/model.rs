//! A model of nf_tables: as much of it as our table uses, from the bytes that
//! are sent to the packets that are dropped.

#![allow(clippy::wildcard_enum_match_arm, reason = "what the model doesn't know it fails on, or it doesn't matter")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::nftables::*;
use netlink_packet_netfilter::{NetfilterMessage, NetfilterMessageInner};
use portcullis_domain::{Clock as _, Timestamp, VirtualClock};
use rustix::io::Errno;

use crate::firewall::batch::Transaction;
use crate::firewall::netlink::{Kernel, Refused, messages};

#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) sets: BTreeMap<String, Set>,
    pub(super) chains: BTreeMap<String, Vec<Vec<Expressions>>>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Set {
    key_length: u32,
    /// By key, with the end of those that have one.
    pub(super) elements: BTreeMap<Vec<u8>, Option<Timestamp>>,
}

/// What of the kernel others can see and change.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) table: Option<Table>,
    pub(super) generation: u32,
    /// Refuse so many transactions for want of memory.
    pub(super) out_of_memory: usize,
    /// No transaction larger than that is sent.
    pub(super) room: Option<usize>,
    pub(super) listening: bool,
}

#[derive(Clone)]
pub(super) struct Model {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) clock: Arc<VirtualClock>,
}

impl Kernel for Model {
    fn commit(&mut self, transaction: &Transaction) -> Result<(), Refused> {
        let mut state = self.state.lock().unwrap();
        if state.out_of_memory > 0 {
            state.out_of_memory -= 1;
            return Err(Errno::NOMEM.into());
        }
        if state.room.is_some_and(|room| transaction.bytes.len() > room) {
            return Err(Errno::MSGSIZE.into());
        }
        let mut table = state.table.clone();
        let mut refused = Vec::new();
        let now = self.clock.now();
        let all: Vec<_> = messages(&transaction.bytes).collect();
        assert_eq!(all.len(), usize::try_from(transaction.last).unwrap() + 2, "a begin, the messages, an end");
        for bytes in &all[1..all.len() - 1] {
            let message = NetlinkMessage::<NetfilterMessage>::deserialize(bytes).unwrap();
            let number = message.header.sequence_number;
            let NetlinkPayload::InnerMessage(NetfilterMessage {
                inner: NetfilterMessageInner::NfTables(inner), ..
            }) = message.payload
            else {
                panic!("not for nf_tables: {bytes:?}")
            };
            if let Err(why) = apply(&mut table, inner, now) {
                refused.push((number, why));
            }
        }
        if let Some(&(_, why)) = refused.first() {
            return Err(Refused { why, messages: refused });
        }
        state.table = table;
        state.generation += 1;
        Ok(())
    }

    fn generation(&mut self) -> Result<u32, Errno> {
        Ok(self.state.lock().unwrap().generation)
    }

    fn sets(&mut self) -> Result<Vec<String>, Errno> {
        let state = self.state.lock().unwrap();
        Ok(state.table.iter().flat_map(|table| table.sets.keys().cloned()).collect())
    }

    fn stopped(&mut self) -> Result<Option<u64>, Errno> {
        Ok(None)
    }

    fn listen(&mut self, on: bool) -> Result<(), Errno> {
        self.state.lock().unwrap().listening = on;
        Ok(())
    }
}

fn apply(table: &mut Option<Table>, message: NfTablesMessage, now: Timestamp) -> Result<(), Errno> {
    if let NfTablesMessage::NewTable(_) = message {
        table.get_or_insert_default();
        return Ok(());
    }
    let missing = Errno::NOENT;
    if let NfTablesMessage::DeleteTable(_) = message {
        return table.take().map(drop).ok_or(missing);
    }
    let table = table.as_mut().ok_or(missing)?;
    match message {
        NfTablesMessage::NewObject(_) => Ok(()),
        NfTablesMessage::NewChain(chain) => {
            let name = chain.attributes.iter().find_map(|it| match it {
                ChainAttribute::Name(name) => Some(name.clone()),
                _ => None,
            });
            table.chains.entry(name.unwrap()).or_default();
            Ok(())
        }
        NfTablesMessage::DeleteRule(rule) => {
            chain_of(table, &rule)?.clear();
            Ok(())
        }
        NfTablesMessage::NewRule(rule) => {
            let expressions = rule.attributes.iter().find_map(|it| match it {
                RuleAttribute::Expressions(list) => Some(list.iter().map(expression).collect::<Vec<_>>()),
                _ => None,
            });
            let expressions = expressions.unwrap();
            for expression in &expressions {
                if let Expressions::Lookup(look_up) = expression {
                    assert!(table.sets.contains_key(&set_of(look_up).0), "a look-up in a set that isn't there");
                }
            }
            chain_of(table, &rule)?.push(expressions);
            Ok(())
        }
        NfTablesMessage::NewSet(set) => {
            let (mut name, mut length) = (String::new(), 0);
            for attribute in set.attributes {
                match attribute {
                    SetAttribute::Name(its) => name = its,
                    SetAttribute::KeyLen(its) => length = its,
                    _ => {}
                }
            }
            let set = table.sets.entry(name).or_insert(Set { key_length: length, ..Set::default() });
            if set.key_length == length { Ok(()) } else { Err(Errno::EXIST) }
        }
        NfTablesMessage::DeleteSet(set) => {
            let name = set.attributes.iter().find_map(|it| match it {
                SetAttribute::Name(name) => Some(name.clone()),
                _ => None,
            });
            table.sets.remove(&name.unwrap()).map(drop).ok_or(missing)
        }
        NfTablesMessage::NewSetElement(elements) => {
            let (set, elements) = elements_of(table, elements)?;
            for (key, timeout) in elements.unwrap() {
                if u32::try_from(key.len()).unwrap() != set.key_length {
                    return Err(Errno::INVAL);
                }
                let end = timeout.map(|millis| now.after(Duration::from_millis(millis)));
                // As kernels before 6.12: what is there stays as it is.
                if !is_in(set, &key, now) {
                    set.elements.insert(key, end);
                }
            }
            Ok(())
        }
        NfTablesMessage::DeleteSetElement(elements) => {
            let (set, elements) = elements_of(table, elements)?;
            let Some(elements) = elements else {
                set.elements.clear();
                return Ok(());
            };
            for (key, _) in elements {
                if !is_in(set, &key, now) {
                    return Err(missing);
                }
                set.elements.remove(&key);
            }
            Ok(())
        }
        other => panic!("{other:?}"),
    }
}

fn chain_of<'a>(table: &'a mut Table, rule: &RuleMessage) -> Result<&'a mut Vec<Vec<Expressions>>, Errno> {
    let name = rule.attributes.iter().find_map(|it| match it {
        RuleAttribute::Chain(name) => Some(name.clone()),
        _ => None,
    });
    table.chains.get_mut(&name.unwrap()).ok_or(Errno::NOENT)
}

type Elements = Option<Vec<(Vec<u8>, Option<u64>)>>;

fn elements_of(table: &mut Table, message: SetElementMessage) -> Result<(&mut Set, Elements), Errno> {
    let (mut name, mut elements) = (String::new(), None);
    for attribute in message.attributes {
        match attribute {
            SetElementList::Set(set) => name = set,
            SetElementList::Elements(list) => elements = Some(list.into_iter().map(element).collect()),
            _ => {}
        }
    }
    Ok((table.sets.get_mut(&name).ok_or(Errno::NOENT)?, elements))
}

fn element(element: ListAttribute<SetElementAttribute>) -> (Vec<u8>, Option<u64>) {
    let ListAttribute::Element(attributes) = element else { panic!("not an element") };
    let (mut key, mut timeout) = (Vec::new(), None);
    for attribute in attributes {
        match attribute {
            SetElementAttribute::Key(DataAttribute::Value(bytes)) => key = bytes,
            SetElementAttribute::Timeout(millis) => timeout = Some(millis),
            other => panic!("{other:?}"),
        }
    }
    (key, timeout)
}

fn is_in(set: &Set, key: &[u8], now: Timestamp) -> bool {
    set.elements.get(key).is_some_and(|end| end.is_none_or(|end| now < end))
}

fn expression(element: &ListAttribute<ExpressionAttribute>) -> Expressions {
    let ListAttribute::Element(attributes) = element else { panic!("not an expression") };
    let data = attributes.iter().find_map(|it| match it {
        ExpressionAttribute::Data(expressions) => Some(expressions.clone()),
        _ => None,
    });
    data.unwrap()
}

fn set_of(look_up: &[Lookup]) -> (String, bool) {
    let (mut set, mut inverted) = (String::new(), false);
    for attribute in look_up {
        match attribute {
            Lookup::Set(name) => set.clone_from(name),
            Lookup::Flags(flags) => inverted = flags & 1 == 1,
            _ => {}
        }
    }
    (set, inverted)
}

/// A packet, as far as rules look at it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    pub(super) source: IpAddr,
    pub(super) interface: u32,
    pub(super) protocol: u8,
    pub(super) port: u16,
}

impl Packet {
    /// A SYN to port 443 from outside.
    pub(super) const fn from(source: IpAddr) -> Self {
        Self { source, interface: 2, protocol: 6, port: 443 }
    }
}

impl State {
    /// Whether the packet doesn't get through.
    pub(super) fn stops(&self, packet: Packet, now: Timestamp) -> bool {
        let Some(table) = &self.table else { return false };
        let rules = table.chains.get("input").map_or(&[][..], Vec::as_slice);
        for rule in rules {
            if let Some(stopped) = judge(table, rule, packet, now) {
                return stopped;
            }
        }
        false
    }
}

/// What a rule says to the packet; nothing where it doesn't match.
fn judge(table: &Table, rule: &[Expressions], packet: Packet, now: Timestamp) -> Option<bool> {
    let mut register = Vec::new();
    for expression in rule {
        match expression {
            Expressions::Meta(meta) => register = load(meta, packet),
            Expressions::Payload(payload) => register = field(payload, packet),
            Expressions::Bitwise(bitwise) => {
                let mask = bitwise.iter().find_map(|it| match it {
                    Bitwise::Mask(DataAttribute::Value(mask)) => Some(mask),
                    _ => None,
                });
                register.iter_mut().zip(mask.unwrap()).for_each(|(byte, mask)| *byte &= mask);
            }
            Expressions::Cmp(cmp) => {
                let equal =
                    cmp.iter().any(|it| matches!(it, Cmp::Data(DataAttribute::Value(data)) if *data == register));
                if !equal {
                    return None;
                }
            }
            Expressions::Lookup(look_up) => {
                let (set, inverted) = set_of(look_up);
                if is_in(&table.sets[&set], &register, now) == inverted {
                    return None;
                }
            }
            Expressions::Immediate(immediate) => return Some(verdict(table, immediate)),
            other => panic!("{other:?}"),
        }
    }
    None
}

fn load(meta: &[Meta], packet: Packet) -> Vec<u8> {
    let key = meta.iter().find_map(|it| if let Meta::Key(key) = it { Some(*key) } else { None });
    match key.unwrap() {
        MetaKey::Nfproto => vec![if packet.source.is_ipv4() { 2 } else { 10 }],
        MetaKey::Iif => packet.interface.to_ne_bytes().to_vec(),
        MetaKey::L4Proto => vec![packet.protocol],
        other => panic!("{other:?}"),
    }
}

fn field(payload: &[Payload], packet: Packet) -> Vec<u8> {
    let number = |wanted: fn(&Payload) -> Option<u32>| payload.iter().find_map(wanted).unwrap();
    let base = number(|it| if let Payload::Base(base) = it { Some(*base) } else { None });
    let offset = number(|it| if let Payload::Offset(offset) = it { Some(*offset) } else { None });
    let length = number(|it| if let Payload::Len(length) = it { Some(*length) } else { None });
    match (base, offset, length, packet.source) {
        (1, 12, 4, IpAddr::V4(source)) => source.octets().to_vec(),
        (1, 8, 16, IpAddr::V6(source)) => source.octets().to_vec(),
        (2, 2, 2, _) => packet.port.to_be_bytes().to_vec(),
        other => panic!("a field that isn't looked at: {other:?}"),
    }
}

fn verdict(table: &Table, immediate: &[Immediate]) -> bool {
    let verdict = immediate.iter().find_map(|it| match it {
        Immediate::Data(DataAttribute::Verdict(verdict)) => Some(verdict),
        _ => None,
    });
    let verdict = verdict.unwrap();
    let code = verdict.iter().find_map(|it| if let VerdictAttribute::Code(code) = it { Some(*code) } else { None });
    let chain = verdict.iter().find_map(|it| if let VerdictAttribute::Chain(chain) = it { Some(chain) } else { None });
    match (code.unwrap(), chain) {
        (Verdict::Goto, Some(chain)) => !table.chains[chain].is_empty(),
        (Verdict::Return, None) => false,
        other => panic!("{other:?}"),
    }
}
