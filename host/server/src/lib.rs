//! The program `portcullis`: configuration, the gate's wiring, HTTP, and the command line.

#![forbid(unsafe_code)]

pub mod admin;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod counters;
pub mod decide;
pub mod firewall;
pub mod gatekeeper;
pub mod http;
pub mod journal;
pub mod log;
pub mod metrics;
pub mod noted;
pub mod proxy_protocol;
pub mod recent;
pub mod running;
mod seldom;
pub mod service;
pub mod setup;
pub mod state;
pub mod swap;
pub mod tls;
pub mod watch;
