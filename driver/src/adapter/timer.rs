//! Timers of runtimes that offer only futures which sleep.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use septa_core::Instant;

use super::MonotonicClock;
use crate::runtime::Timer;

/// A [`Timer`] that makes a new future for each deadline, once somebody waits for it.
///
/// | state | left for | when |
/// |---|---|---|
/// | `Disarmed` | `Armed` | it is reset to a deadline |
/// | `Armed` | `Sleeping` | it is polled before the deadline |
/// | | `Expired` | it is polled later |
/// | `Sleeping` | `Expired` | the future is done |
/// | any | `Armed` or `Disarmed` | it is reset; dropping the future cancels it |
pub struct SleepTimer<F, S> {
    clock: MonotonicClock,
    sleep: F,
    state: State<S>,
}

enum State<S> {
    Disarmed,
    Armed(Instant),
    Sleeping(S),
    Expired,
}

impl<F: Fn(Duration) -> S, S: Future> SleepTimer<F, S> {
    /// A timer, not armed. `sleep` makes a future that is done after a duration and not before.
    pub fn new(clock: MonotonicClock, sleep: F) -> Self {
        Self { clock, sleep, state: State::Disarmed }
    }
}

impl<F, S> Timer for SleepTimer<F, S>
where
    F: Fn(Duration) -> S + Send,
    S: Future + Send + Unpin,
{
    fn reset(&mut self, deadline: Option<Instant>) {
        self.state = match deadline {
            None | Some(Instant::NEVER) => State::Disarmed,
            Some(deadline) => State::Armed(deadline),
        };
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let State::Armed(deadline) = self.state {
            let rest = deadline.saturating_duration_since(self.clock.now());
            self.state = if rest.is_zero() { State::Expired } else { State::Sleeping((self.sleep)(rest)) };
        }
        match &mut self.state {
            State::Disarmed | State::Armed(_) => Poll::Pending,
            State::Expired => Poll::Ready(()),
            State::Sleeping(sleep) => {
                ready!(Pin::new(sleep).poll(cx));
                self.state = State::Expired;
                Poll::Ready(())
            }
        }
    }
}

impl<F, S> fmt::Debug for SleepTimer<F, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SleepTimer")
    }
}
