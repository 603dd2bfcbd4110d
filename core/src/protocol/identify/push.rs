//! Identify push ("libp2p identify spec, identify/push"): identify with the roles of the stream swapped.

use super::{Dialer, Listener, MIN_PUSH_INTERVAL};
use crate::Instant;

/// The end that opened a push stream and says who it is now. It writes what the listener of identify
/// writes: always all of it, because go takes what is left out for gone.
pub type PushDialer = Listener;

/// The end that accepted a push stream and reads what the dialer of identify reads. What is absent in
/// its result is unchanged; [`RemoteInfo::pushed`](super::RemoteInfo::pushed) knows that rule.
pub type PushListener = Dialer;

/// When one connection is to be told of changes: one push at a time, never two within
/// [`MIN_PUSH_INTERVAL`], and always one more after the last change.
///
/// Whoever drives it says what has [changed](Self::changed), waits until a push is
/// [due](Self::poll_due), [starts](Self::start) it, builds the message at that moment, and reports
/// how it [ended](Self::finished). So a change is never lost and the latest state wins.
#[derive(Clone, Debug, Default)]
pub struct PushSchedule {
    state: State,
    last_started: Option<Instant>,
}

/// How a push ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PushOutcome {
    /// It was written to its end.
    Sent,
    /// The stream or the peer failed. It is not repeated before the next change: a peer that fails
    /// every push would otherwise cost one each second for ever.
    Failed,
    /// The peer does not speak the protocol. This connection is not pushed to again.
    Unsupported,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    Idle,
    Pending,
    Pushing {
        /// Something has changed after the message was built.
        again: bool,
    },
    Unsupported,
}

impl PushSchedule {
    /// Something that identify tells is different now. Returns whether a push was neither pending nor
    /// under way before and is pending now: somebody has to wait for [`poll_due`](Self::poll_due).
    pub fn changed(&mut self) -> bool {
        let idle = self.state == State::Idle;
        self.state = match self.state {
            State::Idle | State::Pending => State::Pending,
            State::Pushing { .. } => State::Pushing { again: true },
            State::Unsupported => State::Unsupported,
        };
        idle
    }

    /// When the pending push may start, which may be in the past; `None` if none is pending.
    pub fn poll_due(&self) -> Option<Instant> {
        let earliest = self.last_started.map_or(Instant::EPOCH, |last| last.saturating_add(MIN_PUSH_INTERVAL));
        (self.state == State::Pending).then_some(earliest)
    }

    /// Starts the pending push; false, and nothing happens, if none is due. Build the message after
    /// this call.
    pub fn start(&mut self, now: Instant) -> bool {
        let due = self.poll_due().is_some_and(|due| due <= now);
        if due {
            self.state = State::Pushing { again: false };
            self.last_started = Some(now);
        }
        due
    }

    /// The push that was started is over. Does nothing if none was.
    pub fn finished(&mut self, outcome: PushOutcome) {
        self.state = match (self.state, outcome) {
            (State::Pushing { .. }, PushOutcome::Unsupported) => State::Unsupported,
            (State::Pushing { again: true }, _) => State::Pending,
            (State::Pushing { again: false }, _) => State::Idle,
            (state, _) => state,
        };
    }

    /// Whether the peer has refused the protocol, so that changes lead to no push.
    pub fn is_unsupported(&self) -> bool {
        self.state == State::Unsupported
    }
}
