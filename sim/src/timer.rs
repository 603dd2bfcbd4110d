//! Timers, which go by the clock of a host.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use septa_core::Instant;
use septa_driver::runtime::Timer;

use crate::{clock::Clock, schedule::AlarmId};

/// A timer in virtual time.
pub(crate) struct SimTimer {
    clock: Arc<Clock>,
    deadline: Option<Instant>,
    alarm: Option<AlarmId>,
    /// It was said that the deadline has come.
    has_fired: bool,
}

impl SimTimer {
    pub(crate) fn new(clock: Arc<Clock>) -> Self {
        Self { clock, deadline: None, alarm: None, has_fired: false }
    }

    fn stop_alarm(&mut self) {
        if let Some(id) = self.alarm.take() {
            self.clock.schedule().stop(id);
        }
    }
}

impl Timer for SimTimer {
    fn reset(&mut self, deadline: Option<Instant>) {
        let deadline = deadline.filter(|deadline| *deadline != Instant::NEVER);
        self.has_fired = false;
        if self.deadline != deadline {
            self.stop_alarm();
            self.deadline = deadline;
        }
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        if deadline <= self.clock.now() {
            self.stop_alarm();
            if !std::mem::replace(&mut self.has_fired, true) {
                self.clock.count_timer();
            }
            return Poll::Ready(());
        }
        if !self.alarm.as_ref().is_some_and(|id| self.clock.schedule().keep(id, cx.waker())) {
            self.stop_alarm();
            self.alarm = Some(self.clock.set_alarm(deadline, cx.waker().clone()));
        }
        Poll::Pending
    }
}

impl Drop for SimTimer {
    fn drop(&mut self) {
        self.stop_alarm();
    }
}
