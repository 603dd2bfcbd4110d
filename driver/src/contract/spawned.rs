//! Tasks whose end can be waited for.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::runtime::Runtime;

/// A task of the runtime. Dropping this does not stop it.
pub(super) struct Spawned<T>(Arc<Mutex<State<T>>>);

enum State<T> {
    Running(Option<Waker>),
    /// `None` if it was dropped or has panicked.
    Over(Option<T>),
}

pub(super) fn spawn<T: Send + 'static>(
    runtime: &dyn Runtime,
    name: &str,
    future: impl Future<Output = T> + Send + 'static,
) -> Spawned<T> {
    let state = Arc::new(Mutex::new(State::Running(None)));
    let report = Report { state: state.clone(), output: None };
    runtime.spawn(name, Box::pin(async move { report.done(future.await) }));
    Spawned(state)
}

/// Work that blocks, whose end can be waited for.
pub(super) fn spawn_blocking<T: Send + 'static>(
    runtime: &dyn Runtime,
    work: impl FnOnce() -> T + Send + 'static,
) -> Spawned<T> {
    let state = Arc::new(Mutex::new(State::Running(None)));
    let report = Report { state: state.clone(), output: None };
    runtime.spawn_blocking(Box::new(move || report.done(work())));
    Spawned(state)
}

impl<T> Future for Spawned<T> {
    /// `None` if the task was dropped or has panicked.
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Over(output) => Poll::Ready(output.take()),
            State::Running(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Tells of the end, however it comes.
struct Report<T> {
    state: Arc<Mutex<State<T>>>,
    output: Option<T>,
}

impl<T> Report<T> {
    fn done(mut self, output: T) {
        self.output = Some(output);
    }
}

impl<T> Drop for Report<T> {
    fn drop(&mut self) {
        let over = State::Over(self.output.take());
        let before = std::mem::replace(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner), over);
        if let State::Running(Some(waker)) = before {
            waker.wake();
        }
    }
}
