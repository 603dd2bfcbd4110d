//! The scenarios of the suite that look at one thing each, with a few seeds, and the plans that once failed.

use std::{fs, path::Path};

use septa_sim::{Failed, Menu, Run, Scenario, check, plan::Plan, play, suite};

/// A scenario with no more hosts than a build without optimisation has time for: ten thousand idle ones are too many.
struct Bounded(Box<dyn Scenario>);

impl Scenario for Bounded {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn nodes(&self) -> u32 {
        self.0.nodes().min(1000)
    }

    fn menu(&self, nodes: u32) -> Menu {
        self.0.menu(nodes)
    }

    fn sights(&self) -> &'static [&'static str] {
        self.0.sights()
    }

    fn play(&self, run: &Run<'_>) -> Result<(), Failed> {
        self.0.play(run)
    }
}

/// Checks a scenario in a test of its own. Where there are fewer than [`RUNS_THAT_PROVE`](septa_sim::RUNS_THAT_PROVE) seeds,
/// because each takes long in a build without optimisation, nobody asks whether each of its faults strikes and each of its
/// sights is met: campaigns do.
macro_rules! check_each {
    ($($test:ident: $name:literal, $seeds:literal;)*) => {
        $(#[test]
        fn $test() {
            check(0..$seeds, &Bounded(suite::find($name).unwrap()));
        })*

        #[test]
        fn no_scenario_is_left_out() {
            let all: Vec<String> = suite::all().iter().map(|scenario| scenario.name().to_owned()).collect();
            assert_eq!(all, [$($name),*]);
        }
    };
}

check_each! {
    mesh_churn: "mesh-churn", 4;
    partition_heal: "partition-heal", 10;
    simultaneous_dial: "simultaneous-dial", 10;
    slow_readers: "slow-readers", 10;
    restart: "restart", 20;
    nat: "nat", 20;
    clock_trouble: "clock-trouble", 20;
    torn_storage: "torn-storage", 20;
    channels: "channels", 20;
    requests: "requests", 20;
    handshake_races: "handshake-races", 20;
    hostile: "hostile", 20;
    pair: "pair", 20;
    idle_peers: "idle-peers", 1;
    both_levels: "both-levels", 20;
}

#[test]
fn what_failed_once_does_not_fail_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut played = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let plan: Plan = fs::read_to_string(&path).unwrap().parse().unwrap();
        let scenario = suite::find(plan.scenario.as_deref().unwrap()).unwrap();
        let outcome = play(&*scenario, &plan);
        assert_eq!(outcome.result, Ok(()), "{}", path.display());
        // What does not strike any more tests nothing.
        assert_eq!(outcome.declared(), outcome.fired.keys().copied().collect(), "{}", path.display());
        played += 1;
    }
    assert!(played > 0);
}
