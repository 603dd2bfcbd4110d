//! Hosts that crash and come back, whose clocks go wrong, and whose disks tear what they write.

use std::{
    future::{pending, poll_fn},
    io,
    net::SocketAddr,
    num::NonZeroU32,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::Duration,
};

use septa_core::{Instant, PeerId, node::Snapshot};
use septa_driver::{
    runtime::Runtime,
    storage::{Loaded, Storage, StorageError},
};
use septa_sim::{
    Boot, Simulation, Stalled,
    plan::{Fault, FaultKind, Plan, Timed},
};

const FIRST: NonZeroU32 = NonZeroU32::MIN;

fn play(simulation: &Simulation, plan: &str) {
    simulation.play(&plan.parse::<Plan>().unwrap().faults).unwrap();
}

/// Faults that begin now, and may be such that a plan refuses them, as they do nothing.
fn strike(simulation: &Simulation, length: Duration, faults: impl IntoIterator<Item = Fault>) {
    let timed = |fault| Timed { at: Duration::ZERO, length, fault };
    simulation.play(&faults.into_iter().map(timed).collect::<Vec<_>>()).unwrap();
}

fn run(simulation: &Simulation, millis: u64) {
    simulation.run_for(Duration::from_millis(millis)).unwrap();
}

fn fired(simulation: &Simulation) -> Vec<(FaultKind, u64)> {
    simulation.faults_fired().into_iter().collect()
}

async fn sleep(runtime: &dyn Runtime, millis: u64) {
    let mut timer = runtime.timer();
    timer.reset(Some(runtime.now().saturating_add(Duration::from_millis(millis))));
    poll_fn(|cx| timer.poll_expired(cx)).await;
}

type Log<T> = Arc<Mutex<Vec<T>>>;

/// A host that says when it starts, and who it is, and ticks every 10 ms.
fn ticking(simulation: &Simulation) -> (Log<(u64, PeerId)>, Log<u64>) {
    let (starts, ticks): (Log<(u64, PeerId)>, Log<u64>) = Default::default();
    let logs = (starts.clone(), ticks.clone());
    simulation.boot("host", move |boot: Boot| {
        let (starts, ticks) = logs.clone();
        async move {
            let millis = |now: Instant| now.as_nanos() / 1_000_000;
            starts.lock().unwrap().push((millis(boot.runtime.now()), boot.identity.peer_id()));
            loop {
                sleep(&*boot.runtime, 10).await;
                ticks.lock().unwrap().push(millis(boot.runtime.now()));
            }
        }
    });
    (starts, ticks)
}

#[test]
fn a_host_that_crashes_does_nothing_until_it_comes_back_as_who_it_was() {
    let simulation = Simulation::new(1);
    let (starts, ticks) = ticking(&simulation);
    play(&simulation, "at 25ms for 50ms crash 1 same");
    run(&simulation, 100);
    let starts = starts.lock().unwrap().clone();
    assert_eq!(starts.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 75]);
    assert_eq!(starts[0].1, starts[1].1);
    assert_eq!(*ticks.lock().unwrap(), [10, 20, 85, 95]);
    assert_eq!(fired(&simulation), [(FaultKind::Crash, 1)]);
}

#[test]
fn a_host_can_come_back_as_somebody_else() {
    let simulation = Simulation::new(1);
    let (starts, _) = ticking(&simulation);
    play(&simulation, "at 25ms for 50ms crash 1 new");
    run(&simulation, 100);
    let starts = starts.lock().unwrap().clone();
    assert_ne!(starts[0].1, starts[1].1);
}

/// It comes up when the last of them is over, and as somebody else if one of them says so.
#[test]
fn crashes_that_overlap_are_one() {
    let simulation = Simulation::new(1);
    let (starts, _) = ticking(&simulation);
    play(&simulation, "at 10ms for 50ms crash 1 new\nat 20ms for 20ms crash 1 same");
    run(&simulation, 100);
    let starts = starts.lock().unwrap().clone();
    assert_eq!(starts.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 60]);
    assert_ne!(starts[0].1, starts[1].1);
    assert_eq!(fired(&simulation), [(FaultKind::Crash, 1)]);
}

