//! Futures with a deadline.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use septa_core::Instant;

use crate::runtime::{Runtime, Timer};

/// Runs `future` until `deadline`; `None` if it is not done by then. The future goes first, so that a
/// late poll of a finished one does not count as a timeout.
pub(crate) async fn within<F: Future>(runtime: &dyn Runtime, deadline: Instant, future: F) -> Option<F::Output> {
    Watch::new(runtime).within(deadline, future).await
}

/// A timer for many futures, one after the other.
pub(crate) struct Watch(Box<dyn Timer>);

impl Watch {
    pub(crate) fn new(runtime: &dyn Runtime) -> Self {
        Self(runtime.timer())
    }

    /// As the function of that name.
    pub(crate) async fn within<F: Future>(&mut self, deadline: Instant, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut armed = false;
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => {
                // Not before it is needed: a future that is ready at once costs no timer.
                if !std::mem::replace(&mut armed, true) {
                    self.0.reset(Some(deadline));
                }
                self.0.poll_expired(cx).map(|()| None)
            }
        })
        .await
    }
}

/// `duration` from now.
pub(crate) fn after(runtime: &dyn Runtime, duration: Duration) -> Instant {
    runtime.now().saturating_add(duration)
}
