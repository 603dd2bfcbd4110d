//! Time, for tasks of a host.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use septa_driver::runtime::Runtime;

/// Waits so long by the clock of the host.
pub(super) async fn sleep(runtime: &dyn Runtime, duration: Duration) {
    let mut timer = runtime.timer();
    timer.reset(Some(runtime.now().saturating_add(duration)));
    poll_fn(|cx| timer.poll_expired(cx)).await;
}

/// What `future` gives, unless that takes longer than so long by the clock of the host: then it is dropped.
pub(super) async fn within<T>(runtime: &dyn Runtime, duration: Duration, future: impl Future<Output = T>) -> Option<T> {
    let (mut sleep, mut future) = (pin!(sleep(runtime, duration)), pin!(future));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
    })
    .await
}
