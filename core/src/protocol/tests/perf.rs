use core::time::Duration;
use std::{vec, vec::Vec};

use bytes::Bytes;
use proptest::prelude::*;

use crate::Instant;
use crate::protocol::perf::*;

const START: Instant = Instant::EPOCH;

fn at(millis: u64) -> Instant {
    START.saturating_add(Duration::from_millis(millis))
}

/// All that a client sends, chunk by chunk.
fn upload(client: &mut Client) -> Vec<Bytes> {
    let chunks: Vec<Bytes> = std::iter::from_fn(|| client.poll_transmit(START)).collect();
    assert!(client.wants_finish() && !client.wants_transmit());
    chunks
}

fn total(chunks: &[Bytes]) -> u64 {
    chunks.iter().map(|chunk| chunk.len() as u64).sum()
}

#[test]
fn the_client_says_what_it_wants_in_eight_bytes_then_sends_zeros() {
    let mut client = Client::new(3, 1 << 20, START);
    assert!(client.wants_transmit() && !client.wants_finish());
    assert_eq!(upload(&mut client).concat(), [0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0]);
}

#[test]
fn chunks_have_at_most_64_kib_and_are_not_copied() {
    for (bytes, expected) in [
        (0, vec![]),
        (1, vec![1]),
        (CHUNK_LEN, vec![CHUNK_LEN]),
        (CHUNK_LEN + 1, vec![CHUNK_LEN, 1]),
        (3 * CHUNK_LEN - 1, vec![CHUNK_LEN, CHUNK_LEN, CHUNK_LEN - 1]),
    ] {
        let chunks = upload(&mut Client::new(bytes as u64, 0, START));
        let sizes: Vec<usize> = chunks[1..].iter().map(Bytes::len).collect();
        assert_eq!(sizes, expected);
        assert!(chunks[1..].windows(2).all(|pair| pair[0].as_ptr() == pair[1].as_ptr()), "one static buffer");
    }
}

#[test]
fn a_run_reports_both_amounts_and_both_times() {
    let mut client = Client::new(1000, 5, START);
    upload(&mut client);
    assert_eq!(client.progress(), Progress { uploaded: 1000, downloaded: 0 });
    client.handle_recv(at(300), &[0; 2]).unwrap();
    client.handle_recv(at(400), &[0; 3]).unwrap();
    let amounts = Progress { uploaded: 1000, downloaded: 5 };
    let (upload_time, download_time) = (Duration::from_millis(300), Duration::from_millis(200));
    assert_eq!(client.handle_eof(at(500)), Ok(Some(Report { amounts, upload_time, download_time })));
    assert_eq!(client.handle_eof(at(600)), Ok(None), "the report comes once");
    assert_eq!(client.poll_timeout(), None);
}

#[test]
fn without_a_download_the_end_says_that_the_upload_has_arrived() {
    let mut client = Client::new(1000, 0, START);
    upload(&mut client);
    let report = client.handle_eof(at(70)).unwrap().unwrap();
    assert_eq!((report.upload_time, report.download_time), (Duration::from_millis(70), Duration::ZERO));
}

#[test]
fn exactly_what_was_asked_for_must_come() {
    let mut short = Client::new(0, 10, START);
    upload(&mut short);
    short.handle_recv(START, &[0; 9]).unwrap();
    let error = Error::UnexpectedEof { received: 9, expected: 10 };
    assert_eq!(short.handle_eof(START), Err(error));
    assert_eq!(short.handle_recv(START, &[0]), Err(error), "an error is final");
    assert_eq!(short.handle_timeout(at(0)), Err(error));
    assert_eq!((short.poll_transmit(START), short.wants_finish(), short.poll_timeout()), (None, false, None));

    let mut long = Client::new(0, 10, START);
    upload(&mut long);
    long.handle_recv(START, &[0; 10]).unwrap();
    assert_eq!(long.handle_recv(START, &[0]), Err(Error::TooMuch { expected: 10 }));

    let mut after_the_end = Client::new(0, 0, START);
    upload(&mut after_the_end);
    after_the_end.handle_eof(START).unwrap();
    assert_eq!(after_the_end.handle_recv(START, &[]), Ok(()));
    assert_eq!(after_the_end.handle_recv(START, &[0]), Err(Error::TooMuch { expected: 0 }));
}

#[test]
fn an_end_before_all_is_sent_is_no_result() {
    let mut client = Client::new(CHUNK_LEN as u64 + 1, 0, START);
    for _ in 0..2 {
        assert!(client.poll_transmit(START).is_some());
    }
    assert_eq!(client.handle_eof(START), Err(Error::UnexpectedEof { received: 0, expected: 0 }));
}

