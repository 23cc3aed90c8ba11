//! The administration: HTTP on a Unix socket, and over TCP with a token.
//!
//! It runs on a thread of its own with a runtime of its own, so that nothing
//! that strangers do to the gateway can keep the operator out. What it changes
//! it changes through the gate and the swap, as everybody else does.

pub mod api;
mod extract;
mod guard;
mod listen;
mod page;
mod problem;
pub mod routes;
pub mod socket;
mod token;

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Router;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tower::ServiceExt as _;

pub use problem::{PROBLEM_JSON, Problem};
pub use socket::{is_private, usual_places};
pub use token::{Token, TokenError, read_token};

use crate::config::{self, AdminSocket};
use crate::running::Running;
use guard::Guard;
use socket::{OwnSocket, SocketError, SocketFile};

/// Why there is no administration.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The socket can't be had.
    #[error("admin.socket: {0}")]
    Socket(#[from] SocketError),
    /// The token can't be had.
    #[error("admin.token_file: {0}")]
    Token(#[from] TokenError),
    /// An address can't be listened on.
    #[error("{key}: can't listen on {address}: {error}")]
    Listen {
        /// The key of the configuration.
        key: &'static str,
        /// What was to be listened on.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
}

/// The listeners of the administration, open and not yet served.
pub struct Bound {
    socket: Option<OwnSocket>,
    tcp: Option<(TcpListener, Token)>,
    health: Option<TcpListener>,
}

impl Bound {
    /// Opens what the configuration wants.
    ///
    /// # Errors
    /// [`AdminError`]; where the usual socket can't be had, that is a warning only.
    pub fn open(config: &config::Admin) -> Result<Self, AdminError> {
        let socket = match &config.socket {
            AdminSocket::Off => None,
            AdminSocket::At(path) => Some(socket::open(path)?),
            AdminSocket::Usual => match socket::usual_place().and_then(|path| socket::open(&path)) {
                Ok(socket) => Some(socket),
                Err(error) => {
                    tracing::warn!("no socket for the administration: {error}; admin.socket can name another path");
                    None
                }
            },
        };
        let listen = |key, address: SocketAddr| {
            listen::bind(address).map_err(|error| AdminError::Listen { key, address, error })
        };
        let tcp = match (config.address, &config.token_file) {
            (Some(address), Some(token_file)) => {
                let token = read_token(token_file)?;
                if !address.ip().is_loopback() {
                    tracing::warn!(
                        "admin.address is no loopback address, and the token goes over it in clear: put TLS before it"
                    );
                }
                Some((listen("admin.address", address)?, token))
            }
            // The configuration has none without the other.
            (Some(_) | None, _) => None,
        };
        let health = config.health_address.map(|address| listen("admin.health_address", address)).transpose()?;
        Ok(Self { socket, tcp, health })
    }

    /// Serves them on a thread of its own until the handle is dropped.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn serve(self, running: Arc<Running>) -> std::io::Result<AdminHandle> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let mut socket_file = None;
        {
            let _within = runtime.enter();
            let router = routes::all(Arc::clone(&running));
            if let Some(OwnSocket { listener, file }) = self.socket {
                let listener = tokio::net::UnixListener::from_std(listener)?;
                tracing::info!("administered on {}", file.path().display());
                let router = router.clone();
                runtime.spawn(listen::serve(listener, move |request, ()| answer(router.clone(), request)));
                socket_file = Some(file);
            }
            if let Some(listener) = self.health {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                tracing::info!("health and metrics on {}", listener.local_addr()?);
                let router = routes::health_alone(Arc::clone(&running));
                runtime.spawn(listen::serve(listener, move |request, _| answer(router.clone(), request)));
            }
            if let Some((listener, token)) = self.tcp {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                tracing::info!("administered with a token on {}", listener.local_addr()?);
                let guard = Arc::new(Guard::new(running, &token));
                runtime.spawn(listen::serve(listener, move |request, peer| {
                    answer_guarded(Arc::clone(&guard), router.clone(), request, peer)
                }));
            }
        }
        let (end, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
            // What is still answered then is cut: the server has ended.
            let _dropped = runtime.block_on(ended);
        })?;
        Ok(AdminHandle { end: Some(end), thread: Some(thread), _socket_file: socket_file })
    }
}

async fn answer(router: Router, request: Request<Incoming>) -> Response {
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

async fn answer_guarded(guard: Arc<Guard>, router: Router, request: Request<Incoming>, peer: SocketAddr) -> Response {
    match guard.check(&request, peer).await {
        Ok(()) => answer(router, request).await,
        Err(response) => *response,
    }
}

/// The administration while it runs. Dropped, it ends.
pub struct AdminHandle {
    end: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
    _socket_file: Option<SocketFile>,
}

impl Drop for AdminHandle {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}