#[test]
fn peers_hear_of_a_crash_and_what_is_left_of_the_dead_does_nothing() {
    let simulation = Simulation::new(1);
    let left: Arc<Mutex<Option<Arc<dyn Runtime>>>> = Arc::default();
    let kept = left.clone();
    let addr = SocketAddr::new(simulation.ip(1), 7);
    simulation.boot("server", move |boot: Boot| {
        let kept = kept.clone();
        async move {
            if boot.restarts == 0 {
                *kept.lock().unwrap() = Some(boot.runtime.clone());
            }
            let mut acceptor = boot.runtime.listen(addr).await.unwrap();
            let _socket = poll_fn(|cx| acceptor.poll_accept(cx)).await.unwrap();
            pending::<()>().await;
        }
    });
    let client = simulation.host("client");
    run(&simulation, 1);
    let mut socket = simulation.block_on(client.connect(addr)).unwrap().unwrap();
    play(&simulation, "at 25ms for 50ms crash 1 same");
    let read = simulation.block_on(poll_fn(|cx| socket.reader.poll_read(cx, &mut [0]))).unwrap();
    assert_eq!(read.unwrap(), 0, "the system closes what the process had open");
    assert_eq!(simulation.now().as_nanos(), 26_000_000);
    let refused = simulation.block_on(client.connect(addr)).unwrap().err().unwrap();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    run(&simulation, 100);
    assert!(simulation.block_on(client.connect(addr)).unwrap().is_ok(), "it listens again");

    let dead = left.lock().unwrap().take().unwrap();
    assert_eq!(simulation.block_on(dead.connect(addr)).unwrap().err().unwrap().kind(), io::ErrorKind::NetworkDown);
    assert!(simulation.block_on(dead.listen(addr)).unwrap().is_err());
    dead.spawn("ghost", Box::pin(async { panic!("the dead do not run") }));
    dead.spawn_blocking(Box::new(|| panic!("nor work")));
    run(&simulation, 1);
    assert_eq!(simulation.take_panics(), []);
}

#[test]
fn a_clock_that_stands_still_jumps_when_it_goes_on_and_timers_with_it() {
    let simulation = Simulation::new(1);
    let (_, ticks) = ticking(&simulation);
    play(&simulation, "at 25ms for 40ms clock-pause 1");
    run(&simulation, 100);
    // The one for 30 comes when the clock jumps from 25 to 65.
    assert_eq!(*ticks.lock().unwrap(), [10, 20, 65, 75, 85, 95]);
    assert_eq!(fired(&simulation), [(FaultKind::ClockPause, 1)]);
}

#[test]
fn pauses_that_overlap_are_one() {
    let simulation = Simulation::new(1);
    let (_, ticks) = ticking(&simulation);
    play(&simulation, "at 25ms for 20ms clock-pause 1\nat 35ms for 30ms clock-pause 1");
    run(&simulation, 100);
    assert_eq!(*ticks.lock().unwrap(), [10, 20, 65, 75, 85, 95]);
}

/// The second begins before the first ends, at the same instant.
#[test]
fn of_two_faults_of_a_clock_the_end_of_one_does_not_make_the_other_forgotten() {
    for (plan, kind) in [
        ("at 45ms for 20ms clock-pause 1\nat 25ms for 20ms clock-pause 1", FaultKind::ClockPause),
        ("at 45ms for 30ms clock-drift 1 ppm=9\nat 15ms for 30ms clock-drift 1 ppm=9", FaultKind::ClockDrift),
    ] {
        let simulation = Simulation::new(1);
        ticking(&simulation);
        play(&simulation, plan);
        run(&simulation, 100);
        assert_eq!(fired(&simulation), [(kind, 2)], "{plan}");
    }
}

#[test]
fn a_clock_that_drifts_gains_and_keeps_what_it_has_gained() {
    let simulation = Simulation::new(1);
    let host = simulation.host("host");
    play(&simulation, "at 0s for 10s clock-drift 1 ppm=100000");
    let begin = host.unix_time();
    simulation.run_for(Duration::from_secs(10)).unwrap();
    assert_eq!(host.now().as_nanos(), 11_000_000_000);
    simulation.run_for(Duration::from_secs(10)).unwrap();
    assert_eq!(host.now().as_nanos(), 21_000_000_000);
    assert_eq!(host.unix_time() - begin, Duration::from_secs(21), "the calendar goes with it");
    // A timer goes by the clock of the host.
    play(&simulation, "at 0s for 10s clock-drift 1 ppm=-500000");
    simulation.block_on(async { sleep(&*host, 1000).await }).unwrap();
    assert_eq!(simulation.now().as_nanos(), 22_000_000_000);
}

#[test]
fn a_clock_that_nobody_is_misled_by_does_not_count() {
    for (fault, kind, looks) in [
        // Between two ticks.
        ("at 11ms for 3ms clock-pause 1", FaultKind::ClockPause, true),
        ("at 1ms for 90ms clock-pause 1", FaultKind::ClockPause, false),
        ("at 1ms for 90ms clock-drift 1 ppm=1000", FaultKind::ClockDrift, false),
        ("at 1ms calendar-jump 1 seconds=7", FaultKind::CalendarJump, true),
    ] {
        let simulation = Simulation::new(1);
        if looks {
            ticking(&simulation);
        } else {
            simulation.host("host");
        }
        play(&simulation, fault);
        run(&simulation, 200);
        assert_eq!(fired(&simulation), [], "{fault}: {kind}");
    }
}

