//! Flushing: what was written goes to the socket on the caller's thread.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use futures_util::{AsyncReadExt, AsyncWriteExt, future::join};
use septa_core::{ExpectedPeer, Identity};
use septa_driver::{CloseReason, Connection, Endpoint, Stream, WriteError};
use septa_sim::LinkOptions;

use crate::{
    socket_calls::{Calls, Counting},
    world::{Conditions, ECHO, World, calm, conditions, pattern, read_to_end},
};

/// A stream from a third node, whose socket calls are counted, to bob, who echoes. Nothing is under way.
async fn counted_stream(world: &World, calls: &Arc<Calls>) -> (Connection, Stream) {
    let runtime = Counting { host: world.simulation.host("carol"), calls: calls.clone() };
    let carol = Endpoint::builder(Identity::from_ed25519_seed([3; 32])).build(Arc::new(runtime)).unwrap();
    let listener = world.bob.listen(&world.bob_addr()).await.unwrap();
    let connection = carol.connect(&world.bob_addr(), ExpectedPeer::Any).await.unwrap();
    world.serve_echo(listener.accept().await.unwrap());
    let mut stream = connection.open_stream(&[ECHO]).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    stream.read_exact(&mut [0; 5]).await.unwrap();
    (connection, stream)
}

#[test]
fn a_flush_writes_before_it_returns_and_a_write_does_not() {
    let world = World::new(calm());
    let calls = Arc::new(Calls::default());
    world.run(async {
        let (_connection, mut stream) = counted_stream(&world, &calls).await;
        let before = calls.writes.load(Relaxed);
        stream.write_all(b"one").await.unwrap();
        stream.write_all(b"two").await.unwrap();
        assert_eq!(calls.writes.load(Relaxed), before);
        stream.flush().await.unwrap();
        assert_eq!(calls.writes.load(Relaxed), before + 1, "both in one call, and at once");
        stream.flush().await.unwrap();
        assert_eq!(calls.writes.load(Relaxed), before + 1, "nothing is left to write");
        let mut echoed = [0; 6];
        stream.read_exact(&mut echoed).await.unwrap();
        assert_eq!(&echoed, b"onetwo");
    });
}

#[test]
fn a_message_that_is_sent_leaves_at_once_and_the_task_sleeps_on() {
    let link = LinkOptions { latency: Duration::from_millis(10), ..LinkOptions::default() };
    let world = World::new(Conditions { link, ..calm() });
    let calls = Arc::new(Calls::default());
    world.run(async {
        let (_connection, mut stream) = counted_stream(&world, &calls).await;
        world.simulation.sleep(Duration::from_secs(1)).await;
        let before = [&calls.writes, &calls.looks].map(|count| count.load(Relaxed));
        stream.send(b"ask").await.unwrap();
        assert_eq!(calls.writes.load(Relaxed), before[0] + 1);
        world.simulation.sleep(Duration::from_millis(1)).await;
        assert_eq!(calls.looks.load(Relaxed), before[1], "nobody woke the task");
        stream.write_all(b"ask").await.unwrap();
        world.simulation.sleep(Duration::from_millis(1)).await;
        assert!(calls.looks.load(Relaxed) > before[1], "a write does");
        stream.read_exact(&mut [0; 6]).await.unwrap();
    });
}

#[test]
fn a_message_behind_a_full_socket_leaves_later() {
    let link = LinkOptions { capacity: 1000, ..LinkOptions::default() };
    for link in [link, LinkOptions { latency: Duration::from_millis(3), ..link }] {
        let world = World::new(Conditions { link, ..calm() });
        let calls = Arc::new(Calls::default());
        world.run(async {
            let (_connection, mut stream) = counted_stream(&world, &calls).await;
            // More than the send quota: it waits for room in the middle.
            let data = pattern(700_000);
            stream.send(b"").await.unwrap();
            let send = async {
                stream.send(&data).await.unwrap();
                stream.finish().unwrap();
                read_to_end(&mut stream).await.unwrap()
            };
            assert!(send.await == data);
        });
    }
}

