//! A visit goes on when its visitor has gone: a scanner that sends and hangs up
//! is judged like one that waits for the answer (rule 14).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;

/// How long a visit goes on without its visitor. Attempts that have their turn
/// aren't bounded by this: they run in tasks of their own.
const ALONE_TIME_MAX: Duration = Duration::from_secs(5);

/// A future that is finished in a task of its own if it is dropped before its end.
pub(super) struct Finishing<F: Future<Output: Send> + Send + 'static>(Option<Pin<Box<F>>>);

impl<F: Future<Output: Send> + Send + 'static> Finishing<F> {
    pub(super) fn new(future: F) -> Self {
        Self(Some(Box::pin(future)))
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for Finishing<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(future) = &mut self.0 else { return Poll::Pending };
        let polled = future.as_mut().poll(context);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Finishing<F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        if let (Some(future), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(tokio::time::timeout(ALONE_TIME_MAX, future));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_dropped_early_is_finished_all_the_same() {
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let (done, finished) = tokio::sync::oneshot::channel();
        let mut finishing = Box::pin(Finishing::new(async move {
            gone.await.unwrap();
            done.send(7).unwrap();
        }));
        assert!(futures_poll(finishing.as_mut()).is_pending());
        drop(finishing);
        go.send(()).unwrap();
        assert_eq!(finished.await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_alone_for_so_long_and_no_longer() {
        let (done, finished) = tokio::sync::oneshot::channel::<()>();
        let mut finishing = Box::pin(Finishing::new(async move {
            std::future::pending::<()>().await;
            drop(done);
        }));
        assert!(futures_poll(finishing.as_mut()).is_pending());
        drop(finishing);
        assert!(finished.await.is_err(), "dropped with the future");
    }

    fn futures_poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(std::task::Waker::noop()))
    }
}
