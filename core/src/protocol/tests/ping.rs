use core::time::Duration;
use std::{vec, vec::Vec};

use proptest::prelude::*;

use crate::protocol::ping::*;
use crate::{Instant, Seed};

const START: Instant = Instant::EPOCH;

fn at(millis: u64) -> Instant {
    START.saturating_add(Duration::from_millis(millis))
}

fn dialer() -> Dialer {
    Dialer::new(Seed::from_bytes([3; 32]))
}

/// A dialer whose payload has left, and the payload.
fn pinging() -> (Dialer, [u8; PAYLOAD_LEN]) {
    let mut dialer = dialer();
    dialer.start(START).unwrap();
    let mut payload = [0; PAYLOAD_LEN];
    assert_eq!(dialer.poll_transmit(&mut payload), PAYLOAD_LEN);
    assert!(!dialer.wants_transmit());
    (dialer, payload)
}

#[test]
fn an_echo_gives_the_round_trip_however_it_is_cut() {
    for cut in 0..=PAYLOAD_LEN {
        let (mut dialer, payload) = pinging();
        let (front, back) = payload.split_at(cut);
        let early = dialer.handle_recv(at(7), front).unwrap();
        let late = dialer.handle_recv(at(9), back).unwrap();
        let expected = if cut == PAYLOAD_LEN { (Some(7), None) } else { (None, Some(9)) };
        assert_eq!((early, late), (expected.0.map(Duration::from_millis), expected.1.map(Duration::from_millis)));
        assert!(!dialer.is_busy());
    }
}

#[test]
fn payloads_come_from_the_seed_and_do_not_repeat() {
    let (mut dialer, first) = pinging();
    assert_eq!(first, Seed::from_bytes([3; 32]).public_stream().next_key());
    dialer.handle_recv(at(1), &first).unwrap();
    dialer.start(at(2)).unwrap();
    let mut second = [0; PAYLOAD_LEN];
    assert_eq!(dialer.poll_transmit(&mut second), PAYLOAD_LEN);
    assert_ne!(first, second);
}

#[test]
fn a_wrong_byte_anywhere_is_an_error_as_soon_as_it_comes() {
    for wrong in 0..PAYLOAD_LEN {
        let (mut dialer, mut payload) = pinging();
        payload[wrong] ^= 0x40;
        assert_eq!(dialer.handle_recv(at(1), &payload[..wrong]), Ok(None));
        assert_eq!(dialer.handle_recv(at(1), &payload[wrong..=wrong]), Err(Error::WrongEcho));
        assert_eq!(dialer.handle_recv(at(1), &[]), Err(Error::WrongEcho), "an error is final");
        assert_eq!(dialer.start(at(1)), Err(CannotStart::Ended));
    }
}

#[test]
fn bytes_without_a_ping_are_an_error() {
    assert_eq!(dialer().handle_recv(START, &[0]), Err(Error::Unsolicited));
    assert_eq!(dialer().handle_recv(START, &[]), Ok(None));

    let (mut more, payload) = pinging();
    assert_eq!(more.handle_recv(at(1), &[&payload[..], &[0]].concat()), Err(Error::Unsolicited), "33 bytes");

    for sent in 0..PAYLOAD_LEN {
        let mut dialer = dialer();
        dialer.start(START).unwrap();
        assert_eq!(dialer.poll_transmit(&mut vec![0; sent]), sent);
        let echo = dialer.handle_recv(at(1), &payload[..=sent]);
        assert_eq!(echo, Err(Error::Unsolicited), "an echo of more than the {sent} bytes sent");
    }
}

#[test]
fn the_end_inside_a_ping_is_an_error_and_between_pings_it_is_not() {
    for received in 0..PAYLOAD_LEN {
        let (mut dialer, payload) = pinging();
        dialer.handle_recv(at(1), &payload[..received]).unwrap();
        assert_eq!(dialer.handle_eof(), Err(Error::UnexpectedEof), "after {received} bytes");
    }
    let (mut dialer, payload) = pinging();
    dialer.handle_recv(at(1), &payload).unwrap();
    assert_eq!(dialer.handle_eof(), Ok(()));
    assert_eq!(dialer.handle_eof(), Ok(()));
    assert!(!dialer.is_reusable(at(1)));
    assert_eq!(dialer.start(at(1)), Err(CannotStart::Ended));
}

#[test]
fn a_ping_fails_at_its_deadline_and_not_before() {
    let (mut dialer, payload) = pinging();
    assert_eq!(dialer.poll_timeout(), Some(START.saturating_add(TIMEOUT)));
    assert_eq!(dialer.handle_timeout(at(19_999)), Ok(()));
    assert_eq!(dialer.handle_timeout(at(20_000)), Err(Error::Timeout));
    assert_eq!(dialer.poll_timeout(), None);
    assert_eq!(dialer.handle_timeout(at(20_001)), Err(Error::Timeout));
    assert_eq!(dialer.handle_recv(at(20_001), &payload), Err(Error::Timeout));

    let (mut answered, payload) = pinging();
    answered.handle_recv(at(1), &payload).unwrap();
    assert_eq!(answered.poll_timeout(), None);
    assert_eq!(answered.handle_timeout(at(99_999)), Ok(()));
}

