//! The frame header, alone and at the front of a session.

use super::Input;
use crate::{
    Instant, Role,
    yamux::{Config, HEADER_LEN, Session, Violation, recode_header},
};

/// Input: headers, 12 bytes each.
///
/// Asserts that exactly those of another version or an unknown type are refused, that a header written
/// again has the same bytes but for flags that have no meaning, and that a session takes a header that
/// comes byte by byte for the same as a whole one.
pub fn yamux_header(data: &[u8]) {
    let mut input = Input::new(data);
    let config = Config { keep_alive: None, ..Config::default() };
    let make = |role| Session::new(role, config.clone(), Instant::EPOCH);
    let role = if input.bool() { Role::Dialer } else { Role::Listener };
    let (mut whole, mut split) = (make(role), make(role));
    while !input.is_empty() {
        let header: [u8; HEADER_LEN] = input.array();
        let decoded = recode_header(header);
        match header {
            [0, 0..=3, ..] => {
                let mut expected = header;
                expected[2] = 0;
                expected[3] &= 0x0f;
                assert_eq!(decoded, Ok(expected));
            }
            [0, ..] => assert_eq!(decoded, Err(Violation::UnknownFrameType)),
            _ => assert_eq!(decoded, Err(Violation::UnknownVersion)),
        }
        let outcome = whole.handle_recv(Instant::EPOCH, &header);
        let cut = header.iter().try_for_each(|byte| split.handle_recv(Instant::EPOCH, &[*byte]));
        assert_eq!(outcome, cut);
        // A violation stays; what comes after it is refused for the same reason.
        assert!(outcome.is_ok() || whole.violation() == outcome.err());
        assert_eq!((whole.violation(), whole.stats()), (split.violation(), split.stats()));
    }
    assert_eq!(transmit(&mut whole), transmit(&mut split));
    assert_eq!(whole.poll_timeout(), None);
    for session in [&mut whole, &mut split] {
        while session.poll_event().is_some() {}
        assert!(!session.wants_transmit());
    }
}

fn transmit(session: &mut Session) -> alloc::vec::Vec<u8> {
    let (mut sent, mut out) = (alloc::vec::Vec::new(), [0; 256]);
    while session.wants_transmit() {
        let len = session.poll_transmit(Instant::EPOCH, &mut out);
        assert!(len > 0, "a session that wants to transmit does");
        sent.extend_from_slice(&out[..len]);
    }
    sent
}
