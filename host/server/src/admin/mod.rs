//! The administration: HTTP on a Unix socket, and over TCP with a token.
//!
//! It runs on a thread of its own with a runtime of its own, so that nothing
//! that strangers do to the gateway can keep the operator out. What it changes
//! it changes through the gate and the swap, as everybody else does.

pub mod api;
mod extract;
mod listen;
mod page;
mod problem;
pub mod routes;
pub mod socket;
mod token;

use std::convert::Infallible;
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Router;
use axum::response::Response;
use tokio::sync::oneshot;
use tower::ServiceExt as _;

pub use problem::{PROBLEM_JSON, Problem};
pub use socket::{is_private, usual_places};
pub use token::{Token, TokenError, read_token};

use crate::config::{self, AdminSocket};
use crate::running::Running;
use socket::{OwnSocket, SocketError, SocketFile};

/// Why there is no administration.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The socket can't be had.
    #[error("admin.socket: {0}")]
    Socket(#[from] SocketError),
}

/// The listeners of the administration, open and not yet served.
pub struct Bound {
    socket: Option<OwnSocket>,
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
        Ok(Self { socket })
    }

    /// Serves them on a thread of its own until the handle is dropped.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn serve(self, running: Arc<Running>) -> std::io::Result<AdminHandle> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (end, ended) = oneshot::channel();
        let mut socket_file = None;
        let guard = runtime.enter();
        let mut serving = tokio::task::JoinSet::new();
        if let Some(OwnSocket { listener, file }) = self.socket {
            let listener = tokio::net::UnixListener::from_std(listener)?;
            let router = routes::all(Arc::clone(&running));
            tracing::info!("administered on {}", file.path().display());
            serving.spawn_on(
                listen::serve(listener, move |request, ()| answer(router.clone(), request)),
                runtime.handle(),
            );
            socket_file = Some(file);
        }
        drop(guard);
        let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
            let _dropped = runtime.block_on(ended);
            drop(serving);
            // Whatever is still answered is cut: the server has ended.
            runtime.shutdown_background();
        })?;
        Ok(AdminHandle { end: Some(end), thread: Some(thread), _socket_file: socket_file })
    }
}

async fn answer(router: Router, request: http::Request<hyper::body::Incoming>) -> Response {
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
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
