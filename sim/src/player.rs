//! The task that has faults strike in their time.

use std::{
    future::poll_fn,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use septa_core::{Instant, SeedStream};
use septa_driver::runtime::Timer as _;

use crate::{
    network::{HostId, Stall},
    observer::Event,
    pipe::StallId,
    plan::{Fault, FaultKind, Timed},
    timer::SimTimer,
    trace::Kind,
    world::{NOBODY, World},
};

/// How often tasks are woken for nothing, at most and at least.
const SPURIOUS_WAKES: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(20));

/// The fault strikes a host that there is not.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("'{0}' strikes a host that there is not")]
pub struct Unplayable(pub Fault);

/// Faults that are to strike, that last, and that are over.
pub(crate) struct Player {
    world: Weak<World>,
    state: Mutex<State>,
}

struct State {
    luck: SeedStream,
    /// What happens, in order; the next one last.
    cues: Vec<Cue>,
    /// Those that have begun and last, with their numbers.
    active: Vec<(u64, Timed)>,
}

struct Cue {
    at: Instant,
    timed: Timed,
    begins: bool,
}

impl Player {
    pub(crate) fn new(world: &Arc<World>, faults: &[Timed]) -> Result<Arc<Self>, Unplayable> {
        let start = world.schedule.now();
        let mut cues = Vec::with_capacity(2 * faults.len());
        for timed in faults {
            if timed.fault.hosts().any(|host| world.find_machine(host.get()).is_none()) {
                return Err(Unplayable(timed.fault));
            }
            let begin = start.saturating_add(timed.at);
            cues.push(Cue { at: begin, timed: timed.clone(), begins: true });
            cues.push(Cue { at: begin.saturating_add(timed.length), timed: timed.clone(), begins: false });
        }
        // Stable: what strikes at once does so in the order of the plan.
        cues.sort_by_key(|cue| cue.at);
        cues.reverse();
        let luck = world.draw_seed("faults").public_stream();
        let state = Mutex::new(State { luck, cues, active: Vec::new() });
        Ok(Arc::new(Self { world: Arc::downgrade(world), state }))
    }

    /// Plays to the end.
    pub(crate) async fn run(self: Arc<Self>) {
        let Some(clock) = self.world.upgrade().map(|world| world.clock.clone()) else { return };
        let mut timer = SimTimer::new(clock);
        while let Some(at) = self.lock(|state| state.cues.last().map(|cue| cue.at)) {
            timer.reset(Some(at));
            poll_fn(|cx| timer.poll_expired(cx)).await;
            // They may have been called off meanwhile.
            let Some(cue) = self.lock(|state| state.cues.pop_if(|cue| cue.at == at)) else { continue };
            if cue.begins {
                self.begin(&cue.timed);
            } else {
                self.end(&cue.timed);
            }
        }
    }

    /// Ends all that last, and calls off all that are to begin.
    pub(crate) fn stop(&self) {
        let active = self.lock(|state| {
            state.cues.clear();
            state.active.clone()
        });
        active.iter().for_each(|(_, timed)| self.end(timed));
    }

    fn begin(self: &Arc<Self>, timed: &Timed) {
        let Some(world) = self.world.upgrade() else { return };
        world.trace.record(Kind::Fault, world.schedule.now(), 0, timed.fault.to_string().as_bytes());
        world.observer.tell(Event::FaultBegins { fault: timed.fault });
        let number = world.number_fault();
        self.lock(|state| state.active.push((number, timed.clone())));
        begin(&world, number, timed);
        if let Fault::SpuriousWakes { host } = timed.fault {
            let task = self.clone().wake_for_nothing(host.get(), timed.clone());
            world.executor.spawn(NOBODY, "spurious wakes".to_owned(), Box::pin(task));
        }
    }

    fn end(&self, timed: &Timed) {
        let Some(world) = self.world.upgrade() else { return };
        // Of those that are the same in everything, all end at once.
        let was_active = self.lock(|state| {
            let place = state.active.iter().position(|(_, other)| other == timed)?;
            Some(state.active.remove(place))
        });
        if let Some((number, _)) = was_active {
            world.trace.record(Kind::FaultEnd, world.schedule.now(), 0, timed.fault.to_string().as_bytes());
            end(&world, number, timed.fault);
            // What counts as it ends is its doing.
            world.observer.tell(Event::FaultEnds { fault: timed.fault });
        }
    }

