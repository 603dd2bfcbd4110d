//! Futures dropped after each of their polls.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{AsyncReadExt, AsyncWriteExt, future::join};
use septa_core::ExpectedPeer;

use crate::world::{ECHO, OTHER, World, calm, pattern, read_to_end};

/// More polls than any of the futures below needs.
const ENOUGH: usize = 60;

/// Polls a future so many times at most, then drops it.
pub(crate) struct Polled<F> {
    future: Option<Pin<Box<F>>>,
    polls: usize,
}

pub(crate) fn polled<F: Future>(polls: usize, future: F) -> Polled<F> {
    Polled { future: Some(Box::pin(future)), polls }
}

impl<F: Future> Future for Polled<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls > 0 {
            self.polls -= 1;
            let future = self.future.as_mut().expect("polled after it was done");
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
        }
        if self.polls > 0 {
            return Poll::Pending;
        }
        self.future = None;
        Poll::Ready(None)
    }
}

#[test]
fn a_dropped_connect_leaves_nothing() {
    let mut completed = 0;
    for polls in 0..ENOUGH {
        let world = World::new(calm());
        world.run(async {
            let listener = world.bob.listen(&world.bob_addr()).await.unwrap();
            let addr = world.bob_addr();
            let connected = polled(polls, world.alice.connect(&addr, ExpectedPeer::Any)).await;
            completed += usize::from(connected.is_some());
            drop(connected);
            world.simulation.sleep(Duration::from_secs(15)).await;
            assert_eq!((world.alice.stats().live_tasks, world.alice.stats().connections), (0, 0), "{polls}");
            let (dialed, _) = join(world.alice.connect(&addr, ExpectedPeer::Any), listener.accept()).await;
            dialed.unwrap();
        });
        world.end();
    }
    assert!((1..ENOUGH - 1).contains(&completed), "{completed}");
}

#[test]
fn a_dropped_accept_loses_no_connection_and_no_stream() {
    for polls in 0..4 {
        let world = World::new(calm());
        world.run(async {
            let listener = world.bob.listen(&world.bob_addr()).await.unwrap();
            let addr = world.bob_addr();
            let dial = world.alice.connect(&addr, ExpectedPeer::Any);
            let (early, near) = join(polled(polls, listener.accept()), dial).await;
            let near = near.unwrap();
            let far = match early {
                Some(accepted) => accepted.unwrap(),
                None => listener.accept().await.unwrap(),
            };
            let mut stream = near.open_stream(&[ECHO]).await.unwrap();
            let (early, written) = join(polled(polls, far.accept_stream()), stream.write_all(b"x")).await;
            written.unwrap();
            stream.close().await.unwrap();
            let mut inbound = match early {
                Some(accepted) => accepted.unwrap(),
                None => far.accept_stream().await.unwrap(),
            };
            assert_eq!(read_to_end(&mut inbound).await.unwrap(), b"x");
        });
        world.end();
    }
}

#[test]
fn a_dropped_open_gives_the_stream_up() {
    for polls in 0..6 {
        let world = World::new(calm());
        world.run(async {
            let (near, far, _listener) = world.connected().await;
            for _ in 0..300 {
                // More than the limit of streams, so that a leak would block the next one.
                drop(polled(polls, near.open_stream(&[OTHER, ECHO])).await);
                while let Some(Ok(stream)) = polled(1, far.accept_stream()).await {
                    drop(stream);
                }
            }
            world.serve_echo(far);
            let mut stream = near.open_stream(&[OTHER, ECHO]).await.unwrap();
            stream.write_all(b"x").await.unwrap();
            stream.close().await.unwrap();
            assert_eq!(read_to_end(&mut stream).await.unwrap(), b"x");
        });
        world.end();
    }
}

#[test]
fn dropped_reads_and_writes_lose_no_byte() {
    for polls in 1..4 {
        let world = World::new(calm());
        world.run(async {
            let (near, far, _listener) = world.connected().await;
            let payload = pattern(700_000);
            let mut stream = near.open_stream(&[ECHO]).await.unwrap();
            let write = async {
                let mut rest = Bytes::from(payload.clone());
                while polled(polls, stream.write_chunk(&mut rest)).await.is_none() {
                    world.simulation.sleep(Duration::from_millis(1)).await;
                }
                stream.close().await.unwrap();
            };
            let read = async {
                let mut inbound = far.accept_stream().await.unwrap();
                let mut all = Vec::new();
                loop {
                    match polled(polls, inbound.read_chunk()).await {
                        Some(Ok(Some(chunk))) => all.extend_from_slice(&chunk),
                        Some(end) => break assert_eq!(end, Ok(None)),
                        None => world.simulation.sleep(Duration::from_millis(1)).await,
                    }
                }
                inbound.close().await.unwrap();
                assert!(all == payload);
                inbound
            };
            let ((), inbound) = join(write, read).await;
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
            drop(inbound);
        });
        world.end();
    }
}

#[test]
fn dropped_pings_and_identifies_do_not_block_later_ones() {
    for polls in 0..12 {
        let world = World::new(calm());
        world.run(async {
            let (near, _far, _listener) = world.connected().await;
            for _ in 0..30 {
                let _ = polled(polls, near.ping()).await;
                let _ = polled(polls, near.identify()).await;
                world.simulation.sleep(Duration::from_millis(1)).await;
            }
            near.ping().await.unwrap();
            near.identify().await.unwrap();
        });
        world.end();
    }
}

#[test]
fn a_dropped_wait_for_the_end_can_be_repeated() {
    for polls in 0..2 {
        let world = World::new(calm());
        world.run(async {
            let (near, far, _listener) = world.connected().await;
            let _ = polled(polls, far.closed()).await;
            near.close(3);
            assert_eq!(far.closed().await, septa_driver::CloseReason::Remote { code: 3 });
        });
        world.end();
    }
}
