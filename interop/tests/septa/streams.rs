//! Streams: echoes, many at once, half-close, reset and refusal.

use futures::{
    AsyncReadExt as _, AsyncWriteExt as _,
    future::{join_all, try_join_all},
};
use libp2p::StreamProtocol;
use septa_core::Role;
use septa_driver::{OpenStreamError, ReadError, RefuseReason, WriteError};
use septa_interop::{ECHO, Event, RESET, RustPeerError, SINK, WAIT};

use crate::support::{Pair, as_dialer_and_as_listener, echo, id, payload, read_all, within};

const UNKNOWN: StreamProtocol = StreamProtocol::new("/septa-interop/unknown/1.0.0");
/// Nothing, one byte, and far more than any window or buffer on the way.
const LENGTHS: [usize; 3] = [0, 1, 16 << 20];
/// More than a window of 256 KiB, so that credit must be returned.
const PAST_THE_WINDOW: usize = 1 << 20;

async fn they_echo_what_we_send(role: Role) {
    let pair = Pair::new(role).await;
    for length in LENGTHS {
        echo(pair.we_open(ECHO).await, &payload(length, 7)).await;
        let served = pair.rust.wait_for(WAIT, |event| match event {
            Event::StreamServed { bytes, error: None, .. } if *bytes == length as u64 => Some(()),
            _ => None,
        });
        served.await.unwrap();
    }
}

async fn we_echo_what_they_send(role: Role) {
    let pair = Pair::new(role).await;
    pair.serve_echo();
    for length in LENGTHS {
        let stream = pair.rust.open_stream(pair.septa_peer(), ECHO).await.unwrap();
        echo(stream, &payload(length, 7)).await;
    }
}

async fn we_open_eight_and_a_hundred_streams_at_once(role: Role) {
    let pair = Pair::new(role).await;
    for (streams, length) in [(8, PAST_THE_WINDOW), (100, 10_000)] {
        let all = (0..streams).map(|index| {
            let pair = &pair;
            async move { echo(pair.we_open(ECHO).await, &payload(length, index)).await }
        });
        within(join_all(all)).await;
    }
}

async fn they_open_eight_and_a_hundred_streams_at_once(role: Role) {
    let pair = Pair::new(role).await;
    pair.serve_echo();
    for (streams, length) in [(8, PAST_THE_WINDOW), (100, 10_000)] {
        let all = (0..streams).map(|index| {
            let pair = &pair;
            async move {
                let stream = pair.rust.open_stream(pair.septa_peer(), ECHO).await?;
                echo(stream, &payload(length, index)).await;
                Ok::<_, RustPeerError>(())
            }
        });
        within(try_join_all(all)).await.unwrap();
    }
}

/// The sink answers only when we have finished.
async fn we_finish_first_and_still_read_on_our_stream(role: Role) {
    let pair = Pair::new(role).await;
    let mut stream = pair.we_open(SINK).await;
    stream.write_all(&payload(PAST_THE_WINDOW, 5)).await.unwrap();
    stream.finish().unwrap();
    let count = (PAST_THE_WINDOW as u64).to_be_bytes().to_vec();
    assert_eq!(read_all(&mut stream).await, (count, Ok(())));
    assert_eq!(stream.write_all(b"more").await.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
}

async fn we_finish_first_and_still_read_on_their_stream(role: Role) {
    let pair = Pair::new(role).await;
    let (mut theirs, mut ours) = pair.they_open(ECHO).await;
    ours.write_all(b"enough").await.unwrap();
    ours.finish().unwrap();
    let mut greeting = String::new();
    theirs.read_to_string(&mut greeting).await.unwrap();
    assert_eq!(greeting, "enough");
    // They know that we have finished, and only now begin.
    let sent = payload(PAST_THE_WINDOW, 5);
    let write = async {
        theirs.write_all(&sent).await.unwrap();
        theirs.close().await.unwrap();
    };
    let ((), (received, end)) = tokio::join!(write, read_all(&mut ours));
    assert!(received == sent, "{} bytes arrived, or they changed", received.len());
    assert_eq!(end, Ok(()));
}

/// None of the protocols that rust-libp2p serves here finishes first, so the stream is theirs.
async fn they_finish_first_and_we_still_write(role: Role) {
    let pair = Pair::new(role).await;
    let (mut theirs, mut ours) = pair.they_open(ECHO).await;
    theirs.write_all(b"question").await.unwrap();
    theirs.close().await.unwrap();
    assert_eq!(read_all(&mut ours).await, (b"question".to_vec(), Ok(())));
    let sent = payload(PAST_THE_WINDOW, 5);
    let mut received = Vec::new();
    let write = async {
        ours.write_all(&sent).await.unwrap();
        ours.finish().unwrap();
    };
    let ((), read) = tokio::join!(write, theirs.read_to_end(&mut received));
    read.unwrap();
    assert!(received == sent, "{} bytes arrived, or they changed", received.len());
}

/// rust-libp2p shows a reader the end of the stream, and only a writer an error. It drops the code.
async fn our_reset_with_a_code_is_an_error_at_theirs(role: Role) {
    let pair = Pair::new(role).await;
    let (mut theirs, mut ours) = pair.they_open(ECHO).await;
    theirs.write_all(b"hello").await.unwrap();
    theirs.flush().await.unwrap();
    assert_eq!(ours.read_chunk().await.unwrap().as_deref(), Some(&b"hello"[..]));
    ours.reset(0x1234);
    assert!(ours.read_chunk().await.is_err(), "we gave the stream up ourselves");
    let mut rest = Vec::new();
    tokio::time::timeout(WAIT, theirs.read_to_end(&mut rest)).await.expect("the reset arrives").unwrap();
    assert_eq!(rest, b"");
    assert!(theirs.write_all(b"more").await.is_err(), "a write after a reset must fail");
    pair.assert_works().await;
}

async fn our_reset_ends_what_they_serve(role: Role) {
    let pair = Pair::new(role).await;
    let mut stream = pair.we_open(ECHO).await;
    stream.write_all(b"hello").await.unwrap();
    let mut echoed = [0; 5];
    stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"hello");
    stream.reset(0x1234);
    let bytes = pair.rust.wait_for(WAIT, |event| match event {
        Event::StreamServed { bytes, .. } => Some(*bytes),
        _ => None,
    });
    assert_eq!(bytes.await.unwrap(), 5);
    pair.assert_works().await;
}

