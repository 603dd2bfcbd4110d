//! Keep-alive pings and the round-trip time they measure (yamux spec, ping).

use core::time::Duration;

use super::{KeepAlive, KeepAliveTimeout};
use crate::Instant;

/// Longest round trip that is reported. A remote can delay its answers at will; what it gains by that
/// (larger windows, longer patience) ends here.
pub const MAX_RTT: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum State {
    /// No keep-alive.
    Off,
    Waiting {
        next: Instant,
    },
    /// Nothing was sent yet. The first ping rides with the first frames, so that it costs no write of
    /// its own, and leaves alone only if there are none by `latest`.
    First {
        latest: Instant,
    },
    /// The ping is to be framed.
    Due,
    /// An answer must come by `until`.
    Sent {
        at: Instant,
        until: Instant,
    },
}

/// Sends one ping with the first frames and one each interval, never two at once: peers abort on bursts.
#[derive(Debug)]
pub(super) struct Pinger {
    state: State,
    value: u32,
    rtt: Option<Duration>,
}

impl Pinger {
    pub(super) fn new(config: Option<KeepAlive>, now: Instant) -> Self {
        let first = |keep_alive: KeepAlive| State::First { latest: now.saturating_add(keep_alive.interval) };
        Self { state: config.map_or(State::Off, first), value: 0, rtt: None }
    }

    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    pub(super) fn is_due(&self) -> bool {
        matches!(self.state, State::Due)
    }

    /// A ping leaves if anything does.
    pub(super) fn may_ride(&self) -> bool {
        matches!(self.state, State::Due | State::First { .. })
    }

    /// The first ping waits for company no longer.
    pub(super) fn hurry(&mut self) {
        if let State::First { .. } = self.state {
            self.state = State::Due;
        }
    }

    /// A ping leaves now unless one is on its way; false if there are none.
    pub(super) fn probe(&mut self) -> bool {
        if let State::First { .. } | State::Waiting { .. } = self.state {
            self.state = State::Due;
        }
        !matches!(self.state, State::Off)
    }

    /// The value of the ping that is framed now. `keep_alive` is that with which this was made.
    pub(super) fn sent(&mut self, now: Instant, keep_alive: Option<KeepAlive>) -> u32 {
        self.value = self.value.wrapping_add(1);
        self.state = State::Sent { at: now, until: now.saturating_add(keep_alive.unwrap_or_default().timeout) };
        self.value
    }

    /// Handles an answer; false if nobody asked for it, in which case it changes nothing. `keep_alive` as for
    /// [`sent`](Self::sent).
    pub(super) fn pong(&mut self, value: u32, now: Instant, keep_alive: Option<KeepAlive>) -> bool {
        let State::Sent { at, .. } = self.state else { return false };
        if value != self.value {
            return false;
        }
        self.rtt = Some(now.saturating_duration_since(at).min(MAX_RTT));
        self.state = State::Waiting { next: at.saturating_add(keep_alive.unwrap_or_default().interval).max(now) };
        true
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Off | State::Due => None,
            State::Waiting { next } | State::First { latest: next } => Some(next),
            State::Sent { until, .. } => Some(until),
        }
    }

    /// True if an interval has passed and a ping is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<bool, KeepAliveTimeout> {
        match self.state {
            State::Waiting { next } | State::First { latest: next } if next <= now => {
                self.state = State::Due;
                Ok(true)
            }
            State::Sent { until, .. } if until <= now => Err(KeepAliveTimeout),
            _ => Ok(false),
        }
    }
}
