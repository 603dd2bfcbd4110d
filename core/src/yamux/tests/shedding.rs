//! What happens when the receive memory of the node is short.

use std::{vec, vec::Vec};

use bytes::Bytes;

use super::support::*;
use crate::{
    buf::BLOCK_LEN,
    yamux::{
        Config, Event, MemoryLimits, MemoryPool, ReadError, Session, WriteError,
        header::Kind::{Data, Ping, WindowUpdate},
    },
};

const KIB: usize = 1024;
const MIB: usize = 1024 * 1024;

/// No pings, and a pool of this size.
fn capped(hard_cap: usize) -> Config {
    Config { memory: MemoryPool::new(MemoryLimits { window_loans: 0, hard_cap }), ..quiet() }
}

/// A listener that has accepted these streams, everything sent and told.
fn serving(config: &Config, streams: &[u32]) -> Session {
    let mut session = listener(config.clone());
    streams.iter().for_each(|stream| recv(&mut session, &[update(SYN, *stream, 0)]).unwrap());
    while session.accept().is_some() {}
    sent(&mut session);
    events(&mut session);
    session
}

/// The remote sends this many bytes that nobody reads.
fn fill(session: &mut Session, stream: u32, bytes: usize) {
    let mut left = bytes;
    while left > 0 {
        let part = left.min(BLOCK_LEN);
        recv(session, &[data(NONE, stream, &vec![7; part])]).unwrap();
        left -= part;
    }
}

fn unread(session: &Session, stream: u32) -> Option<usize> {
    session.streams.get(&id(stream)).map(|stream| stream.recv.len())
}

#[test]
fn memory_is_used_up_to_the_cap_and_past_it_the_fattest_stream_goes() {
    let config = capped(512 * KIB);
    let mut session = serving(&config, &[1, 3, 5]);
    fill(&mut session, 1, 128 * KIB);
    fill(&mut session, 3, 240 * KIB);
    fill(&mut session, 5, 64 * KIB);
    fill(&mut session, 5, 64 * KIB);
    assert_eq!((config.memory.used(), session.stats().streams_shed), (496 * KIB, 0), "one block is kept in hand");
    session.write(id(3), b"never sent").unwrap();
    assert_eq!(session.read(id(3), &mut [0; 10]), Ok(10));
    assert_eq!(session.write(id(3), &[0; 300_000]), Ok(256 * KIB - 10));
    assert_eq!(session.write(id(3), b"x"), Err(WriteError::Blocked));
    fill(&mut session, 1, 1);
    assert_eq!(sent(&mut session), [(WindowUpdate, RST, 3, 0x1002)]);
    assert_eq!([1, 3, 5].map(|stream| unread(&session, stream)), [Some(128 * KIB + 1), Some(0), Some(128 * KIB)]);
    assert_eq!(config.memory.used(), 256 * KIB + BLOCK_LEN);
    assert_eq!(session.stats().streams_shed, 1);
    assert_eq!(session.stats().bytes_discarded, 240 * KIB as u64 - 10);
    let readable = [1, 3, 5].map(|stream| Event::Readable(id(stream)));
    assert_eq!(events(&mut session), [readable[0], readable[1], Event::Writable(id(3)), readable[2]]);
    assert_eq!(session.read(id(3), &mut [0]), Err(ReadError::ResourceLimit));
    assert_eq!(session.read_chunk(id(3), 9), Err(ReadError::ResourceLimit));
    assert_eq!(session.write(id(3), b"x"), Err(WriteError::ResourceLimit));
    assert_eq!(session.write_chunk(id(3), &mut Bytes::from_static(b"x")), Err(WriteError::ResourceLimit));
    assert_eq!(session.finish(id(3)), Err(WriteError::ResourceLimit));
    session.release(id(3));
    assert_eq!((sent(&mut session), session.stream_count()), (vec![], 2), "one reset is enough");
}

#[test]
fn a_reader_that_waits_is_told_that_its_stream_is_gone() {
    let config = capped(300 * KIB);
    let mut session = serving(&config, &[1]);
    fill(&mut session, 1, 250 * KIB);
    let mut other = serving(&config, &[1]);
    assert_eq!(other.read(id(1), &mut [0]), Err(ReadError::Blocked));
    recv(&mut other, &[data(NONE, 1, &[0; 34 * KIB])]).unwrap();
    assert_eq!(events(&mut other), [Event::Readable(id(1))]);
    assert_eq!(other.read(id(1), &mut [0]), Err(ReadError::ResourceLimit));
}

