//! Playing scenarios with many seeds: what is found, how it is made small, and what it is reported as.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    panic::catch_unwind,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use septa_sim::{
    Campaign, Failed, Failure, Menu, Referee, Run, Scenario, check,
    plan::{FaultKind, Plan},
    plan_of, play, play_recorded, suite,
};

fn host(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

/// Hosts that tick. They fail when a clock was stopped and another host has crashed.
struct Fragile {
    faults: &'static [FaultKind],
}

const BOTH: Fragile = Fragile { faults: &[FaultKind::Crash, FaultKind::ClockPause, FaultKind::LateTimers] };

impl Scenario for Fragile {
    fn name(&self) -> &str {
        "fragile"
    }

    fn nodes(&self) -> u32 {
        3
    }

    fn menu(&self, nodes: u32) -> Menu {
        let hosts: Vec<NonZeroU32> = (1..=nodes).map(host).collect();
        let pairs = vec![(hosts[0], hosts[1])];
        Menu {
            length: Duration::from_secs(10),
            faults: self.faults.to_vec(),
            most: 5,
            pairs,
            hosts,
            links: true,
            crypto: None,
        }
    }

    fn play(&self, run: &Run<'_>) -> Result<(), Failed> {
        for number in 0..run.nodes {
            run.simulation.boot(&number.to_string(), |boot| async move {
                let mut timer = boot.runtime.timer();
                loop {
                    timer.reset(Some(boot.runtime.now().saturating_add(Duration::from_millis(10))));
                    std::future::poll_fn(|cx| timer.poll_expired(cx)).await;
                }
            });
        }
        run.chaos()?;
        run.comes("nobody is ill", Duration::from_secs(1), || {
            let fired = run.simulation.faults_fired();
            let is_ill = [FaultKind::Crash, FaultKind::ClockPause].iter().all(|kind| fired.contains_key(kind));
            if is_ill { Err("everybody is".to_owned()) } else { Ok(()) }
        })
    }
}

#[test]
fn a_failing_seed_is_made_as_small_as_it_can_be() {
    let seed = (0..100).find(|seed| play(&BOTH, &plan_of(&BOTH, *seed, None)).result.is_err()).unwrap();
    let outcome = play(&BOTH, &plan_of(&BOTH, seed, None));
    let failure = Failure::shrink(&BOTH, outcome);
    let mut kinds: Vec<FaultKind> = failure.smallest.plan.faults.iter().map(|timed| timed.fault.kind()).collect();
    kinds.sort();
    assert_eq!(kinds, [FaultKind::Crash, FaultKind::ClockPause]);
    assert_eq!(failure.smallest.plan.link, septa_sim::LinkOptions::default());
    assert!(failure.plays < 100, "{}", failure.plays);
    // And the small plan, written and read, fails in the same way.
    let again: Plan = failure.smallest.plan.to_string().parse().unwrap();
    assert_eq!(play(&BOTH, &again), failure.smallest);
}

#[test]
fn a_test_that_checks_says_all_that_is_needed_to_see_it_again() {
    let panic = catch_unwind(|| check(0..100, &BOTH)).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    for part in [
        "fragile fails with seed ",
        ": not met: nobody is ill: everybody is\n",
        "it ended behind step ",
        "the smallest plan that fails so, with 2 of ",
        "\n  scenario fragile\n  seed ",
        " clock-pause ",
        "SEPTA_SEED=",
        "cargo test -p septa-sim a_test_that_checks_says_all_that_is_needed_to_see_it_again",
    ] {
        assert!(message.contains(part), "{part} is not in:\n{message}");
    }
}

#[test]
fn a_fault_that_never_changes_anything_fails_the_check() {
    // Nobody ever dials.
    let panic = catch_unwind(|| check(0..20, &Fragile { faults: &[FaultKind::DialHanging] })).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert_eq!(message, "fragile: faults were declared that never changed anything: reset, dial-hanging");
}

/// Meets one thing with this seed, and another one never.
struct Traveller(u64);

impl Scenario for Traveller {
    fn name(&self) -> &str {
        "traveller"
    }

    fn nodes(&self) -> u32 {
        1
    }

    fn menu(&self, _: u32) -> Menu {
        Menu::calm()
    }

    fn sights(&self) -> &'static [&'static str] {
        &["a bridge", "a castle"]
    }

    fn play(&self, run: &Run<'_>) -> Result<(), Failed> {
        let sights = run.sights.clone();
        if run.plan.seed == self.0 {
            run.simulation.boot("on the way", move |_| {
                sights.note("a bridge");
                std::future::ready(())
            });
        }
        Ok(())
    }
}

