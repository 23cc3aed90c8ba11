//! Two network namespaces of a test's own, joined by a cable: one with the
//! services, one for the rest of the world, which has any address it likes.
//!
//! Packets are real, and so are the kernel's firewall and its sockets; nothing of
//! it is seen by the machine that the test runs on. Only root can make them.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::set_socket_timeout;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, bind, connect, shutdown, socket_with, sockopt};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::program::{require, run, skip};

/// How long a packet may take to a place where it is let in; one to a place
/// where it isn't takes for ever.
const KNOCK_TIME: Duration = Duration::from_millis(700);

/// Lets sockets have addresses that no interface has.
const NONLOCAL_BIND: &str = "/proc/sys/net/ipv6/ip_nonlocal_bind";

/// One namespace, which lives as long as this does.
pub struct Namespace {
    /// Holds it open: ends when its standard input does, whatever becomes of the test.
    holder: Child,
    file: File,
}

impl Namespace {
    fn new() -> Self {
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "sh", "-c", "echo there; exec cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = unshare.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "there\n", "a namespace of its own");
        let file = File::open(format!("/proc/{}/ns/net", holder.id())).unwrap();
        Self { holder, file }
    }

    /// Does that in here: sockets and programs that it makes belong here.
    ///
    /// # Panics
    /// If it does.
    pub fn within<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            what()
        };
        std::thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Runs a program in here, which has to succeed; what it prints.
    ///
    /// # Panics
    /// If it doesn't.
    #[track_caller]
    pub fn run(&self, program: &str, arguments: &str) -> String {
        let ran = self.within(|| run(Command::new(program).args(arguments.split_whitespace())));
        assert_eq!(ran.code, Some(0), "{program} {arguments}: {ran:?}");
        ran.stdout
    }

    /// Has `nft` do that in here; what it prints.
    ///
    /// # Panics
    /// If it doesn't.
    #[track_caller]
    pub fn nft(&self, commands: &str) -> String {
        let ran = self.within(|| run(Command::new("nft").arg(commands)));
        assert_eq!(ran.code, Some(0), "nft {commands}: {ran:?}");
        ran.stdout
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ends_with_it = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// The two of them.
pub struct Network {
    /// Where the services are.
    pub inside: Namespace,
    /// The rest of the world.
    pub outside: Namespace,
}

impl Network {
    /// The services' addresses.
    pub const SERVER_V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    /// The same in IPv6.
    pub const SERVER_V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1));

    /// Both, joined; none where they can't be had, and the test is to return.
    ///
    /// # Panics
    /// If what makes them fails.
    #[must_use]
    #[track_caller]
    pub fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip("only root makes network namespaces");
            return None;
        }
        if !["unshare", "ip", "nft"].into_iter().all(require) {
            return None;
        }
        // In a container even root may not, mostly.
        let tried = run(Command::new("unshare").args(["--net", "true"]));
        if tried.code != Some(0) {
            skip(&format!("network namespaces can't be made here: {}", tried.stderr.trim_end()));
            return None;
        }
        let (inside, outside) = (Namespace::new(), Namespace::new());
        if let Err(error) = outside.within(|| fs::write(NONLOCAL_BIND, "1")) {
            skip(&format!("{NONLOCAL_BIND} can't be written here: {error}"));
            return None;
        }
        inside.run("ip", &format!("link add wire type veth peer name wire netns {}", outside.holder.id()));
        for (namespace, host) in [(&inside, 1), (&outside, 2)] {
            namespace.run("ip", "link set lo up");
            // No waiting for anyone to object to an address.
            for which in ["all", "wire"] {
                let accept = format!("/proc/sys/net/ipv6/conf/{which}/accept_dad");
                namespace.within(|| fs::write(accept, "0").unwrap());
            }
            namespace.run("ip", &format!("address add 192.0.2.{host}/30 dev wire"));
            namespace.run("ip", &format!("address add 2001:db8:ffff::{host}/126 dev wire nodad"));
            namespace.run("ip", "link set wire up");
        }
        inside.run("ip", "route add default via 192.0.2.2");
        inside.run("ip", "-6 route add default via 2001:db8:ffff::2");
        // Whoever is out there has every address of these.
        for route in ["10.0.0.0/8", "198.51.100.0/24", "203.0.113.0/24"] {
            outside.run("ip", &format!("route add local {route} dev lo"));
        }
        outside.run("ip", "-6 route add local 2001:db8::/40 dev lo");
        Some(Self { inside, outside })
    }

    /// A service that accepts whoever comes, on a port of its own in both families.
    ///
    /// # Panics
    /// If there is no such port.
    #[must_use]
    pub fn service(&self) -> Service {
        self.inside.within(|| {
            let v4 = TcpListener::bind((Self::SERVER_V4, 0)).unwrap();
            let port = v4.local_addr().unwrap().port();
            let v6 = TcpListener::bind((Self::SERVER_V6, port)).unwrap();
            Service::new(port, [v4, v6])
        })
    }

    /// Whether a connection from that address to that port of the services' comes about.
    ///
    /// # Panics
    /// If nobody can tell.
    #[must_use]
    pub fn reaches(&self, source: &str, port: u16) -> bool {
        match self.connect(source, port) {
            Ok(_) => true,
            Err(Errno::AGAIN | Errno::INPROGRESS | Errno::TIMEDOUT | Errno::CONNREFUSED) => false,
            Err(error) => panic!("{source} to port {port}: {error}"),
        }
    }

    /// A connection from that address to that port of the services'.
    ///
    /// # Errors
    /// Whatever keeps it from coming about within 0.7 s.
    pub fn connect(&self, source: &str, port: u16) -> Result<TcpStream, Errno> {
        let source: IpAddr = source.parse().unwrap();
        let server = SocketAddr::new(if source.is_ipv4() { Self::SERVER_V4 } else { Self::SERVER_V6 }, port);
        self.outside.within(|| {
            let family = if source.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let socket: OwnedFd = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            bind(&socket, &SocketAddr::new(source, 0))?;
            set_socket_timeout(&socket, sockopt::Timeout::Send, Some(KNOCK_TIME))?;
            connect(&socket, &server)?;
            Ok(TcpStream::from(socket))
        })
    }

    /// A socket for datagrams of that address.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn datagrams_from(&self, source: &str) -> UdpSocket {
        let source: IpAddr = source.parse().unwrap();
        self.outside.within(|| UdpSocket::bind((source, 0)).unwrap())
    }

    /// Packets of banned sources that the table has stopped.
    ///
    /// # Panics
    /// If there is no table.
    #[must_use]
    pub fn stopped(&self) -> u64 {
        let counter = self.inside.nft("list counter inet portcullis dropped");
        let mut words = counter.split_whitespace();
        words.find(|word| *word == "packets").unwrap();
        words.next().unwrap().parse().unwrap()
    }
}

