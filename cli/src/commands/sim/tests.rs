use std::{num::NonZeroU32, path::PathBuf};

use clap::Parser;
use septa_sim::{Failed, Menu, Run, plan::FaultKind};

use super::*;
use crate::args::{Cli, Command};

/// Comes right for so many seeds, and then fails if a host has crashed.
struct Fragile {
    name: &'static str,
    good: u64,
    /// Somebody reads the calendar, and so sees it jump.
    looks: bool,
}

impl Scenario for Fragile {
    fn name(&self) -> &str {
        self.name
    }

    fn nodes(&self) -> u32 {
        2
    }

    fn menu(&self, _: u32) -> Menu {
        let hosts = vec![NonZeroU32::MIN];
        let faults = vec![FaultKind::Crash, FaultKind::CalendarJump];
        Menu { length: Duration::from_secs(10), faults, most: 3, pairs: Vec::new(), hosts, links: true, crypto: None }
    }

    fn play(&self, run: &Run<'_>) -> Result<(), Failed> {
        let looks = self.looks;
        run.simulation.boot("host", move |boot| async move {
            loop {
                if looks {
                    boot.runtime.unix_time();
                }
                let mut timer = boot.runtime.timer();
                timer.reset(Some(boot.runtime.now().saturating_add(Duration::from_secs(1))));
                std::future::poll_fn(|cx| timer.poll_expired(cx)).await;
            }
        });
        run.chaos()?;
        match run.simulation.faults_fired().contains_key(&FaultKind::Crash) && run.plan.seed >= self.good {
            true => Err(Failed::Unmet { wish: "no crash".to_owned(), why: "there was one".to_owned() }),
            false => Ok(()),
        }
    }
}

fn scenarios(names: &[(&'static str, u64)]) -> Vec<Box<dyn Scenario>> {
    names
        .iter()
        .map(|(name, good)| Box::new(Fragile { name, good: *good, looks: *name != "blind" }) as Box<dyn Scenario>)
        .collect()
}

fn args(words: &[&str]) -> SimArgs {
    let words = ["septa", "sim", "--threads", "1"].iter().chain(words);
    match Cli::try_parse_from(words).unwrap().command {
        Command::Sim(args) => args,
        _ => unreachable!("sim was asked for"),
    }
}

fn file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("septa-sim-{name}-{}", std::process::id()))
}

fn quiet() -> Output {
    Output::new(false)
}

#[test]
fn the_first_failure_is_saved_and_shown_and_all_are_named() {
    let (plan, page) = (file("first.plan"), file("first.html"));
    let words = ["--save-plan", plan.to_str().unwrap(), "--report", page.to_str().unwrap()];
    let all = scenarios(&[("good", u64::MAX), ("ill", 0), ("worse", 0)]);
    let failure = play_all(&all, &args(&words), quiet()).unwrap_err();
    assert_eq!(failure.exit_code(), 1);
    assert!(failure.to_string().starts_with("failed: ill, worse; "), "{failure}");
    let saved: Plan = fs::read_to_string(&plan).unwrap().parse().unwrap();
    assert_eq!(saved.scenario.as_deref(), Some("ill"));
    assert_eq!(saved.faults.len(), 1);
    assert!(play(&*all[1], &saved).result.is_err());
    let html = fs::read_to_string(&page).unwrap();
    let command = format!("septa sim --plan {}", plan.display());
    assert!(html.contains(&command) && html.contains("there was one"), "{html}");
}

/// Faults that change nothing are no run that could be shown.
#[test]
fn a_report_shows_a_run_that_failed_if_there_is_one() {
    let page = file("idle.html");
    let words = ["--report", page.to_str().unwrap(), "--seeds", "0..20", "--nodes", "3"];
    let all = scenarios(&[("blind", u64::MAX), ("ill", 0)]);
    let failure = play_all(&all, &args(&words), quiet()).unwrap_err();
    assert!(failure.to_string().starts_with("failed: blind, ill; "), "{failure}");
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.contains("there was one") && html.contains("septa sim --scenario ill --nodes 3 --seeds "), "{html}");
}

#[test]
fn a_shard_without_a_failure_shows_a_seed_that_it_has_played() {
    let page = file("shard.html");
    let words = ["--report", page.to_str().unwrap(), "--seeds", "0..4", "--shard", "1/2"];
    play_all(&scenarios(&[("good", u64::MAX)]), &args(&words), quiet()).unwrap();
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.contains("septa sim --scenario good --seeds 1..2"), "{html}");
}

#[test]
fn the_time_is_shared_and_no_time_is_refused() {
    assert_eq!(share(Duration::from_secs(60), 3), Duration::from_secs(20));
    assert_eq!(share(Duration::from_secs(60), 1), Duration::from_secs(60));
    let failure = play_all(&scenarios(&[("good", u64::MAX)]), &args(&["--minutes", "0"]), quiet()).unwrap_err();
    assert_eq!((failure.exit_code(), failure.to_string().contains("nothing can be played")), (2, true));
    // Endless but for the time: the first gets a part of it, and so the second is played too.
    let words = ["--minutes", "0.02", "--seeds", "0..18446744073709551615"];
    let all = scenarios(&[("one", u64::MAX), ("two", 0)]);
    let failure = play_all(&all, &args(&words), quiet()).unwrap_err();
    assert!(failure.to_string().starts_with("failed: two; "), "{failure}");
}

#[test]
fn each_line_for_scripts_names_its_scenario() {
    let scenario = Fragile { name: "ill", good: 0, looks: true };
    let outcome = (0..).map(|seed| play(&scenario, &septa_sim::plan_of(&scenario, seed, None)));
    let outcome = outcome.into_iter().find(|outcome| outcome.result.is_err()).unwrap();
    let seed = json::seed(&outcome, Duration::from_secs(1));
    assert_eq!((&seed["scenario"], &seed["ok"]), (&json!("ill"), &json!(false)));
    assert_eq!((&seed["seed"], &seed["timing"]), (&json!(outcome.plan.seed), &json!({ "seconds": 1.0 })));
    let found = Found::shrink(&scenario, outcome.clone());
    let shrunk = json::shrunk(&found);
    assert_eq!(shrunk["plan"].as_str().unwrap().parse::<Plan>().unwrap(), found.smallest.plan);
    assert_eq!(
        (&shrunk["scenario"], &shrunk["seed"], &shrunk["kind"]),
        (&json!("ill"), &json!(outcome.plan.seed), &json!("shrunk"))
    );
    assert_eq!(seed["kind"], json!("seed"));
    let idle = json!({ "kind": "never_fired", "scenario": "ill", "never_fired": ["nat"] });
    assert_eq!(json::idle("ill", &["nat".to_owned()]), idle);
    let unseen = json!({ "kind": "never_seen", "scenario": "ill", "never_seen": ["a bridge"] });
    assert_eq!(json::unseen("ill", &["a bridge"]), unseen);
}

#[test]
fn paths_are_written_as_a_shell_takes_them() {
    assert_eq!(quoted(Path::new("/tmp/a-1.plan")), "/tmp/a-1.plan");
    assert_eq!(quoted(Path::new("my plans/it's")), r"'my plans/it'\''s'");
}
