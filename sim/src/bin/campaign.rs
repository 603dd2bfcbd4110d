//! Plays the scenarios of the suite, seed by seed, until one fails: the first seed of each, then the second of each, and
//! so on, on as many threads as there are cores.
//!
//! ```text
//! cargo run --release -p septa-sim --bin campaign -- [--seeds N] [SCENARIO...]
//! ```
//!
//! Prints one line, `passed` or `failed`, then with tabs between: how many runs there were, the seconds, and of a failure
//! the scenario, the seed, the cause and what was seen. Exits with 1 if something failed. `sim/mutants` reads it.

use std::{
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use septa_sim::{Outcome, Scenario, plan_of, play, suite};

const USAGE: &str = "usage: campaign [--seeds N] [SCENARIO...]";
/// Seeds of each scenario, unless told otherwise.
const SEEDS: usize = 10;

/// What is still to be played, and what has failed.
struct Campaign {
    scenarios: Vec<Box<dyn Scenario>>,
    seeds: usize,
    next: AtomicUsize,
    played: AtomicUsize,
    has_failed: AtomicBool,
    failures: Mutex<Vec<Failure>>,
}

struct Failure {
    place: usize,
    scenario: String,
    outcome: Outcome,
}

impl Campaign {
    fn of(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut seeds, mut scenarios) = (SEEDS, Vec::new());
        while let Some(arg) = args.next() {
            if arg == "--seeds" {
                let count = args.next().and_then(|count| count.parse().ok());
                // None at all would pass.
                seeds = count.filter(|count| *count > 0).ok_or(USAGE)?;
            } else {
                scenarios.push(suite::find(&arg).ok_or_else(|| format!("no scenario is called '{arg}'; {USAGE}"))?);
            }
        }
        if scenarios.is_empty() {
            scenarios = suite::all();
        }
        let (next, played, has_failed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        Ok(Self { scenarios, seeds, next, played, has_failed, failures: Mutex::default() })
    }

    /// Plays one run after the other, until one fails on any thread.
    fn work(&self) {
        while !self.has_failed.load(Ordering::Relaxed) {
            let place = self.next.fetch_add(1, Ordering::Relaxed);
            let (seed, scenario) = (place / self.scenarios.len(), &*self.scenarios[place % self.scenarios.len()]);
            if seed >= self.seeds {
                return;
            }
            let outcome = play(scenario, &plan_of(scenario, seed as u64, None));
            self.played.fetch_add(1, Ordering::Relaxed);
            if outcome.result.is_err() {
                self.has_failed.store(true, Ordering::Relaxed);
                let failure = Failure { place, scenario: scenario.name().to_owned(), outcome };
                self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
            }
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "a program that measures needs the real clock")]
fn main() -> ExitCode {
    let campaign = match Campaign::of(std::env::args().skip(1)) {
        Ok(campaign) => campaign,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| campaign.work());
        }
    });
    let (played, took) = (campaign.played.into_inner(), begun.elapsed().as_secs_f64());
    // Of those that failed at once, the one whose turn was first.
    let failures = campaign.failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    let Some(Failure { scenario, outcome, .. }) = failures.into_iter().min_by_key(|failure| failure.place) else {
        println!("passed\t{played}\t{took:.1}");
        return ExitCode::SUCCESS;
    };
    let Err(failed) = outcome.result else { return ExitCode::SUCCESS };
    let seen = failed.to_string().replace(['\n', '\t'], " ");
    println!("failed\t{played}\t{took:.1}\t{scenario}\t{}\t{}\t{seen}", outcome.plan.seed, failed.cause());
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(args: &[&str]) -> Result<(usize, usize), String> {
        Campaign::of(args.iter().map(ToString::to_string)).map(|campaign| (campaign.seeds, campaign.scenarios.len()))
    }

    #[test]
    fn a_campaign_of_nothing_is_refused() {
        assert_eq!(of(&["--seeds", "3", "nat"]), Ok((3, 1)));
        for bad in [&["--seeds", "0"][..], &["--seeds", "x"], &["--seeds"]] {
            assert_eq!(of(bad), Err(USAGE.to_owned()), "{bad:?}");
        }
    }
}
