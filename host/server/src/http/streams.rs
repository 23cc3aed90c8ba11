//! HTTP/2 streams: tasks of their own, each of which the sweep can end alone,
//! so that one whose reply nobody takes doesn't hold its upstream connection
//! for as long as others on the same connection move. It must not know what
//! they carry.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use hyper::rt::Executor;
use tokio::sync::Notify;

tokio::task_local! {
    static CURRENT: Arc<Stream>;
}

/// One stream, as the sweep sees it.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// When a piece of one of its bodies last passed, by the worker's clock.
    pub(super) moved_at: AtomicU64,
    cut: Notify,
}

impl Stream {
    /// The stream whose task this is.
    pub(super) fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// Ends the stream's task, wherever it is: the client is told by a reset.
    pub(super) fn cut(&self) {
        self.cut.notify_one();
    }
}

/// Runs what hyper spawns for HTTP/2: a task for each stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streams;

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        let stream = Arc::<Stream>::default();
        let seen = Arc::clone(&stream);
        tokio::spawn(CURRENT.scope(stream, async move {
            tokio::select! {
                biased;
                () = seen.cut.notified() => {}
                _ = task => {}
            }
        }));
    }
}
