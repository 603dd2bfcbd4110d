//! One request on a stream of its own.

use alloc::vec::Vec;

use super::*;
use crate::channel::{
    message,
    message::TooLong,
    rpc::{
        AnswerError,
        exchange::{Error, Requester, Responder},
    },
};

fn requester() -> Requester {
    Requester::new(&config(), at(0), b"ask", TIMEOUT).unwrap()
}

fn responder() -> Responder {
    Responder::new(&config(), at(0), TIMEOUT)
}

fn chunk(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

#[test]
fn a_request_and_its_answer_cross_streams_that_are_cut_anywhere() {
    let answer = encode(&[&[9; 200]], 300).unwrap();
    for cut in 0..=answer.len() {
        let (mut requester, mut responder) = (requester(), responder());
        while requester.wants_transmit() {
            responder.handle_chunk(&mut chunk(&requester.peek_transmit()[..1]));
            requester.transmitted(1);
        }
        assert!(requester.is_finished() && !responder.is_finished());
        responder.handle_eof();
        assert_eq!(responder.poll_request(), Some(Ok(chunk(b"ask"))));
        assert_eq!(responder.poll_request(), None, "once");
        responder.respond(&[9; 200]).unwrap();
        assert_eq!(responder.peek_transmit(), answer);
        responder.transmitted(answer.len());
        assert!(responder.is_finished());
        requester.handle_chunk(&mut chunk(&answer[..cut]));
        assert_eq!(requester.poll_answer().is_some(), cut == answer.len());
        requester.handle_chunk(&mut chunk(&answer[cut..]));
        requester.handle_eof();
        assert_eq!(requester.poll_answer().is_some(), cut < answer.len());
        assert_eq!((requester.poll_timeout(), responder.poll_timeout()), (None, None));
    }
}

#[test]
fn the_longest_message_passes_and_one_byte_more_does_not() {
    let too_long = TooLong { len: 301, max: 300 };
    assert_eq!(Requester::new(&config(), at(0), &[0; 301], TIMEOUT).err(), Some(too_long));
    let mut requester = Requester::new(&config(), at(0), &[0; 300], TIMEOUT).unwrap();
    let mut longest = responder();
    while requester.wants_transmit() {
        let piece = chunk(requester.peek_transmit());
        requester.transmitted(piece.len());
        longest.handle_chunk(&mut piece.clone());
    }
    assert_eq!(longest.poll_request(), Some(Ok(chunk(&[0; 300]))));
    assert_eq!(longest.respond(&[0; 301]), Err(AnswerError::TooLong(too_long)));
    assert_eq!(longest.respond(&[0; 300]), Ok(()));
    let mut responder = responder();
    responder.handle_chunk(&mut chunk(&[0xad, 0x02]));
    let refused = Error::Message(message::Error::TooLong { max: 300 });
    assert_eq!(responder.poll_request(), Some(Err(refused)), "from the length alone");
}

#[test]
fn an_answer_is_due_once_and_only_to_a_request() {
    let mut early = responder();
    assert_eq!(early.respond(b"early"), Err(AnswerError::NotDue));
    early.handle_chunk(&mut chunk(b"\x03ask"));
    assert_eq!(early.respond(b"not taken yet"), Err(AnswerError::NotDue));
    early.poll_request().unwrap().unwrap();
    assert_eq!((early.respond(b"once"), early.respond(b"twice")), (Ok(()), Err(AnswerError::NotDue)));
    let mut failed = responder();
    failed.handle_eof();
    assert_eq!(failed.poll_request(), Some(Err(Error::NoMessage)));
    assert_eq!(failed.respond(b"to nothing"), Err(AnswerError::NotDue));
    assert!(failed.is_finished());
}

#[test]
fn everything_but_one_message_in_time_is_an_error() {
    type Break = fn(&mut Requester);
    let table: [(Break, Error); 7] = [
        (|r| r.handle_eof(), Error::NoMessage),
        (|r| r.handle_lost(), Error::Lost),
        (|r| r.handle_timeout(at(5)), Error::TimedOut),
        (|r| r.handle_chunk(&mut chunk(b"\x02ok\x00")), Error::TrailingBytes),
        (|r| r.handle_chunk(&mut chunk(&[0x80, 0])), Error::Message(message::Error::LengthNotMinimal)),
        (|r| r.handle_chunk(&mut chunk(&[0xad, 0x02])), Error::Message(message::Error::TooLong { max: 300 })),
        (
            |r| {
                r.handle_chunk(&mut chunk(b"\x02o"));
                r.handle_eof();
            },
            Error::Message(message::Error::UnexpectedEof),
        ),
    ];
    for (break_it, error) in table {
        let mut requester = requester();
        assert_eq!(requester.poll_timeout(), Some(at(5)));
        requester.handle_timeout(at(4));
        break_it(&mut requester);
        requester.handle_chunk(&mut chunk(b"\x02ok"));
        requester.handle_eof();
        requester.handle_timeout(at(9));
        assert_eq!(requester.poll_answer(), Some(Err(error)), "what comes later changes nothing");
        assert_eq!(requester.poll_answer(), None);
    }
}

#[test]
fn a_message_that_has_come_beats_the_deadline_and_the_loss_of_the_stream() {
    let mut requester = requester();
    requester.handle_chunk(&mut chunk(b"\x02ok"));
    requester.handle_timeout(at(100));
    requester.handle_lost();
    assert!(requester.is_finished(), "nothing more is sent on a stream that is gone");
    assert_eq!(requester.poll_answer(), Some(Ok(chunk(b"ok"))));
    let mut patient = Requester::new(&config(), at(0), b"ask", NEVER).unwrap();
    assert_eq!(patient.poll_timeout(), None);
    patient.handle_timeout(Instant::NEVER);
    assert_eq!(patient.poll_answer(), None);
}

#[test]
fn long_bodies_are_shared_and_nothing_is_kept() {
    let config = Config { max_message_len: 1 << 20, ..config() };
    let body = Bytes::from(Vec::from([1; 5000]));
    let mut requester = Requester::new(&config, at(0), &body, TIMEOUT).unwrap();
    requester.transmitted(2);
    assert_eq!(requester.peek_shared().unwrap().as_ptr(), body.as_ptr());
    requester.transmitted(5000);
    let mut responder = Responder::new(&config, at(0), TIMEOUT);
    responder.handle_chunk(&mut chunk(&encode(&[&body], 5000).unwrap()));
    assert_eq!(responder.memory_used(), 5000);
    responder.poll_request().unwrap().unwrap();
    assert_eq!((responder.memory_used(), body.is_unique()), (0, true));
}
