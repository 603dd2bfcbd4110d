//! Many seeds of a scenario, several at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    Stats,
    plan::FaultKind,
    scenario::{Outcome, Scenario, plan_of, play},
};

/// With fewer runs it may be chance that a fault found nothing to change.
pub const RUNS_THAT_PROVE: u64 = 20;

/// What is played.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Campaign {
    /// The seeds.
    pub seeds: Range<u64>,
    /// Which part of them, counted from 0, and of how many: every so many-th seed. Stands for several machines.
    pub shard: (u64, u64),
    /// How many hosts, if not as many as usual.
    pub nodes: Option<u32>,
    /// How many runs at once: each has a thread of its own, and no thread inside.
    pub threads: NonZeroUsize,
    /// Plays on behind the first seed that fails.
    pub keep_going: bool,
}

/// What became of all seeds together.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// How many were played.
    pub runs: u64,
    /// How much happened in them.
    pub stats: Stats,
    /// Virtual time that passed in them.
    pub took: Duration,
    /// In how many runs a kind of fault was declared, and how often it changed something.
    pub faults: BTreeMap<FaultKind, (u64, u64)>,
    /// How often the runs have met what their scenario [says](Scenario::sights).
    pub sights: BTreeMap<&'static str, u64>,
    /// Seeds that failed, in order.
    pub failed: BTreeSet<u64>,
}

impl Summary {
    /// Adds what became of one seed.
    pub fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        self.stats += outcome.stats;
        self.took += outcome.took;
        for kind in outcome.declared() {
            self.faults.entry(kind).or_default().0 += 1;
        }
        for (kind, fired) in &outcome.fired {
            self.faults.entry(*kind).or_default().1 += fired;
        }
        for (sight, seen) in &outcome.seen {
            *self.sights.entry(sight).or_default() += seen;
        }
        if outcome.result.is_err() {
            self.failed.insert(outcome.plan.seed);
        }
    }

    /// The kinds of faults that were declared and never changed anything: a test of nothing. With fewer than
    /// [`RUNS_THAT_PROVE`] runs nothing is said.
    pub fn never_fired(&self) -> Vec<FaultKind> {
        if self.runs < RUNS_THAT_PROVE {
            return Vec::new();
        }
        self.faults.iter().filter(|(_, (_, fired))| *fired == 0).map(|(kind, _)| *kind).collect()
    }

    /// What no run has met, though their scenario is about it. With fewer than [`RUNS_THAT_PROVE`] runs nothing is said.
    pub fn never_seen(&self) -> Vec<&'static str> {
        if self.runs < RUNS_THAT_PROVE {
            return Vec::new();
        }
        self.sights.iter().filter(|(_, seen)| **seen == 0).map(|(sight, _)| *sight).collect()
    }
}

impl Campaign {
    /// As many runs at once as there are cores.
    pub fn new(seeds: Range<u64>) -> Self {
        let threads = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { seeds, shard: (0, 1), nodes: None, threads, keep_going: false }
    }

    /// How many seeds there are to play.
    pub fn len(&self) -> u64 {
        let (index, of) = self.shard;
        (self.seeds.end.saturating_sub(self.seeds.start).saturating_sub(index)).div_ceil(of.max(1))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Plays all seeds, and tells `on_outcome` of each as it ends, in no certain order, and how much real time it took.
    /// Stops when that says so, or when a seed fails, unless it is to keep going.
    #[allow(clippy::disallowed_methods, reason = "nothing in a run sees the real clock that measures it")]
    pub fn run(
        &self,
        scenario: &dyn Scenario,
        mut on_outcome: impl FnMut(&Outcome, Duration) -> bool + Send,
    ) -> Summary {
        let (index, of) = self.shard;
        let (next, is_over) = (AtomicU64::new(self.seeds.start.saturating_add(index)), AtomicBool::new(false));
        let gathered = Mutex::new((Summary::default(), &mut on_outcome));
        let work = || {
            while !is_over.load(Ordering::Relaxed) {
                let seed = next.fetch_add(of.max(1), Ordering::Relaxed);
                if !self.seeds.contains(&seed) {
                    return;
                }
                let began = Instant::now();
                let outcome = play(scenario, &plan_of(scenario, seed, self.nodes));
                let real = began.elapsed();
                let mut gathered = gathered.lock().unwrap_or_else(PoisonError::into_inner);
                gathered.0.add(&outcome);
                let goes_on = (gathered.1)(&outcome, real);
                if !goes_on || (outcome.result.is_err() && !self.keep_going) {
                    is_over.store(true, Ordering::Relaxed);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..self.threads.get() {
                scope.spawn(work);
            }
            work();
        });
        gathered.into_inner().unwrap_or_else(PoisonError::into_inner).0
    }
}
