//! Those who want to hear of everything as it is written. Whoever doesn't keep
//! up misses some, and is told how many.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Most of them at once.
const FOLLOWERS_MAX: usize = 16;
/// Chunks that wait for one of them; each is of at most
/// [`CHUNK_BYTES_MAX`](super::thread::CHUNK_BYTES_MAX), and shared.
const CHUNKS_WAITING_MAX: usize = 32;

/// Too many follow already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{FOLLOWERS_MAX} follow the events already")]
pub struct TooManyFollow;

#[derive(Default)]
pub(super) struct Followers(Mutex<Vec<Follower>>);

struct Follower {
    chunks: Sender<Arc<[u8]>>,
    missed: Arc<AtomicU64>,
}

/// The events from some moment on. Dropped, it follows no more.
pub struct Following {
    chunks: Receiver<Arc<[u8]>>,
    missed: Arc<AtomicU64>,
}

/// What a follower gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// Frames, one record each; read by
    /// [`Reader::of_memory`](portcullis_harness::journal::Reader::of_memory).
    Frames(Arc<[u8]>),
    /// So many records are missing here: it didn't keep up.
    Missed(u64),
}

impl Followers {
    pub(super) fn subscribe(&self) -> Result<Following, TooManyFollow> {
        let mut followers = self.0.lock();
        followers.retain(|follower| !follower.chunks.is_closed());
        if followers.len() >= FOLLOWERS_MAX {
            return Err(TooManyFollow);
        }
        let (sender, chunks) = channel(CHUNKS_WAITING_MAX);
        let missed = Arc::new(AtomicU64::new(0));
        followers.push(Follower { chunks: sender, missed: Arc::clone(&missed) });
        Ok(Following { chunks, missed })
    }

    /// There is nothing more to come.
    pub(super) fn end(&self) {
        self.0.lock().clear();
    }

    pub(super) fn tell(&self, frames: &Arc<[u8]>, records: u64) {
        let mut followers = self.0.lock();
        followers.retain(|follower| {
            if follower.chunks.try_send(Arc::clone(frames)).is_err() {
                follower.missed.fetch_add(records, Ordering::Relaxed);
            }
            !follower.chunks.is_closed()
        });
    }
}

impl Following {
    /// What comes next; none when the journal has ended.
    pub async fn next(&mut self) -> Option<Followed> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The same, for who polls.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Followed>> {
        match self.missed.swap(0, Ordering::Relaxed) {
            0 => self.chunks.poll_recv(context).map(|frames| frames.map(Followed::Frames)),
            missed => Poll::Ready(Some(Followed::Missed(missed))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_does_not_keep_up_is_told_how_much_is_missing() {
        let followers = Followers::default();
        let mut slow = followers.subscribe().unwrap();
        let frames: Arc<[u8]> = vec![1].into();
        for _ in 0..CHUNKS_WAITING_MAX + 3 {
            followers.tell(&frames, 2);
        }
        assert_eq!(slow.next().await, Some(Followed::Missed(6)));
        for _ in 0..CHUNKS_WAITING_MAX {
            assert_eq!(slow.next().await, Some(Followed::Frames(Arc::clone(&frames))));
        }
        drop(followers);
        assert_eq!(slow.next().await, None);
    }

    #[test]
    fn there_is_room_for_so_many_and_those_who_go_make_room() {
        let followers = Followers::default();
        let mut all: Vec<_> = (0..FOLLOWERS_MAX).map(|_| followers.subscribe().unwrap()).collect();
        assert_eq!(followers.subscribe().err(), Some(TooManyFollow));
        all.pop();
        assert!(followers.subscribe().is_ok());
    }
}
