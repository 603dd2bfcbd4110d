//! What a run leaves behind: a report.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use septa_core::Instant;
use septa_driver::runtime::{Runtime, Socket};
use septa_sim::{
    Boot, Failed, Menu, Run, Scenario, Simulation,
    plan::{Fault, FaultKind, Plan, Restart, Timed},
    plan_of, play, play_recorded,
    report::{Level, Note, Report, Span},
    suite,
};

const PORT: u16 = 4001;

fn seconds(at: f64) -> Instant {
    Instant::from_nanos((at * 1e9) as u64)
}

fn host(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

async fn write(socket: &mut Socket, data: &[u8]) -> std::io::Result<()> {
    let count = std::future::poll_fn(|cx| socket.writer.poll_write(cx, data)).await?;
    assert_eq!(count, data.len());
    Ok(())
}

async fn read(socket: &mut Socket) -> std::io::Result<usize> {
    std::future::poll_fn(|cx| socket.reader.poll_read(cx, &mut [0; 100])).await
}

async fn sleep(runtime: &dyn Runtime, duration: Duration) {
    let mut timer = runtime.timer();
    timer.reset(Some(runtime.now().saturating_add(duration)));
    std::future::poll_fn(|cx| timer.poll_expired(cx)).await;
}

/// Answers each message with three bytes, and ends when the other end does.
async fn serve(boot: Boot) {
    boot.journal.note(&format!("life {}", boot.restarts));
    let mut acceptor = boot.runtime.listen((boot.ip, PORT).into()).await.unwrap();
    loop {
        let Ok(mut socket) = std::future::poll_fn(|cx| acceptor.poll_accept(cx)).await else { return };
        while let Ok(1..) = read(&mut socket).await {
            if write(&mut socket, b"yes").await.is_err() {
                break;
            }
        }
    }
}

/// Says something every second for as long as the connection lasts, then dials anew.
async fn ask(runtime: Arc<dyn Runtime>, to: std::net::IpAddr) {
    loop {
        if let Ok(mut socket) = runtime.connect((to, PORT).into()).await {
            while write(&mut socket, b"hello").await.is_ok() && matches!(read(&mut socket).await, Ok(1..)) {
                sleep(&*runtime, Duration::from_secs(1)).await;
            }
        }
        sleep(&*runtime, Duration::from_secs(1)).await;
    }
}

/// A server, somebody who asks it, and somebody who does nothing.
fn village(simulation: &Simulation) {
    simulation.boot("bob", serve);
    let bob = simulation.ip(1);
    simulation.boot("alice", move |boot| ask(boot.runtime, bob));
    simulation.boot("carol", |_| std::future::pending());
}

fn strike(simulation: &Simulation, faults: &[(u64, u64, Fault)]) {
    let timed = |(at, length, fault): &(u64, u64, Fault)| Timed {
        at: Duration::from_millis(*at),
        length: Duration::from_millis(*length),
        fault: *fault,
    };
    simulation.play(&faults.iter().map(timed).collect::<Vec<_>>()).unwrap();
}

/// The connections, each as who dialed, and how it ended and when.
fn ends(report: &Report) -> Vec<(usize, &str, Option<Instant>)> {
    report.connections.iter().map(|bar| (bar.dialer, bar.end.as_str(), bar.closed)).collect()
}

#[test]
fn nothing_is_recorded_that_nobody_has_asked_for() {
    let simulation = Simulation::new(1);
    village(&simulation);
    simulation.run_for(Duration::from_secs(2)).unwrap();
    assert_eq!(simulation.recording(), None);
}

#[test]
fn hosts_and_connections_are_there_with_what_happened_to_them() {
    let simulation = Simulation::new(1);
    simulation.record();
    village(&simulation);
    strike(&simulation, &[(2500, 1000, Fault::Crash { host: host(1), restart: Restart::Same })]);
    simulation.run_for(Duration::from_secs(6)).unwrap();

    let report = simulation.recording().unwrap();
    assert_eq!((report.begin, report.end, report.heal), (seconds(0.0), seconds(6.0), None));
    assert_eq!(report.hash, Some(simulation.trace()));
    let lives: Vec<_> = report.hosts.iter().map(|lane| (lane.name.as_str(), lane.lives.as_slice())).collect();
    let whole = [Span { from: seconds(0.0), to: None }];
    let bob = [Span { from: seconds(0.0), to: Some(seconds(2.5)) }, Span { from: seconds(3.5), to: None }];
    assert_eq!(lives, [("bob", bob.as_slice()), ("alice", &whole), ("carol", &whole)]);

    let notes = [(0.0, "life 0"), (3.5, "life 1")];
    let note =
        |(at, text): (f64, &str)| Note { at: seconds(at), host: Some(0), level: Level::Info, text: text.to_owned() };
    assert_eq!(report.notes, notes.map(note));

    // Alice asks at 0, 1 and 2, hears at 3 that bob is gone, and dials again at 4.
    assert_eq!(ends(&report), [(1, "bob went down", Some(seconds(2.5))), (1, "", None)]);
    let [first, second] = &report.connections[..] else { panic!() };
    assert_eq!((first.listener, first.opened, first.established), (0, seconds(0.0), Some(seconds(0.0))));
    assert_eq!((first.sent, first.received), (15, 9));
    assert_eq!((second.opened, second.sent, second.received), (seconds(4.0), 10, 6));

    let [crash] = &report.faults[..] else { panic!() };
    assert_eq!((crash.from, crash.to, crash.fired), (seconds(2.5), seconds(3.5), 1));
    assert_eq!((crash.text.as_str(), crash.hosts.as_slice()), ("crash 1 same", [0].as_slice()));
}

#[test]
fn what_happened_before_is_not_there_but_who_is() {
    let simulation = Simulation::new(1);
    village(&simulation);
    strike(&simulation, &[(1000, 5000, Fault::Crash { host: host(3), restart: Restart::Same })]);
    simulation.run_for(Duration::from_secs(2)).unwrap();
    simulation.record();
    simulation.run_for(Duration::from_secs(1)).unwrap();
    let report = simulation.recording().unwrap();
    assert_eq!((report.begin, report.connections.len(), report.faults.len()), (seconds(2.0), 0, 0));
    let lives: Vec<_> = report.hosts.iter().map(|lane| (lane.name.as_str(), lane.lives.len())).collect();
    assert_eq!(lives, [("bob", 1), ("alice", 1), ("carol", 0)]);
}

#[test]
fn each_end_of_a_connection_has_its_reason() {
    let simulation = Simulation::new(1);
    simulation.record();
    village(&simulation);
    let (bob, alice) = (host(1), host(2));
    let faults =
        [(500, 0, Fault::Fin { from: bob, to: alice }), (5500, 0, Fault::Reset { one: bob, other: alice, after: 7 })];
    strike(&simulation, &faults);
    simulation.run_for(Duration::from_secs(5)).unwrap();
    simulation.run_for(Duration::from_secs(5)).unwrap();
    let report = simulation.recording().unwrap();
    let expected = [
        // What alice finds at 1 s: bob seems to have ended.
        (1, "cut short by a fault, then closed by alice", Some(seconds(1.0))),
        (1, "connection reset, as alice finds", Some(seconds(7.0))),
        (1, "", None),
    ];
    assert_eq!(ends(&report), expected);
    assert_eq!(report.faults.iter().map(|fault| fault.fired).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn who_hangs_up_is_named() {
    let simulation = Simulation::new(1);
    simulation.record();
    simulation.boot("bob", serve);
    let bob = simulation.ip(1);
    simulation.boot("alice", move |boot| async move {
        let mut socket = boot.runtime.connect((bob, PORT).into()).await.unwrap();
        write(&mut socket, b"hello").await.unwrap();
        assert_eq!(read(&mut socket).await.unwrap(), 3);
        drop(socket);
        let mut socket = boot.runtime.connect((bob, PORT).into()).await.unwrap();
        write(&mut socket, b"hello").await.unwrap();
        sleep(&*boot.runtime, Duration::from_secs(1)).await;
        // The answer lies there.
        drop(socket);
        let mut socket = boot.runtime.connect((bob, PORT).into()).await.unwrap();
        std::future::poll_fn(|cx| socket.writer.poll_shutdown(cx)).await.unwrap();
        assert_eq!(read(&mut socket).await.unwrap(), 0);
    });
    simulation.run_for(Duration::from_secs(3)).unwrap();
    let report = simulation.recording().unwrap();
    let expected = [
        (1, "closed by alice", Some(seconds(0.0))),
        (1, "reset: alice closed it and had not read everything", Some(seconds(1.0))),
        (1, "closed by bob", Some(seconds(1.0))),
    ];
    assert_eq!(ends(&report), expected);
    let established: Vec<_> = report.connections.iter().map(|bar| bar.established.is_some()).collect();
    assert_eq!(established, [true, false, false]);
}

/// The first counts when alice speaks, at 1 s. The second begins behind that, and counts when it is over.
#[test]
fn what_counts_as_a_fault_ends_is_its_doing() {
    let simulation = Simulation::new(1);
    simulation.record();
    village(&simulation);
    let partition = |one, other| Fault::Partition { one: host(one), other: host(other) };
    strike(&simulation, &[(500, 4000, partition(1, 2)), (1500, 1000, partition(2, 1))]);
    simulation.run_for(Duration::from_secs(6)).unwrap();
    let report = simulation.recording().unwrap();
    assert_eq!(report.faults.iter().map(|fault| fault.fired).collect::<Vec<_>>(), [1, 1]);
}

/// Two partitions at once, but only across one of them does somebody talk.
#[test]
fn a_fault_counts_what_itself_has_changed() {
    let simulation = Simulation::new(1);
    simulation.record();
    village(&simulation);
    let (bob, alice, carol) = (host(1), host(2), host(3));
    let faults = [
        (500, 3000, Fault::Partition { one: alice, other: bob }),
        (500, 3000, Fault::Partition { one: alice, other: carol }),
    ];
    strike(&simulation, &faults);
    simulation.run_for(Duration::from_secs(2)).unwrap();
    simulation.heal();
    simulation.run_for(Duration::from_secs(1)).unwrap();
    let report = simulation.recording().unwrap();
    assert_eq!(report.faults.iter().map(|fault| fault.fired).collect::<Vec<_>>(), [1, 0]);
    assert_eq!(report.faults[0].hosts, [1, 0]);
    // They are over when everything is.
    assert_eq!((report.heal, report.faults[0].to), (Some(seconds(2.0)), seconds(2.0)));
    assert_eq!(simulation.faults_fired()[&FaultKind::Partition], 1);
}

#[test]
fn recording_changes_nothing_and_gives_the_same_twice() {
    for name in ["partition-heal", "restart"] {
        let scenario = suite::find(name).unwrap();
        let seed = 1;
        let plan = plan_of(&*scenario, seed, Some(2));
        let (outcome, report) = play_recorded(&*scenario, &plan, "");
        assert_eq!(outcome, play(&*scenario, &plan), "{plan}");
        assert_eq!((report.hash, report.seed), (Some(outcome.hash), seed));
        assert_eq!((report.scenario.as_str(), &report.plan), (scenario.name(), &plan.to_string()));
        assert_eq!(report.heal, Some(Instant::EPOCH.saturating_add(plan.heal)));
        assert_eq!((report.failure.as_ref(), report.omitted), (None, 0));
        assert_eq!(report.connections.len() as u64, outcome.stats.connections);
        assert!(report.connections.iter().any(|bar| bar.established.is_some()));
        // Everything that fired is some fault's doing.
        let fired: u64 = report.faults.iter().map(|fault| fault.fired).sum();
        assert_eq!((report.faults.len(), fired), (plan.faults.len(), outcome.fired.values().sum()), "{plan}");
        assert_eq!(play_recorded(&*scenario, &plan, "").1.to_html(), report.to_html());
    }
}

/// Bob and alice, until bob is seen to have come back.
struct Ill;

impl Scenario for Ill {
    fn name(&self) -> &str {
        "ill"
    }

    fn nodes(&self) -> u32 {
        3
    }

    fn menu(&self, _: u32) -> Menu {
        unreachable!("the plan is given")
    }

    fn play(&self, run: &Run<'_>) -> Result<(), Failed> {
        let referee = run.simulation.referee();
        run.simulation.boot("bob", move |boot| {
            if boot.restarts > 0 {
                referee.blame("nobody comes back", "bob does");
            }
            serve(boot)
        });
        let bob = run.simulation.ip(1);
        run.simulation.boot("alice", move |boot| ask(boot.runtime, bob));
        run.chaos()?;
        run.comes("peace", Duration::from_secs(1), || Err("there is none".to_owned()))
    }
}

#[test]
fn a_failure_is_told_with_its_place() {
    let plan: Plan = "seed 7\nheal 5s\nat 2s for 1s crash 1 same".parse().unwrap();
    let (outcome, report) = play_recorded(&Ill, &plan, "septa sim --plan FILE");
    assert!(outcome.result.is_err());
    let failure = report.failure.clone().unwrap();
    assert_eq!((failure.at, failure.step), (seconds(3.0), outcome.stats.steps));
    assert_eq!((failure.invariant.as_str(), failure.message.as_str()), ("nobody comes back", "bob does"));
    let text = report.to_text();
    let again = "# again: septa sim --plan FILE\n";
    assert!(text.contains(again) && text.contains("FAILED in step"), "{text}");
    assert!(report.to_html().contains("nobody comes back"));

    // What does not come right is seen at the end.
    let plan: Plan = "seed 7\nheal 5s".parse().unwrap();
    let (outcome, report) = play_recorded(&Ill, &plan, "septa sim --plan FILE");
    let failure = report.failure.unwrap();
    assert_eq!((failure.at, failure.step), (seconds(6.0), outcome.stats.steps));
    assert_eq!((failure.invariant.as_str(), failure.message.as_str()), ("peace", "there is none"));

    // A plan for more hosts than there are.
    let plan: Plan = "seed 7\nat 1s crash 9 same".parse().unwrap();
    let failure = play_recorded(&Ill, &plan, "septa sim --plan FILE").1.failure.unwrap();
    assert_eq!((failure.at, failure.invariant.as_str()), (seconds(0.0), "unplayable"));
}
