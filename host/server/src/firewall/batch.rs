//! A transaction on its way to the kernel: messages of nf_tables between a
//! begin and an end, in one buffer that is sent at once and takes effect as a
//! whole or not at all (`nfnetlink_rcv_batch` in the kernel's
//! `net/netfilter/nfnetlink.c`).
//!
//! It must not know what a message means.

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_netfilter::nftables::NfTablesMessage;
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily, NetfilterSubsystem,
};

/// Where a message's header has its flags.
const FLAGS: std::ops::Range<usize> = 6..8;

/// Messages that take effect together.
#[derive(Clone)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// Where the last message begins.
    last: usize,
    /// Number of the next message; the begin has 0.
    next: u32,
}

/// A batch that is complete.
pub(super) struct Transaction {
    /// As they are sent.
    pub(super) bytes: Vec<u8>,
    /// Number of the message whose acknowledgement says that all is in force.
    pub(super) last: u32,
}

impl Batch {
    pub(super) fn new() -> Self {
        let mut batch = Self { bytes: Vec::with_capacity(4096), last: 0, next: 0 };
        batch.control(ControlMessage::BatchBegin);
        batch
    }

    /// Adds a message of the family `inet`; its number, which the kernel names
    /// when it refuses it.
    pub(super) fn push(&mut self, flags: u16, message: NfTablesMessage) -> u32 {
        self.last = self.bytes.len();
        let number = self.next;
        write(&mut self.bytes, flags, number, header(NetfilterProtoFamily::Inet, 0), message);
        self.next += 1;
        number
    }

    /// Whether nothing has been added.
    pub(super) const fn is_empty(&self) -> bool {
        self.next == 1
    }

    /// Completes it.
    pub(super) fn finish(mut self) -> Transaction {
        // On a message and not on the end: kernels before 6.10 acknowledge no end.
        if let Some(header) = self.bytes.get_mut(self.last..)
            && let Some(flags) = header.get_mut(FLAGS)
        {
            flags.copy_from_slice(&(flag_bits(flags) | NLM_F_ACK).to_ne_bytes());
        }
        let last = self.next.saturating_sub(1);
        self.control(ControlMessage::BatchEnd);
        Transaction { bytes: self.bytes, last }
    }

    fn control(&mut self, message: ControlMessage) {
        let subsystem = u16::from(u8::from(NetfilterSubsystem::NfTables));
        write(&mut self.bytes, 0, self.next, header(NetfilterProtoFamily::Unspec, subsystem), message);
        self.next += 1;
    }
}

fn flag_bits(bytes: &[u8]) -> u16 {
    bytes.try_into().map_or(0, u16::from_ne_bytes)
}

fn header(family: NetfilterProtoFamily, resource: u16) -> NetfilterHeader {
    NetfilterHeader::new(family, 0, resource)
}

/// A request on its own, outside of any batch.
pub(super) fn request(flags: u16, number: u32, message: NfTablesMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, flags, number, header(NetfilterProtoFamily::Inet, 0), message);
    bytes
}

fn write(
    bytes: &mut Vec<u8>,
    flags: u16,
    number: u32,
    header: NetfilterHeader,
    message: impl Into<NetfilterMessageInner>,
) {
    let mut message = NetlinkMessage::from(NetfilterMessage::new(header, message));
    message.header.flags = NLM_F_REQUEST | flags;
    message.header.sequence_number = number;
    message.finalize();
    let start = bytes.len();
    bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(&mut bytes[start..]);
}

#[cfg(test)]
mod tests {
    use netlink_packet_netfilter::nftables::{TableAttribute, TableMessage};

    use super::*;

    /// What `nft delete table inet portcullis` sends, by strace, but for the
    /// acknowledgement that the message asks for here.
    #[test]
    #[cfg(target_endian = "little")]
    fn a_batch_is_what_nft_sends() {
        let mut batch = Batch::new();
        assert!(batch.is_empty());
        let table = TableMessage { attributes: vec![TableAttribute::Name("portcullis".to_owned())] };
        assert_eq!(batch.push(0, NfTablesMessage::DeleteTable(table)), 1);
        assert!(!batch.is_empty());
        let transaction = batch.finish();
        #[rustfmt::skip]
        let expected = [
            // nlmsghdr: length, NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, number, port; nfgenmsg: unspec, 0, nf_tables
            20, 0, 0, 0, 0x10, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10,
            // NFT_MSG_DELTABLE of subsystem 10, NLM_F_REQUEST | NLM_F_ACK; inet; NFTA_TABLE_NAME
            36, 0, 0, 0, 2, 10, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0,
            15, 0, 1, 0, b'p', b'o', b'r', b't', b'c', b'u', b'l', b'l', b'i', b's', 0, 0,
            // NFNL_MSG_BATCH_END
            20, 0, 0, 0, 0x11, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10,
        ];
        assert_eq!(transaction.bytes, expected);
        assert_eq!(transaction.last, 1);
    }
}
