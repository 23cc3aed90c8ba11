//! Listening sockets, one per worker and address; it must not know what is served on them.

use std::io;
use std::net::{SocketAddr, TcpListener};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait for an accept, per listener.
pub(super) const BACKLOG: i32 = 1024;

/// File descriptors kept for what isn't a client: listeners, files, the log, runtimes.
const SPARE_DESCRIPTORS: u64 = 64;

/// Binds `addresses` once per worker, all before anybody accepts: the kernel
/// spreads connections over every listener of the group, and one that nobody
/// serves would keep its share waiting for ever.
///
/// Port 0 is resolved by the first worker's listener and then shared. Each
/// worker's listeners are in the order of the addresses.
pub(super) fn bind(addresses: &[SocketAddr], workers: usize) -> io::Result<(Vec<SocketAddr>, Vec<Vec<TcpListener>>)> {
    let mut bound = Vec::with_capacity(addresses.len());
    let mut per_worker: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
    for &asked in addresses {
        // An IPv6 wildcard also takes the port's IPv4 unless that is asked for beside it.
        let only_v6 = addresses.iter().any(|other| other.is_ipv4() && other.port() == asked.port());
        let mut address = asked;
        for listeners in &mut per_worker {
            let listener = listener(address, only_v6)?;
            address = listener.local_addr()?;
            listeners.push(listener);
        }
        bound.push(address);
    }
    Ok((bound, per_worker))
}

fn listener(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() && only_v6 {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Raises the limit of open files to the hard limit and fits the connection cap
/// to it: a client's connection can need another to the upstream. Returns the
/// cap to use, never over `wanted`.
#[must_use]
pub fn fit_open_files(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        // Without the right to raise it the present limit holds, and the cap is fitted to that.
        let _ = setrlimit(Resource::Nofile, raised);
    }
    let Some(files) = getrlimit(Resource::Nofile).current else { return wanted };
    let room = files.saturating_sub(SPARE_DESCRIPTORS) / 2;
    wanted.min(usize::try_from(room).unwrap_or(usize::MAX)).max(1)
}

#[cfg(test)]
mod tests {
    use super::{bind, fit_open_files};

    #[test]
    fn port_zero_is_one_port_for_all_workers() {
        let (bound, per_worker) = bind(&["127.0.0.1:0".parse().unwrap()], 3).unwrap();
        assert_ne!(bound[0].port(), 0);
        assert_eq!(per_worker.len(), 3);
        for listeners in per_worker {
            assert_eq!(listeners[0].local_addr().unwrap(), bound[0]);
        }
    }

    #[test]
    fn the_cap_is_never_more_than_wanted_nor_than_the_files_allow() {
        assert_eq!(fit_open_files(10), 10);
        assert!(fit_open_files(usize::MAX) < usize::MAX);
    }
}
