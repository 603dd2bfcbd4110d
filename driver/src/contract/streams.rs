//! Streams: bytes both ways, their ends, and refusals.

use std::io;

use bytes::Bytes;
use futures_util::{AsyncReadExt, AsyncWriteExt, future::join};
use septa_core::connection::{ReadError, RefuseReason, WriteError};

use super::{
    ends::Ends,
    world::{ECHO, OTHER, World, exchanges, pattern, read_to_end, serve_echo, write_all},
};
use crate::error::OpenStreamError;

/// Many streams at once, opened by both ends.
pub async fn every_byte_arrives_both_ways_on_many_streams(ends: &Ends) {
    let world = World::new(ends);
    let (near, far, _listener) = world.connected().await;
    serve_echo(&ends.dialer, near.clone());
    serve_echo(&ends.listener, far.clone());
    join(exchanges(&near, 8, 300_000), exchanges(&far, 8, 300_100)).await;
    world.end().await;
}

/// Without copying, and in whole messages.
pub async fn chunks_and_messages_arrive(ends: &Ends) {
    let world = World::new(ends);
    let (near, far, _listener) = world.connected().await;
    let (mut stream, mut inbound) = world.stream(&near, &far).await;
    let data = pattern(200_000);
    let write = async {
        let mut chunk = Bytes::from(data.clone());
        stream.write_chunk(&mut chunk).await.unwrap();
        assert!(chunk.is_empty());
        stream.send(&data).await.unwrap();
        write_all(&mut stream, &data).await.unwrap();
        stream.flush().await.unwrap();
        stream.finish().unwrap();
    };
    let read = async {
        let mut received = Vec::new();
        while let Some(chunk) = inbound.read_chunk().await.unwrap() {
            received.extend_from_slice(&chunk);
        }
        received
    };
    let ((), received) = join(write, read).await;
    assert!(received == data.repeat(3));
    // In turns: each answer needs the message before it to have left by itself.
    let (mut stream, mut inbound) = world.stream(&near, &far).await;
    for turn in 0..100u8 {
        let mut byte = [0];
        stream.send(&[turn]).await.unwrap();
        inbound.read_exact(&mut byte).await.unwrap();
        assert_eq!(byte, [turn]);
        write_all(&mut inbound, &[!turn]).await.unwrap();
        stream.read_exact(&mut byte).await.unwrap();
        assert_eq!(byte, [!turn]);
    }
    world.end().await;
}

/// The end of one half leaves the other one as it is.
pub async fn each_half_ends_by_itself(ends: &Ends) {
    let world = World::new(ends);
    let (near, far, _listener) = world.connected().await;
    let (mut stream, mut inbound) = world.stream(&near, &far).await;
    write_all(&mut stream, b"question").await.unwrap();
    stream.close().await.unwrap();
    assert_eq!(write_all(&mut stream, b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(read_to_end(&mut inbound).await.unwrap(), b"question");
    assert_eq!(inbound.read_chunk().await, Ok(None));
    far.ping().await.unwrap();
    write_all(&mut inbound, b"answer").await.unwrap();
    inbound.close().await.unwrap();
    assert_eq!(read_to_end(&mut stream).await.unwrap(), b"answer");
    world.end().await;
}

/// A reset, and a stream that is dropped, end both halves of the other end.
pub async fn a_reset_reaches_the_other_end(ends: &Ends) {
    let world = World::new(ends);
    let (near, far, _listener) = world.connected().await;
    for code in [0x2a, 0] {
        let (mut stream, mut inbound) = world.stream(&near, &far).await;
        if code > 0 {
            stream.reset(code);
        }
        drop(stream);
        assert_eq!(inbound.read_chunk().await, Err(ReadError::Reset(code)));
        let error = write_all(&mut inbound, b"y").await.unwrap_err();
        assert_eq!(error.get_ref().and_then(|source| source.downcast_ref()), Some(&WriteError::Reset(code)));
    }
    near.ping().await.unwrap();
    world.end().await;
}

/// Refused at once if there is a choice, on the first read if not.
pub async fn a_protocol_that_nobody_serves_is_refused(ends: &Ends) {
    let world = World::new(ends);
    let (near, far, _listener) = world.connected().await;
    let mut optimistic = near.open_stream(&[OTHER]).await.unwrap();
    assert_eq!(optimistic.read_chunk().await, Err(ReadError::Refused(RefuseReason::Unsupported)));
    let refused = near.open_stream(&[OTHER, OTHER]).await.unwrap_err();
    assert_eq!(refused, OpenStreamError::Refused(RefuseReason::Unsupported));
    serve_echo(&ends.listener, far);
    let chosen = near.open_stream(&[OTHER, ECHO]).await.unwrap();
    assert_eq!(chosen.protocol(), Some(ECHO));
    super::world::echoed(chosen, b"chosen").await;
    world.end().await;
}