async fn their_reset_of_our_stream_arrives_without_a_code(role: Role) {
    let pair = Pair::new(role).await;
    let mut stream = pair.we_open(RESET).await;
    stream.write_all(b"stop").await.unwrap();
    assert_eq!(read_all(&mut stream).await, (Vec::new(), Err(ReadError::Reset(0))));
    let error = stream.write_all(b"more").await.unwrap_err();
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<WriteError>());
    assert_eq!(cause, Some(&WriteError::Reset(0)));
    pair.assert_works().await;
}

async fn their_reset_of_their_stream_comes_after_what_they_wrote(role: Role) {
    let pair = Pair::new(role).await;
    let (mut theirs, mut ours) = pair.they_open(ECHO).await;
    theirs.write_all(b"last words").await.unwrap();
    theirs.flush().await.unwrap();
    drop(theirs);
    assert_eq!(read_all(&mut ours).await, (b"last words".to_vec(), Err(ReadError::Reset(0))));
    pair.assert_works().await;
}

async fn they_refuse_an_unknown_protocol_and_stay(role: Role) {
    let pair = Pair::new(role).await;
    // Optimistic: data leaves with the proposal, and the refusal comes out of the first read.
    let mut stream = pair.we_open(UNKNOWN).await;
    stream.write_all(b"is anybody there").await.unwrap();
    assert_eq!(read_all(&mut stream).await.1, Err(ReadError::Refused(RefuseReason::Unsupported)));
    // Waiting for the agreement gives the same reason.
    let mut stream = pair.we_open(UNKNOWN).await;
    let refused = OpenStreamError::Refused(RefuseReason::Unsupported);
    assert_eq!(stream.negotiated().await.unwrap_err(), refused);
    // So does a list of which they serve nothing.
    let other = septa_core::ProtocolId::from_static("/septa-interop/unknown/2.0.0");
    assert_eq!(pair.connection.open_stream(&[id(&UNKNOWN), other]).await.unwrap_err(), refused);
    pair.assert_works().await;
}

async fn they_take_the_second_proposal_if_they_do_not_know_the_first(role: Role) {
    let pair = Pair::new(role).await;
    let stream = pair.connection.open_stream(&[id(&UNKNOWN), id(&ECHO)]).await.unwrap();
    assert_eq!(stream.protocol(), Some(id(&ECHO)));
    echo(stream, &payload(1000, 3)).await;
}

async fn we_refuse_an_unknown_protocol_and_stay(role: Role) {
    let pair = Pair::new(role).await;
    let error = pair.rust.open_stream(pair.septa_peer(), UNKNOWN).await.unwrap_err();
    assert!(matches!(&error, RustPeerError::UnsupportedProtocol(name) if *name == UNKNOWN), "{error}");
    pair.assert_works().await;
}

as_dialer_and_as_listener! {
    they_echo_what_we_send
    we_echo_what_they_send
    we_open_eight_and_a_hundred_streams_at_once
    they_open_eight_and_a_hundred_streams_at_once
    we_finish_first_and_still_read_on_our_stream
    we_finish_first_and_still_read_on_their_stream
    they_finish_first_and_we_still_write
    our_reset_with_a_code_is_an_error_at_theirs
    our_reset_ends_what_they_serve
    their_reset_of_our_stream_arrives_without_a_code
    their_reset_of_their_stream_comes_after_what_they_wrote
    they_refuse_an_unknown_protocol_and_stay
    they_take_the_second_proposal_if_they_do_not_know_the_first
    we_refuse_an_unknown_protocol_and_stay
}