#[test]
fn what_is_never_met_fails_the_check_as_soon_as_that_proves_something() {
    check(0..19, &Traveller(3));
    let panic = catch_unwind(|| check(0..20, &Traveller(3))).unwrap_err();
    assert_eq!(panic.downcast_ref::<String>().unwrap(), "traveller: no run has met this: a castle");
    let panic = catch_unwind(|| check(0..20, &Traveller(20))).unwrap_err();
    assert_eq!(panic.downcast_ref::<String>().unwrap(), "traveller: no run has met this: a bridge, a castle");
    let outcome = play(&Traveller(3), &plan_of(&Traveller(3), 3, None));
    assert_eq!(outcome.seen.into_iter().collect::<Vec<_>>(), [("a bridge", 1), ("a castle", 0)]);
}

#[test]
fn what_passes_passes() {
    check(0..20, &Fragile { faults: &[FaultKind::LateTimers, FaultKind::Crash] });
}

#[test]
fn one_thread_or_two_see_the_same() {
    let hashes = |threads: usize| {
        let mut hashes = Vec::new();
        let threads = NonZeroUsize::new(threads).unwrap();
        let campaign = Campaign { threads, keep_going: true, ..Campaign::new(3..13) };
        let scenario = suite::find("simultaneous-dial").unwrap();
        let summary = campaign.run(&*scenario, |outcome, _| {
            hashes.push((outcome.plan.seed, outcome.hash, outcome.stats, outcome.fired.clone()));
            true
        });
        assert_eq!((summary.runs, summary.failed.len()), (10, 0));
        hashes.sort_by_key(|(seed, ..)| *seed);
        hashes
    };
    assert_eq!(hashes(1), hashes(2));
}

#[test]
fn a_campaign_ends_at_the_first_seed_that_fails_or_when_it_is_told_to() {
    let campaign = Campaign { threads: NonZeroUsize::MIN, ..Campaign::new(0..1000) };
    let summary = campaign.run(&BOTH, |_, _| true);
    assert_eq!(summary.failed.len(), 1);
    assert_eq!(summary.failed.first(), Some(&(summary.runs - 1)));
    let played = Arc::new(AtomicU64::new(0));
    let counted = played.clone();
    let summary =
        Campaign { keep_going: true, ..campaign }.run(&BOTH, move |_, _| counted.fetch_add(1, Ordering::Relaxed) < 9);
    assert_eq!((summary.runs, played.load(Ordering::Relaxed)), (10, 10));
}

/// Somebody panics when the world is dropped.
struct Grumpy;

struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

impl Scenario for Grumpy {
    fn name(&self) -> &str {
        "grumpy"
    }

    fn nodes(&self) -> u32 {
        1
    }

    fn menu(&self, _: u32) -> Menu {
        Menu::calm()
    }

    fn play(&self, run: &Run<'_>) -> Result<(), Failed> {
        let seed = run.plan.seed;
        run.simulation.boot("host", move |_| {
            let grenade = if seed == 3 { Some(Grenade) } else { None };
            async move {
                let _grenade = grenade;
                std::future::pending().await
            }
        });
        run.simulation.run_for(Duration::from_secs(1))?;
        let grenade = if seed == 4 { Some(Grenade) } else { None };
        run.simulation.add_invariant("none", 1, move |_| {
            let _ = &grenade;
            Ok(())
        });
        Ok(())
    }
}

#[test]
fn a_panic_at_the_end_of_a_run_is_its_failure_and_not_that_of_the_campaign() {
    let campaign = Campaign { threads: NonZeroUsize::MIN, keep_going: true, ..Campaign::new(0..6) };
    let mut failures = Vec::new();
    let summary = campaign.run(&Grumpy, |outcome, _| {
        failures.extend(outcome.result.as_ref().err().map(|failed| (outcome.plan.seed, failed.cause())));
        true
    });
    assert_eq!(summary.runs, 6);
    let causes = [(3, "no task panics: host, when it was ended: on purpose"), (4, "no task panics: on purpose")];
    assert_eq!(failures, causes.map(|(seed, cause)| (seed, cause.to_owned())));
    let plan = plan_of(&Grumpy, 3, None);
    let (outcome, report) = play_recorded(&Grumpy, &plan, "");
    assert_eq!(outcome, play(&Grumpy, &plan));
    assert_eq!(report.failure.unwrap().message, "host, when it was ended: on purpose");
}

