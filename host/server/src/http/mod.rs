//! The HTTP transport: connections in, requests out to the upstream, and
//! nothing leaves before whoever is asked has seen the response's head. It must
//! not know policies, authentication or the gate: it sees their work as a
//! [`Service`].
//!
//! A worker per core, each with its own runtime, listeners and upstream
//! connections: on a request's way nothing is shared between threads.

mod arrival;
mod body;
mod cap;
mod collect;
mod connection;
mod door;
mod framing;
mod handshakes;
pub mod headers;
mod listen;
mod options;
pub(crate) mod path;
mod patience;
mod pool;
pub mod proxy;
mod reply;
mod serve;
mod service;
mod streams;
mod tunnel;
mod upstream;
mod vet;
mod wire;
mod worker;

pub use body::{Body, BodyError};
pub use cap::{ConnectionCap, ConnectionSlot};
pub use collect::{CollectError, read_bounded, resend};
pub use connection::{Certified, Connection};
pub use door::{Banned, Door, Entrance, Redirect, Standing};
pub use handshakes::HandshakeGauge;
pub use listen::fit_open_files;
pub use options::HttpOptions;
pub use reply::{Form, Reply, Status};
pub use serve::{Handle, Listening, Place, ServeError, ServeOptions, WorkerPanicked, bind, serve};
pub use service::{Refusal, RefusedRequest, Service};
pub use tunnel::Tunnels;
pub use upstream::{ClientBodyFault, Upstream, UpstreamError, UpstreamUrlError};
