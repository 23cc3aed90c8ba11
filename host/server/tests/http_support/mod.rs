//! A world for the transport's tests: raw clients, scripted upstreams, and the
//! transport between them, over loopback. Every wait has a deadline.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use http::{Request, Response};
use portcullis::http::proxy::{Forwarding, forward};
use portcullis::http::{
    Body, CollectError, Connection, Form, Handle, HttpOptions, Refusal, RefusedRequest, Reply, ServeOptions, Service,
    Status, Upstream, read_bounded, resend, serve,
};
use portcullis_domain::source::SourceRules;

pub const DEADLINE: Duration = Duration::from_secs(10);

/// What `/login` takes.
pub const LOGIN_BYTES_MAX: usize = 8;
pub const LOGIN_TIME: Duration = Duration::from_millis(150);

/// Forwards all, or answers by `answer` where that says so.
pub struct Front {
    pub upstream: Upstream,
    pub rules: SourceRules,
    pub refusals: std::sync::Mutex<Vec<Refusal>>,
    /// What was known of each: method and path.
    pub refused: std::sync::Mutex<Vec<Option<(String, String)>>>,
    answer: Answer,
}

type Answer = Box<dyn Fn(&Request<Body>) -> Option<Response<Body>> + Send + Sync>;

impl Service for Front {
    async fn call(&self, mut request: Request<Body>, connection: &Arc<Connection>) -> Response<Body> {
        if let Some(answer) = (self.answer)(&request) {
            return answer;
        }
        let form = Form::of(request.method(), request.headers());
        if request.uri().path() == "/login" {
            let (mut parts, body) = request.into_parts();
            request = match read_bounded(body, LOGIN_BYTES_MAX, LOGIN_TIME).await {
                Ok(read) => {
                    let body = resend(&mut parts.headers, read);
                    Request::from_parts(parts, body)
                }
                Err(CollectError::TooLarge) => return Reply::new(Status::ContentTooLarge).close().into_response(form),
                Err(CollectError::Timeout) => return Reply::new(Status::RequestTimeout).close().into_response(form),
                Err(CollectError::Broken) => return Reply::new(Status::BadRequest).close().into_response(form),
            };
        }
        let named = request.headers().get_all("x-forwarded-for");
        let decided = self.rules.decide(connection.peer().ip(), named.iter().map(http::HeaderValue::as_bytes));
        let forwarding = Forwarding { decided, user: Some("ann"), strip_authorization: true };
        match forward(&self.upstream, request, connection, forwarding).await {
            Ok(response) => response,
            Err(error) => error.reply().into_response(form),
        }
    }

    fn refused(&self, refused: &RefusedRequest<'_>) {
        assert!(refused.peer.ip().is_loopback());
        let known = refused.method().zip(refused.path()).map(|(method, path)| (method.to_string(), path.to_owned()));
        self.refused.lock().unwrap().push(known);
        self.refusals.lock().unwrap().push(refused.refusal);
    }
}

pub struct World {
    pub handle: Handle,
    pub front: Arc<Front>,
}

impl World {
    pub fn new(url: &str, options: HttpOptions) -> Self {
        Self::answering(url, options, |_| None)
    }

    pub fn answering(
        url: &str,
        options: HttpOptions,
        answer: impl Fn(&Request<Body>) -> Option<Response<Body>> + Send + Sync + 'static,
    ) -> Self {
        let answer = Box::new(answer);
        let upstream = Upstream::new(url, &options).unwrap();
        let front = Front {
            upstream,
            rules: SourceRules::default(),
            refusals: Default::default(),
            refused: Default::default(),
            answer,
        };
        let front = Arc::new(front);
        let mut serving = ServeOptions::new(vec!["127.0.0.1:0".parse().unwrap()], options);
        serving.workers = 1;
        Self { handle: serve(serving, Arc::clone(&front)).unwrap(), front }
    }

    pub fn address(&self) -> SocketAddr {
        self.handle.addresses()[0]
    }

    pub fn connect(&self) -> Wire {
        Wire::new(TcpStream::connect(self.address()).unwrap())
    }

    /// Sends these bytes on a connection of their own and reads one reply.
    pub fn ask(&self, bytes: impl AsRef<[u8]>) -> Message {
        let mut client = self.connect();
        client.send(bytes);
        client.read_message()
    }
}

