//! Futures with a deadline.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use septa_core::Instant;

use crate::runtime::Runtime;

/// Runs `future` until `deadline`; `None` if it is not done by then. The future goes first, so that a
/// late poll of a finished one does not count as a timeout.
pub(crate) async fn within<F: Future>(runtime: &dyn Runtime, deadline: Instant, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut timer = runtime.timer();
    timer.reset(Some(deadline));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => timer.poll_expired(cx).map(|()| None),
    })
    .await
}

/// `duration` from now.
pub(crate) fn after(runtime: &dyn Runtime, duration: Duration) -> Instant {
    runtime.now().saturating_add(duration)
}
