//! The clocks of a host.

use std::{
    cell::Cell,
    sync::{Arc, Mutex, PoisonError},
    task::Waker,
    time::Duration,
};

use septa_core::Instant;

use crate::{
    draws::Draws,
    fired::Fired,
    network::HostId,
    plan::FaultKind,
    schedule::{Alarm, AlarmId, Schedule},
    stats::Counters,
    world::NOBODY,
};

const MILLION: u128 = 1_000_000;
/// When the simulation begins, by the calendar: 2020. So there is room to be set back.
const CALENDAR: Duration = Duration::from_secs(1_577_836_800);

/// What a host takes for the time. It goes with true time until a fault touches it.
pub(crate) struct Clock {
    schedule: Arc<Schedule>,
    fired: Arc<Fired>,
    counters: Arc<Counters>,
    host: HostId,
    state: Mutex<State>,
}

struct State {
    luck: Draws,
    /// At this true time the clock showed that, and it has gone at one rate since.
    since: (Instant, Instant),
    rate: Rate,
    /// How many faults let it stand still.
    pauses: u32,
    /// In true time: when the first of them began.
    paused_at: Instant,
    /// Parts per million, of all faults that let it drift together.
    ppm: i64,
    /// How far ahead the calendar is, in seconds.
    calendar: i64,
    /// By how much alarms are late at most, once for each fault.
    lateness: Vec<Duration>,
    /// None if a fault has never touched it.
    unseen: Option<Box<Unseen>>,
}

/// Faults that nobody has seen the doing of yet.
#[derive(Default)]
struct Unseen {
    /// In true time: when each pause began that lasts, behind the number of its fault.
    pauses: Vec<(u64, Instant)>,
    /// How many calendar jumps there were, and by how many seconds together.
    jumps: (u64, i64),
    /// In true time: when each drift began, behind the number of its fault.
    drifts: Vec<(u64, Instant)>,
    /// Drifts have made the clock gain or lose something at an earlier rate than that of now.
    has_drifted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rate {
    True,
    Standing,
    /// So many millionths of true time. Small, as each host has a clock.
    Millionths(u64),
}

impl Clock {
    pub(crate) fn new(
        schedule: Arc<Schedule>,
        fired: Arc<Fired>,
        counters: Arc<Counters>,
        host: HostId,
        luck: Draws,
    ) -> Self {
        let state = State {
            luck,
            since: (Instant::EPOCH, Instant::EPOCH),
            rate: Rate::True,
            pauses: 0,
            paused_at: Instant::EPOCH,
            ppm: 0,
            calendar: 0,
            lateness: Vec::new(),
            unseen: None,
        };
        Self { schedule, fired, counters, host, state: Mutex::new(state) }
    }

    pub(crate) fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// A timer has fired. Those by which the simulator itself waits are no part of what a run does.
    pub(crate) fn count_timer(&self) {
        if self.host != NOBODY {
            self.counters.add_timer();
        }
    }

    /// For whoever runs on the host: what it shows wrongly counts.
    pub(crate) fn now(&self) -> Instant {
        let now = self.schedule.now();
        let (shown, seen) = self.lock(|state| (state.shown_at(now), state.see(now)));
        self.count(seen);
        shown
    }

    /// The time since 1970 by the calendar of the host.
    pub(crate) fn unix_time(&self) -> Duration {
        let ran = self.now().saturating_duration_since(Instant::EPOCH).saturating_add(CALENDAR);
        let (ahead, jumps) = self.lock(|state| {
            let jumps = state.unseen.as_mut().map(|unseen| std::mem::take(&mut unseen.jumps));
            (state.calendar, jumps.unwrap_or_default())
        });
        // Those that take back each other before somebody looks change nothing.
        if jumps.1 != 0 {
            (0..jumps.0).for_each(|_| self.fired.add(FaultKind::CalendarJump, self.host));
        }
        let by = Duration::from_secs(ahead.unsigned_abs());
        if ahead < 0 { ran.saturating_sub(by) } else { ran.saturating_add(by) }
    }

    fn count(&self, seen: Seen) {
        (0..seen.pauses).for_each(|_| self.fired.add(FaultKind::ClockPause, self.host));
        (0..seen.drifts).for_each(|_| self.fired.add(FaultKind::ClockDrift, self.host));
    }

    /// Stands still until each fault that wants it so is [over](Self::resume).
    pub(crate) fn pause(&self, fault: u64) {
        self.set(|state, now| {
            if state.pauses == 0 {
                state.paused_at = now;
            }
            state.pauses += 1;
            state.unseen().pauses.push((fault, now));
        });
    }

    /// Jumps ahead by the time for which it stood still, once nothing stops it any more.
    pub(crate) fn resume(&self, fault: u64) {
        self.set(|state, now| {
            state.pauses = state.pauses.saturating_sub(1);
            // One that is over at once stops nothing.
            state.unseen().pauses.retain(|pause| *pause != (fault, now));
            if state.pauses == 0 {
                let missed = now.saturating_duration_since(state.paused_at);
                state.since.1 = state.since.1.saturating_add(missed);
            }
        });
    }

    /// Runs faster, or slower, by so many parts per million.
    pub(crate) fn drift(&self, fault: u64, ppm: i32) {
        self.set(|state, now| {
            state.ppm = state.ppm.saturating_add(ppm.into());
            if ppm != 0 {
                state.unseen().drifts.push((fault, now));
            }
        });
    }

    /// What [`drift`](Self::drift) has done is over. What the clock has gained or lost stays so.
    pub(crate) fn stop_drift(&self, fault: u64, ppm: i32) {
        self.set(|state, now| {
            state.ppm = state.ppm.saturating_sub(ppm.into());
            state.unseen().drifts.retain(|drift| *drift != (fault, now));
        });
    }