/// An upstream whose connections are played by a script, each on a thread.
pub struct Backend {
    pub url: String,
    pub connections: Receiver<usize>,
}

impl Backend {
    pub fn new(script: impl Fn(usize, Wire) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::new(script);
        let (seen, connections) = channel();
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let script = Arc::clone(&script);
                let _ = seen.send(number);
                std::thread::spawn(move || script(number, Wire::new(stream.unwrap())));
            }
        });
        Self { url, connections }
    }

    /// Answers every request with its own head, as text.
    pub fn echo() -> Self {
        Self::new(|_, mut wire| {
            while let Some(request) = wire.try_read_message() {
                let said = format!("{}\n{}", request.head, String::from_utf8_lossy(&request.body));
                wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{said}", said.len()));
            }
        })
    }

    /// Connections made so far.
    pub fn count(&self) -> usize {
        self.connections.try_iter().count()
    }
}

/// A head and a body as they came.
#[derive(Clone, Debug, Default)]
pub struct Message {
    pub head: String,
    pub body: Vec<u8>,
    pub trailers: String,
}

impl Message {
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One end of a raw connection.
pub struct Wire {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The other side may have closed: what it said is what the tests look at.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    fn fill(&mut self) -> bool {
        let mut room = [0; 16 * 1024];
        match self.stream.read(&mut room) {
            Ok(read) => {
                self.buffer.extend_from_slice(&room[..read]);
                read > 0
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("waited in vain: {error}; so far {:?}", String::from_utf8_lossy(&self.buffer)),
        }
    }

    pub fn read_exact(&mut self, bytes: usize) -> Vec<u8> {
        while self.buffer.len() < bytes {
            assert!(self.fill(), "closed after {:?}", String::from_utf8_lossy(&self.buffer));
        }
        self.buffer.drain(..bytes).collect()
    }

    pub fn read_through(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end.as_bytes()) {
                let bytes: Vec<u8> = self.buffer.drain(..at + end.len()).collect();
                return Some(String::from_utf8(bytes).unwrap());
            }
            if !self.fill() {
                return None;
            }
        }
    }

    pub fn read_head(&mut self) -> Message {
        Message { head: self.read_through("\r\n\r\n").expect("no head"), ..Message::default() }
    }

    pub fn read_message(&mut self) -> Message {
        self.try_read_message().expect("closed without a message")
    }

    /// A request or a response with its body; `None` at the end.
    pub fn try_read_message(&mut self) -> Option<Message> {
        let mut message = Message { head: self.read_through("\r\n\r\n")?, ..Message::default() };
        if let Some(length) = message.header("content-length") {
            message.body = self.read_exact(length.parse().unwrap());
        } else if message.header("transfer-encoding").is_some() {
            loop {
                let size = self.read_through("\r\n")?;
                let size = usize::from_str_radix(size.trim(), 16).unwrap();
                if size == 0 {
                    break;
                }
                message.body.extend(self.read_exact(size));
                self.read_exact(2);
            }
            loop {
                let line = self.read_through("\r\n")?;
                if line == "\r\n" {
                    break;
                }
                message.trailers.push_str(&line);
            }
        }
        Some(message)
    }

    /// Everything until the other side closes.
    pub fn read_to_end(&mut self) -> String {
        while self.fill() {}
        String::from_utf8_lossy(&std::mem::take(&mut self.buffer)).into_owned()
    }

    /// Asserts that the other side closes and says nothing more.
    pub fn expect_closed(&mut self) {
        assert_eq!(self.read_to_end(), "");
    }
}

/// What a test waits for that waits for a timeout.
pub const SHORT: Duration = Duration::from_millis(60);

/// Short timeouts for whatever has begun and stands still. How long a head or the
/// next request may take is left as it is: a busy machine takes its time for these.
pub fn hasty() -> HttpOptions {
    let short = SHORT;
    HttpOptions {
        body_idle_timeout: short,
        response_idle_timeout: short,
        tunnel_idle_timeout: short,
        upstream_wait_timeout: short,
        linger_timeout: short,
        ..HttpOptions::default()
    }
}

/// Waits until something holds.
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "never: {what}");
        std::thread::yield_now();
    }
}

/// A pair for a script to tell the test something.
pub fn news<T>() -> (Sender<T>, Receiver<T>) {
    channel()
}
