//! The floor that benchmarks measure against: hyper in front, hyper behind,
//! connections of the service kept by the one thread there is, and nothing in
//! between. What a proxy on our transport costs at least; or, where it refuses,
//! what an answer of our own does.
//!
//! `portcullis-floor PORT SERVICE` proxies to the address SERVICE, and
//! `portcullis-floor PORT` answers 423 to everyone. A program of its own, so that
//! it is built as the server is: with the same optimisation, and no more of hyper.

#![allow(clippy::unwrap_used, reason = "a broken benchmark stops")]

use std::cell::RefCell;
use std::convert::Infallible;

use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self as client, SendRequest};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

type Answer = Response<Either<Incoming, Full<Bytes>>>;

thread_local! {
    static IDLE: RefCell<Vec<SendRequest<Incoming>>> = const { RefCell::new(Vec::new()) };
}

fn main() {
    let mut args = std::env::args().skip(1);
    let port: u16 = args.next().and_then(|port| port.parse().ok()).unwrap();
    let service: Option<&'static str> = args.next().map(|service| &*service.leak());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            stream.set_nodelay(true).unwrap();
            let answer = service_fn(move |request| async move { Ok::<_, Infallible>(answer(request, service).await) });
            tokio::spawn(async move {
                let _closed = server::Builder::new().writev(false).serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
}

async fn answer(request: Request<Incoming>, service: Option<&'static str>) -> Answer {
    let Some(service) = service else {
        return own(StatusCode::LOCKED, "locked\n");
    };
    let mut sender = match IDLE.with_borrow_mut(Vec::pop) {
        Some(sender) if sender.is_ready() => sender,
        Some(_) | None => connect(service).await,
    };
    match sender.send_request(request).await {
        Ok(response) => {
            IDLE.with_borrow_mut(|idle| idle.push(sender));
            response.map(Either::Left)
        }
        Err(_) => own(StatusCode::BAD_GATEWAY, ""),
    }
}

fn own(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Either::Right(Full::from(text)));
    *answer.status_mut() = status;
    answer
}

async fn connect(service: &str) -> SendRequest<Incoming> {
    let stream = TcpStream::connect(service).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = client::Builder::new().writev(false).handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}