#[test]
fn a_message_on_a_lost_connection_is_an_error() {
    let world = World::new(calm());
    let calls = Arc::new(Calls::default());
    world.run(async {
        let (connection, mut stream) = counted_stream(&world, &calls).await;
        calls.broken.store(true, Relaxed);
        stream.send(b"nobody gets this").await.unwrap();
        assert_eq!(connection.closed().await, CloseReason::Io);
        assert_eq!(stream.send(b"nor this").await, Err(WriteError::ConnectionLost(CloseReason::Io)));
        assert_eq!(stream.send(b"").await, Err(WriteError::ConnectionLost(CloseReason::Io)));
    });
}

#[test]
fn what_a_full_socket_does_not_take_at_the_flush_leaves_later() {
    let link = LinkOptions { capacity: 1000, ..LinkOptions::default() };
    let world = World::new(Conditions { link, ..calm() });
    let calls = Arc::new(Calls::default());
    world.run(async {
        let (_connection, stream) = counted_stream(&world, &calls).await;
        let data = pattern(300_000);
        let (mut reader, mut writer) = stream.split();
        let write = async {
            for piece in data.chunks(50_000) {
                writer.write_all(piece).await.unwrap();
                writer.flush().await.unwrap();
                // The second finds the socket full and changes nothing.
                writer.flush().await.unwrap();
            }
            writer.close().await.unwrap();
        };
        let read = async {
            let mut echoed = Vec::new();
            reader.read_to_end(&mut echoed).await.unwrap();
            echoed
        };
        let ((), echoed) = join(write, read).await;
        assert!(echoed == data);
    });
}

#[test]
fn handles_that_outlive_their_connection_do_not_keep_its_socket_open() {
    let world = World::new(calm());
    let calls = Arc::new(Calls::default());
    world.run(async {
        let (connection, mut stream) = counted_stream(&world, &calls).await;
        assert_eq!(calls.halves.load(Relaxed), 2);
        world.simulation.cut_network();
        assert_eq!(connection.closed().await, CloseReason::KeepAliveTimeout);
        world.simulation.sleep(Duration::from_millis(1)).await;
        assert_eq!(calls.halves.load(Relaxed), 0);
        stream.flush().await.unwrap();
        assert!(stream.write_all(b"late").await.is_err());
    });
}

#[test]
fn flushes_of_several_streams_change_nothing_but_the_time() {
    for conditions in conditions(8) {
        let world = World::new(conditions);
        world.run(async {
            let (near, far, _listener) = world.connected().await;
            world.serve_echo(far);
            let exchange = async |seed: usize| {
                let mut stream = near.open_stream(&[ECHO]).await.unwrap();
                let data = pattern(3000 + seed);
                for (number, piece) in data.chunks(700).enumerate() {
                    if (number + seed).is_multiple_of(2) {
                        stream.send(piece).await.unwrap();
                    } else {
                        stream.write_all(piece).await.unwrap();
                        stream.flush().await.unwrap();
                    }
                }
                stream.close().await.unwrap();
                assert!(read_to_end(&mut stream).await.unwrap() == data);
            };
            join(join(exchange(1), exchange(2)), exchange(3)).await;
        });
        world.end();
    }
}

#[test]
fn a_flush_of_a_lost_connection_does_nothing() {
    let world = World::new(calm());
    let calls = Arc::new(Calls::default());
    world.run(async {
        let (_connection, mut stream) = counted_stream(&world, &calls).await;
        world.simulation.reset_connections();
        stream.read(&mut [0]).await.unwrap_err();
        let before = calls.writes.load(Relaxed);
        stream.flush().await.unwrap();
        assert_eq!(calls.writes.load(Relaxed), before);
    });
}

#[test]
fn an_output_that_fails_under_a_flush_ends_the_connection_at_once() {
    let world = World::new(calm());
    let calls = Arc::new(Calls::default());
    world.run(async {
        let (connection, mut stream) = counted_stream(&world, &calls).await;
        let before = world.simulation.now();
        calls.broken.store(true, Relaxed);
        stream.write_all(b"nobody gets this").await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(connection.closed().await, CloseReason::Io);
        assert_eq!(world.simulation.now().saturating_duration_since(before), Duration::ZERO);
    });
}
