//! A failing seed, made small and put into words.

use std::{fmt, time::Duration};

use crate::{
    LinkOptions, Order, minimize,
    plan::Plan,
    scenario::{Failed, Outcome, Scenario, play},
};

/// Plays that may be made to find a smaller plan. Some plays take seconds.
const MAX_PLAYS: u32 = 300;

/// A plan that fails, and the smallest one found that fails for the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What was played first.
    pub found: Plan,
    /// What became of the smallest.
    pub smallest: Outcome,
    /// Plays that were made to find it.
    pub plays: u32,
    /// Of the smallest plan no fault can be left out. The search may have given up before it knew.
    pub is_minimal: bool,
}

impl Failure {
    /// Makes the plan of an outcome that failed smaller: first with fewer faults, then with a better link, and in order.
    ///
    /// It gives up behind 300 plays.
    pub fn shrink(scenario: &dyn Scenario, outcome: Outcome) -> Self {
        Self::shrink_within(MAX_PLAYS, scenario, outcome)
    }

    /// As [`shrink`](Self::shrink), and gives up behind so many plays.
    pub fn shrink_within(max_plays: u32, scenario: &dyn Scenario, outcome: Outcome) -> Self {
        let found = outcome.plan.clone();
        let Some(cause) = outcome.result.as_ref().err().map(Failed::cause) else {
            return Self { found, smallest: outcome, plays: 0, is_minimal: false };
        };
        let mut search = Search { scenario, cause, smallest: outcome, plays: 0, max_plays, gave_up: false };
        search.faults();
        if search.knobs() {
            // On another link some of them may do nothing for the failure.
            search.faults();
        }
        Self { found, smallest: search.smallest, plays: search.plays, is_minimal: !search.gave_up }
    }

    /// Why it fails.
    pub fn why(&self) -> String {
        self.smallest.result.as_ref().err().map_or_else(String::new, ToString::to_string)
    }
}

struct Search<'s> {
    scenario: &'s dyn Scenario,
    cause: String,
    smallest: Outcome,
    plays: u32,
    max_plays: u32,
    gave_up: bool,
}

impl Search<'_> {
    fn faults(&mut self) {
        let plan = self.smallest.plan.clone();
        let _ = minimize(&plan.faults, |faults| self.fails(Plan { faults: faults.to_vec(), ..plan.clone() }));
    }

    /// Whether one of them could be turned.
    fn knobs(&mut self) -> bool {
        let mut has_turned = false;
        let usual = LinkOptions::default();
        let knobs: [fn(&mut Plan, LinkOptions); 7] = [
            |plan, usual| plan.link = usual,
            |plan, usual| plan.link.capacity = usual.capacity,
            |plan, usual| (plan.link.latency, plan.link.jitter) = (usual.latency, usual.jitter),
            |plan, usual| plan.link.bandwidth = usual.bandwidth,
            |plan, usual| plan.link.read_cut = usual.read_cut,
            |plan, usual| plan.link.write_cut = usual.write_cut,
            |plan, _| plan.order = Order::Fifo,
        ];
        for turn in knobs {
            let mut plan = self.smallest.plan.clone();
            turn(&mut plan, usual);
            if plan != self.smallest.plan {
                has_turned |= self.fails(plan);
            }
        }
        has_turned
    }

    /// Whether it fails for the same; then it is the smallest so far.
    fn fails(&mut self, plan: Plan) -> bool {
        if self.plays >= self.max_plays {
            self.gave_up = true;
            return false;
        }
        self.plays += 1;
        let outcome = play(self.scenario, &plan);
        let fails = outcome.result.as_ref().is_err_and(|failed| failed.cause() == self.cause);
        if fails {
            self.smallest = outcome;
        }
        fails
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { plan, hash, stats, took, .. } = &self.smallest;
        let scenario = plan.scenario.as_deref().unwrap_or("a scenario");
        writeln!(f, "{scenario} fails with seed {}: {}", plan.seed, self.why())?;
        let took = Duration::from_millis(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        writeln!(f, "  it ended behind step {} at {took:?}; trace {hash}", stats.steps)?;
        let (all, left) = (self.found.faults.len(), plan.faults.len());
        match self.is_minimal {
            true => writeln!(f, "the smallest plan that fails so, with {left} of {all} faults:")?,
            false => writeln!(
                f,
                "a plan that fails so, with {left} of {all} faults, not proven smallest: gave up after {} plays:",
                self.plays
            )?,
        }
        plan.to_string().lines().try_for_each(|line| writeln!(f, "  {line}"))
    }
}
