//! The stream state machine of the yamux spec, one test for each row.

use std::vec;

use super::support::*;
use crate::yamux::{
    Event, OpenError, ReadError, WriteError,
    header::Kind::{Data, WindowUpdate},
    stream::Opening,
};

#[test]
fn syn_rides_on_the_first_data_frame_and_data_flows_before_the_ack() {
    let mut session = dialer(quiet());
    let stream = session.open().unwrap();
    assert_eq!((stream.get(), sent(&mut session)), (1, vec![]));
    session.write(stream, b"ab").unwrap();
    assert_eq!(sent(&mut session), [(Data, SYN, 1, 2)]);
    session.write(stream, &[0; 300_000]).unwrap();
    let bodies: u32 = sent(&mut session).iter().map(|frame| frame.3).sum();
    assert_eq!(bodies, 256 * 1024 - 2);
    assert_eq!(session.streams[&stream].opening, Opening::SynSent);
}

#[test]
fn a_stream_finished_without_data_opens_with_a_window_update() {
    let mut session = dialer(quiet());
    let stream = session.open().unwrap();
    session.finish(stream).unwrap();
    assert_eq!(sent(&mut session), [(WindowUpdate, SYN, 1, 0), (Data, FIN, 1, 0)]);
}

#[test]
fn a_stream_that_was_never_announced_is_forgotten_in_silence() {
    let mut session = dialer(quiet());
    let (first, second) = (session.open().unwrap(), session.open().unwrap());
    session.write(first, b"never sent").unwrap();
    session.reset(first, 7);
    session.release(second);
    assert!(session.is_idle() && !session.wants_transmit());
    assert_eq!(session.unacknowledged, 0);
}

#[test]
fn an_ack_establishes_and_frees_a_slot_once() {
    let mut session = syn_sent();
    assert_eq!(session.unacknowledged, 1);
    recv(&mut session, &[update(ACK, 1, 0), update(ACK, 1, 0)]).unwrap();
    assert_eq!((session.unacknowledged, session.streams[&id(1)].opening), (0, Opening::Established));
}

#[test]
fn any_answer_counts_as_an_ack() {
    for answer in [data(NONE, 1, b"y"), update(NONE, 1, 5), data(FIN, 1, b""), update(FIN, 1, 0)] {
        let mut session = syn_sent();
        recv(&mut session, &[answer]).unwrap();
        assert_eq!(session.unacknowledged, 0);
    }
}

#[test]
fn a_refused_stream_is_reset_and_frees_its_slot() {
    let mut session = syn_sent();
    recv(&mut session, &[update(RST, 1, 0x1002)]).unwrap();
    assert_eq!(session.unacknowledged, 0);
    assert_eq!(session.read(id(1), &mut [0]), Err(ReadError::Reset(0x1002)));
    assert_eq!(session.write(id(1), b"x"), Err(WriteError::Reset(0x1002)));
}

#[test]
fn ack_is_sent_exactly_once_whatever_leaves_first() {
    let mut bare = accepted();
    bare.write(id(1), b"x").unwrap();
    assert_eq!(sent(&mut bare), [(Data, NONE, 1, 1)]);

    let mut with_data = listener(quiet());
    recv(&mut with_data, &[data(SYN, 1, b"x")]).unwrap();
    assert_eq!(sent(&mut with_data), [], "not before the application accepts");
    with_data.accept().unwrap();
    with_data.write(id(1), b"yz").unwrap();
    assert_eq!(sent(&mut with_data), [(Data, ACK, 1, 2)]);

    let mut with_update = listener(quiet());
    recv(&mut with_update, &[data(SYN, 1, &[0; 200_000])]).unwrap();
    with_update.accept().unwrap();
    with_update.consume(id(1), 200_000);
    with_update.write(id(1), b"x").unwrap();
    assert_eq!(sent(&mut with_update), [(WindowUpdate, ACK, 1, 200_000), (Data, NONE, 1, 1)]);
}