#[test]
fn a_clock_that_is_touched_for_no_time_or_by_nothing_does_not_count() {
    let length = Duration::from_millis(90);
    for (length, fault) in [
        (Duration::ZERO, Fault::ClockPause { host: FIRST }),
        (length, Fault::ClockDrift { host: FIRST, ppm: 0 }),
        (length, Fault::CalendarJump { host: FIRST, seconds: 0 }),
    ] {
        let simulation = Simulation::new(1);
        ticking(&simulation);
        run(&simulation, 10);
        strike(&simulation, length, [fault]);
        run(&simulation, 200);
        assert_eq!(fired(&simulation), [], "{fault}");
    }
}

#[test]
fn a_clock_that_somebody_is_misled_by_counts_once() {
    for (fault, kind) in [
        ("at 11ms for 50ms clock-pause 1", FaultKind::ClockPause),
        ("at 1ms for 90ms clock-drift 1 ppm=1000", FaultKind::ClockDrift),
        // Nobody looks while it lasts.
        ("at 11ms for 3ms clock-drift 1 ppm=1000", FaultKind::ClockDrift),
    ] {
        let simulation = Simulation::new(1);
        ticking(&simulation);
        play(&simulation, fault);
        run(&simulation, 200);
        assert_eq!(fired(&simulation), [(kind, 1)], "{fault}");
    }
    let simulation = Simulation::new(1);
    let host = simulation.host("host");
    play(&simulation, "at 1ms for 10ms clock-pause 1\nat 1ms calendar-jump 1 seconds=-9");
    run(&simulation, 5);
    assert_eq!(host.now().as_nanos(), 1_000_000);
    assert_eq!(fired(&simulation), [(FaultKind::ClockPause, 1)]);
    host.unix_time();
    assert_eq!(fired(&simulation), [(FaultKind::ClockPause, 1), (FaultKind::CalendarJump, 1)]);
}

#[test]
fn a_calendar_that_jumps_by_nothing_does_not_count_beside_one_that_jumps() {
    let simulation = Simulation::new(1);
    let host = simulation.host("host");
    strike(&simulation, Duration::ZERO, [0, 7].map(|seconds| Fault::CalendarJump { host: FIRST, seconds }));
    run(&simulation, 1);
    host.unix_time();
    assert_eq!(fired(&simulation), [(FaultKind::CalendarJump, 1)]);
}

#[test]
fn a_calendar_jumps_and_timers_do_not_see_it() {
    let simulation = Simulation::new(1);
    let host = simulation.host("host");
    let begin = host.unix_time();
    play(&simulation, "at 10ms calendar-jump 1 seconds=-3600\nat 20ms calendar-jump 1 seconds=7200");
    run(&simulation, 15);
    assert_eq!(begin - host.unix_time(), Duration::from_secs(3600) - Duration::from_millis(15));
    run(&simulation, 15);
    assert_eq!(host.unix_time() - begin, Duration::from_secs(3600) + Duration::from_millis(30));
    assert_eq!(host.now(), simulation.now());
    assert_eq!(fired(&simulation), [(FaultKind::CalendarJump, 2)]);
}

#[test]
fn timers_are_late_while_it_lasts_and_never_early() {
    let simulation = Simulation::new(1);
    let (_, ticks) = ticking(&simulation);
    play(&simulation, "at 5ms for 500ms late-timers 1 by=30ms");
    run(&simulation, 1000);
    let ticks = ticks.lock().unwrap().clone();
    let gaps: Vec<u64> = ticks.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| (10..=40).contains(gap)), "{gaps:?}");
    let late = gaps.iter().filter(|gap| **gap > 10).count() as u64;
    assert!(late > 10);
    assert!(fired(&simulation)[0].1 >= late);
    assert!(gaps.ends_with(&[10; 40]), "it is over");
}

