//! The socket to the kernel's nf_tables.
//!
//! The kernel asks for CAP_NET_ADMIN of whoever opened the socket and of whoever
//! sends (`netlink_net_capable`), in the network namespace of the socket: both
//! are the firewall's thread. It must not know what a message means.

use std::os::fd::OwnedFd;
use std::time::Duration;

use netlink_packet_core::{NLM_F_DUMP, NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::nftables::{GenAttribute, GenMessage, NfTablesMessage};
use netlink_packet_netfilter::{NetfilterMessage, NetfilterMessageInner};
use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::sockopt::{
    Timeout, set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, set_socket_send_buffer_size,
    set_socket_send_buffer_size_force, set_socket_timeout,
};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, getsockname, recv, sendto, socket_with,
};

use super::batch::{Transaction, request};
use super::table;

/// `NFNLGRP_NFTABLES` as a bit of a socket's groups.
const GROUP: u32 = 1 << (7 - 1);
/// Room for one datagram of the kernel's; it makes none larger, but for the
/// refused message that it sends back, of which only the beginning matters.
const DATAGRAM_BYTES: usize = 64 << 10;
/// Room for refusals: one for each message of a batch at worst.
const REFUSALS_BYTES: usize = 8 << 20;
/// Room for what others change, until it is looked at.
const HEARD_BYTES: usize = 8 << 20;
/// The kernel answers at once; whoever waits longer waits in vain.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// How often who listens looks whether the end has come.
const LISTEN_TIME: Duration = Duration::from_secs(1);

/// Where a message's header has its length and number.
const LENGTH: std::ops::Range<usize> = 0..4;
const KIND: std::ops::Range<usize> = 4..6;
const HEADER_BYTES: usize = 16;
/// Where an answer has the error, and the number of the message it is about.
const ERROR: std::ops::Range<usize> = 16..20;
const ABOUT: std::ops::Range<usize> = 28..32;
const NLMSG_ERROR: u16 = 2;

/// Why the kernel didn't do what a transaction says; nothing of it is in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kernel refuses a change of the table: {why}")]
pub(super) struct Refused {
    /// The first reason.
    pub(super) why: Errno,
    /// Which messages it refuses, by their number in the transaction.
    pub(super) messages: Vec<(u32, Errno)>,
}

impl From<Errno> for Refused {
    fn from(why: Errno) -> Self {
        Self { why, messages: Vec::new() }
    }
}

/// What holds a ruleset: the kernel, or in tests a model of it.
pub(super) trait Kernel: Send {
    /// Does all of it, or nothing.
    fn commit(&mut self, transaction: &Transaction) -> Result<(), Refused>;
    /// Counts the transactions in this network namespace, whoever makes them.
    fn generation(&mut self) -> Result<u32, Errno>;
    /// The sets in our table; none where there is no table.
    fn sets(&mut self) -> Result<Vec<String>, Errno>;
    /// Packets that our table has stopped; none where there is no table.
    fn stopped(&mut self) -> Result<Option<u64>, Errno>;
    /// Whether what anybody changes from now on is heard of.
    fn listen(&mut self, on: bool) -> Result<(), Errno>;
}

/// The kernel.
pub(super) struct Netlink {
    requests: Socket,
    changes: std::sync::Arc<Socket>,
}

impl Netlink {
    /// Opens the sockets. Succeeds without CAP_NET_ADMIN, too; the first request doesn't.
    pub(super) fn open() -> Result<Self, Errno> {
        let requests = Socket::open()?;
        set_socket_timeout(&requests.fd, Timeout::Recv, Some(ANSWER_TIME_MAX))?;
        let changes = Socket::open()?;
        set_socket_timeout(&changes.fd, Timeout::Recv, Some(LISTEN_TIME))?;
        // With less room, more is in doubt sooner.
        let _as_it_is = make_room_for_answers(&requests.fd, REFUSALS_BYTES);
        let _as_it_is = make_room_for_answers(&changes.fd, HEARD_BYTES);
        Ok(Self { requests, changes: std::sync::Arc::new(changes) })
    }

    /// Where changes are heard of, and under which number those of this one come.
    pub(super) fn changes(&self) -> (std::sync::Arc<Socket>, u32) {
        (std::sync::Arc::clone(&self.changes), self.requests.port)
    }

