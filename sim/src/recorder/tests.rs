use std::num::NonZeroU32;

use super::*;
use crate::plan::{DialFault, Restart, Tamper};

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

fn recorder() -> Recorder {
    Recorder::new(at(0), [("alice", true), ("bob", true), ("carol", false)].into_iter())
}

fn report(recorder: &Recorder) -> Report {
    recorder.report(at(9), crate::Simulation::new(1).trace())
}

fn host(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn note(text: &str) -> Event<'_> {
    Event::Note { host: 1, text }
}

#[test]
fn a_host_has_one_life_after_the_other() {
    let mut recorder = recorder();
    recorder.hear(at(1), Event::Crash { host: 1 });
    recorder.hear(at(2), Event::Boot { host: 1 });
    recorder.hear(at(3), Event::Boot { host: 3 });
    recorder.hear(at(4), Event::Host { name: "dave" });
    recorder.hear(at(4), Event::Boot { host: 4 });
    let span = |from, to: Option<u64>| Span { from: at(from), to: to.map(at) };
    let lives: Vec<_> = report(&recorder).hosts.into_iter().map(|lane| (lane.name, lane.lives)).collect();
    let expected = [
        ("alice", vec![span(0, Some(1)), span(2, None)]),
        ("bob", vec![span(0, None)]),
        ("carol", vec![span(3, None)]),
        ("dave", vec![span(4, None)]),
    ];
    assert_eq!(lives, expected.map(|(name, lives)| (name.to_owned(), lives)));
}

#[test]
fn the_oldest_life_makes_room_for_the_next() {
    let mut recorder = recorder();
    for time in 1..MAX_LIVES as u64 {
        recorder.hear(at(time), Event::Crash { host: 1 });
        recorder.hear(at(time), Event::Boot { host: 1 });
    }
    assert_eq!((report(&recorder).hosts[0].lives.len(), recorder.omitted), (MAX_LIVES, 0));
    recorder.hear(at(5000), Event::Crash { host: 1 });
    recorder.hear(at(5001), Event::Boot { host: 1 });
    let lives = &report(&recorder).hosts[0].lives;
    assert_eq!((lives.len(), lives[0].from, recorder.omitted), (MAX_LIVES, at(1), 1));
}

#[test]
fn hosts_past_the_limit_are_left_out_with_all_that_happens_to_them() {
    let mut recorder = recorder();
    for _ in 3..MAX_HOSTS {
        recorder.hear(at(1), Event::Host { name: "one of many" });
    }
    assert_eq!((recorder.hosts.len(), recorder.omitted), (MAX_HOSTS, 0));
    recorder.hear(at(1), Event::Host { name: "one too many" });
    let host = u32::try_from(MAX_HOSTS).unwrap() + 1;
    recorder.hear(at(2), Event::Crash { host });
    recorder.hear(at(2), Event::Boot { host });
    assert_eq!((recorder.hosts.len(), recorder.omitted), (MAX_HOSTS, 1));
}

#[test]
fn the_oldest_note_makes_room_for_the_next_and_a_long_one_is_cut() {
    let mut recorder = recorder();
    recorder.hear(at(1), note("first"));
    for _ in 1..MAX_NOTES {
        recorder.hear(at(2), note("another"));
    }
    assert_eq!((report(&recorder).notes[0].text.as_str(), recorder.omitted), ("first", 0));
    recorder.hear(at(3), note(&"x".repeat(MAX_NOTE_LEN + 1)));
    let report = report(&recorder);
    assert_eq!((report.notes.len(), report.notes[0].text.as_str(), report.omitted), (MAX_NOTES, "another", 1));
    assert_eq!(report.notes.last().unwrap().text.len(), MAX_NOTE_LEN);
}

#[test]
fn the_oldest_connection_makes_room_for_the_next() {
    let mut recorder = recorder();
    let connect = |number: u64| Event::Connected { socket: 2 * number, dialer: 1, listener: 2 };
    for number in 1..=MAX_CONNECTIONS as u64 {
        recorder.hear(at(1), connect(number));
    }
    assert_eq!((report(&recorder).connections[0].id, recorder.omitted), (1, 0));
    recorder.hear(at(1), connect(MAX_CONNECTIONS as u64 + 1));
    // What happens to it later is nobody's.
    recorder.hear(at(2), Event::Closed { socket: 2, has_unread: false });
    let report = report(&recorder);
    assert_eq!((report.connections.len(), report.connections[0].id, report.omitted), (MAX_CONNECTIONS, 2, 1));
    assert_eq!(report.connections[0].closed, None);
}

