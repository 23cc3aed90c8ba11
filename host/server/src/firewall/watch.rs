//! Hears who else changes our table: `nft flush ruleset`, a restart of
//! `nftables.service`, somebody's script. What others do with their own tables
//! is nobody's business here.

use std::sync::Arc;

use netlink_packet_core::{NLA_TYPE_MASK, NlasIterator};
use rustix::io::Errno;

use super::netlink::{Socket, messages};
use super::noted::{Mend, Shared};
use super::table::TABLE;
use crate::service::capability::{CapabilitySet, lay_down};

const SUBSYSTEM_NFTABLES: u16 = 10;
const NFT_MSG_NEWGEN: u16 = 15;
const NFPROTO_INET: u8 = 1;
/// The name of the table is the first attribute of all messages but `NFT_MSG_NEWGEN`.
const TABLE_NAME: u16 = 1;
const NFTA_GEN_PROC_PID: u16 = 2;
const NFTA_GEN_PROC_NAME: u16 = 3;
/// Of the header: message and family, whose change it was, and where attributes begin.
const KIND: std::ops::Range<usize> = 4..6;
const PORT: std::ops::Range<usize> = 12..16;
const FAMILY: usize = 16;
const ATTRIBUTES: usize = 20;

/// Listens until the end. `ours` is the number of the socket that changes of
/// ours come from.
pub(super) fn watch(socket: &Socket, ours: u32, shared: &Arc<Shared>) {
    // Whoever only listens needs no right to more; where it can't be laid down, the start has said so.
    let _as_it_is = lay_down(CapabilitySet::NET_ADMIN);
    let _deaf_after_it = Deaf(shared);
    let mut buffer = Vec::new();
    let mut hearing = Hearing { ours, touched: false };
    while !shared.is_closed() {
        match socket.heard(&mut buffer) {
            Ok(Some(length)) => {
                for message in messages(&buffer[..length]) {
                    if let Some(mend) = hearing.hear(message) {
                        shared.mend(mend);
                    }
                }
            }
            Ok(None) => {}
            // More than there is room for: whatever it was, it is looked after.
            Err(Errno::NOBUFS) => shared.mend(Mend::Missed),
            Err(error) => return shared.mend(Mend::Deaf(error)),
        }
    }
}

/// Once nobody listens any more, whatever the reason, it is known.
struct Deaf<'a>(&'a Shared);

impl Drop for Deaf<'_> {
    fn drop(&mut self) {
        if !self.0.is_closed() {
            let why = "what others change in its table isn't noticed any more: restart the server";
            self.0.tell(|figures| figures.deaf = Some(why.to_owned()));
        }
    }
}

struct Hearing {
    ours: u32,
    /// Our table is among what the transaction changed whose messages come at present.
    touched: bool,
}

impl Hearing {
    /// What has to be mended after that message. A transaction's changes come
    /// one by one, and then who made it.
    fn hear(&mut self, message: &[u8]) -> Option<Mend> {
        let kind = message.get(KIND)?.try_into().map(u16::from_ne_bytes).ok()?;
        let port = message.get(PORT)?.try_into().map(u32::from_ne_bytes).ok()?;
        if kind >> 8 != SUBSYSTEM_NFTABLES || port == self.ours {
            return None;
        }
        let attributes = || NlasIterator::new(message.get(ATTRIBUTES..).unwrap_or_default()).map_while(Result::ok);
        if kind & 0xff == NFT_MSG_NEWGEN {
            if !std::mem::take(&mut self.touched) {
                return None;
            }
            let mut who = (String::new(), 0);
            for attribute in attributes() {
                match attribute.kind() & NLA_TYPE_MASK {
                    NFTA_GEN_PROC_NAME => who.0 = text(attribute.value()),
                    NFTA_GEN_PROC_PID => who.1 = attribute.value().try_into().map_or(0, u32::from_be_bytes),
                    _ => {}
                }
            }
            let (name, pid) = who;
            return Some(Mend::Changed { name, pid });
        }
        let is_ours = *message.get(FAMILY)? == NFPROTO_INET
            && attributes().any(|it| it.kind() & NLA_TYPE_MASK == TABLE_NAME && text(it.value()) == TABLE);
        self.touched |= is_ours;
        None
    }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    fn message(kind: u8, port: u32, family: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 0, kind, 10, 0, 0, 0, 0, 0, 0];
        bytes.extend(port.to_le_bytes());
        bytes.extend([family, 0, 0, 7]);
        for (kind, value) in attributes {
            bytes.extend(u16::try_from(value.len() + 4).unwrap().to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        bytes
    }

    const DELTABLE: u8 = 2;
    const NEWGEN: u8 = 15;

    fn heard(messages: &[Vec<u8>]) -> Vec<Mend> {
        let mut hearing = Hearing { ours: 77, touched: false };
        messages.iter().filter_map(|message| hearing.hear(message)).collect()
    }

    fn by_nft(port: u32) -> Vec<u8> {
        message(NEWGEN, port, 0, &[(1, &[0, 0, 0, 9]), (2, &[0, 0, 1, 0]), (3, b"nft\0")])
    }

    #[test]
    fn who_touches_our_table_is_named() {
        let touched = [message(DELTABLE, 5, 1, &[(1, b"portcullis\0")]), by_nft(5)];
        assert_eq!(heard(&touched), [Mend::Changed { name: "nft".to_owned(), pid: 256 }]);
    }

    #[test]
    fn other_tables_and_what_we_did_ourselves_are_nothing_to_mend() {
        assert_eq!(heard(&[message(DELTABLE, 5, 1, &[(1, b"filter\0")]), by_nft(5)]), []);
        assert_eq!(heard(&[message(DELTABLE, 5, 1, &[(1, b"portcullis2\0")]), by_nft(5)]), []);
        // `ip portcullis` isn't `inet portcullis`.
        assert_eq!(heard(&[message(DELTABLE, 5, 2, &[(1, b"portcullis\0")]), by_nft(5)]), []);
        assert_eq!(heard(&[message(DELTABLE, 77, 1, &[(1, b"portcullis\0")]), by_nft(77)]), []);
    }

    #[test]
    fn who_ends_before_the_end_is_missed() {
        let shared = Shared::default();
        drop(Deaf(&shared));
        assert!(shared.figures().deaf.unwrap().contains("isn't noticed any more"));
        let shared = Shared::default();
        shared.close();
        drop(Deaf(&shared));
        assert_eq!(shared.figures().deaf, None);
    }

    #[test]
    fn half_a_message_is_no_panic() {
        let whole = message(DELTABLE, 5, 1, &[(1, b"portcullis\0")]);
        for length in 0..whole.len() {
            assert_eq!(heard(&[whole[..length].to_vec()]), []);
        }
    }
}
