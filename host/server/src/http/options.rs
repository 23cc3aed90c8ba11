//! Every timeout and every bound of the transport in one place; it must not know where they are configured.

use std::time::Duration;

/// Timeouts and caps of the HTTP transport; `HttpOptions::default()` holds the documented defaults.
///
/// Client-side timeouts are checked by a sweep, at least once a second: they
/// never end early, and late by a second at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpOptions {
    /// From the accept, or from the first byte of a later request, to the end of its head (10 s).
    pub header_timeout: Duration,
    /// At an entrance: from the accept to the end of the PROXY header and the TLS handshake (10 s).
    pub handshake_timeout: Duration,
    /// How long a kept-alive connection may be without a request (75 s).
    pub idle_timeout: Duration,
    /// How long a client may send nothing of a body that it owes, or take nothing of a reply (30 s).
    pub body_idle_timeout: Duration,
    /// How long the upstream may send nothing between two pieces of a response's body (60 s).
    pub response_idle_timeout: Duration,
    /// For the TCP connection to the upstream, name resolution included (5 s).
    pub connect_timeout: Duration,
    /// From the last piece of the request that the upstream took to the response's head (60 s).
    pub response_head_timeout: Duration,
    /// How long a tunnel may carry nothing in either direction (1 hour).
    pub tunnel_idle_timeout: Duration,
    /// How long an unused upstream connection is kept (30 s).
    pub upstream_idle_timeout: Duration,
    /// How long a request may wait for an upstream connection when all are taken (1 s).
    pub upstream_wait_timeout: Duration,
    /// How long a closing connection goes on reading what the client still sends, so that it sees the reply (2 s).
    pub linger_timeout: Duration,
    /// What to give requests under way at the end, as the argument of [`Handle::drain`](super::Handle::drain) (30 s).
    pub drain_timeout: Duration,
    /// Bytes of a request's head; over it: 431 (32 KiB).
    pub max_header_bytes: usize,
    /// Header lines of a request; over it: 431 (100).
    pub max_headers: usize,
    /// Client connections over all workers, tunnels included; over it: a short 503 (10,000).
    pub max_connections: usize,
    /// Handshakes of one worker under way at once; over it the oldest is closed (512).
    pub handshakes: usize,
    /// Of these, those of one source (32).
    pub handshakes_of_a_source: usize,
    /// Upstream connections of one worker, tunnels included (1024).
    pub upstream_connections: usize,
    /// Requests of one worker that may wait for an upstream connection; over it: 503 (1024).
    pub upstream_waiting: usize,
    /// Requests at once on one HTTP/2 connection (100).
    pub h2_max_streams: u32,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_idle_timeout: Duration::from_secs(30),
            response_idle_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(5),
            response_head_timeout: Duration::from_secs(60),
            tunnel_idle_timeout: Duration::from_secs(3600),
            upstream_idle_timeout: Duration::from_secs(30),
            upstream_wait_timeout: Duration::from_secs(1),
            linger_timeout: Duration::from_secs(2),
            drain_timeout: Duration::from_secs(30),
            max_header_bytes: 32 * 1024,
            max_headers: 100,
            max_connections: 10_000,
            handshakes: 512,
            handshakes_of_a_source: 32,
            upstream_connections: 1024,
            upstream_waiting: 1024,
            h2_max_streams: 100,
        }
    }
}

impl HttpOptions {
    /// How often the sweep looks: a quarter of the shortest timeout it enforces, 5 ms to 1 s.
    pub(super) fn sweep_interval(&self) -> Duration {
        let shortest = self.header_timeout.min(self.handshake_timeout).min(self.idle_timeout);
        let shortest = shortest.min(self.body_idle_timeout).min(self.linger_timeout);
        (shortest / 4).clamp(Duration::from_millis(5), Duration::from_secs(1))
    }
}
