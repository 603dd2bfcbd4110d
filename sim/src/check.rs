//! Scenarios in anybody's `cargo test`.

use std::{env, fs, ops::Range, thread};

use crate::{
    campaign::Campaign,
    failure::Failure,
    plan::Plan,
    scenario::{Outcome, Scenario, play},
};

/// Names one seed to play, instead of all.
pub const SEED_VARIABLE: &str = "SEPTA_SEED";
/// Names a file with a plan to play, instead of any seed.
pub const PLAN_VARIABLE: &str = "SEPTA_PLAN";

/// Plays a scenario with each of these seeds, several at once.
///
/// With `SEPTA_SEED=N` in the environment only the seed N is played, and with `SEPTA_PLAN=FILE` only the plan in that
/// file.
///
/// # Panics
/// One fails, or a kind of fault was declared and never changed anything. The message has the seed, the step, the virtual
/// time, the smallest plan that fails, and the command that replays it.
pub fn check(seeds: Range<u64>, scenario: &dyn Scenario) {
    if let Ok(file) = env::var(PLAN_VARIABLE) {
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("cannot read {file}: {error}"));
        let plan: Plan = text.parse().unwrap_or_else(|error| panic!("{file}: {error}"));
        return accept(scenario, play(scenario, &plan));
    }
    let one = env::var(SEED_VARIABLE)
        .ok()
        .map(|seed| seed.parse().unwrap_or_else(|_| panic!("{SEED_VARIABLE} must be a number, and is '{seed}'")));
    let seeds = one.map_or(seeds, |seed: u64| seed..seed.saturating_add(1));
    let mut failed: Option<Outcome> = None;
    let summary = Campaign::new(seeds).run(scenario, |outcome, _| {
        let is_first = failed.as_ref().is_none_or(|other| outcome.plan.seed < other.plan.seed);
        if outcome.result.is_err() && is_first {
            failed = Some(outcome.clone());
        }
        true
    });
    if let Some(outcome) = failed {
        accept(scenario, outcome);
    }
    let idle = summary.never_fired();
    assert!(
        one.is_some() || idle.is_empty(),
        "{}: faults were declared that never changed anything: {}",
        scenario.name(),
        idle.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    );
}

fn accept(scenario: &dyn Scenario, outcome: Outcome) {
    if outcome.result.is_err() {
        let seed = outcome.plan.seed;
        let failure = Failure::shrink(scenario, outcome);
        panic!("{failure}replay it with\n  {SEED_VARIABLE}={seed} {}", test_command());
    }
}

/// The command that runs the test on whose thread this is, as far as that is known.
fn test_command() -> String {
    let package = env::var("CARGO_PKG_NAME").map(|name| format!(" -p {name}")).unwrap_or_default();
    let test = thread::current().name().filter(|name| *name != "main").map(|name| format!(" {name}"));
    format!("cargo test{package}{}", test.unwrap_or_default())
}