/// Accepts connections as long as it lives.
pub struct Service {
    port: u16,
    listeners: [TcpListener; 2],
}

impl Service {
    /// Connections that nobody took would fill the kernel's queue, and the next
    /// wouldn't come about, whatever a firewall says.
    fn new(port: u16, listeners: [TcpListener; 2]) -> Self {
        for listener in &listeners {
            let listener = listener.try_clone().unwrap();
            thread::spawn(move || while listener.accept().is_ok() {});
        }
        Self { port, listeners }
    }

    /// Where.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for listener in &self.listeners {
            // Whoever waits in accept is told that there is nothing to come.
            let _closed_already = shutdown(listener, Shutdown::Both);
        }
    }
}

/// Threads of a process by their names, each with the capabilities that are in effect.
///
/// # Panics
/// If there is no such process.
#[must_use]
pub fn capabilities_of(process: u32) -> Vec<(String, u64)> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let threads = tasks.filter_map(|task| {
        let task = task.unwrap().path();
        // Threads come and go.
        let status = fs::read_to_string(task.join("status")).ok()?;
        let value = |name| status.lines().find_map(|line: &str| line.strip_prefix(name)).map(str::trim);
        Some((value("Name:")?.to_owned(), u64::from_str_radix(value("CapEff:")?, 16).unwrap()))
    });
    threads.collect()
}
