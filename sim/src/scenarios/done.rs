//! Waiting until so many things are done.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
    task::{Poll, Waker},
};

/// Counts down. Clones are the same.
#[derive(Clone, Debug)]
pub struct Done(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    left: usize,
    waiting: Option<Waker>,
}

impl Done {
    /// So many things are to be done.
    pub fn after(left: usize) -> Self {
        Self(Arc::new(Mutex::new(State { left, waiting: None })))
    }

    /// One of them is.
    pub fn count_down(&self) {
        let waiting = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.left = state.left.saturating_sub(1);
            if state.left == 0 { state.waiting.take() } else { None }
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Waits until all are. Only one task at a time.
    pub async fn wait(&self) {
        poll_fn(|cx| {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if state.left == 0 {
                return Poll::Ready(());
            }
            state.waiting = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