/// One that was set while it lasted, for later, and one that it has held up until now.
#[test]
fn timers_are_late_no_longer_than_it_lasts() {
    for (millis, expected) in [(1000, 1000), (50, 100)] {
        let simulation = Simulation::new(1);
        let host = simulation.host("host");
        play(&simulation, "at 0s for 100ms late-timers 1 by=1000s");
        run(&simulation, 1);
        let deadline = Instant::from_nanos(millis * 1_000_000);
        let mut timer = host.timer();
        timer.reset(Some(deadline));
        simulation.block_on(poll_fn(|cx| timer.poll_expired(cx))).unwrap();
        assert_eq!(simulation.now().as_nanos() / 1_000_000, expected);
        let late = if millis < expected { vec![(FaultKind::LateTimers, 1)] } else { Vec::new() };
        assert_eq!(fired(&simulation), late);
    }
}

#[test]
fn tasks_are_woken_for_nothing_while_it_lasts() {
    let simulation = Simulation::new(1);
    let polls: Arc<Mutex<u64>> = Arc::default();
    let counted = polls.clone();
    simulation.boot("host", move |_| {
        let polls = counted.clone();
        poll_fn(move |_| {
            *polls.lock().unwrap() += 1;
            std::task::Poll::<()>::Pending
        })
    });
    play(&simulation, "at 10ms for 100ms spurious-wakes 1");
    run(&simulation, 5);
    assert_eq!(*polls.lock().unwrap(), 1);
    run(&simulation, 200);
    let polled = *polls.lock().unwrap();
    assert!(polled > 5);
    assert_eq!(fired(&simulation), [(FaultKind::SpuriousWakes, polled - 1)]);
    run(&simulation, 200);
    assert_eq!(*polls.lock().unwrap(), polled);
}

#[test]
fn a_torn_store_takes_its_host_down() {
    let simulation = Simulation::new(1);
    let log: Log<(u32, Loaded)> = Arc::default();
    let loaded = log.clone();
    simulation.boot("host", move |boot: Boot| {
        let loaded = loaded.clone();
        async move {
            loaded.lock().unwrap().push((boot.restarts, boot.storage.load().unwrap()));
            sleep(&*boot.runtime, 20).await;
            let torn = boot.storage.store(&Snapshot::default());
            assert_eq!(torn, if boot.restarts == 0 { Err(StorageError::Interrupted) } else { Ok(()) });
            sleep(&*boot.runtime, 0).await;
        }
    });
    play(&simulation, "at 10ms for 30ms torn-store 1 new");
    run(&simulation, 100);
    // As somebody else, with an empty disk.
    assert_eq!(*log.lock().unwrap(), [(0, Loaded::Nothing), (1, Loaded::Nothing)]);
    assert_eq!(fired(&simulation), [(FaultKind::TornStore, 1)]);
}

/// A host that stores now and then, and how often it has started.
fn storing(simulation: &Simulation) -> Log<u32> {
    let log: Log<u32> = Arc::default();
    let starts = log.clone();
    simulation.boot("host", move |boot: Boot| {
        starts.lock().unwrap().push(boot.restarts);
        async move {
            loop {
                sleep(&*boot.runtime, 20).await;
                let _ = boot.storage.store(&Snapshot::default());
            }
        }
    });
    log
}

#[test]
fn healing_brings_back_who_is_down_behind_a_torn_store() {
    let simulation = Simulation::new(1);
    let starts = storing(&simulation);
    play(&simulation, "at 10ms for 3600s torn-store 1 same");
    run(&simulation, 30);
    assert_eq!((starts.lock().unwrap().len(), simulation.tasks_of(NonZeroU32::MIN)), (1, 0));
    simulation.heal();
    run(&simulation, 10);
    assert_eq!((starts.lock().unwrap().clone(), simulation.tasks_of(NonZeroU32::MIN)), (vec![0, 1], 1));
    // And not again when it would have come back.
    run(&simulation, 4_000_000);
    assert_eq!(starts.lock().unwrap().len(), 2);
}

#[test]
fn what_happens_in_the_last_poll_of_what_is_waited_for_happens() {
    let simulation = Simulation::new(1);
    let disk: Arc<Mutex<Option<Arc<dyn Storage>>>> = Arc::default();
    let kept = disk.clone();
    let host = simulation.boot("host", move |boot: Boot| {
        kept.lock().unwrap().get_or_insert_with(|| boot.storage.clone());
        pending()
    });
    let other = simulation.host("other");
    play(&simulation, "at 10ms for 1s torn-store 1 same");
    run(&simulation, 20);
    let disk = disk.lock().unwrap().clone().unwrap();
    assert_eq!(simulation.tasks_of(host), 1);
    simulation.block_on(async { disk.store(&Snapshot::default()) }).unwrap().unwrap_err();
    assert_eq!(simulation.tasks_of(host), 0, "it is down");
    simulation.forbid_panics();
    let stalled = simulation.block_on(async { other.spawn_blocking(Box::new(|| panic!("on purpose"))) });
    let Err(Stalled::Broken(broken)) = stalled else { panic!("{stalled:?}") };
    assert_eq!(broken.why, "other: blocking work: on purpose");
}

