//! Pings and what they measure.

use alloc::vec::Vec;
use core::time::Duration;

use super::support::*;
use crate::{
    Instant,
    yamux::{
        Config, KeepAliveTimeout, MAX_RTT, Session,
        header::Kind::{self, Ping},
    },
};

fn at(seconds: u64) -> Instant {
    NOW.saturating_add(Duration::from_secs(seconds))
}

/// A session whose first ping does not wait for other frames.
fn hurried(config: Config) -> Session {
    let mut session = dialer(config);
    session.ping_now();
    session
}

/// Sends what is due at this time and returns the value of the ping in it.
fn ping(session: &mut Session, now: Instant) -> u32 {
    let mut out = [0; 100];
    assert!(session.wants_transmit());
    let n = session.poll_transmit(now, &mut out);
    let frames = parse(&out[..n]);
    assert_eq!((frames.len(), frames[0].0.kind, frames[0].0.flags, frames[0].0.stream), (1, Ping, SYN, 0));
    frames[0].0.length
}

#[test]
fn the_first_ping_rides_with_the_first_frames() {
    let mut session = dialer(Config::default());
    assert!(!session.wants_transmit(), "a ping of its own would cost a write");
    let id = session.open().unwrap();
    session.write(id, b"hello").unwrap();
    let mut out = [0; 100];
    let n = session.poll_transmit(at(0), &mut out);
    let kinds: Vec<Kind> = parse(&out[..n]).iter().map(|(header, _)| header.kind).collect();
    assert_eq!(kinds, [Ping, Kind::Data]);
}

#[test]
fn without_other_frames_the_first_ping_leaves_after_an_interval() {
    let mut session = dialer(Config::default());
    assert_eq!(session.poll_timeout(), Some(at(15)));
    session.handle_timeout(at(14)).unwrap();
    assert!(!session.wants_transmit());
    session.handle_timeout(at(15)).unwrap();
    ping(&mut session, at(15));
}

#[test]
fn a_ping_leaves_once_an_interval_and_holds_up_no_close() {
    let mut session = hurried(Config::default());
    assert!(session.is_flushed(), "a keep-alive ping holds up no close");
    let first = ping(&mut session, at(0));
    assert!(!session.wants_transmit(), "one at a time");
    session.handle_recv(at(0).saturating_add(Duration::from_millis(30)), &frame(Ping, ACK, 0, first)).unwrap();
    assert_eq!(session.rtt(), Some(Duration::from_millis(30)));
    assert_eq!(session.poll_timeout(), Some(at(15)));
    session.handle_timeout(at(14)).unwrap();
    assert!(!session.wants_transmit());
    session.handle_timeout(at(15)).unwrap();
    assert_ne!(ping(&mut session, at(15)), first);
}

#[test]
fn a_silent_remote_is_noticed_when_the_timeout_is_over() {
    let mut session = hurried(Config::default());
    ping(&mut session, at(1));
    assert_eq!(session.poll_timeout(), Some(at(21)));
    assert_eq!(session.handle_timeout(at(20)), Ok(()));
    assert_eq!(session.handle_timeout(at(21)), Err(KeepAliveTimeout));
    assert_eq!(session.handle_timeout(at(21)), Err(KeepAliveTimeout));
}

#[test]
fn a_wrong_or_repeated_answer_changes_nothing() {
    let mut session = hurried(Config::default());
    let value = ping(&mut session, at(0));
    session.handle_recv(at(1), &frame(Ping, ACK, 0, value.wrapping_add(1))).unwrap();
    assert_eq!((session.rtt(), session.poll_timeout()), (None, Some(at(20))));
    session.handle_recv(at(2), &frame(Ping, ACK, 0, value)).unwrap();
    session.handle_recv(at(3), &frame(Ping, ACK, 0, value)).unwrap();
    assert_eq!(session.rtt(), Some(MAX_RTT), "a delayed answer is clamped");
    assert_eq!(session.stats().unexpected_pongs, 2);
}

#[test]
fn time_that_runs_backwards_counts_as_the_last_seen() {
    let mut session = hurried(Config::default());
    session.handle_timeout(at(10)).unwrap();
    let value = ping(&mut session, at(5));
    assert_eq!(session.poll_timeout(), Some(at(30)));
    session.handle_recv(at(1), &frame(Ping, ACK, 0, value)).unwrap();
    assert_eq!(session.rtt(), Some(Duration::ZERO));
}

#[test]
fn without_keep_alive_there_is_no_ping_and_no_deadline() {
    let mut session = dialer(quiet());
    assert_eq!((session.wants_transmit(), session.poll_timeout()), (false, None));
    session.handle_timeout(at(1000)).unwrap();
    assert!(!session.wants_transmit());
}
