//! The kit of the end-to-end tests: the real program, a client, upstreams, and
//! the programs that people use beside it. Must not know the host's crates:
//! what it sees of the host is what an operator and a stranger see.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a kit of tests: what fails must say so")]

mod backend;
mod client;
mod elements;
mod goals;
mod load;
mod network;
mod nginx;
mod program;
mod proxy;
mod rportd_log;
mod server;
mod tls;
mod wait;
mod wire;

pub use backend::{Answer, Backend, Received};
pub use client::{Connection, Pending, Reply, Request};
pub use elements::Elements;
pub use goals::{Spread, report_goal};
pub use load::{Load, Loaded};
pub use network::{Namespace, Network, Service, capabilities_of};
pub use nginx::Nginx;
pub use program::{Ran, floor, peer, portcullis, repository, require, run, skip};
pub use proxy::{Kind as ProxyKind, Proxy, ProxyFolder};
pub use rportd_log::{LINES, RportdLog, SCANNER_LINES, rportd_time};
pub use server::{Portcullis, Server, Stopped};
pub use tls::{Authority, Pair, TlsClient, TlsConnection, TlsVersion, connect_from};
pub use wait::{DEADLINE, Latch, eventually, free_port};
