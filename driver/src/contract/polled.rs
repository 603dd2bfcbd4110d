//! Futures dropped after each of their polls.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

/// More polls than any future of the suite needs.
const ENOUGH: usize = 200;

/// Polls a future so many times at most, then drops it.
pub(super) struct Polled<F> {
    future: Option<Pin<Box<F>>>,
    polls: usize,
}

pub(super) fn polled<F: Future>(polls: usize, future: F) -> Polled<F> {
    Polled { future: Some(Box::pin(future)), polls }
}

impl<F: Future> Future for Polled<F> {
    /// `None` if the future was dropped.
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls > 0 {
            self.polls -= 1;
            let future = self.future.as_mut().expect("polled after it was done");
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
        }
        if self.polls > 0 {
            return Poll::Pending;
        }
        self.future = None;
        Poll::Ready(None)
    }
}

/// Makes an attempt with 0 polls, with 1, and so on, until one says that its future came to its end.
pub(super) async fn at_every_poll(mut attempt: impl AsyncFnMut(usize) -> bool) {
    for polls in 0..ENOUGH {
        if attempt(polls).await {
            assert!(polls > 0, "a future that was never polled has come to its end");
            return;
        }
    }
    panic!("not even {ENOUGH} polls were enough");
}
