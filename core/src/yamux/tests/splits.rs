//! Input cut at every byte, and input that is noise.

use std::vec::Vec;

use proptest::prelude::*;

use super::support::*;
use crate::yamux::{
    Event, Session, SessionStats,
    header::Kind::{GoAway, Ping},
};

type Outcome = (Vec<Event>, Vec<u8>, Vec<Vec<u8>>, SessionStats);

fn story() -> Vec<u8> {
    [
        data(SYN, 1, b"hello"),
        update(SYN, 3, 5),
        frame(Ping, SYN, 0, 7),
        data(NONE, 1, b" world"),
        data(FIN, 1, b"!"),
        data(NONE, 1, b"after the end"),
        data(SYN.with(FIN), 5, b"one shot"),
        data(RST, 3, b"junk"),
        update(NONE, 5, 100),
        frame(GoAway, NONE, 0, 0),
    ]
    .concat()
}

fn outcome(pieces: &[&[u8]]) -> Outcome {
    let mut session = listener(quiet());
    pieces.iter().for_each(|piece| session.handle_recv(NOW, piece).unwrap());
    assert!(session.is_at_frame_boundary());
    let streams: Vec<_> = core::iter::from_fn(|| session.accept()).collect();
    let read = streams.iter().map(|stream| read_all(&mut session, *stream).0).collect();
    (events(&mut session), transmit(&mut session), read, session.stats())
}

#[test]
fn input_split_at_every_byte_equals_one_piece() {
    let story = story();
    let whole = outcome(&[&story]);
    for cut in 0..=story.len() {
        assert_eq!(outcome(&[&story[..cut], &story[cut..]]), whole, "cut at {cut}");
    }
    assert_eq!(outcome(&story.chunks(1).collect::<Vec<_>>()), whole);
}

#[test]
fn the_end_of_input_is_clean_only_between_frames() {
    let frames = [data(SYN, 1, b"abc"), update(NONE, 1, 1)];
    let boundaries = [0, 15, 27];
    let bytes = frames.concat();
    for cut in 0..=bytes.len() {
        let mut session = listener(quiet());
        session.handle_recv(NOW, &bytes[..cut]).unwrap();
        assert_eq!(session.handle_recv_eof(), boundaries.contains(&cut), "{cut}");
    }
}

fn drive(session: &mut Session) {
    while let Some(event) = session.poll_event() {
        match event {
            Event::Incoming => while session.accept().is_some() {},
            Event::Readable(stream) => while session.read(stream, &mut [0; 64]).is_ok_and(|n| n > 0) {},
            _ => {}
        }
    }
    transmit(session);
}

proptest! {
    #[test]
    fn noise_never_panics(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20)) {
        let mut session = listener(quiet());
        for piece in pieces {
            let _ = session.handle_recv(NOW, &piece);
            drive(&mut session);
        }
    }

    #[test]
    fn plausible_frames_never_panic_or_exceed_the_budget(
        frames in proptest::collection::vec((0u8..4, 0u16..16, 0u32..8, prop_oneof![0u32..40, Just(262_144), any::<u32>()]), 0..60),
        lazy in any::<bool>(),
    ) {
        let mut session = listener(quiet());
        session.open().unwrap();
        for (kind, flags, stream, length) in frames {
            let mut bytes = std::vec![0, kind];
            bytes.extend_from_slice(&flags.to_be_bytes());
            bytes.extend_from_slice(&stream.to_be_bytes());
            bytes.extend_from_slice(&length.to_be_bytes());
            if kind == 0 {
                bytes.resize(12 + length.min(300_000) as usize, 0xab);
            }
            let _ = session.handle_recv(NOW, &bytes);
            if !lazy {
                drive(&mut session);
            }
            prop_assert!(session.receive_memory_used() <= session.stream_count() * 256 * 1024);
        }
        drive(&mut session);
    }
}
