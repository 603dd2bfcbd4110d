//! What happens next.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
};

use septa_core::{Instant, Seed, SeedStream};

use crate::{executor::TaskId, growth, network::HostId};

/// Which of the things that happen at one instant happens first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// What was asked for first.
    Fifo,
    /// Any, drawn from the seed. Finds what depends on luck. Nothing is overtaken by more than 31 that were asked for
    /// later: a runtime is not fair, but it does not let a task starve either.
    Seeded,
}

/// By how many places in the order something may be put back.
const MAX_DELAY: u64 = 32;

/// Entries of the heap that lead nowhere any more and are left in it. Past this, and past as many as lead somewhere, they
/// are taken out.
const MAX_STALE: usize = 1024;

/// Tasks that can run and alarms that are set, ordered by time, then by a tie-breaker, then by who came first.
///
/// Time stands still until [`next`](Self::next) finds nothing more at this instant.
pub(crate) struct Schedule {
    /// In nanoseconds. Beside the rest because it is read far more often.
    now: AtomicU64,
    state: Mutex<State>,
}

struct State {
    heap: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
    luck: Option<SeedStream>,
    /// Entries of the heap for alarms that were stopped or moved.
    stale: usize,
    alarms: Vec<Slot>,
    free: Vec<usize>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at: Instant,
    tie: u64,
    /// Never twice the same.
    sequence: u64,
    what: What,
}

// There are thousands of them.
const _: () = assert!(size_of::<Entry>() == 32);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Task(TaskId),
    /// This alarm, if its sequence number is still that of the entry.
    Alarm(AlarmId),
}

#[derive(Default)]
struct Slot {
    /// That of its entry; 0 if there is none.
    sequence: u64,
    alarm: Option<Alarm>,
}

/// Wakes somebody at an instant.
#[derive(Clone)]
pub(crate) struct Alarm {
    pub(crate) waker: Waker,
    /// Whose clock it goes by; 0 is true time.
    pub(crate) host: HostId,
    /// By that clock.
    pub(crate) deadline: Instant,
    /// It goes off later than that, because a fault says so.
    pub(crate) is_late: bool,
}

/// Names an alarm that was set. Whoever set it does not use it any more once it was stopped; an entry of the heap may, and
/// compares sequence numbers.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct AlarmId(NonZero<u32>);

impl AlarmId {
    /// Small, and with room for none, as there are more places for alarms than alarms.
    fn new(slot: usize) -> Self {
        let slot = u32::try_from(slot).expect("fewer than four thousand million alarms");
        Self(NonZero::<u32>::MIN.checked_add(slot).expect("fewer than four thousand million alarms"))
    }

    fn slot(&self) -> usize {
        self.0.get() as usize - 1
    }
}

/// What happens now.
pub(crate) enum Due {
    /// A task runs.
    Task(TaskId),
    /// An alarm goes off, and is no longer set.
    Alarm(Alarm),
}

impl Schedule {
    pub(crate) fn new(order: Order, mut seed: Seed) -> Self {
        let luck = (order == Order::Seeded).then(|| seed.public_stream());
        let state =
            State { heap: BinaryHeap::new(), sequence: 0, luck, stale: 0, alarms: Vec::new(), free: Vec::new() };
        Self { now: AtomicU64::new(Instant::EPOCH.as_nanos()), state: Mutex::new(state) }
    }

    /// True time.
    pub(crate) fn now(&self) -> Instant {
        Instant::from_nanos(self.now.load(Ordering::Relaxed))
    }

    /// Lets a task run at this instant. The caller sees to it that it is in here only once.
    pub(crate) fn run(&self, task: TaskId) {
        self.lock(|state| state.push(self.now(), What::Task(task)));
    }

    /// The next thing that happens, to whose time the clock moves on. `None` if nothing is to happen.
    pub(crate) fn next(&self) -> Option<Due> {
        self.lock(|state| {
            while let Some(Reverse(entry)) = state.heap.pop() {
                let due = match entry.what {
                    What::Task(task) => Due::Task(task),
                    What::Alarm(id) => match state.go_off(id.slot(), entry.sequence) {
                        Some(alarm) => Due::Alarm(alarm),
                        None => {
                            state.stale = state.stale.saturating_sub(1);
                            continue;
                        }
                    },
                };
                self.now.fetch_max(entry.at.as_nanos(), Ordering::Relaxed);
                return Some(due);
            }
            None
        })
    }

    /// Sets an alarm for an instant of true time, or for none until it is [moved](Self::move_alarms).
    pub(crate) fn set(&self, at: Option<Instant>, alarm: Alarm) -> AlarmId {
        self.lock(|state| {
            let slot = state.free.pop().unwrap_or_else(|| {
                growth::make_room(&mut state.alarms);
                state.alarms.push(Slot::default());
                state.alarms.len() - 1
            });
            state.alarms[slot].alarm = Some(alarm);
            state.enter(slot, at);
            AlarmId::new(slot)
        })
    }