#[test]
fn ack_never_shares_a_frame_with_fin_or_rst() {
    for body in [&b""[..], b"x"] {
        let mut session = listener(quiet());
        recv(&mut session, &[update(SYN, 1, 0)]).unwrap();
        let stream = session.accept().unwrap();
        session.write(stream, body).unwrap();
        session.finish(stream).unwrap();
        let first = if body.is_empty() { (WindowUpdate, ACK, 1, 0) } else { (Data, ACK, 1, 1) };
        assert_eq!(sent(&mut session), [first, (Data, FIN, 1, 0)]);
    }
    let mut session = listener(quiet());
    recv(&mut session, &[update(SYN, 1, 0)]).unwrap();
    let stream = session.accept().unwrap();
    session.reset(stream, 9);
    assert_eq!(sent(&mut session), [(WindowUpdate, RST, 1, 9)]);
}

#[test]
fn fin_rides_on_the_last_data_frame_of_an_established_stream() {
    let mut session = accepted();
    session.write(id(1), &[0; 20_000]).unwrap();
    session.finish(id(1)).unwrap();
    assert_eq!(sent(&mut session), [(Data, NONE, 1, 16_384), (Data, FIN, 1, 3_616)]);
    assert_eq!(session.finish(id(1)), Err(WriteError::Finished));
}

#[test]
fn fin_is_seen_after_the_data_on_either_frame_type() {
    for fin in [vec![data(FIN, 1, b"ab")], vec![data(NONE, 1, b"ab"), update(FIN, 1, 0)]] {
        let mut session = accepted();
        recv(&mut session, &fin).unwrap();
        assert_eq!(events(&mut session), [Event::Readable(id(1))]);
        assert_eq!(read_all(&mut session, id(1)), (b"ab".to_vec(), Ok(())));
        recv(&mut session, &[update(FIN, 1, 0), data(FIN, 1, b"")]).expect("a second FIN is tolerated");
    }
}

#[test]
fn data_after_fin_resets_the_stream_and_not_the_session() {
    let mut session = accepted();
    recv(&mut session, &[data(FIN, 1, b"ab"), data(NONE, 1, b"c"), update(SYN, 3, 0)]).unwrap();
    assert_eq!(sent(&mut session), [(WindowUpdate, RST, 1, 0x1004)]);
    assert_eq!(read_all(&mut session, id(1)), (b"ab".to_vec(), Ok(())));
    assert_eq!((session.stats().data_after_fin, session.accept()), (1, Some(id(3))));
    assert_eq!((session.stats().bytes_discarded, session.stream_count()), (1, 2));
}

#[test]
fn a_writer_is_told_that_its_stream_was_reset_for_data_after_fin() {
    let mut session = accepted();
    while session.write(id(1), &[7; 100_000]).is_ok() {}
    recv(&mut session, &[update(FIN, 1, 0), data(NONE, 1, b"c")]).unwrap();
    assert_eq!(events(&mut session), [Event::Readable(id(1)), Event::Writable(id(1))]);
    assert_eq!(session.write(id(1), b"x"), Err(WriteError::Reset(0x1004)));
    session.release(id(1));
    assert!(session.is_idle());
}

#[test]
fn an_opening_may_carry_fin() {
    let mut session = listener(quiet());
    let fin = SYN.with(FIN);
    recv(&mut session, &[data(fin, 1, b"all"), update(fin, 3, 0)]).unwrap();
    for (stream, expected) in [(1, &b"all"[..]), (3, b"")] {
        assert_eq!(session.accept(), Some(id(stream)));
        assert_eq!(read_all(&mut session, id(stream)), (expected.to_vec(), Ok(())));
    }
}

#[test]
fn a_stream_closed_on_both_sides_is_forgotten_when_released() {
    let mut session = accepted();
    session.finish(id(1)).unwrap();
    recv(&mut session, &[update(FIN, 1, 0)]).unwrap();
    assert_eq!(sent(&mut session), [(Data, FIN, 1, 0)]);
    assert_eq!(session.stream_count(), 1, "the application still holds it");
    session.release(id(1));
    assert!(session.is_idle() && !session.wants_transmit());
}

