//! Readers that do not read, or slowly.

use std::pin::pin;

use bytes::Bytes;
use futures_util::{
    AsyncReadExt, AsyncWriteExt,
    future::{Either, join, select},
};

use super::{
    ends::Ends,
    world::{ECHO, World, echo, echoed, pattern, read_to_end},
};
use crate::{connection::Connection, stream::Stream};

/// More than a stream takes that nobody reads ...
const MUCH: usize = 4 * 1024 * 1024;
/// ... which is at least the window that the other end has given, ...
const WINDOW: usize = 256 * 1024;
/// ... and at most that and what waits on this end.
const MOST: usize = 1024 * 1024;

/// Round trips without progress after which a writer is taken to be stopped.
const QUIET: usize = 5;

/// Writes until the stream takes no more: a window has left, and then round trips pass and nothing is taken.
async fn fill(connection: &Connection, stream: &mut Stream, data: &mut Bytes) {
    let length = data.len();
    let mut quiet = 0;
    while quiet < QUIET || length - data.len() < WINDOW {
        let before = data.len();
        // Dropping the write loses nothing.
        let is_round_trip =
            matches!(select(pin!(stream.write_chunk(data)), pin!(connection.ping())).await, Either::Right((Ok(_), _)));
        quiet = if data.len() < before { 0 } else { quiet + usize::from(is_round_trip) };
        assert!(!data.is_empty(), "the stream takes everything");
    }
    let taken = length - data.len();
    assert!(taken <= MOST, "{taken} bytes were taken that nobody reads");
}

/// A stream takes what fits into the windows, and more only when the other end reads.
pub async fn a_writer_stops_at_the_windows_and_goes_on_when_the_reader_does(ends: &Ends) {
    let world = World::new(ends);
    let (near, far, _listener) = world.connected().await;
    let (mut stream, mut inbound) = world.stream(&near, &far).await;
    let data = Bytes::from(pattern(MUCH));
    let mut rest = data.clone();
    fill(&near, &mut stream, &mut rest).await;
    let write = async {
        stream.write_chunk(&mut rest).await.unwrap();
        stream.close().await.unwrap();
    };
    let read = async { read_to_end(&mut inbound).await.unwrap() };
    let ((), received) = join(write, read).await;
    assert!(received == data);
    world.end().await;
}

/// While one stream is full, others carry what they are given; and a reader that takes little at a time gets it all.
pub async fn a_slow_reader_holds_up_nobody_else(ends: &Ends) {
    let world = World::new(ends);
    let (near, far, _listener) = world.connected().await;
    let (mut slow, mut inbound) = world.stream(&near, &far).await;
    let data = Bytes::from(pattern(MUCH));
    let mut rest = data.clone();
    fill(&near, &mut slow, &mut rest).await;

    let stream = near.open_stream(&[ECHO]).await.unwrap();
    let other_end = async { echo(far.accept_stream().await.unwrap()).await };
    join(echoed(stream, &pattern(2_000_000)), other_end).await;
    assert!(!rest.is_empty());

    let write = async {
        slow.write_chunk(&mut rest).await.unwrap();
        slow.close().await.unwrap();
    };
    let read = async {
        let mut received = Vec::new();
        for length in 1..200 {
            let mut piece = vec![0; length];
            inbound.read_exact(&mut piece).await.unwrap();
            received.extend_from_slice(&piece);
            ends.until_answered(async || far.ping().await).await;
        }
        received.extend(read_to_end(&mut inbound).await.unwrap());
        received
    };
    let ((), received) = join(write, read).await;
    assert!(received == data);
    world.end().await;
}