#[test]
fn the_oldest_fault_makes_room_for_the_next() {
    let mut recorder = recorder();
    let fault = |host| Fault::ClockPause { host };
    recorder.hear(at(1), Event::FaultBegins { fault: fault(host(1)) });
    for _ in 1..MAX_FAULTS {
        recorder.hear(at(1), Event::FaultBegins { fault: fault(host(2)) });
    }
    assert_eq!((report(&recorder).faults[0].hosts.as_slice(), recorder.omitted), ([0].as_slice(), 0));
    recorder.hear(at(1), Event::FaultBegins { fault: fault(host(2)) });
    assert_eq!((report(&recorder).faults[0].hosts.as_slice(), recorder.omitted), ([1].as_slice(), 1));
}

#[test]
fn what_fires_is_counted_for_the_fault_that_did_it() {
    use FaultKind as Kind;
    let (one, other, third) = (host(1), host(2), host(3));
    let faults = [
        Fault::Partition { one, other },
        Fault::Partition { one, other: third },
        Fault::Stall { from: one, to: other },
        Fault::Reset { one, other, after: 7 },
        Fault::Tamper { from: other, to: one, how: Tamper::Flip, after: 7 },
        Fault::Dial { to: third, how: DialFault::Hanging },
        Fault::Crash { host: other, restart: Restart::Same },
    ];
    let mut recorder = recorder();
    faults.into_iter().for_each(|fault| recorder.hear(at(1), Event::FaultBegins { fault }));
    let fired = [
        (Kind::Partition, 2, 1),
        (Kind::Partition, 1, 2),
        (Kind::Stall, 1, 2),
        // Nothing stalls in this direction.
        (Kind::Stall, 2, 1),
        (Kind::Reset, 2, 1),
        (Kind::Flip, 2, 1),
        (Kind::Flip, 1, 2),
        (Kind::DialHanging, 1, 3),
        (Kind::DialHanging, 3, 1),
        (Kind::Crash, 2, 2),
        (Kind::Crash, 1, 1),
    ];
    fired.into_iter().for_each(|(kind, from, to)| recorder.hear(at(2), Event::Fired { kind, from, to }));
    let counts: Vec<u64> = report(&recorder).faults.iter().map(|fault| fault.fired).collect();
    assert_eq!(counts, [2, 0, 1, 1, 1, 1, 1]);
}

#[test]
fn of_several_faults_it_was_the_last_that_still_lasts() {
    let mut recorder = recorder();
    let fault = Fault::SpuriousWakes { host: host(1) };
    let fired = Event::Fired { kind: FaultKind::SpuriousWakes, from: 1, to: 1 };
    let counts = |recorder: &Recorder| -> Vec<u64> { report(recorder).faults.iter().map(|bar| bar.fired).collect() };
    recorder.hear(at(1), Event::FaultBegins { fault });
    recorder.hear(at(2), Event::FaultBegins { fault });
    recorder.hear(at(2), fired);
    assert_eq!(counts(&recorder), [0, 1]);
    // The first of them is over.
    recorder.hear(at(3), Event::FaultEnds { fault });
    recorder.hear(at(3), fired);
    assert_eq!(counts(&recorder), [0, 2]);
    recorder.hear(at(4), Event::FaultBegins { fault: Fault::SpuriousWakes { host: host(2) } });
    recorder.hear(at(4), fired);
    assert_eq!(counts(&recorder), [0, 3, 0]);
    // Now both are, and what comes late is counted for the last of them.
    recorder.hear(at(5), Event::FaultEnds { fault });
    recorder.hear(at(6), fired);
    assert_eq!(counts(&recorder), [0, 4, 0]);
    let spans: Vec<_> = report(&recorder).faults.iter().map(|bar| (bar.from, bar.to)).collect();
    // The last is not over: it goes on to the end.
    assert_eq!(spans, [(at(1), at(3)), (at(2), at(5)), (at(4), at(9))]);
}

/// Of one direction: what comes from the other end is still read.
#[test]
fn a_broken_pipe_is_no_end_of_a_connection() {
    let mut recorder = recorder();
    recorder.hear(at(1), Event::Connected { socket: 2, dialer: 1, listener: 2 });
    recorder.hear(at(2), Event::Failed { socket: 2, why: io::ErrorKind::BrokenPipe });
    assert_eq!(report(&recorder).connections[0].closed, None);
    recorder.hear(at(3), Event::Failed { socket: 2, why: io::ErrorKind::ConnectionReset });
    assert_eq!(report(&recorder).connections[0].closed, Some(at(3)));
}
