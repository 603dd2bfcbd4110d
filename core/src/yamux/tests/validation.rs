//! What the session makes of wrong and odd input, one test for each row of the validation table.

use std::{vec, vec::Vec};

use super::support::*;
use crate::yamux::{
    OpenError, ReadError, Violation,
    header::Kind::{Data, GoAway, Ping},
};

/// The session refuses the frames with this violation, says GoAway 1 and nothing else, for ever.
fn fatal(mut session: crate::yamux::Session, frames: &[Vec<u8>], expected: Violation) {
    assert_eq!(recv(&mut session, frames), Err(expected));
    assert_eq!(session.violation(), Some(expected));
    assert_eq!(session.handle_recv(NOW, &update(SYN, 7, 0)), Err(expected), "an error is final");
    assert_eq!(sent(&mut session), [(GoAway, NONE, 0, 1)]);
    assert_eq!(session.open(), Err(OpenError::Closing));
}

#[test]
fn a_wrong_version_or_type_is_fatal() {
    let mut version = update(SYN, 1, 0);
    version[0] = 1;
    fatal(listener(quiet()), &[version], Violation::UnknownVersion);
    let mut kind = update(SYN, 1, 0);
    kind[1] = 4;
    fatal(listener(quiet()), &[kind], Violation::UnknownFrameType);
}

#[test]
fn unknown_flags_are_ignored() {
    let mut odd = update(SYN, 1, 0);
    odd[2] = 0xff;
    odd[3] |= 0xf0;
    let mut session = listener(quiet());
    recv(&mut session, &[odd]).unwrap();
    assert_eq!(session.accept(), Some(id(1)));
}

#[test]
fn stream_frames_on_id_zero_are_fatal() {
    for frame in [data(NONE, 0, b""), data(SYN, 0, b"x"), data(RST, 0, b""), update(NONE, 0, 1), update(SYN, 0, 0)] {
        fatal(listener(quiet()), &[frame], Violation::ZeroStreamId);
    }
}

#[test]
fn opening_with_our_own_parity_is_fatal() {
    for frame in [data(SYN, 2, b"x"), update(SYN, 2, 0)] {
        fatal(listener(quiet()), &[frame], Violation::WrongParity);
    }
    fatal(dialer(quiet()), &[update(SYN, 1, 0)], Violation::WrongParity);
    let mut session = dialer(quiet());
    recv(&mut session, &[update(SYN, 2, 0)]).unwrap();
}

#[test]
fn opening_a_live_stream_again_is_fatal() {
    fatal(listener(quiet()), &[update(SYN, 1, 0), data(SYN, 1, b"")], Violation::DuplicateStream);
    fatal(accepted(), &[update(SYN, 1, 0)], Violation::DuplicateStream);
}

#[test]
fn ids_need_not_be_in_order_and_a_forgotten_one_counts_as_new() {
    let mut session = listener(quiet());
    recv(&mut session, &[update(SYN, 9, 0), data(SYN, 3, b""), update(SYN, 5, 0)]).unwrap();
    for expected in [9, 3, 5] {
        assert_eq!(session.accept(), Some(id(expected)));
    }
    session.reset(id(3), 0);
    recv(&mut session, &[update(SYN, 3, 0)]).unwrap();
    assert_eq!(session.accept(), Some(id(3)));
}

#[test]
fn syn_with_ack_is_fatal() {
    fatal(listener(quiet()), &[update(SYN.with(ACK), 1, 0)], Violation::SynWithAck);
}

#[test]
fn syn_with_rst_is_discarded_with_its_body() {
    let mut session = listener(quiet());
    recv(&mut session, &[data(SYN.with(RST), 1, b"abc"), update(SYN.with(RST), 3, 9)]).unwrap();
    assert_eq!((session.is_idle(), sent(&mut session), events(&mut session)), (true, vec![], vec![]));
}

#[test]
fn a_body_may_use_the_credit_up_and_not_exceed_it() {
    let full = vec![1; 256 * 1024];
    let mut session = accepted();
    recv(&mut session, &[data(NONE, 1, &full)]).unwrap();
    fatal(session, &[data(NONE, 1, b"x")], Violation::CreditExceeded);
    let mut session = listener(quiet());
    recv(&mut session, &[data(SYN, 1, &full)]).unwrap();
    let too_long = frame(Data, SYN, 3, 256 * 1024 + 1);
    fatal(session, &[too_long], Violation::CreditExceeded);
    fatal(accepted(), &[frame(Data, RST, 1, u32::MAX)], Violation::CreditExceeded);
    fatal(accepted(), &[frame(Data, NONE, 1, u32::MAX)], Violation::CreditExceeded);
}

#[test]
fn a_long_body_is_refused_before_anything_is_allocated_and_streamed_as_it_comes() {
    let mut session = accepted();
    session.streams.get_mut(&id(1)).unwrap().recv_window.grow((4 << 20) - 256 * 1024);
    session.streams.get_mut(&id(1)).unwrap().recv_window.grant();
    recv(&mut session, &[frame(Data, NONE, 1, 4 << 20)]).unwrap();
    assert_eq!(session.memory_used(), 0, "a header alone costs nothing");
    recv(&mut session, &[vec![3; 1000]]).unwrap();
    assert_eq!(session.memory_used(), 1000);
    assert_eq!(session.read_chunk(id(1), 2000).unwrap().unwrap().len(), 1000);
    assert!(!session.handle_recv_eof(), "the end is missing");
}

