//! How late the task of the node runs.

use std::time::Duration;

use septa_core::Instant;

/// The longest lag of the last one to two periods.
#[derive(Default)]
pub(super) struct Lag {
    /// Of the period before, and of this one.
    worst: [Duration; 2],
    since: Option<Instant>,
}

const PERIOD: Duration = Duration::from_secs(30);

impl Lag {
    pub(super) fn note(&mut self, now: Instant, lag: Duration) {
        self.turn(now);
        self.worst[1] = self.worst[1].max(lag);
    }

    pub(super) fn worst(&mut self, now: Instant) -> Duration {
        self.turn(now);
        self.worst[0].max(self.worst[1])
    }

    fn turn(&mut self, now: Instant) {
        let age = now.saturating_duration_since(*self.since.get_or_insert(now));
        if age >= PERIOD {
            let before = if age < PERIOD * 2 { self.worst[1] } else { Duration::ZERO };
            (self.worst, self.since) = ([before, Duration::ZERO], Some(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_is_remembered_for_a_while_and_then_forgotten() {
        let at = |secs: u64| Instant::from_nanos(secs * 1_000_000_000 + 1);
        let mut lag = Lag::default();
        lag.note(at(0), Duration::from_millis(7));
        lag.note(at(1), Duration::from_millis(3));
        assert_eq!(lag.worst(at(29)), Duration::from_millis(7));
        lag.note(at(31), Duration::from_millis(2));
        assert_eq!(lag.worst(at(59)), Duration::from_millis(7), "the period before counts");
        assert_eq!(lag.worst(at(62)), Duration::from_millis(2));
        assert_eq!(lag.worst(at(1000)), Duration::ZERO);
    }
}