#[test]
fn a_remote_reset_delivers_what_came_before_and_then_its_code() {
    for (reset, code) in [(update(RST, 1, 0x1001), 0x1001), (data(RST, 1, b"junk"), 0)] {
        let mut session = accepted();
        session.write(id(1), b"unsent").unwrap();
        recv(&mut session, &[data(NONE, 1, b"ab"), reset]).unwrap();
        assert_eq!(sent(&mut session), [], "unsent data is dropped, and nothing answers a reset");
        assert_eq!(read_all(&mut session, id(1)), (b"ab".to_vec(), Err(ReadError::Reset(code))));
        assert_eq!(session.write(id(1), b"x"), Err(WriteError::Reset(code)));
        session.release(id(1));
        assert!(session.is_idle() && !session.wants_transmit());
    }
}

#[test]
fn a_reset_after_the_fin_leaves_a_clean_end_to_the_reader() {
    let mut session = accepted();
    recv(&mut session, &[data(FIN, 1, b"ab"), update(RST, 1, 3)]).unwrap();
    assert_eq!(read_all(&mut session, id(1)), (b"ab".to_vec(), Ok(())));
    assert_eq!(session.write(id(1), b"x"), Err(WriteError::Reset(3)));
}

#[test]
fn a_reset_code_is_not_taken_for_credit() {
    let mut session = accepted();
    recv(&mut session, &[update(NONE, 1, u32::MAX - 256 * 1024), update(RST, 1, u32::MAX)]).unwrap();
}

#[test]
fn after_a_local_reset_everything_inbound_is_dropped_in_silence() {
    let mut session = accepted();
    session.write(id(1), b"unsent").unwrap();
    session.reset(id(1), 5);
    assert_eq!(sent(&mut session), [(WindowUpdate, RST, 1, 5)]);
    let late = [data(NONE, 1, b"late"), update(NONE, 1, 9), data(FIN, 1, b"z"), update(FIN, 1, 0), update(RST, 1, 0)];
    recv(&mut session, &late).unwrap();
    assert_eq!((sent(&mut session), events(&mut session), session.is_idle()), (vec![], vec![], true));
    session.reset(id(1), 6);
    assert!(!session.wants_transmit(), "there is nothing left to reset");
}

#[test]
fn a_reset_in_the_middle_of_a_body_drops_the_rest_of_it() {
    let mut session = accepted();
    let mut frame = data(FIN, 1, b"abcdef");
    let rest = frame.split_off(14);
    recv(&mut session, &[frame]).unwrap();
    session.reset(id(1), 0);
    recv(&mut session, &[rest, update(SYN, 3, 0)]).unwrap();
    assert!(session.is_at_frame_boundary());
    assert_eq!(session.accept(), Some(id(3)));
}

#[test]
fn credit_after_our_fin_is_ignored() {
    let mut session = accepted();
    session.finish(id(1)).unwrap();
    sent(&mut session);
    recv(&mut session, &[update(NONE, 1, u32::MAX), update(NONE, 1, u32::MAX)]).unwrap();
}

#[test]
fn a_finished_stream_whose_reader_stops_is_reset_and_an_open_one_drains() {
    let mut session = accepted();
    session.stop(id(1), 4);
    recv(&mut session, &[data(NONE, 1, &[0; 200_000])]).unwrap();
    assert_eq!(sent(&mut session), [(WindowUpdate, NONE, 1, 200_000)], "the writer must not stall");
    assert_eq!((session.memory_used(), session.read(id(1), &mut [0])), (0, Err(ReadError::Unknown)));
    session.write(id(1), b"x").unwrap();
    session.finish(id(1)).unwrap();
    assert_eq!(sent(&mut session), [(Data, FIN, 1, 1), (WindowUpdate, RST, 1, 4)]);
    assert!(session.is_idle());

    let mut session = accepted();
    session.write(id(1), b"x").unwrap();
    session.finish(id(1)).unwrap();
    session.stop(id(1), 4);
    assert_eq!(sent(&mut session), [(Data, FIN, 1, 1), (WindowUpdate, RST, 1, 4)]);
    assert!(session.is_idle());
}