#[test]
fn a_reset_with_a_body_is_consumed() {
    let mut session = accepted();
    recv(&mut session, &[data(RST, 1, &[0; 5000]), update(SYN, 3, 0)]).unwrap();
    assert_eq!(session.read(id(1), &mut [0]), Err(ReadError::Reset(0)));
    assert_eq!(session.accept(), Some(id(3)));
}

#[test]
fn credit_may_reach_32_bits_and_not_pass_them() {
    let most = u32::MAX - 256 * 1024;
    let mut session = accepted();
    recv(&mut session, &[update(NONE, 1, most)]).unwrap();
    fatal(session, &[update(NONE, 1, 1)], Violation::WindowOverflow);
    let mut session = listener(quiet());
    recv(&mut session, &[update(SYN, 1, most)]).unwrap();
    fatal(session, &[update(SYN, 3, most + 1)], Violation::WindowOverflow);
}

#[test]
fn the_delta_of_an_opening_or_an_ack_counts() {
    let mut session = listener(quiet());
    recv(&mut session, &[update(SYN, 1, 786_432)]).unwrap();
    assert_eq!(session.streams[&id(1)].send_window.credit(), 1 << 20);
    let mut session = syn_sent();
    recv(&mut session, &[update(ACK, 1, 786_432)]).unwrap();
    assert_eq!(session.streams[&id(1)].send_window.credit(), (1 << 20) - 1);
}

#[test]
fn a_ping_is_answered_once_with_its_value_and_odd_ones_are_ignored() {
    let mut session = listener(quiet());
    let pings = [
        frame(Ping, SYN, 0, 7),
        frame(Ping, SYN, 5, 8),
        frame(Ping, NONE, 0, 9),
        frame(Ping, SYN.with(ACK), 0, 10),
        frame(Ping, ACK, 0, 11),
    ];
    recv(&mut session, &pings).unwrap();
    assert_eq!(sent(&mut session), [(Ping, ACK, 0, 7), (Ping, ACK, 0, 8)]);
    assert_eq!(session.stats().unexpected_pongs, 1);
}

#[test]
fn a_pong_goes_ahead_of_queued_data() {
    let mut session = accepted();
    session.write(id(1), &[0; 50_000]).unwrap();
    recv(&mut session, &[frame(Ping, SYN, 0, 7)]).unwrap();
    assert_eq!(sent(&mut session)[0], (Ping, ACK, 0, 7));
}

#[test]
fn any_go_away_code_and_id_is_accepted() {
    for (stream, code) in [(0, 0), (0, 2), (9, 3), (0, u32::MAX)] {
        let mut session = listener(quiet());
        recv(&mut session, &[frame(GoAway, NONE, stream, code)]).unwrap();
        assert_eq!(session.remote_go_away(), Some(code));
    }
}

#[test]
fn frames_for_streams_that_never_were_are_ignored_unless_they_carry_data() {
    let mut session = listener(quiet());
    let late = [update(FIN, 5, 0), data(FIN, 5, b""), update(RST, 5, 1), data(RST, 5, b""), update(ACK, 2, 0)];
    recv(&mut session, &late).unwrap();
    assert_eq!((session.is_idle(), sent(&mut session)), (true, vec![]));
    fatal(session, &[data(NONE, 5, b"x")], Violation::UnknownStreamData);
    let mut unsent = dialer(quiet());
    unsent.open().unwrap();
    recv(&mut unsent, &[update(RST, 1, 1), update(NONE, 1, u32::MAX)]).unwrap();
    fatal(unsent, &[data(NONE, 1, b"x")], Violation::UnknownStreamData);
}

#[test]
fn late_data_drains_up_to_the_credit_that_was_outstanding_and_buffers_nothing() {
    let mut session = accepted();
    recv(&mut session, &[data(NONE, 1, &[0; 100])]).unwrap();
    session.reset(id(1), 0);
    sent(&mut session);
    let rest = 256 * 1024 - 100;
    recv(&mut session, &[data(NONE, 1, &vec![0; rest])]).unwrap();
    assert_eq!(session.stream_count(), 0);
    assert_eq!(session.stats().bytes_discarded, rest as u64);
    assert_eq!(session.receive_memory_used(), 0);
    fatal(session, &[data(NONE, 1, b"x")], Violation::UnknownStreamData);
}

#[test]
fn a_stream_that_the_remote_finished_adds_nothing_to_the_allowance() {
    let mut session = accepted();
    recv(&mut session, &[update(FIN, 1, 0)]).unwrap();
    session.reset(id(1), 0);
    assert_eq!(session.ghost_allowance, 0);
}

#[test]
fn bare_window_updates_of_zero_are_harmless() {
    let mut session = accepted();
    recv(&mut session, &[update(NONE, 1, 0), data(NONE, 1, b"")]).unwrap();
    assert_eq!((events(&mut session), sent(&mut session)), (vec![], vec![]));
}