#[test]
fn the_server_counts_to_the_end_then_sends_what_was_asked_for() {
    let stream = [&(CHUNK_LEN as u64 + 7).to_be_bytes()[..], &[9; 50]].concat();
    for cut in 0..=stream.len() {
        let mut server = Server::new(u64::MAX, START);
        server.handle_recv(START, &stream[..cut]).unwrap();
        server.handle_recv(START, &stream[cut..]).unwrap();
        assert_eq!(server.progress(), Progress { uploaded: 50, downloaded: 0 });
        assert!(!server.wants_transmit() && !server.is_finished(), "not before the end");
        assert_eq!(server.poll_transmit(START), None);
        server.handle_eof(START).unwrap();
        assert_eq!(server.handle_eof(START), Ok(()));
        let sizes: Vec<usize> = std::iter::from_fn(|| server.poll_transmit(START)).map(|chunk| chunk.len()).collect();
        assert_eq!(sizes, [CHUNK_LEN, 7]);
        assert!(server.is_finished());
        assert_eq!(server.progress(), Progress { uploaded: 50, downloaded: CHUNK_LEN as u64 + 7 });
    }
    let mut bytewise = Server::new(u64::MAX, START);
    stream.iter().for_each(|byte| bytewise.handle_recv(START, &[*byte]).unwrap());
    assert_eq!(bytewise.progress().uploaded, 50);
}

#[test]
fn a_header_that_is_cut_off_is_an_error() {
    for len in 0..HEADER_LEN {
        let mut server = Server::new(u64::MAX, START);
        server.handle_recv(START, &vec![0; len]).unwrap();
        let error = Error::UnexpectedEof { received: len as u64, expected: 8 };
        assert_eq!(server.handle_eof(START), Err(error));
        assert_eq!(server.handle_recv(START, &[0; 8]), Err(error), "an error is final");
        assert_eq!(server.handle_timeout(at(60_000)), Err(error));
        assert_eq!((server.wants_transmit(), server.is_finished(), server.poll_timeout()), (false, false, None));
    }
}

#[test]
fn a_download_is_allowed_up_to_its_maximum() {
    let ask = |wanted: u64, max: u64| Server::new(max, START).handle_recv(START, &wanted.to_be_bytes());
    assert_eq!(ask(100, 100), Ok(()));
    assert_eq!(ask(101, 100), Err(Error::DownloadTooLong { wanted: 101, max: 100 }));
    assert_eq!(ask(1, 0), Err(Error::DownloadTooLong { wanted: 1, max: 0 }));
    assert_eq!(ask(u64::MAX, u64::MAX), Ok(()));
}

#[test]
fn both_ends_give_up_when_nothing_moves_for_30_seconds() {
    let mut client = Client::new(10, 10, START);
    assert_eq!(client.poll_timeout(), Some(at(30_000)));
    upload(&mut client);
    client.handle_recv(at(20_000), &[0]).unwrap();
    assert_eq!(client.poll_timeout(), Some(at(50_000)));
    assert_eq!(client.handle_timeout(at(49_999)), Ok(()));
    assert_eq!(client.handle_timeout(at(50_000)), Err(Error::Stalled));

    let mut server = Server::new(u64::MAX, START);
    assert_eq!(server.handle_timeout(at(29_999)), Ok(()));
    server.handle_recv(at(29_999), &[0, 0, 0, 0, 0, 2, 0, 0]).unwrap();
    server.handle_eof(at(30_000)).unwrap();
    assert!(server.poll_transmit(at(40_000)).is_some());
    assert_eq!(server.poll_timeout(), Some(at(70_000)));
    assert_eq!(server.handle_timeout(at(70_000)), Err(Error::Stalled));
}

#[test]
fn a_clock_that_runs_backwards_makes_no_negative_times() {
    let mut client = Client::new(0, 1, at(1000));
    upload(&mut client);
    client.handle_recv(at(500), &[0]).unwrap();
    let report = client.handle_eof(at(100)).unwrap().unwrap();
    assert_eq!((report.upload_time, report.download_time), (Duration::ZERO, Duration::ZERO));
    assert_eq!(Client::new(0, 0, Instant::NEVER).poll_timeout(), None);
}

proptest! {
    #[test]
    fn what_one_end_sends_the_other_counts(
        up in 0..200_000_u64, down in 0..200_000_u64, cuts in prop::collection::vec(1..100_000_usize, 1..10)
    ) {
        let (mut client, mut server) = (Client::new(up, down, START), Server::new(down, START));
        let mut cuts = cuts.iter().cycle();
        while let Some(chunk) = client.poll_transmit(START) {
            for piece in chunk.chunks(*cuts.next().unwrap()) {
                server.handle_recv(START, piece).unwrap();
            }
        }
        server.handle_eof(START).unwrap();
        let sent: Vec<Bytes> = std::iter::from_fn(|| server.poll_transmit(START)).collect();
        prop_assert_eq!(total(&sent), down);
        for piece in sent.iter().flat_map(|chunk| chunk.chunks(*cuts.next().unwrap())) {
            client.handle_recv(START, piece).unwrap();
        }
        let amounts = Progress { uploaded: up, downloaded: down };
        prop_assert_eq!(client.handle_eof(START).unwrap().unwrap().amounts, amounts);
        prop_assert_eq!(server.progress(), amounts);
    }
}