#[test]
fn what_the_remote_still_sends_to_a_stream_that_went_is_dropped_and_breaks_no_rule() {
    let config = capped(300 * KIB);
    let mut session = serving(&config, &[1, 3]);
    fill(&mut session, 3, 96 * KIB);
    recv(&mut session, &[frame(Data, FIN, 1, 256 * KIB as u32)]).unwrap();
    for _ in 0..256 {
        recv(&mut session, &[vec![0; KIB]]).unwrap();
    }
    assert!(session.is_at_frame_boundary());
    assert_eq!(session.stats().streams_shed, 1);
    assert_eq!((unread(&session, 1), unread(&session, 3)), (Some(0), Some(96 * KIB)));
    recv(&mut session, &[update(NONE, 1, 5), data(NONE, 1, b""), update(RST, 1, 0)]).unwrap();
    assert_eq!(session.read(id(1), &mut [0]), Err(ReadError::ResourceLimit));
    assert_eq!(config.memory.used(), 96 * KIB);

    let mut session = serving(&config, &[1]);
    fill(&mut session, 1, 200 * KIB);
    assert_eq!(session.stats().streams_shed, 1, "a session at the cap loses its own");
    recv(&mut session, &[data(NONE, 1, &[0; 56 * KIB])]).unwrap();
    assert_eq!(sent(&mut session), [(WindowUpdate, RST, 1, 0x1002)]);
    assert!(recv(&mut session, &[data(NONE, 1, &[0; 300 * KIB])]).is_err(), "more than was granted");
}

#[test]
fn the_rest_of_a_body_whose_stream_went_takes_no_other_stream() {
    let config = capped(512 * KIB);
    let (mut session, mut other) = (serving(&config, &[1, 3]), serving(&config, &[1, 3]));
    fill(&mut session, 3, 64 * KIB);
    recv(&mut session, &[frame(Data, NONE, 1, 256 * KIB as u32)]).unwrap();
    (0..8).for_each(|_| recv(&mut session, &[vec![0; BLOCK_LEN]]).unwrap());
    fill(&mut other, 1, 240 * KIB);
    recv(&mut session, &[vec![0; 70 * KIB]]).unwrap();
    assert_eq!((session.stats().streams_shed, config.memory.used()), (1, 304 * KIB));
    // Memory is used up again, by somebody else, when the rest arrives.
    fill(&mut other, 3, 144 * KIB);
    recv(&mut session, &[vec![0; 58 * KIB]]).unwrap();
    assert_eq!((session.stats().streams_shed, unread(&session, 3)), (1, Some(64 * KIB)));
}

#[test]
fn a_hoarder_loses_at_once_what_makes_memory_short() {
    let config = capped(512 * KIB);
    let streams: Vec<u32> = (0..12).map(|n| 2 * n + 1).collect();
    let (mut hoarder, mut other) = (serving(&config, &streams), serving(&config, &[1]));
    streams.iter().for_each(|stream| fill(&mut hoarder, *stream, 32 * KIB));
    fill(&mut other, 1, 112 * KIB);
    assert_eq!(config.memory.used(), 496 * KIB);
    recv(&mut hoarder, &[frame(Ping, SYN, 0, 1)]).unwrap();
    assert_eq!((hoarder.stats().streams_shed, config.memory.used()), (2, 432 * KIB));
}

#[test]
fn a_finished_stream_goes_without_a_reset_and_a_released_or_unaccepted_one_without_a_trace() {
    let config = capped(300 * KIB);
    let mut session = serving(&config, &[1, 3]);
    fill(&mut session, 1, 200 * KIB);
    recv(&mut session, &[data(FIN, 1, b"")]).unwrap();
    session.finish(id(1)).unwrap();
    assert_eq!(sent(&mut session), [(Data, FIN, 1, 0)]);
    fill(&mut session, 3, 100 * KIB);
    assert_eq!((sent(&mut session), unread(&session, 3)), (vec![], Some(100 * KIB)));
    assert_eq!(session.read(id(1), &mut [0]), Err(ReadError::ResourceLimit), "not a clean end");

    let config = capped(300 * KIB);
    let mut session = listener(config.clone());
    recv(&mut session, &[data(SYN, 1, &[0; 200 * KIB])]).unwrap();
    recv(&mut session, &[update(SYN, 3, 0)]).unwrap();
    fill(&mut session, 3, 100 * KIB);
    assert_eq!(sent(&mut session), [(WindowUpdate, RST, 1, 0x1002)]);
    assert_eq!([session.accept(), session.accept()], [Some(id(3)), None]);
    assert_eq!(session.stream_count(), 1);
}

#[test]
fn new_streams_are_refused_at_the_cap() {
    let config = capped(300 * KIB);
    let mut session = serving(&config, &[1]);
    fill(&mut session, 1, 256 * KIB);
    recv(&mut session, &[update(SYN, 3, 0)]).unwrap();
    assert_eq!(session.stats().streams_refused, 0);
    recv(&mut session, &[data(SYN, 5, &[0; 30 * KIB])]).unwrap();
    assert_eq!(sent(&mut session), [(WindowUpdate, RST, 5, 0x1002)]);
    assert_eq!((session.stats().streams_refused, session.stats().streams_shed), (1, 0));
    assert_eq!(config.memory.used(), 256 * KIB);
}

