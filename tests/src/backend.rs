//! A service to stand in front of: a small HTTP/1.1 server that answers as the
//! test says and remembers what it was asked.

use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::wire::{Head, header};

/// What arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its method.
    pub method: String,
    /// Path and query as they came.
    pub target: String,
    /// Headers, and trailers after them, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Received {
    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A status, headers and a body.
    Reply(u16, Vec<(String, String)>, Vec<u8>),
    /// These bytes as they are, and then the connection is closed.
    Raw(Vec<u8>),
    /// The connection is closed without a word.
    HangUp,
}

impl Answer {
    /// A reply of a status and nothing else.
    #[must_use]
    pub const fn status(status: u16) -> Self {
        Self::Reply(status, Vec::new(), Vec::new())
    }

    /// With this header as well.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Self::Reply(_, headers, _) = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, text: &str) -> Self {
        if let Self::Reply(_, _, body) = &mut self {
            *body = text.as_bytes().to_vec();
        }
        self
    }
}

type Answers = dyn Fn(&Received) -> Answer + Send + Sync;

/// A running service. Its threads end with the test's process.
pub struct Backend {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Backend {
    /// Starts one that answers like that.
    ///
    /// # Panics
    /// If there is no port for it.
    pub fn start(answers: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let answers: Arc<Answers> = Arc::new(answers);
        let seen = Arc::clone(&received);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answers, seen) = (Arc::clone(&answers), Arc::clone(&seen));
                std::thread::spawn(move || serve(stream, &*answers, &seen));
            }
        });
        Self { address, received }
    }

    /// A URL of it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has arrived so far.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

/// Serves one connection until either side has had enough.
fn serve(stream: TcpStream, answers: &Answers, seen: &Mutex<Vec<Received>>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Head::read(&mut reader).ok()??;
        if head.header("expect").is_some() {
            reader.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
        }
        let body = head.read_body(&mut reader, false).ok()?;
        let mut start = head.start.split(' ');
        let (method, target) = (start.next()?.to_owned(), start.next()?.to_owned());
        let request = Received { method, target, headers: head.headers, body };
        seen.lock().unwrap().push(request.clone());
        let (status, headers, body) = match answers(&request) {
            Answer::Reply(status, headers, body) => (status, headers, body),
            Answer::Raw(bytes) => return reader.get_mut().write_all(&bytes).ok(),
            Answer::HangUp => return None,
        };
        let mut reply = format!("HTTP/1.1 {status} Status\r\n");
        for (name, value) in headers {
            reply.push_str(&format!("{name}: {value}\r\n"));
        }
        if status != 204 && status != 304 {
            reply.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        reply.push_str("\r\n");
        let mut bytes = reply.into_bytes();
        if request.method != "HEAD" {
            bytes.extend_from_slice(&body);
        }
        reader.get_mut().write_all(&bytes).ok()?;
    }
}