/// Somebody is blamed when all is over: by the scenario itself, or by a task that is dropped with the world.
struct Tattler;

struct Whistle(Referee);

impl Drop for Whistle {
    fn drop(&mut self) {
        self.0.blame("nobody whistles", "somebody does");
    }
}

impl Scenario for Tattler {
    fn name(&self) -> &str {
        "tattler"
    }

    fn nodes(&self) -> u32 {
        1
    }

    fn menu(&self, _: u32) -> Menu {
        Menu::calm()
    }

    fn play(&self, run: &Run<'_>) -> Result<(), Failed> {
        let whistle = Whistle(run.simulation.referee());
        let is_task = run.plan.seed == 0;
        if is_task {
            run.simulation.spawn("holder", async move {
                let _whistle = whistle;
                std::future::pending().await
            });
        }
        run.simulation.run_for(Duration::from_secs(1))?;
        Ok(())
    }
}

#[test]
fn who_is_blamed_behind_the_last_step_is_blamed() {
    for seed in [0, 1] {
        let Err(failed) = play(&Tattler, &plan_of(&Tattler, seed, None)).result else { panic!("seed {seed}") };
        assert_eq!(failed.cause(), "nobody whistles");
    }
}

/// Panics of two kinds: one where a host has crashed and a clock was stopped, and another where only one of that was so.
struct TwoBugs {
    in_a_task: bool,
}

impl Scenario for TwoBugs {
    fn name(&self) -> &str {
        "two-bugs"
    }

    fn nodes(&self) -> u32 {
        BOTH.nodes()
    }

    fn menu(&self, nodes: u32) -> Menu {
        BOTH.menu(nodes)
    }

    fn play(&self, run: &Run<'_>) -> Result<(), Failed> {
        let _ = BOTH.play(run);
        let fired = run.simulation.faults_fired();
        let has = |kind| fired.contains_key(&kind);
        let (crashed, paused, number) = (has(FaultKind::Crash), has(FaultKind::ClockPause), run.plan.faults.len());
        let bug = move || match (crashed, paused) {
            (true, true) => panic!("crashed and paused, of {number} faults"),
            (true, false) | (false, true) => panic!("one of the two, of {number} faults"),
            (false, false) => {}
        };
        if self.in_a_task {
            run.simulation.spawn("bug", async move { bug() });
        } else {
            bug();
        }
        run.simulation.run_for(Duration::from_secs(1))?;
        Ok(())
    }
}

#[test]
fn a_panic_is_not_taken_for_another_one() {
    for in_a_task in [false, true] {
        let scenario = TwoBugs { in_a_task };
        let mut outcomes = (0..100).map(|seed| play(&scenario, &plan_of(&scenario, seed, None)));
        let found = outcomes.find(|outcome| {
            let cause = outcome.result.as_ref().err().map(Failed::cause);
            cause.is_some_and(|cause| cause.contains("crashed and paused, of  faults"))
        });
        let smallest = Failure::shrink(&scenario, found.unwrap()).smallest;
        assert_eq!(smallest.plan.faults.len(), 2, "{:?}", smallest.result);
    }
}

#[test]
fn a_search_that_gives_up_says_so() {
    let seed = (0..100).find(|seed| play(&BOTH, &plan_of(&BOTH, *seed, None)).result.is_err()).unwrap();
    let outcome = play(&BOTH, &plan_of(&BOTH, seed, None));
    let failure = Failure::shrink_within(3, &BOTH, outcome.clone());
    assert_eq!((failure.plays, failure.is_minimal), (3, false));
    assert!(failure.to_string().contains("faults, not proven smallest: gave up after 3 plays:"), "{failure}");
    assert!(Failure::shrink(&BOTH, outcome).is_minimal);
}

/// The plan strikes node 3, and there are two.
#[test]
fn a_plan_for_more_nodes_than_there_are_fails_and_says_so() {
    let plan: Plan = "nodes 2\nheal 5s\nat 1s crash 3 new".parse().unwrap();
    let Err(failed) = play(&BOTH, &plan).result else { panic!() };
    assert_eq!(failed.to_string(), "'crash 3 new' strikes a host that there is not");
}