#[test]
fn invariants_are_looked_at_whatever_ends_a_call() {
    let simulation = Simulation::new(1);
    simulation.add_invariant("never so", 1_000_000, |_| Err("it is so".to_owned()));
    let stalled = simulation.block_on(pending::<()>());
    assert!(matches!(stalled, Err(Stalled::Broken(_))), "{stalled:?}");
    simulation.set_max_steps(3);
    simulation.spawn(
        "busy",
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            std::task::Poll::Pending
        }),
    );
    let stalled = simulation.block_on(pending::<()>());
    assert!(matches!(stalled, Err(Stalled::Broken(_))), "{stalled:?}");
}

#[test]
fn there_are_as_many_hosts_as_addresses() {
    let simulation = Simulation::new(1);
    for _ in 0..65_535 {
        simulation.host("");
    }
    assert!(catch_unwind(AssertUnwindSafe(|| simulation.host("one too many"))).is_err());
}

#[test]
fn healing_ends_what_lasts_and_calls_off_what_is_to_come() {
    let simulation = Simulation::new(1);
    let (starts, ticks) = ticking(&simulation);
    play(
        &simulation,
        "at 5ms for 1h clock-pause 1\nat 6ms for 1h crash 1 same\nat 50ms for 1h clock-pause 1"
            .replace("1h", "3600s")
            .as_str(),
    );
    run(&simulation, 10);
    simulation.heal();
    run(&simulation, 95);
    assert_eq!(starts.lock().unwrap().len(), 2);
    assert_eq!(*ticks.lock().unwrap(), [20, 30, 40, 50, 60, 70, 80, 90, 100]);
    assert_eq!(simulation.live_tasks(), ["host"]);
}

#[test]
fn a_host_behind_a_translator_can_dial_and_not_be_dialed() {
    let simulation = Simulation::new(1);
    let hosts = ["inside", "outside"].map(|name| simulation.host(name));
    let addrs = [1, 2].map(|number| SocketAddr::new(simulation.ip(number), 7));
    let _acceptors: Vec<_> =
        hosts.iter().zip(addrs).map(|(host, addr)| simulation.block_on(host.listen(addr)).unwrap().unwrap()).collect();
    play(&simulation, "at 0s for 10s dial 1 nat");
    run(&simulation, 1);
    assert!(simulation.block_on(hosts[0].connect(addrs[1])).unwrap().is_ok());
    assert!(simulation.block_on(hosts[0].connect(addrs[0])).unwrap().is_ok(), "itself");
    let mut dial = hosts[1].connect(addrs[0]);
    assert!(
        simulation
            .block_on(async { poll_fn(|cx| std::task::Poll::Ready(dial.as_mut().poll(cx).is_pending())).await })
            .unwrap()
    );
    assert_eq!(fired(&simulation), [(FaultKind::Nat, 1)]);
}

#[test]
fn a_broken_invariant_ends_the_run_where_it_broke() {
    let simulation = Simulation::new(1);
    let (_, ticks) = ticking(&simulation);
    simulation.add_invariant("at most three ticks", 1, move |_| match ticks.lock().unwrap().len() {
        0..=3 => Ok(()),
        ticks => Err(format!("there are {ticks}")),
    });
    let Err(Stalled::Broken(broken)) = simulation.run_for(Duration::from_secs(1)) else { panic!() };
    assert_eq!((broken.invariant.as_str(), broken.why.as_str()), ("at most three ticks", "there are 4"));
    assert_eq!(broken.at.as_nanos(), 40_000_000);
}

#[test]
fn a_task_that_blames_or_panics_ends_the_run() {
    let simulation = Simulation::new(1);
    let (referee, sleep) = (simulation.referee(), simulation.sleep(Duration::from_millis(3)));
    simulation.spawn("witness", async move {
        sleep.await;
        referee.blame("two and two are four", "they are five");
        referee.blame("something else", "which does not matter any more");
    });
    let Err(Stalled::Broken(broken)) = simulation.run_for(Duration::from_secs(1)) else { panic!() };
    assert_eq!(broken.to_string(), "broken: two and two are four: they are five (step 4, at 3ms)");
    simulation.forbid_panics();
    simulation.spawn("bad", async { panic!("on purpose") });
    let Err(Stalled::Broken(broken)) = simulation.run_for(Duration::from_secs(1)) else { panic!() };
    assert_eq!((broken.invariant.as_str(), broken.why.as_str()), ("no task panics", "bad: on purpose"));
}