    /// Has it wake this one, at its time and in its place. False if it has gone off.
    pub(crate) fn keep(&self, id: &AlarmId, waker: &Waker) -> bool {
        // `will_wake` may say no although it would: so nothing but a clone depends on it. The former waker is dropped when
        // the lock is released, as in `stop`.
        let former = self.lock(|state| {
            let alarm = state.alarms[id.slot()].alarm.as_mut()?;
            let is_another = !alarm.waker.will_wake(waker);
            Some(is_another.then(|| std::mem::replace(&mut alarm.waker, waker.clone())))
        });
        former.is_some()
    }

    pub(crate) fn stop(&self, id: AlarmId) {
        // The waker is dropped when the lock is released: it may be the last that holds a task.
        let _alarm = self.lock(|state| {
            let slot = id.slot();
            state.leave(slot);
            let alarm = state.alarms[slot].alarm.take();
            state.free.push(slot);
            state.tidy();
            alarm
        });
    }

    /// The clock of a host was set: each of its alarms goes off when `at` says so for its deadline, or not at all for now.
    /// Looks at all alarms there are.
    pub(crate) fn move_alarms(&self, host: HostId, at: impl Fn(Instant) -> Option<Instant>) {
        self.lock(|state| {
            for slot in 0..state.alarms.len() {
                let of_host = state.alarms[slot].alarm.as_mut().filter(|alarm| alarm.host == host);
                if let Some(alarm) = of_host {
                    alarm.is_late = false;
                    let at = at(alarm.deadline);
                    state.enter(slot, at);
                }
            }
            state.tidy();
        });
    }

    /// Nothing makes the alarms of a host late any more: those that were to be go off when `at` says so for their
    /// deadline, or now if that is past. Looks at all alarms there are.
    pub(crate) fn hurry_alarms(&self, host: HostId, at: impl Fn(Instant) -> Option<Instant>) {
        let now = self.now();
        self.lock(|state| {
            for slot in 0..state.alarms.len() {
                let late = state.alarms[slot].alarm.as_mut().filter(|alarm| alarm.host == host && alarm.is_late);
                if let Some(alarm) = late {
                    let at = at(alarm.deadline);
                    // Whoever was made to wait until now was late all the same.
                    alarm.is_late = at.is_some_and(|at| at < now);
                    state.enter(slot, at.map(|at| at.max(now)));
                }
            }
            state.tidy();
        });
    }

    fn lock<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn push(&mut self, at: Instant, what: What) -> u64 {
        self.sequence += 1;
        let delay = self.luck.as_mut().map_or(0, |luck| luck.next_u64() % MAX_DELAY);
        let tie = self.sequence + delay;
        if self.heap.len() == self.heap.capacity() {
            self.heap.reserve_exact(growth::step(self.heap.len()));
        }
        self.heap.push(Reverse(Entry { at, tie, sequence: self.sequence, what }));
        self.sequence
    }

    /// Takes the entry from the alarm in a slot, if it has one.
    fn leave(&mut self, slot: usize) {
        let entry = std::mem::take(&mut self.alarms[slot].sequence);
        self.stale += usize::from(entry != 0);
    }

    /// Gives the alarm in a slot another entry, or none.
    fn enter(&mut self, slot: usize, at: Option<Instant>) {
        self.leave(slot);
        self.alarms[slot].sequence = at.map_or(0, |at| self.push(at, What::Alarm(AlarmId::new(slot))));
    }

    /// The slot is free only when the alarm is [stopped](Schedule::stop), which its owner does.
    fn go_off(&mut self, slot: usize, sequence: u64) -> Option<Alarm> {
        let slot = self.alarms.get_mut(slot).filter(|slot| slot.sequence == sequence)?;
        slot.sequence = 0;
        slot.alarm.take()
    }

