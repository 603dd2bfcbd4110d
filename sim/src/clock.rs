//! Virtual time and the timers that wait for it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use septa_core::Instant;
use septa_driver::runtime::Timer;

/// Time stands still until [`advance`](Clock::advance).
#[derive(Debug)]
pub(crate) struct Clock(Mutex<State>);

#[derive(Debug)]
struct State {
    now: Instant,
    /// Ordered by deadline, then by when they were armed.
    waiting: BTreeMap<(Instant, u64), Waker>,
    next_key: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State { now: Instant::EPOCH, waiting: BTreeMap::new(), next_key: 0 }))
    }

    pub(crate) fn now(&self) -> Instant {
        self.lock(|state| state.now)
    }

    /// Jumps to the next deadline and wakes who waits for it. False if nobody waits.
    pub(crate) fn advance(&self) -> bool {
        let due: Vec<Waker> = self.lock(|state| {
            let Some((&(deadline, _), _)) = state.waiting.first_key_value() else { return Vec::new() };
            state.now = state.now.max(deadline);
            let later = state.waiting.split_off(&(deadline, u64::MAX));
            std::mem::replace(&mut state.waiting, later).into_values().collect()
        });
        let any = !due.is_empty();
        due.into_iter().for_each(Waker::wake);
        any
    }

    fn wait(&self, deadline: Instant, waker: Waker) -> (Instant, u64) {
        self.lock(|state| {
            state.next_key += 1;
            let key = (deadline, state.next_key);
            state.waiting.insert(key, waker);
            key
        })
    }

    fn forget(&self, key: (Instant, u64)) {
        drop(self.lock(|state| state.waiting.remove(&key)));
    }

    fn lock<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A timer in virtual time.
pub(crate) struct SimTimer {
    clock: Arc<Clock>,
    deadline: Option<Instant>,
    waiting: Option<(Instant, u64)>,
}

impl SimTimer {
    pub(crate) fn new(clock: Arc<Clock>) -> Self {
        Self { clock, deadline: None, waiting: None }
    }

    fn stop_waiting(&mut self) {
        if let Some(key) = self.waiting.take() {
            self.clock.forget(key);
        }
    }
}

impl Timer for SimTimer {
    fn reset(&mut self, deadline: Option<Instant>) {
        self.stop_waiting();
        self.deadline = deadline.filter(|deadline| *deadline != Instant::NEVER);
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stop_waiting();
        let Some(deadline) = self.deadline else { return Poll::Pending };
        if deadline <= self.clock.now() {
            return Poll::Ready(());
        }
        self.waiting = Some(self.clock.wait(deadline, cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for SimTimer {
    fn drop(&mut self) {
        self.stop_waiting();
    }
}