    /// Sends one request and gives each answer to `take`, until it says that it
    /// has what it wants or the kernel that there are no more.
    fn ask(
        &mut self,
        flags: u16,
        message: NfTablesMessage,
        mut take: impl FnMut(NfTablesMessage) -> bool,
    ) -> Result<(), Errno> {
        self.requests.discard()?;
        self.requests.send(&request(flags, 0, message))?;
        let mut buffer = vec![0; DATAGRAM_BYTES];
        loop {
            let length = self.requests.receive(&mut buffer, RecvFlags::empty())?;
            for message in messages(&buffer[..length]) {
                let Ok(message) = NetlinkMessage::<NetfilterMessage>::deserialize(message) else { continue };
                if let NetlinkPayload::Error(error) = message.payload {
                    return error.code.map_or(Ok(()), |code| Err(Errno::from_raw_os_error(-code.get())));
                }
                if let NetlinkPayload::Done(_) = message.payload {
                    return Ok(());
                }
                if let NetlinkPayload::InnerMessage(NetfilterMessage { inner, .. }) = message.payload
                    && let NetfilterMessageInner::NfTables(answer) = inner
                    && take(answer)
                {
                    return Ok(());
                }
            }
        }
    }
}

impl Kernel for Netlink {
    fn commit(&mut self, transaction: &Transaction) -> Result<(), Refused> {
        self.requests.discard()?;
        // A transaction is one datagram: that much of it has to have room.
        make_room_to_send(&self.requests.fd, transaction.bytes.len().max(64 << 10) + 4096)?;
        self.requests.send(&transaction.bytes)?;
        // The kernel has done it when sending returns, and all answers are here.
        let mut buffer = vec![0; DATAGRAM_BYTES];
        let mut done = false;
        let mut refused = Vec::new();
        loop {
            let length = match self.requests.receive(&mut buffer, RecvFlags::DONTWAIT) {
                Ok(length) => length,
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            };
            for (about, error) in messages(&buffer[..length]).filter_map(answer) {
                match error {
                    Some(error) => refused.push((about, error)),
                    None => done |= about == transaction.last,
                }
            }
        }
        match refused.first() {
            Some(&(_, why)) => Err(Refused { why, messages: refused }),
            None if done => Ok(()),
            None => Err(Errno::PROTO.into()),
        }
    }

    fn generation(&mut self) -> Result<u32, Errno> {
        let mut generation = Err(Errno::PROTO);
        self.ask(0, NfTablesMessage::GetGen(GenMessage { attributes: Vec::new() }), |answer| {
            if let NfTablesMessage::NewGen(GenMessage { attributes }) = answer {
                let id = attributes.iter().find_map(|it| if let GenAttribute::Id(id) = it { Some(*id) } else { None });
                generation = id.ok_or(Errno::PROTO);
            }
            true
        })?;
        generation
    }

    fn sets(&mut self) -> Result<Vec<String>, Errno> {
        let mut names = Vec::new();
        let asked = self.ask(NLM_F_DUMP, table::ask_for_sets(), |answer| {
            if let NfTablesMessage::NewSet(set) = answer {
                names.extend(table::set_name(set.attributes));
            }
            false
        });
        match asked {
            Ok(()) | Err(Errno::NOENT) => Ok(names),
            Err(error) => Err(error),
        }
    }

    fn stopped(&mut self) -> Result<Option<u64>, Errno> {
        let mut stopped = None;
        let asked = self.ask(0, table::ask_for_counter(), |answer| {
            if let NfTablesMessage::NewObject(attributes) = answer {
                stopped = table::counted(&attributes);
            }
            true
        });
        match asked {
            Ok(()) | Err(Errno::NOENT) => Ok(stopped),
            Err(error) => Err(error),
        }
    }

    fn listen(&mut self, on: bool) -> Result<(), Errno> {
        bind(&self.changes.fd, &SocketAddrNetlink::new(self.changes.port, if on { GROUP } else { 0 }))
    }
}

