//! Output that waits for more.

use std::vec;

use super::support::*;
use crate::yamux::{
    ReadError, Session, WriteError,
    header::Kind::{Data, WindowUpdate},
};

/// A listener with an accepted stream, id 1, on which two bytes are corked. Not even its ACK has left.
fn corked() -> Session {
    let mut session = listener(quiet());
    recv(&mut session, &[data(SYN, 1, b"q")]).unwrap();
    assert_eq!(session.accept(), Some(id(1)));
    session.write(id(1), b"re").unwrap();
    session.cork(id(1));
    assert_eq!((session.wants_transmit(), session.is_flushed()), (false, false));
    assert_eq!(sent(&mut session), vec![]);
    session
}

#[test]
fn what_was_corked_leaves_in_one_frame_with_what_is_written_next() {
    let mut session = corked();
    session.write(id(1), b"ply").unwrap();
    assert_eq!(sent(&mut session), [(Data, ACK, 1, 5)]);
    session.write(id(1), b"more").unwrap();
    assert_eq!(sent(&mut session), [(Data, NONE, 1, 4)]);
}

#[test]
fn a_fin_and_an_uncork_let_it_leave() {
    let mut session = corked();
    session.finish(id(1)).unwrap();
    assert_eq!(sent(&mut session), [(Data, ACK, 1, 2), (Data, FIN, 1, 0)]);
    let mut session = corked();
    session.uncork(id(1));
    assert_eq!(sent(&mut session), [(Data, ACK, 1, 2)]);
}

#[test]
fn window_updates_do_not_wait() {
    let mut session = corked();
    recv(&mut session, &[data(NONE, 1, &vec![0; 200_000])]).unwrap();
    assert_eq!(read_all(&mut session, id(1)).0.len(), 200_001);
    assert_eq!(sent(&mut session), [(WindowUpdate, ACK, 1, 200_001)]);
    session.uncork(id(1));
    assert_eq!(sent(&mut session), [(Data, NONE, 1, 2)]);
}

#[test]
fn a_reset_and_a_release_leave_behind_what_was_corked() {
    for code in [7, 0] {
        let mut session = corked();
        if code == 0 {
            session.release(id(1))
        } else {
            session.reset(id(1), code)
        }
        assert_eq!(session.write(id(1), b"late"), Err(WriteError::Unknown));
        assert_eq!(session.read(id(1), &mut [0]), Err(ReadError::Unknown));
        assert_eq!(sent(&mut session), [(Data, ACK, 1, 2), (WindowUpdate, RST, 1, code)]);
        assert!(session.is_idle());
    }
}

#[test]
fn a_reset_after_a_stop_carries_its_own_code() {
    let mut session = corked();
    session.stop(id(1), 5);
    session.reset(id(1), 7);
    assert_eq!(sent(&mut session), [(Data, ACK, 1, 2), (WindowUpdate, RST, 1, 7)]);
}

#[test]
fn what_is_left_of_a_reset_stream_goes_with_a_reset_of_the_remote_and_with_the_session() {
    let mut session = corked();
    session.reset(id(1), 7);
    recv(&mut session, &[update(RST, 1, 0)]).unwrap();
    assert_eq!((session.is_idle(), sent(&mut session)), (true, vec![]));
    let mut session = corked();
    session.reset(id(1), 7);
    session.end();
    assert!(session.is_idle() && !session.wants_transmit());
}

#[test]
fn a_reset_does_not_wait_for_credit() {
    let mut session = listener(quiet());
    recv(&mut session, &[update(SYN, 1, 0)]).unwrap();
    assert_eq!(session.accept(), Some(id(1)));
    session.write(id(1), &vec![0; 256 * 1024 - 1]).unwrap();
    transmit(&mut session);
    session.write(id(1), b"more than one byte").unwrap();
    session.cork(id(1));
    session.reset(id(1), 7);
    assert_eq!(sent(&mut session), [(WindowUpdate, RST, 1, 7)]);
}

#[test]
fn a_finished_stream_is_not_corked() {
    let mut session = accepted();
    session.write(id(1), b"all").unwrap();
    session.finish(id(1)).unwrap();
    session.cork(id(1));
    session.release(id(1));
    assert_eq!(sent(&mut session), [(Data, FIN, 1, 3), (WindowUpdate, RST, 1, 0)]);
}

#[test]
fn only_a_stream_that_is_held_can_be_corked() {
    let mut session = accepted();
    session.release(id(1));
    session.cork(id(1));
    session.uncork(id(3));
    assert_eq!(sent(&mut session), [(WindowUpdate, RST, 1, 0)]);
}
