//! Hears of elements as they come into force in the sets of nftables, whoever
//! puts them there.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size_force, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use crate::network::Namespace;
use crate::wait::DEADLINE;

/// `NFNLGRP_NFTABLES` as a bit.
const GROUP: u32 = 1 << 6;
/// `NFT_MSG_NEWSETELEM` of the subsystem nftables.
const NEWSETELEM: u16 = 10 << 8 | 12;
/// The header of a key of four bytes, `NFTA_DATA_VALUE`.
const KEY: [u8; 4] = [8, 0, 1, 0];

type Heard = (Mutex<HashMap<Ipv4Addr, Instant>>, Condvar);

/// IPv4 addresses that have come into force in any set, and when.
pub struct Elements {
    heard: Arc<Heard>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Elements {
    /// From now on, in that namespace.
    ///
    /// # Panics
    /// If nobody may listen.
    #[must_use]
    pub fn listen(namespace: &Namespace) -> Self {
        let socket = namespace.within(|| {
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(NETFILTER));
            let socket: OwnedFd = socket.unwrap();
            set_socket_recv_buffer_size_force(&socket, 64 << 20).unwrap();
            set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_millis(100))).unwrap();
            bind(&socket, &SocketAddrNetlink::new(0, GROUP)).unwrap();
            socket
        });
        let (heard, ended) = (Arc::new(Heard::default()), Arc::new(AtomicBool::new(false)));
        let (into, until) = (Arc::clone(&heard), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while !until.load(Ordering::Relaxed) {
                match recv(&socket, &mut buffer[..], RecvFlags::empty()) {
                    Ok((length, _)) => note(&buffer[..length], Instant::now(), &into),
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(error) => panic!("elements aren't heard of: {error}"),
                }
            }
        });
        Self { heard, ended, thread: Some(thread) }
    }

    /// When all of these were in force.
    ///
    /// # Panics
    /// If they aren't within [`DEADLINE`].
    #[must_use]
    #[track_caller]
    pub fn all(&self, addresses: &[Ipv4Addr]) -> Instant {
        let last = |heard: &HashMap<Ipv4Addr, Instant>| {
            addresses.iter().map(|address| heard.get(address).copied()).collect::<Option<Vec<_>>>()?.into_iter().max()
        };
        let began = Instant::now();
        let mut heard = self.heard.0.lock().unwrap();
        loop {
            if let Some(last) = last(&heard) {
                return last;
            }
            let left = DEADLINE.saturating_sub(began.elapsed());
            assert!(!left.is_zero(), "{} of {} are in force", heard.len(), addresses.len());
            heard = self.heard.1.wait_timeout(heard, left).unwrap().0;
        }
    }
}

fn note(datagram: &[u8], now: Instant, heard: &Heard) {
    let mut noted = heard.0.lock().unwrap();
    let mut rest = datagram;
    while let Some(header) = rest.get(..16) {
        let length = u32::from_ne_bytes(header[..4].try_into().unwrap()) as usize;
        let Some(message) = rest.get(..length).filter(|_| length >= 16) else { break };
        if u16::from_ne_bytes(header[4..6].try_into().unwrap()) == NEWSETELEM {
            let keys = message.windows(8).filter(|window| window[..4] == KEY);
            for key in keys {
                noted.entry(Ipv4Addr::from([key[4], key[5], key[6], key[7]])).or_insert(now);
            }
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    drop(noted);
    heard.1.notify_all();
}

impl Drop for Elements {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}
