//! The floor: hyper in front, hyper behind, connections of the service kept by
//! the thread, and nothing in between. What a proxy on our transport costs at least.

use std::cell::RefCell;
use std::convert::Infallible;

use http_body_util::Either;
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self as client, SendRequest};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// The program itself, started with this, a port and the service's address, is the floor.
pub(crate) const OPTION: &str = "--floor";

thread_local! {
    static IDLE: RefCell<Vec<SendRequest<Incoming>>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn serve(port: &str, upstream: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let upstream: &'static str = upstream.to_owned().leak();
    runtime.block_on(async move {
        let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await.unwrap();
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            stream.set_nodelay(true).unwrap();
            let answer =
                service_fn(move |request| async move { Ok::<_, Infallible>(forward(request, upstream).await) });
            tokio::spawn(async move {
                let _closed = server::Builder::new().writev(false).serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
}

async fn forward(request: Request<Incoming>, upstream: &'static str) -> Response<Either<Incoming, Empty<Bytes>>> {
    let mut sender = match IDLE.with_borrow_mut(Vec::pop) {
        Some(sender) if sender.is_ready() => sender,
        Some(_) | None => connect(upstream).await,
    };
    match sender.send_request(request).await {
        Ok(response) => {
            IDLE.with_borrow_mut(|idle| idle.push(sender));
            response.map(Either::Left)
        }
        Err(_) => {
            let mut failed = Response::new(Either::Right(Empty::new()));
            *failed.status_mut() = StatusCode::BAD_GATEWAY;
            failed
        }
    }
}

async fn connect(upstream: &str) -> SendRequest<Incoming> {
    let stream = TcpStream::connect(upstream).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = client::Builder::new().writev(false).handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}