/// The kernel gives as much as is asked for (`SO_SNDBUFFORCE`) to CAP_NET_ADMIN
/// of the first user namespace alone. In a container with one of its own, where
/// nf_tables works as well, it is at most `net.core.wmem_max`; what is larger
/// isn't sent then ([`Errno::MSGSIZE`]).
fn make_room_to_send(socket: &OwnedFd, bytes: usize) -> Result<(), Errno> {
    set_socket_send_buffer_size_force(socket, bytes).or_else(|_| set_socket_send_buffer_size(socket, bytes))
}

fn make_room_for_answers(socket: &OwnedFd, bytes: usize) -> Result<(), Errno> {
    set_socket_recv_buffer_size_force(socket, bytes).or_else(|_| set_socket_recv_buffer_size(socket, bytes))
}

/// One socket.
pub(super) struct Socket {
    fd: OwnedFd,
    /// Its number, by which the kernel knows it.
    port: u32,
}

impl Socket {
    fn open() -> Result<Self, Errno> {
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(NETFILTER))?;
        bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        let port = SocketAddrNetlink::try_from(getsockname(&fd)?)?.pid();
        Ok(Self { fd, port })
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Errno> {
        sendto(&self.fd, bytes, SendFlags::empty(), &SocketAddrNetlink::new(0, 0)).map(drop)
    }

    /// Receives one datagram; what there is no room for is cut off.
    fn receive(&self, buffer: &mut [u8], flags: RecvFlags) -> Result<usize, Errno> {
        loop {
            match recv(&self.fd, &mut *buffer, flags) {
                Ok((length, _)) => return Ok(length),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// What others have changed, a datagram of it; none if nobody has for a while.
    pub(super) fn heard(&self, buffer: &mut Vec<u8>) -> Result<Option<usize>, Errno> {
        buffer.resize(DATAGRAM_BYTES, 0);
        match self.receive(buffer, RecvFlags::empty()) {
            Ok(length) => Ok(Some(length)),
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Throws away answers that nobody has waited for.
    fn discard(&self) -> Result<(), Errno> {
        let mut some = [0; 64];
        loop {
            match self.receive(&mut some, RecvFlags::DONTWAIT) {
                Ok(_) | Err(Errno::NOBUFS) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// The messages in a datagram, each with its header. One that was cut off is
/// given as far as it goes.
pub(super) fn messages(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = usize::try_from(number(rest.get(LENGTH)?)?).ok()?;
        if length < HEADER_BYTES {
            return None;
        }
        let (message, _) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// Which message an answer is about, and the error if it is one.
fn answer(message: &[u8]) -> Option<(u32, Option<Errno>)> {
    let kind = message.get(KIND)?.try_into().map(u16::from_ne_bytes).ok()?;
    if kind != NLMSG_ERROR {
        return None;
    }
    let error = number(message.get(ERROR)?)?.cast_signed();
    let error = (error != 0).then(|| Errno::from_raw_os_error(-error));
    Some((number(message.get(ABOUT)?)?, error))
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().map(u32::from_ne_bytes).ok()
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    /// An answer about message 3, the beginning of which follows.
    fn about(error: i32) -> Vec<u8> {
        let mut bytes = vec![36, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 9, 9, 0, 0];
        bytes.extend(error.to_le_bytes());
        bytes.extend([36, 0, 0, 0, 2, 10, 5, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        bytes
    }

    #[test]
    fn answers_say_which_message_they_are_about() {
        assert_eq!(answer(&about(0)), Some((3, None)));
        assert_eq!(answer(&about(-2)), Some((3, Some(Errno::NOENT))));
        let mut both = about(0);
        both.extend(about(-17));
        let answers: Vec<_> = messages(&both).filter_map(answer).collect();
        assert_eq!(answers, [(3, None), (3, Some(Errno::EXIST))]);
    }

    #[test]
    fn what_is_cut_off_or_nonsense_is_no_panic() {
        let whole = about(-1);
        for length in 0..whole.len() {
            let cut: Vec<_> = messages(&whole[..length]).filter_map(answer).collect();
            assert!(cut.is_empty() || length >= 32, "{length}: {cut:?}");
        }
        for length in [0_u32, 1, 15, u32::MAX] {
            let mut nonsense = whole.clone();
            nonsense[..4].copy_from_slice(&length.to_le_bytes());
            assert!(messages(&nonsense).count() <= 1);
        }
    }
}
