//! A stranger's side: requests exactly as the test wants them on the wire.

use std::io::{self, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use socket2::{Domain, Socket, Type};

use crate::wait::{DEADLINE, eventually};
use crate::wire::{Head, header};

/// A request in the making.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    address: SocketAddr,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    /// The address it comes from, if that matters.
    local: Option<IpAddr>,
}

impl Request {
    /// A request to whoever listens there; the target goes out as it stands.
    pub fn new(address: SocketAddr, method: &str, target: &str) -> Self {
        Self {
            address,
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: None,
            local: None,
        }
    }

    /// With this header as well.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// As a proxy that the server trusts would hand it on for that client.
    pub fn from(self, client: &str) -> Self {
        self.header("X-Forwarded-For", client)
    }

    /// From that address of this machine.
    pub const fn via(mut self, local: IpAddr) -> Self {
        self.local = Some(local);
        self
    }

    /// With Basic credentials.
    pub fn basic(self, id: &str, secret: &str) -> Self {
        let value = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
        self.header("Authorization", &value)
    }

    /// With a body of that type.
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Self {
        self.body = Some(body.to_vec());
        self.header("Content-Type", content_type)
    }

    /// With a form.
    pub fn form(self, fields: &str) -> Self {
        self.body("application/x-www-form-urlencoded", fields.as_bytes())
    }

    /// Sends it on a connection of its own and waits for the reply.
    ///
    /// # Panics
    /// If there is no whole reply.
    #[track_caller]
    pub fn send(&self) -> Reply {
        self.start().finish()
    }

    /// Sends it on a connection of its own.
    ///
    /// # Panics
    /// If nobody takes it.
    #[track_caller]
    pub fn start(&self) -> Pending {
        let mut connection = match self.local {
            None => Connection::open(self.address),
            Some(local) => Connection::open_from(local, self.address),
        };
        connection.write(self).unwrap_or_else(|error| panic!("{} {}: {error}", self.method, self.target));
        Pending { connection, head_only: self.method == "HEAD" }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        let mut line = |name: &str, value: &str| bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        if header(&self.headers, "host").is_none() {
            line("Host", "portcullis.test");
        }
        for (name, value) in &self.headers {
            line(name, value);
        }
        let chunked = header(&self.headers, "transfer-encoding").is_some();
        if !chunked && let Some(body) = &self.body {
            line("Content-Length", &body.len().to_string());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// A request that has been sent.
#[derive(Debug)]
#[must_use = "the reply has to be looked at"]
pub struct Pending {
    connection: Connection,
    head_only: bool,
}

impl Pending {
    /// Waits for the reply.
    ///
    /// # Panics
    /// If it doesn't come, or not whole.
    #[track_caller]
    pub fn finish(mut self) -> Reply {
        self.connection.read(self.head_only).unwrap_or_else(|error| panic!("no whole reply: {error}"))
    }

    /// Hangs up without waiting.
    pub fn hang_up(self) {}
}

/// A connection that is kept.
#[derive(Debug)]
pub struct Connection<S = TcpStream> {
    stream: BufReader<S>,
}

impl Connection {
    /// Connects.
    ///
    /// # Panics
    /// If nobody listens.
    #[must_use]
    #[track_caller]
    pub fn open(address: SocketAddr) -> Self {
        Self::try_open(address).unwrap_or_else(|error| panic!("can't connect to {address}: {error}"))
    }

    /// Connects from that address of this machine.
    ///
    /// # Panics
    /// If nobody listens, or the address isn't this machine's.
    #[must_use]
    #[track_caller]
    pub fn open_from(local: IpAddr, address: SocketAddr) -> Self {
        let connected = || {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            socket.bind(&SocketAddr::new(local, 0).into())?;
            socket.connect(&address.into())?;
            Self::at_once(socket.into())
        };
        connected().unwrap_or_else(|error: io::Error| panic!("can't connect from {local} to {address}: {error}"))
    }

    /// Connects, if anybody listens.
    ///
    /// # Errors
    /// If nobody does.
    pub fn try_open(address: SocketAddr) -> io::Result<Self> {
        Self::at_once(TcpStream::connect(address)?)
    }

    fn at_once(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }
}

impl<S: Read + Write> Connection<S> {
    /// Over a stream that is there.
    pub fn over(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// What it goes over.
    pub fn stream(&self) -> &S {
        self.stream.get_ref()
    }

    /// Sends one request and waits for its reply.
    ///
    /// # Panics
    /// If there is no whole reply.
    #[track_caller]
    pub fn exchange(&mut self, request: &Request) -> Reply {
        self.try_exchange(request).unwrap_or_else(|error| panic!("no whole reply: {error}"))
    }

    /// Sends one request and waits for its reply.
    ///
    /// # Errors
    /// If there is no whole reply.
    pub fn try_exchange(&mut self, request: &Request) -> io::Result<Reply> {
        self.write(request)?;
        self.read(request.method == "HEAD")
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// If nobody takes them.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    fn write(&mut self, request: &Request) -> io::Result<()> {
        self.stream.get_mut().write_all(&request.bytes())
    }

    /// Reads one reply.
    ///
    /// # Errors
    /// If it doesn't come whole.
    pub fn read(&mut self, head_only: bool) -> io::Result<Reply> {
        loop {
            let mut head = Head::read(&mut self.stream)?
                .ok_or_else(|| io::Error::new(io::ErrorKind::ConnectionReset, "closed before a byte of the reply"))?;
            let status = head.start.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
            let status = status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, head.start.clone()))?;
            if status == 100 {
                continue;
            }
            let bare = head_only || status == 101 || status == 204 || status == 304;
            let body = if bare { Vec::new() } else { head.read_body(&mut self.stream, true)? };
            return Ok(Reply { status, headers: head.headers, body });
        }
    }

    /// Waits until the other side has hung up.
    ///
    /// # Panics
    /// If it doesn't.
    pub fn expect_closed(&mut self) {
        let mut rest = [0; 4096];
        eventually("the connection is closed", || match self.stream.read(&mut rest) {
            Ok(0) => Some(()),
            Ok(_) => None,
            // TLS tells an end without a word from one that was said.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => {
                Some(())
            }
            Err(_) => None,
        });
    }
}

/// A whole reply.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The body as text.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Seconds after which to come again.
    ///
    /// # Panics
    /// If the reply doesn't say.
    #[must_use]
    pub fn retry_after(&self) -> u64 {
        self.header("retry-after")
            .and_then(|value| value.parse().ok())
            .unwrap_or_else(|| panic!("no Retry-After: {self:?}"))
    }
}