    fn tidy(&mut self) {
        let live = self.heap.len().saturating_sub(self.stale);
        if self.stale > live.max(MAX_STALE) {
            let Self { heap, alarms, .. } = self;
            heap.retain(|Reverse(entry)| match &entry.what {
                What::Task(_) => true,
                What::Alarm(id) => alarms[id.slot()].sequence == entry.sequence,
            });
            self.stale = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(order: Order) -> Schedule {
        Schedule::new(order, Seed::from_bytes([1; 32]))
    }

    fn alarm(host: HostId, deadline: u64) -> Alarm {
        Alarm { waker: Waker::noop().clone(), host, deadline: Instant::from_nanos(deadline), is_late: false }
    }

    fn set(schedule: &Schedule, host: HostId, at: u64) -> AlarmId {
        schedule.set(Some(Instant::from_nanos(at)), alarm(host, at))
    }

    /// When each alarm goes off, and the tasks that run, in order.
    fn all(schedule: &Schedule) -> Vec<(u64, Option<TaskId>)> {
        let next = || {
            let due = schedule.next()?;
            let task = if let Due::Task(task) = due { Some(task) } else { None };
            Some((schedule.now().as_nanos(), task))
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn tasks_run_before_time_goes_on_and_first_come_first_served() {
        let schedule = schedule(Order::Fifo);
        set(&schedule, 0, 7);
        set(&schedule, 0, 5);
        schedule.run(2);
        schedule.run(1);
        assert_eq!(all(&schedule), [(0, Some(2)), (0, Some(1)), (5, None), (7, None)]);
    }

    #[test]
    fn ties_are_drawn_and_drawn_again_the_same() {
        let run = || {
            let schedule = schedule(Order::Seeded);
            (1..=20).for_each(|task| schedule.run(task));
            all(&schedule)
        };
        let drawn = run();
        assert_eq!(drawn, run());
        let mut sorted = drawn.clone();
        sorted.sort();
        assert_ne!(drawn, sorted);
        assert_eq!(sorted.len(), 20);
    }

    #[test]
    fn an_alarm_that_was_stopped_does_not_go_off_nor_does_time_go_there() {
        let schedule = schedule(Order::Fifo);
        let stopped = set(&schedule, 0, 9);
        schedule.stop(stopped);
        // In the place of the other one.
        set(&schedule, 0, 3);
        assert_eq!(all(&schedule), [(3, None)]);
    }

    /// Two wakers that say that they are not the same, as equal ones may.
    #[test]
    fn an_alarm_that_is_kept_stays_in_its_place_and_wakes_whoever_came_last() {
        struct Count(AtomicU64);
        impl std::task::Wake for Count {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let count = std::sync::Arc::new(Count(AtomicU64::new(0)));
        let schedule = schedule(Order::Seeded);
        let id = set(&schedule, 0, 5);
        let sequence = schedule.lock(|state| state.sequence);
        assert!(schedule.keep(&id, &count.clone().into()));
        assert_eq!(schedule.lock(|state| state.sequence), sequence, "nothing was drawn");
        let Some(Due::Alarm(alarm)) = schedule.next() else { panic!() };
        alarm.waker.wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(!schedule.keep(&id, Waker::noop()), "it has gone off");
    }

    #[test]
    fn alarms_that_are_moved_go_off_at_the_new_time_only() {
        let schedule = schedule(Order::Fifo);
        set(&schedule, 1, 5);
        set(&schedule, 2, 5);
        schedule.move_alarms(1, |deadline| Some(Instant::from_nanos(deadline.as_nanos() * 2)));
        assert_eq!(all(&schedule), [(5, None), (10, None)]);
    }

    #[test]
    fn alarms_without_a_time_wait_until_they_are_moved() {
        let schedule = schedule(Order::Fifo);
        set(&schedule, 1, 5);
        schedule.move_alarms(1, |_| None);
        assert_eq!(all(&schedule), []);
        schedule.move_alarms(1, Some);
        assert_eq!(all(&schedule), [(5, None)]);
    }

    #[test]
    fn alarms_set_and_stopped_for_ever_take_no_more_room() {
        let schedule = schedule(Order::Fifo);
        for at in 1..100_000 {
            let id = set(&schedule, 0, at);
            schedule.stop(id);
        }
        let (entries, slots) = schedule.lock(|state| (state.heap.len(), state.alarms.len()));
        assert!(entries <= MAX_STALE + 1, "{entries} entries");
        assert_eq!(slots, 1);
    }

    /// Otherwise the heap would be looked through each time that an alarm is stopped.
    #[test]
    fn tasks_that_can_run_are_not_taken_for_what_leads_nowhere() {
        let schedule = schedule(Order::Fifo);
        (0..10_000).for_each(|task| schedule.run(task));
        for at in 1..=100 {
            let id = set(&schedule, 0, at);
            schedule.stop(id);
        }
        assert_eq!(schedule.lock(|state| (state.heap.len(), state.stale)), (10_100, 100));
    }

    #[test]
    fn what_leads_nowhere_is_counted_until_it_is_taken_out() {
        let schedule = schedule(Order::Seeded);
        let stopped = set(&schedule, 0, 1);
        schedule.stop(stopped);
        set(&schedule, 1, 2);
        schedule.move_alarms(1, |_| Some(Instant::from_nanos(3)));
        schedule.move_alarms(1, |_| None);
        schedule.move_alarms(1, |_| Some(Instant::from_nanos(4)));
        let gone_off = set(&schedule, 0, 1);
        let counts = || schedule.lock(|state| (state.heap.len(), state.stale));
        assert_eq!(counts(), (5, 3));
        assert_eq!(all(&schedule), [(1, None), (4, None)]);
        assert_eq!(counts(), (0, 0));
        schedule.stop(gone_off);
        assert_eq!(counts(), (0, 0), "it had no entry any more");
    }
}