#[test]
fn releasing_flushes_what_was_finished_and_aborts_what_was_not() {
    let mut unfinished = accepted();
    unfinished.write(id(1), b"x").unwrap();
    unfinished.release(id(1));
    assert_eq!(sent(&mut unfinished), [(WindowUpdate, RST, 1, 0)]);

    let mut finished = accepted();
    recv(&mut finished, &[data(FIN, 1, b"unread")]).unwrap();
    finished.write(id(1), b"x").unwrap();
    finished.finish(id(1)).unwrap();
    finished.release(id(1));
    assert_eq!(finished.write(id(1), b"y"), Err(WriteError::Unknown));
    assert_eq!(sent(&mut finished), [(Data, FIN, 1, 1)]);
    assert!(finished.is_idle());

    let mut remote_resets_first = accepted();
    remote_resets_first.write(id(1), b"x").unwrap();
    remote_resets_first.finish(id(1)).unwrap();
    remote_resets_first.release(id(1));
    recv(&mut remote_resets_first, &[update(RST, 1, 0)]).unwrap();
    assert!(remote_resets_first.is_idle() && !remote_resets_first.wants_transmit());
}

#[test]
fn ids_run_out_without_wrapping_and_existing_streams_go_on() {
    for mut session in [dialer(quiet()), listener(quiet())] {
        session.next_id = Some(id(u32::MAX - 1 - (session.open().unwrap().get() & 1 ^ 1)));
        let highest = session.next_id.unwrap();
        assert_eq!(session.open().map(|id| id.get() >= u32::MAX - 2), Ok(true), "{highest}");
        while session.next_id.is_some() {
            session.open().unwrap();
        }
        assert_eq!(session.open(), Err(OpenError::IdsExhausted));
        let first = *session.streams.keys().next().unwrap();
        session.write(first, b"x").unwrap();
        assert_eq!(sent(&mut session).len(), 1);
    }
}

#[test]
fn going_away_lets_queued_frames_go_first_and_is_the_last_frame() {
    let mut session = accepted();
    session.write(id(1), b"x").unwrap();
    session.go_away(2);
    session.go_away(0);
    assert!(!session.is_flushed());
    assert_eq!(session.open(), Err(OpenError::Closing));
    recv(&mut session, &[update(SYN, 3, 0)]).unwrap();
    let expected =
        [(WindowUpdate, RST, 3, 0x1007), (Data, NONE, 1, 1), (crate::yamux::header::Kind::GoAway, NONE, 0, 2)];
    assert_eq!(sent(&mut session), expected);
    recv(&mut session, &[update(SYN, 5, 0), data(NONE, 1, b"in")]).unwrap();
    session.reset(id(1), 0);
    session.go_away(0);
    assert_eq!(sent(&mut session), []);
}

#[test]
fn data_without_credit_does_not_hold_up_the_go_away() {
    let mut session = accepted();
    session.write(id(1), &[0; 256 * 1024]).unwrap();
    sent(&mut session);
    session.write(id(1), b"blocked").unwrap();
    session.go_away(0);
    assert_eq!(sent(&mut session).len(), 1);
    assert_eq!(session.write(id(1), b"x"), Err(WriteError::Finished));
}

#[test]
fn after_the_remotes_go_away_no_stream_is_opened_and_buffered_data_stays() {
    let mut session = accepted();
    let bytes = [data(NONE, 1, b"ab"), super::support::frame(crate::yamux::header::Kind::GoAway, NONE, 0, 0x1005)];
    recv(&mut session, &bytes).unwrap();
    recv(&mut session, &bytes[1..]).expect("a second one is ignored");
    assert_eq!(events(&mut session), [Event::GoAway { code: 0x1005 }, Event::Readable(id(1))]);
    assert_eq!((session.open(), session.remote_go_away()), (Err(OpenError::GoneAway), Some(0x1005)));
    assert_eq!(read_all(&mut session, id(1)).0, b"ab");
}