#[test]
fn a_flood_on_one_connection_costs_honest_ones_nothing() {
    let config = capped(4 * MIB);
    let flooded: Vec<u32> = (0..64).map(|n| 1 + 2 * n).collect();
    let mut flood = serving(&config, &flooded);
    let mut honest: Vec<_> = (0..3).map(|_| serving(&config, &[1, 3])).collect();
    for round in 0..40 {
        for stream in &flooded {
            let credit = flood.streams.get(&id(*stream)).map_or(0, |stream| stream.recv_window.credit());
            let reset = flood.streams.get(&id(*stream)).is_some_and(|stream| stream.is_reset());
            fill(&mut flood, *stream, if reset { 0 } else { (credit as usize).min(30_000) });
            assert!(config.memory.used() <= 4 * MIB);
        }
        for session in &mut honest {
            fill(session, 1, 3000);
            fill(session, 3, 2000);
            assert!(config.memory.used() <= 4 * MIB);
        }
        assert!(round < 5 || config.memory.used() > 3 * MIB, "memory is short all the time");
    }
    assert!(flood.stats().streams_shed > 10);
    for session in &honest {
        assert_eq!(session.stats().streams_shed, 0);
        assert_eq!((unread(session, 1), unread(session, 3)), (Some(120_000), Some(80_000)));
    }
}

#[test]
fn a_silent_hoarder_loses_its_fattest_stream_at_the_next_tick() {
    let config = Config { keep_alive: Config::default().keep_alive, ..capped(MIB) };
    let mut hoarder = serving(&config, &[1, 3, 5, 7]);
    let mut honest = [serving(&config, &[1]), serving(&config, &[1])];
    let share = MIB / 3;
    for (stream, bytes) in [(1, 240), (3, 250), (5, 240)] {
        fill(&mut hoarder, stream, bytes * KIB);
    }
    assert!(hoarder.account.used() > share);
    honest.iter_mut().for_each(|session| fill(session, 1, 90 * KIB));
    assert_eq!(hoarder.stats().streams_shed, 0, "it has heard nothing yet");
    assert!(config.memory.used() > MIB / 8 * 7);
    hoarder.handle_timeout(NOW).unwrap();
    assert_eq!((hoarder.stats().streams_shed, unread(&hoarder, 3)), (1, Some(0)));
    hoarder.handle_timeout(NOW).unwrap();
    assert_eq!(hoarder.stats().streams_shed, 1, "memory is not short any more");
    assert!(honest.iter().all(|session| session.stats().streams_shed == 0));
}

#[test]
fn any_input_is_an_occasion_to_shed() {
    let config = capped(MIB);
    let mut hoarder = serving(&config, &[1, 3, 5]);
    let mut honest = serving(&config, &[1]);
    [1, 3, 5].into_iter().for_each(|stream| fill(&mut hoarder, stream, 250 * KIB));
    fill(&mut honest, 1, 200 * KIB);
    recv(&mut hoarder, &[frame(Ping, SYN, 0, 1)]).unwrap();
    assert_eq!((hoarder.stats().streams_shed, honest.stats().streams_shed), (1, 0));
}

#[test]
fn reading_frees_memory_and_so_does_the_end_of_a_session() {
    let config = capped(4 * MIB);
    let (mut first, mut second) = (serving(&config, &[1, 3, 5]), serving(&config, &[1]));
    [1, 3, 5].into_iter().for_each(|stream| fill(&mut first, stream, 96 * KIB));
    fill(&mut second, 1, 96 * KIB);
    assert_eq!((config.memory.used(), first.receive_memory_used()), (384 * KIB, 288 * KIB));
    read_all(&mut first, id(1)).1.unwrap_err();
    assert_eq!(config.memory.used(), 288 * KIB);
    first.stop(id(3), 0);
    assert_eq!(config.memory.used(), 192 * KIB);
    first.reset(id(5), 0);
    assert_eq!((config.memory.used(), first.receive_memory_used()), (96 * KIB, 0));
    drop(second);
    assert_eq!(config.memory.used(), 0);
}

#[test]
fn no_window_grows_while_memory_is_short() {
    let pool = MemoryPool::new(MemoryLimits { window_loans: MIB, hard_cap: MIB });
    let config = Config { memory: pool, ..quiet() };
    let mut session = serving(&config, &[1, 3, 5, 7]);
    assert!(session.account.borrow(KIB, MIB));
    [1, 3, 5].into_iter().for_each(|stream| fill(&mut session, stream, 256 * KIB));
    assert!(session.account.borrow(KIB, MIB));
    fill(&mut session, 7, 150 * KIB);
    assert!(!session.account.borrow(KIB, MIB));
    assert_eq!(config.memory.lent(), 2 * KIB);
}
