//! Runs to report.

use septa_core::Instant;
use septa_sim::{
    Simulation,
    report::{ConnectionBar, Failure, FaultBar, HostLane, Level, Note, Report, Span},
};

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn host(name: &str, lives: &[(u64, Option<u64>)]) -> HostLane {
    let lives = lives.iter().map(|(from, to)| Span { from: at(*from), to: to.map(at) }).collect();
    HostLane { name: name.to_owned(), lives }
}

fn connection(id: u64, ends: (usize, usize), opened: u64, closed: Option<(u64, &str)>) -> ConnectionBar {
    ConnectionBar {
        id,
        dialer: ends.0,
        listener: ends.1,
        opened: at(opened),
        established: Some(at(opened + 180)),
        closed: closed.map(|(when, _)| at(when)),
        end: closed.map_or(String::new(), |(_, why)| why.to_owned()),
        sent: 65_536 * id,
        received: 1_024 * id,
    }
}

fn fault(from: u64, to: u64, hosts: &[usize], text: &str, fired: u64) -> FaultBar {
    FaultBar { from: at(from), to: at(to), hosts: hosts.to_vec(), text: text.to_owned(), fired }
}

fn note(when: u64, host: Option<usize>, level: Level, text: &str) -> Note {
    Note { at: at(when), host, level, text: text.to_owned() }
}

/// Twelve seconds of three hosts, in the end of which two connections are left between two of them.
pub(crate) fn failed() -> Report {
    let plan = "seed 7\norder seeded\nlink latency=20ms jitter=5ms\nat 2s for 3s partition 1-2\n\
                at 4s for 1.5s crash 3 same\nat 6s reset 1-2 after=1000\nat 7s for 1s stall 2>3\n";
    Report {
        scenario: "partition and heal".to_owned(),
        seed: 7,
        hash: Some(Simulation::new(7).trace()),
        plan: plan.to_owned(),
        command: "SEPTA_SEED=7 cargo test -p my-app partition_and_heal".to_owned(),
        begin: at(0),
        end: at(12_000),
        heal: Some(at(8_000)),
        hosts: vec![
            host("alice", &[(0, None)]),
            host("bob", &[(0, None)]),
            host("carol", &[(0, Some(4_000)), (5_500, None)]),
        ],
        connections: vec![
            connection(1, (0, 1), 100, Some((3_200, "idle timeout"))),
            connection(2, (0, 2), 150, Some((4_000, "reset by the peer"))),
            connection(3, (2, 1), 300, Some((4_000, "reset by the peer"))),
            connection(4, (1, 0), 5_100, Some((6_010, "reset by the peer"))),
            connection(5, (0, 2), 5_700, None),
            connection(6, (2, 1), 5_900, None),
            connection(7, (0, 1), 8_300, None),
            connection(8, (1, 0), 8_310, None),
            ConnectionBar { established: None, ..connection(9, (0, 1), 2_500, Some((4_900, "dial timeout"))) },
        ],
        faults: vec![
            fault(2_000, 5_000, &[0, 1], "partition 1-2", 214),
            fault(4_000, 5_500, &[2], "crash 3 same", 1),
            fault(6_000, 6_000, &[0, 1], "reset 1-2 after=1000", 1),
            fault(7_000, 8_000, &[1, 2], "stall 2>3", 0),
        ],
        notes: vec![
            note(280, Some(0), Level::Info, "bob is Established"),
            note(3_200, Some(0), Level::Warning, "lost bob: idle timeout; next attempt in 1.1s"),
            note(5_280, Some(1), Level::Info, "alice is Established"),
            note(6_010, Some(1), Level::Warning, "lost alice: reset by the peer"),
            note(8_490, Some(1), Level::Info, "alice is Established"),
            note(9_000, None, Level::Info, "every application has settled"),
        ],
        failure: Some(Failure {
            at: at(11_500),
            step: 48_213,
            host: Some(1),
            invariant: "one connection per peer".to_owned(),
            message: "bob keeps 2 connections to alice (7, 8), 3.2s after the faults were over".to_owned(),
        }),
        omitted: 0,
    }
}

/// A minute of many hosts, each of which dials so many others and comes and goes.
pub(crate) fn mesh(hosts: usize, degree: usize) -> Report {
    let lanes = (0..hosts).map(|index| {
        let down = 10_000 + 700 * (index as u64 % 40);
        let lives: &[(u64, Option<u64>)] =
            if index % 5 == 3 { &[(0, Some(down)), (down + 4_000, None)] } else { &[(0, None)] };
        host(&format!("node-{:03}", index + 1), lives)
    });
    let mut connections = Vec::new();
    for dialer in 0..hosts {
        for hop in 1..=degree / 2 {
            let listener = (dialer + hop * hop) % hosts;
            let opened = 20 * (dialer as u64 % 50) + 300 * hop as u64;
            let id = connections.len() as u64;
            let closed = id.is_multiple_of(3).then_some((20_000 + 37 * (id % 600), "the peer ended the connection"));
            connections.push(connection(id + 1, (dialer, listener), opened, closed));
        }
    }
    let faults = (0..12).map(|index| {
        let (one, other) = (index * 7 % hosts, (index * 11 + 1) % hosts);
        let from = 5_000 + 2_500 * index as u64;
        fault(from, from + 3_000, &[one, other], &format!("partition {}-{}", one + 1, other + 1), index as u64 % 4)
    });
    Report {
        scenario: "mesh with churn".to_owned(),
        seed: 41,
        plan: "seed 41\norder fifo\n".to_owned(),
        command: "septa sim --scenario mesh --seeds 41..42".to_owned(),
        begin: at(0),
        end: at(60_000),
        heal: Some(at(40_000)),
        hosts: lanes.collect(),
        connections,
        faults: faults.collect(),
        notes: (0..hosts)
            .map(|index| note(500 + 13 * index as u64 % 50_000, Some(index), Level::Info, "settled"))
            .collect(),
        failure: None,
        ..failed()
    }
}