#[test]
fn a_stream_that_was_not_accepted_does_not_exist_for_the_application() {
    let mut session = listener(quiet());
    recv(&mut session, &[data(SYN, 1, b"x")]).unwrap();
    assert_eq!(session.read(id(1), &mut [0]), Err(ReadError::Unknown));
    assert_eq!(session.write(id(1), b"x"), Err(WriteError::Unknown));
    assert_eq!(session.finish(id(1)), Err(WriteError::Unknown));
    session.consume(id(1), 1);
    session.stop(id(1), 0);
    session.reset(id(1), 0);
    session.release(id(1));
    assert!(!session.wants_transmit());
    assert_eq!((session.accept(), read_all(&mut session, id(1)).0), (Some(id(1)), b"x".to_vec()));
}

#[test]
fn each_event_comes_once_after_blocked_and_not_without() {
    let mut session = accepted();
    recv(&mut session, &[data(NONE, 1, b"first")]).unwrap();
    assert_eq!(events(&mut session), [Event::Readable(id(1))], "once without asking");
    recv(&mut session, &[data(NONE, 1, b"more")]).unwrap();
    session.read(id(1), &mut [0; 3]).unwrap();
    assert_eq!(events(&mut session), [], "nobody was blocked");
    read_all(&mut session, id(1)).1.unwrap_err();
    recv(&mut session, &[data(NONE, 1, b"a"), data(NONE, 1, b"b")]).unwrap();
    assert_eq!(events(&mut session), [Event::Readable(id(1))]);
    read_all(&mut session, id(1)).1.unwrap_err();
    recv(&mut session, &[data(NONE, 1, b"c")]).unwrap();
    read_all(&mut session, id(1)).1.unwrap_err();
    assert_eq!(events(&mut session), [], "the reader was faster than the event");
    recv(&mut session, &[update(RST, 1, 0)]).unwrap();
    assert_eq!(events(&mut session), [Event::Readable(id(1))]);
}

#[test]
fn incoming_comes_once_initially_and_once_after_accept_found_nothing() {
    let mut session = listener(quiet());
    recv(&mut session, &[update(SYN, 1, 0), update(SYN, 3, 0)]).unwrap();
    assert_eq!(events(&mut session), [Event::Incoming]);
    session.accept().unwrap();
    recv(&mut session, &[update(SYN, 5, 0)]).unwrap();
    assert_eq!(events(&mut session), []);
    while session.accept().is_some() {}
    recv(&mut session, &[update(SYN, 7, 0), update(SYN, 9, 0)]).unwrap();
    assert_eq!(events(&mut session), [Event::Incoming]);
}

#[test]
fn no_credit_is_returned_to_a_remote_that_has_finished() {
    let mut session = accepted();
    recv(&mut session, &[data(NONE, 1, &[0; 200_000])]).unwrap();
    session.consume(id(1), 150_000);
    assert!(session.wants_transmit());
    recv(&mut session, &[update(FIN, 1, 0)]).unwrap();
    assert_eq!(sent(&mut session), []);
    session.consume(id(1), 50_000);
    assert_eq!(sent(&mut session), []);
}

#[test]
fn data_that_was_in_flight_behind_the_remotes_reset_drains() {
    let mut session = accepted();
    recv(&mut session, &[update(RST, 1, 0), data(NONE, 1, &[0; 1000]), update(FIN, 1, 0)]).unwrap();
    session.release(id(1));
    recv(&mut session, &[data(NONE, 1, &vec![0; 256 * 1024 - 1000])]).unwrap();
    assert_eq!((session.ghost_allowance, session.memory_used()), (0, 0));
}
