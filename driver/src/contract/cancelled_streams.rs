//! Futures of streams, dropped at every poll.

use bytes::Bytes;
use futures_util::{AsyncWriteExt, future::join};

use super::{
    ends::Ends,
    polled::{at_every_poll, polled},
    world::{ECHO, OTHER, World, echoed, exchange, pattern, read, read_to_end, serve_echo, write_all},
};

/// More polls than the attempts of one write or read need.
const MOST_POLLS: usize = 4;

/// A stream that is not waited for is given up; an accept that is given up loses no stream.
pub async fn open_and_accept(ends: &Ends) {
    let world = World::new(ends);
    let (near, far, _listener) = world.connected().await;
    at_every_poll(async |polls| {
        let mut stream = near.open_stream(&[ECHO]).await.unwrap();
        let (early, written) = join(polled(polls, far.accept_stream()), write_all(&mut stream, b"x")).await;
        written.unwrap();
        stream.close().await.unwrap();
        let is_done = early.is_some();
        let mut inbound = match early {
            Some(inbound) => inbound.unwrap(),
            None => far.accept_stream().await.unwrap(),
        };
        assert_eq!(read_to_end(&mut inbound).await.unwrap(), b"x");
        is_done
    })
    .await;
    serve_echo(&ends.listener, far);
    for protocols in [&[ECHO][..], &[OTHER, ECHO]] {
        at_every_poll(async |polls| {
            // More than may be unanswered, so that a leak would block the next one.
            let mut done = 0;
            for _ in 0..300 {
                done += usize::from(polled(polls, near.open_stream(protocols)).await.is_some());
            }
            exchange(&near, b"next").await;
            done == 300
        })
        .await;
    }
    at_every_poll(async |polls| {
        let mut stream = near.open_stream(&[ECHO]).await.unwrap();
        let agreed = polled(polls, stream.negotiated()).await;
        assert_eq!(stream.negotiated().await, Ok(ECHO));
        echoed(stream, b"agreed").await;
        agreed.is_some()
    })
    .await;
    world.end().await;
}

/// What was taken was taken once, and what came is read once.
pub async fn reads_and_writes(ends: &Ends) {
    let world = World::new(ends);
    let (near, far, _listener) = world.connected().await;
    let data = pattern(700_000);
    for polls in 1..=MOST_POLLS {
        let (mut stream, mut inbound) = world.stream(&near, &far).await;
        let write = async {
            let mut chunk = Bytes::from(data.clone());
            while polled(polls, stream.write_chunk(&mut chunk)).await.is_none() {
                ends.pause().await;
            }
            let mut rest = &data[..];
            while !rest.is_empty() {
                match polled(polls, stream.write(rest)).await {
                    Some(count) => rest = &rest[count.unwrap()..],
                    None => ends.pause().await,
                }
            }
            stream.close().await.unwrap();
        };
        let read = async {
            let (mut all, mut buffer) = (Vec::new(), vec![0; 30_000]);
            while all.len() < data.len() {
                match polled(polls, inbound.read_chunk()).await {
                    Some(chunk) => all.extend_from_slice(&chunk.unwrap().unwrap()),
                    None => ends.pause().await,
                }
            }
            loop {
                match polled(polls, read(&mut inbound, &mut buffer)).await {
                    Some(Ok(0)) => break,
                    Some(count) => all.extend_from_slice(&buffer[..count.unwrap()]),
                    None => ends.pause().await,
                }
            }
            all
        };
        let ((), received) = join(write, read).await;
        assert!(received == data.repeat(2), "{polls}");
    }
    world.end().await;
}

/// A message that was cut short concerns its own stream.
pub async fn messages(ends: &Ends) {
    let world = World::new(ends);
    let (near, far, _listener) = world.connected().await;
    let data = pattern(300_000);
    at_every_poll(async |polls| {
        let (mut stream, mut inbound) = world.stream(&near, &far).await;
        let send = async {
            let sent = polled(polls, stream.send(&data)).await;
            stream.close().await.unwrap();
            sent.is_some()
        };
        let (is_done, received) = join(send, read_to_end(&mut inbound)).await;
        let received = received.unwrap();
        assert!(data.starts_with(&received) && (!is_done || received.len() == data.len()));
        near.ping().await.unwrap();
        is_done
    })
    .await;
    world.end().await;
}

/// Neither waits for the peer.
pub async fn flush_and_close(ends: &Ends) {
    let world = World::new(ends);
    let (near, far, _listener) = world.connected().await;
    at_every_poll(async |polls| {
        let (mut stream, mut inbound) = world.stream(&near, &far).await;
        write_all(&mut stream, b"x").await.unwrap();
        let flushed = polled(polls, stream.flush()).await;
        let closed = polled(polls, stream.close()).await;
        let is_done = flushed.is_some() && closed.is_some();
        stream.close().await.unwrap();
        assert_eq!(read_to_end(&mut inbound).await.unwrap(), b"x");
        is_done
    })
    .await;
    world.end().await;
}
