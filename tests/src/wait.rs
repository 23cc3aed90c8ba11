//! Waiting for the thing itself, with a deadline, and never for a while.

use std::net::TcpListener;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long anything may take. Generous: it only ever passes when something is wrong.
pub const DEADLINE: Duration = Duration::from_secs(90);
/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Looks until there is something to see, and hands it over.
///
/// # Panics
/// If `what` hasn't come about within [`DEADLINE`].
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(began.elapsed() < DEADLINE, "not within {} s: {what}", DEADLINE.as_secs());
        std::thread::park_timeout(LOOK_INTERVAL);
    }
}

/// A port of the loopback that nobody listens on at this moment.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A door that is shut until someone opens it.
#[derive(Debug, Default)]
pub struct Latch {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Latch {
    /// Opens it for everyone.
    ///
    /// # Panics
    /// If someone who held it has panicked.
    pub fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    /// Waits until it is open.
    ///
    /// # Panics
    /// If nobody opens it within [`DEADLINE`].
    pub fn pass(&self) {
        let guard = self.open.lock().unwrap();
        let (_guard, waited) = self.opened.wait_timeout_while(guard, DEADLINE, |open| !*open).unwrap();
        assert!(!waited.timed_out(), "nobody opens");
    }
}