    /// Moves the calendar. By nothing at all is no jump.
    pub(crate) fn jump(&self, seconds: i64) {
        if seconds == 0 {
            return;
        }
        self.lock(|state| {
            state.calendar = state.calendar.saturating_add(seconds);
            let (count, sum) = &mut state.unseen().jumps;
            (*count, *sum) = (*count + 1, sum.saturating_add(seconds));
        });
    }

    /// Alarms that are set from now on go off late, by a time drawn up to this.
    pub(crate) fn be_late(&self, by: Duration) {
        self.lock(|state| state.lateness.push(by));
    }

    /// What [`be_late`](Self::be_late) has done is over. When all of it is, no alarm is late any more that was set before.
    pub(crate) fn be_punctual(&self, by: Duration) {
        let (since, rate, is_over) = self.lock(|state| {
            if let Some(place) = state.lateness.iter().position(|other| *other == by) {
                state.lateness.remove(place);
            }
            (state.since, state.rate, state.lateness.is_empty())
        });
        if is_over {
            self.schedule.hurry_alarms(self.host, |deadline| true_time(since, rate, deadline));
        }
    }

    fn set(&self, change: impl FnOnce(&mut State, Instant)) {
        let now = self.schedule.now();
        let (since, rate, was_standing) = self.lock(|state| {
            let was_standing = state.pauses > 0;
            let is_drifting = state.is_drifting(now);
            state.unseen().has_drifted |= is_drifting;
            state.since = (now, state.shown_at(now));
            change(state, now);
            state.rate = state.rate();
            (state.since, state.rate, was_standing && state.pauses == 0)
        });
        let is_overdue = Cell::new(false);
        self.schedule.move_alarms(self.host, |deadline| {
            is_overdue.set(is_overdue.get() || deadline < since.1);
            true_time(since, rate, deadline)
        });
        if was_standing {
            // Nobody who looks from now on sees that it ever stood still: but some have waited for it.
            let unseen = self.lock(|state| std::mem::take(&mut state.unseen().pauses));
            let pauses = if is_overdue.get() { unseen.len() } else { 0 };
            self.count(Seen { pauses, drifts: 0 });
        }
    }

    pub(crate) fn set_alarm(&self, deadline: Instant, waker: Waker) -> AlarmId {
        let (at, late) = self.lock(|state| {
            let late = state.draw_lateness();
            (true_time(state.since, state.rate, deadline), late)
        });
        let alarm = Alarm { waker, host: self.host, deadline, is_late: !late.is_zero() };
        self.schedule.set(at.map(|at| at.saturating_add(late)), alarm)
    }

    fn lock<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How many faults of each kind somebody has seen the doing of.
#[derive(Default)]
struct Seen {
    pauses: usize,
    drifts: usize,
}

impl State {
    /// Somebody looks at the clock.
    fn see(&mut self, now: Instant) -> Seen {
        let mut seen = Seen::default();
        let is_drifting = self.is_drifting(now);
        let Some(unseen) = &mut self.unseen else { return seen };
        if !unseen.pauses.is_empty() {
            let before = unseen.pauses.len();
            unseen.pauses.retain(|(_, began)| *began >= now);
            seen.pauses = before - unseen.pauses.len();
        }
        if !unseen.drifts.is_empty() && (unseen.has_drifted || is_drifting) {
            let before = unseen.drifts.len();
            unseen.drifts.retain(|(_, began)| *began >= now);
            seen.drifts = before - unseen.drifts.len();
        }
        unseen.has_drifted &= !unseen.drifts.is_empty();
        seen
    }

    fn unseen(&mut self) -> &mut Unseen {
        self.unseen.get_or_insert_default()
    }

    /// It has gained or lost something since its rate is this one.
    fn is_drifting(&self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since.0);
        matches!(self.rate, Rate::Millionths(_)) && self.shown_at(now) != self.since.1.saturating_add(passed)
    }

    fn rate(&self) -> Rate {
        match (self.pauses, self.ppm) {
            (0, 0) => Rate::True,
            // A clock that runs backwards, or a thousand times too slow, is not one that drifts.
            (0, ppm) => Rate::Millionths(u64::try_from(ppm.saturating_add(1_000_000)).unwrap_or(0).max(1_000)),
            _ => Rate::Standing,
        }
    }

    /// What the clock shows at a true time that is not before the last change.
    fn shown_at(&self, now: Instant) -> Instant {
        let passed = now.saturating_duration_since(self.since.0);
        match self.rate {
            Rate::True => self.since.1.saturating_add(passed),
            Rate::Standing => self.since.1,
            Rate::Millionths(rate) => {
                self.since.1.saturating_add(nanos(passed.as_nanos().saturating_mul(rate.into()) / MILLION))
            }
        }
    }

    fn draw_lateness(&mut self) -> Duration {
        match self.lateness.iter().max().map_or(0, Duration::as_nanos) {
            0 => Duration::ZERO,
            most => nanos(u128::from(self.luck.next_u64()) % (most + 1)),
        }
    }
}

/// The first true time at which a clock shows `deadline`, if it ever does at this rate.
fn true_time(since: (Instant, Instant), rate: Rate, deadline: Instant) -> Option<Instant> {
    let left = deadline.saturating_duration_since(since.1);
    let takes = match rate {
        Rate::True => left,
        Rate::Standing if left.is_zero() => left,
        Rate::Standing => return None,
        Rate::Millionths(rate) => nanos((left.as_nanos().saturating_mul(MILLION)).div_ceil(rate.into())),
    };
    Some(since.0.saturating_add(takes))
}

fn nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