#[test]
fn a_round_trip_is_clamped_at_both_ends() {
    let (mut instant, payload) = pinging();
    assert_eq!(instant.handle_recv(START, &payload), Ok(Some(MIN_ROUND_TRIP)));

    let mut backwards = dialer();
    backwards.start(at(10)).unwrap();
    let mut payload = [0; PAYLOAD_LEN];
    assert_eq!(backwards.poll_transmit(&mut payload), PAYLOAD_LEN);
    assert_eq!(backwards.handle_recv(at(5), &payload), Ok(Some(MIN_ROUND_TRIP)));

    let (mut late, payload) = pinging();
    assert_eq!(late.handle_recv(at(60_000), &payload), Ok(Some(TIMEOUT)), "the timer was served late");
}

#[test]
fn one_ping_at_a_time_and_a_stale_stream_is_not_reused() {
    let mut fresh = dialer();
    assert!(fresh.is_reusable(at(60_000)), "a new stream has no age");
    fresh.start(START).unwrap();
    assert!(fresh.is_busy() && !fresh.is_reusable(START));
    assert_eq!(fresh.start(START), Err(CannotStart::Busy));

    let (mut dialer, payload) = pinging();
    dialer.handle_recv(at(1), &payload).unwrap();
    assert!(dialer.is_reusable(at(5_000)));
    assert!(!dialer.is_reusable(at(5_001)));
}

#[test]
fn the_listener_takes_one_payload_until_its_echo_is_taken() {
    let mut listener = Listener::new();
    let input: Vec<u8> = (0..100).collect();
    assert_eq!(listener.handle_recv(&input), Ok(32));
    assert_eq!(listener.handle_recv(&input[32..]), Ok(0), "no more is taken");
    let mut out = [0; 64];
    assert_eq!(listener.poll_transmit(&mut out[..31]), 31);
    assert!(listener.wants_transmit());
    assert_eq!(listener.handle_recv(&input[32..]), Ok(0), "not even when one byte waits");
    assert_eq!(listener.poll_transmit(&mut out[31..]), 1);
    assert_eq!(out[..32], input[..32]);
    assert!(!listener.wants_transmit());
    assert_eq!(listener.handle_recv(&input[32..]), Ok(32));
}

#[test]
fn nothing_is_echoed_before_a_payload_is_complete() {
    let mut listener = Listener::new();
    for byte in 0..31 {
        assert_eq!(listener.handle_recv(&[byte]), Ok(1));
        assert!(!listener.wants_transmit());
        assert_eq!(listener.poll_transmit(&mut [0; 64]), 0);
    }
    listener.handle_recv(&[31]).unwrap();
    assert!(listener.wants_transmit());
}

#[test]
fn the_listener_finishes_on_a_boundary_and_fails_inside_a_payload() {
    let mut unused = Listener::new();
    assert_eq!(unused.handle_eof(), Ok(()));
    assert!(unused.is_finished());
    assert_eq!(unused.handle_eof(), Ok(()));
    assert_eq!(unused.handle_recv(&[1, 2]), Ok(2));

    for received in 1..PAYLOAD_LEN {
        let mut listener = Listener::new();
        listener.handle_recv(&vec![0; received]).unwrap();
        assert_eq!(listener.handle_eof(), Err(Error::UnexpectedEof), "after {received} bytes");
        assert!(!listener.is_finished());
        assert_eq!(listener.handle_recv(&[0]), Err(Error::UnexpectedEof));
        assert_eq!(listener.handle_eof(), Err(Error::UnexpectedEof));
    }
}

#[test]
fn an_echo_that_waits_leaves_before_the_listener_finishes() {
    let mut listener = Listener::new();
    listener.handle_recv(&[9; 32]).unwrap();
    assert_eq!(listener.handle_eof(), Ok(()));
    assert!(!listener.is_finished());
    let mut out = [0; 32];
    assert_eq!(listener.poll_transmit(&mut out), 32);
    assert_eq!(out, [9; 32]);
    assert!(listener.is_finished() && !listener.wants_transmit());
}

proptest! {
    #[test]
    fn pings_succeed_over_a_stream_that_cuts_as_it_likes(sizes in prop::collection::vec(1..40_usize, 1..20)) {
        let (mut dialer, mut listener) = (dialer(), Listener::new());
        let (mut to_listener, mut to_dialer) = (Vec::new(), Vec::new());
        let mut round_trips = 0;
        for (step, size) in sizes.iter().cycle().enumerate().take(2_000) {
            let now = START.saturating_add(Duration::from_micros(step as u64));
            if round_trips < 3 && !dialer.is_busy() {
                prop_assert_eq!(dialer.start(now), Ok(()));
            }
            let mut out = vec![0; *size];
            let count = dialer.poll_transmit(&mut out);
            to_listener.extend_from_slice(&out[..count]);

            let end = to_listener.len().min(*size);
            let taken = listener.handle_recv(&to_listener[..end]).unwrap();
            to_listener.drain(..taken);
            let count = listener.poll_transmit(&mut out);
            to_dialer.extend_from_slice(&out[..count]);

            let end = to_dialer.len().min(*size);
            let echo: Vec<u8> = to_dialer.drain(..end).collect();
            round_trips += usize::from(dialer.handle_recv(now, &echo).unwrap().is_some());
        }
        prop_assert_eq!(round_trips, 3);
        prop_assert_eq!(listener.handle_eof(), Ok(()));
        prop_assert!(listener.is_finished());
    }
}
