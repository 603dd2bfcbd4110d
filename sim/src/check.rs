//! Scenarios in anybody's `cargo test`.

use std::{env, fs, ops::Range, thread};

use crate::{
    campaign::Campaign,
    failure::Failure,
    plan::Plan,
    scenario::{Outcome, Scenario, plan_of, play},
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
/// One fails, or in [`RUNS_THAT_PROVE`](crate::RUNS_THAT_PROVE) runs or more a kind of fault was declared and never changed
/// anything, or none has met what the scenario [says](Scenario::sights). The message has the seed, the step, the virtual time, the smallest plan that fails, and the command that
/// replays it. Or there is nothing to play: no seeds, or a plan of another scenario.
pub fn check(seeds: Range<u64>, scenario: &dyn Scenario) {
    let (plan, seed) = (env::var(PLAN_VARIABLE).ok(), env::var(SEED_VARIABLE).ok());
    check_what(seeds, scenario, plan.as_deref(), seed.as_deref());
}

fn check_what(seeds: Range<u64>, scenario: &dyn Scenario, plan: Option<&str>, seed: Option<&str>) {
    match (plan, seed) {
        (Some(file), _) => accept(scenario, play(scenario, &read(file, scenario)), &format!("{PLAN_VARIABLE}={file}")),
        (None, Some(seed)) => {
            let number = seed.parse().unwrap_or_else(|_| panic!("{SEED_VARIABLE} must be a number, and is '{seed}'"));
            accept_seed(scenario, play(scenario, &plan_of(scenario, number, None)));
        }
        (None, None) => check_all(seeds, scenario),
    }
}

fn read(file: &str, scenario: &dyn Scenario) -> Plan {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("cannot read {file}: {error}"));
    let plan: Plan = text.parse().unwrap_or_else(|error| panic!("{file}: {error}"));
    let name = scenario.name();
    assert!(
        plan.scenario.as_deref().is_none_or(|of| of == name),
        "{file} is a plan of another scenario than {name}: {}",
        plan.scenario.as_deref().unwrap_or_default()
    );
    plan
}

fn check_all(seeds: Range<u64>, scenario: &dyn Scenario) {
    assert!(!seeds.is_empty(), "{}: there are no seeds in {seeds:?}", scenario.name());
    let mut failed: Option<Outcome> = None;
    let summary = Campaign::new(seeds).run(scenario, |outcome, _| {
        let is_first = failed.as_ref().is_none_or(|other| outcome.plan.seed < other.plan.seed);
        if outcome.result.is_err() && is_first {
            failed = Some(outcome.clone());
        }
        true
    });
    if let Some(outcome) = failed {
        accept_seed(scenario, outcome);
    }
    let idle = summary.never_fired();
    assert!(
        idle.is_empty(),
        "{}: faults were declared that never changed anything: {}",
        scenario.name(),
        idle.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    );
    let unseen = summary.never_seen();
    assert!(unseen.is_empty(), "{}: no run has met this: {}", scenario.name(), unseen.join(", "));
}

fn accept_seed(scenario: &dyn Scenario, outcome: Outcome) {
    let seed = outcome.plan.seed;
    accept(scenario, outcome, &format!("{SEED_VARIABLE}={seed}"));
}

fn accept(scenario: &dyn Scenario, outcome: Outcome, which: &str) {
    if outcome.result.is_err() {
        let failure = Failure::shrink(scenario, outcome);
        panic!("{failure}replay it with\n  {which} {}", test_command());
    }
}

/// The command that runs the test on whose thread this is, as far as that is known.
fn test_command() -> String {
    let package = env::var("CARGO_PKG_NAME").map(|name| format!(" -p {name}")).unwrap_or_default();
    let test = thread::current().name().filter(|name| *name != "main").map(|name| format!(" {name}"));
    format!("cargo test{package}{}", test.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::{Failed, Menu, Run};

    /// Fails with the last seed there is.
    struct Last;

    impl Scenario for Last {
        fn name(&self) -> &str {
            "last"
        }

        fn nodes(&self) -> u32 {
            1
        }

        fn menu(&self, _: u32) -> Menu {
            Menu::calm()
        }

        fn play(&self, run: &Run<'_>) -> Result<(), Failed> {
            match run.plan.seed {
                u64::MAX => Err(Failed::Unmet { wish: "another seed".to_owned(), why: "it is the last".to_owned() }),
                _ => Ok(()),
            }
        }
    }

    /// What a check says, if it fails.
    fn failure(seeds: Range<u64>, plan: Option<&str>, seed: Option<&str>) -> Option<String> {
        let checked = catch_unwind(AssertUnwindSafe(|| check_what(seeds, &Last, plan, seed)));
        checked.err().map(|panic| crate::executor::message(&*panic))
    }

    fn file(name: &str, text: &str) -> String {
        let file = env::temp_dir().join(format!("{name}-{}", std::process::id()));
        fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    }

    #[test]
    fn the_last_seed_is_played_as_every_other() {
        let message = failure(0..1, None, Some("18446744073709551615")).unwrap();
        assert!(message.contains("another seed: it is the last"), "{message}");
        assert!(message.contains("\n  SEPTA_SEED=18446744073709551615 cargo test"), "{message}");
        assert_eq!(failure(0..1, None, Some("7")), None);
        assert_eq!(failure(0..1, None, Some("x")).unwrap(), "SEPTA_SEED must be a number, and is 'x'");
    }

    #[test]
    fn whoever_checks_nothing_hears_of_it() {
        assert_eq!(failure(5..5, None, None).unwrap(), "last: there are no seeds in 5..5");
        assert_eq!(failure(5..6, None, None), None);
    }

    #[test]
    fn a_plan_is_replayed_by_its_file_and_one_of_another_scenario_is_not() {
        let good = file("good", "scenario last\nseed 18446744073709551615\n");
        let message = failure(0..1, Some(&good), Some("1")).unwrap();
        assert!(message.contains(&format!("replay it with\n  SEPTA_PLAN={good} cargo test")), "{message}");
        let bad = file("bad", "scenario first\nseed 1\n");
        let message = failure(0..1, Some(&bad), None).unwrap();
        assert_eq!(message, format!("{bad} is a plan of another scenario than last: first"));
    }
}
