//! Checks of secrets: cheap ones in place, dear ones on a few threads of their
//! own with a bounded queue, so that guessing can't hold up everything else.
//!
//! It must not know requests; the gate bounds how many one source may have.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tokio::sync::oneshot;

use super::{Checked, Credentials, Secret};

/// Checks that wait for a thread, for each thread there is.
const QUEUE_PER_THREAD: usize = 32;

struct Job {
    credentials: Arc<Credentials>,
    id: String,
    secret: Secret,
    done: oneshot::Sender<Checked>,
}

/// The threads that check hashed secrets. They end when the pool is dropped,
/// after the checks already queued.
pub struct HashPool {
    jobs: Sender<Job>,
}

/// The threads can't be started.
#[derive(Debug, thiserror::Error)]
#[error("can't start a thread to check secrets: {0}")]
pub struct HashPoolError(std::io::Error);

/// A secret wasn't checked: a 503, and no attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotChecked {
    /// Too many checks are waiting.
    #[error("too many secrets are waiting to be checked")]
    Busy,
    /// The check itself broke down.
    #[error("the check of a secret broke down")]
    Broken,
}

impl HashPool {
    /// Starts so many threads, half the cores if not said.
    ///
    /// # Errors
    /// [`HashPoolError`] if the operating system gives no thread.
    pub fn start(threads: Option<std::num::NonZeroUsize>) -> Result<Self, HashPoolError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = threads.map_or((cores / 2).max(1), usize::from);
        let (jobs, queue) = bounded(threads * QUEUE_PER_THREAD);
        for _ in 0..threads {
            let queue = queue.clone();
            let thread = std::thread::Builder::new().name("secrets".to_owned());
            thread.spawn(move || work(&queue)).map_err(HashPoolError)?;
        }
        Ok(Self { jobs })
    }

    /// Checks a secret against credentials.
    ///
    /// # Errors
    /// [`NotChecked`] if too many others wait.
    pub async fn check(
        &self,
        credentials: &Arc<Credentials>,
        id: &str,
        secret: &Secret,
    ) -> Result<Checked, NotChecked> {
        if !credentials.is_dear() {
            return Ok(credentials.check(id, secret.expose()));
        }
        let (done, checked) = oneshot::channel();
        let job = Job { credentials: Arc::clone(credentials), id: id.to_owned(), secret: secret.clone(), done };
        match self.jobs.try_send(job) {
            Ok(()) => checked.await.map_err(|_| NotChecked::Broken),
            Err(TrySendError::Full(_)) => Err(NotChecked::Busy),
            Err(TrySendError::Disconnected(_)) => Err(NotChecked::Broken),
        }
    }
}

fn work(queue: &Receiver<Job>) {
    for job in queue {
        let check = || job.credentials.check(&job.id, job.secret.expose());
        // A panic in a hash drops `done`, which tells its caller; the thread goes on.
        if let Ok(checked) = catch_unwind(AssertUnwindSafe(check)) {
            let _ = job.done.send(checked);
        }
    }
}