    async fn wake_for_nothing(self: Arc<Self>, host: HostId, timed: Timed) {
        let (least, most) = SPURIOUS_WAKES;
        while self.lock(|state| state.active.iter().any(|(_, active)| *active == timed)) {
            let Some(world) = self.world.upgrade() else { return };
            for _ in 0..world.executor.wake_host(host) {
                world.fired.add(FaultKind::SpuriousWakes, host);
            }
            let range = u64::try_from((most - least).as_nanos()).unwrap_or(u64::MAX);
            let drawn = self.lock(|state| state.luck.next_u64() % range);
            let sleep = world.sleep(least + Duration::from_nanos(drawn));
            drop(world);
            sleep.await;
        }
    }

    fn lock<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn begin(world: &Arc<World>, number: u64, timed: &Timed) {
    let (network, now) = (&world.network, world.schedule.now());
    match timed.fault {
        fault @ (Fault::Stall { .. } | Fault::Partition { .. }) => {
            stalls(number, fault).for_each(|stall| network.stall(stall));
        }
        Fault::Reset { one, other, after } => {
            let ways = [(one, other), (other, one)].map(|(from, to)| network.between(from.get(), to.get()));
            ways.iter().flatten().for_each(|way| way.with(|pipe| pipe.plan_reset(after)));
        }
        Fault::Fin { from, to } => {
            let ways = network.between(from.get(), to.get());
            ways.iter().for_each(|way| way.with(|pipe| pipe.cut_short(now)));
        }
        Fault::Tamper { from, to, how, after } => {
            let ways = network.between(from.get(), to.get());
            ways.iter().for_each(|way| way.with(|pipe| pipe.tamper(how, after)));
        }
        Fault::Dial { to, how } => network.fail_dials(to.get(), how),
        Fault::Crash { host, .. } => {
            if world.machine(host.get()).crash(world, now) {
                world.fired.add(FaultKind::Crash, host.get());
            }
        }
        Fault::TornStore { host, restart } => world.tear_next_store(host.get(), timed.length, restart),
        Fault::ClockPause { host } => world.machine(host.get()).clock.pause(number),
        Fault::CalendarJump { host, seconds } => world.machine(host.get()).clock.jump(seconds),
        Fault::ClockDrift { host, ppm } => world.machine(host.get()).clock.drift(number, ppm),
        Fault::LateTimers { host, by } => world.machine(host.get()).clock.be_late(by),
        Fault::SpuriousWakes { .. } => {}
    }
}

fn end(world: &Arc<World>, number: u64, fault: Fault) {
    let network = &world.network;
    match fault {
        Fault::Stall { .. } | Fault::Partition { .. } => stalls(number, fault).for_each(|stall| network.resume(stall)),
        Fault::Dial { to, how } => network.heal_dials(to.get(), how),
        Fault::Crash { host, restart } => world.machine(host.get()).start(world, restart),
        Fault::ClockPause { host } => world.machine(host.get()).clock.resume(number),
        Fault::ClockDrift { host, ppm } => world.machine(host.get()).clock.stop_drift(number, ppm),
        Fault::LateTimers { host, by } => world.machine(host.get()).clock.be_punctual(by),
        Fault::TornStore { .. }
        | Fault::Reset { .. }
        | Fault::Fin { .. }
        | Fault::Tamper { .. }
        | Fault::CalendarJump { .. }
        | Fault::SpuriousWakes { .. } => {}
    }
}

/// The directions in which nothing arrives for a fault.
fn stalls(number: u64, fault: Fault) -> impl Iterator<Item = Stall> {
    let why = StallId { number, kind: fault.kind() };
    let stall = |from: NonZeroU32, to: NonZeroU32| Stall { from: from.get(), to: to.get(), why };
    let (there, back) = match fault {
        Fault::Stall { from, to } => (Some(stall(from, to)), None),
        Fault::Partition { one, other } => (Some(stall(one, other)), Some(stall(other, one))),
        _ => (None, None),
    };
    there.into_iter().chain(back)
}
