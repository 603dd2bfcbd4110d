//! The scenarios of the suite that look at one thing each, with a few seeds, and the plans that once failed.

use std::{fs, path::Path};

use septa_sim::{check, plan::Plan, play, suite};

/// As many as it takes for every kind of fault to strike.
const SEEDS: u64 = 20;

fn check_all_of(name: &str) {
    check(0..SEEDS, &*suite::find(name).unwrap());
}

#[test]
fn channels() {
    check_all_of("channels");
}

#[test]
fn requests() {
    check_all_of("requests");
}

#[test]
fn handshake_races() {
    check_all_of("handshake-races");
}

#[test]
fn hostile() {
    check_all_of("hostile");
}

#[test]
fn pair() {
    check_all_of("pair");
}

#[test]
fn idle_peers() {
    check(0..1, &*suite::find("idle-peers").unwrap());
}

#[test]
fn what_failed_once_does_not_fail_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut played = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let plan: Plan = fs::read_to_string(&path).unwrap().parse().unwrap();
        let scenario = suite::find(plan.scenario.as_deref().unwrap()).unwrap();
        assert_eq!(play(&*scenario, &plan).result, Ok(()), "{}", path.display());
        played += 1;
    }
    assert!(played > 0);
}
