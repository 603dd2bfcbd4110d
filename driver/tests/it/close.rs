//! The end of connections and of endpoints.

use std::{io, time::Duration};

use futures_util::{AsyncReadExt, AsyncWriteExt, future::join};
use septa_core::ExpectedPeer;
use septa_driver::{AcceptError, CloseReason, ConnectError, ListenError, OpenStreamError};

use crate::world::{ECHO, World, calm, conditions, pattern, read_to_end};

#[test]
fn closing_with_a_megabyte_in_flight_loses_nothing() {
    for conditions in conditions(4) {
        if conditions.link.capacity < 5000 {
            continue;
        }
        let world = World::new(conditions);
        world.run(async {
            let (near, far, _listener) = world.connected().await;
            let payload = pattern(1 << 20);
            let mut stream = near.open_stream(&[ECHO]).await.unwrap();
            let write = async {
                stream.write_all(&payload).await.unwrap();
                stream.close().await.unwrap();
                near.close(7);
                near.closed().await
            };
            let read = async {
                let mut inbound = far.accept_stream().await.unwrap();
                inbound.close().await.unwrap();
                let all = read_to_end(&mut inbound).await.unwrap();
                (all, far.closed().await)
            };
            let (local, (all, remote)) = join(write, read).await;
            assert!(all == payload);
            assert_eq!((local, remote), (CloseReason::Local, CloseReason::Remote { code: 7 }), "{conditions:?}");
        });
        world.end();
    }
}

#[test]
fn dropping_the_last_handle_closes_in_good_order() {
    for conditions in conditions(8) {
        let world = World::new(conditions);
        world.run(async {
            let (near, far, _listener) = world.connected().await;
            let mut stream = near.open_stream(&[ECHO]).await.unwrap();
            stream.write_all(b"last words").await.unwrap();
            stream.close().await.unwrap();
            let mut inbound = far.accept_stream().await.unwrap();
            inbound.close().await.unwrap();
            // The stream keeps the connection open.
            drop(near);
            assert_eq!(read_to_end(&mut stream).await.unwrap(), b"");
            assert_eq!(read_to_end(&mut inbound).await.unwrap(), b"last words");
            assert_eq!(far.close_reason(), None);
            drop(stream);
            assert_eq!(far.closed().await, CloseReason::Remote { code: 0 });
        });
        world.end();
    }
}

#[test]
fn a_closed_connection_says_so_everywhere() {
    for conditions in conditions(8) {
        let world = World::new(conditions);
        world.run(async {
            let (near, far, _listener) = world.connected().await;
            let mut open = near.open_stream(&[ECHO]).await.unwrap();
            open.write_all(b"x").await.unwrap();
            let mut inbound = far.accept_stream().await.unwrap();
            let (waiting, ()) = join(far.accept_stream(), async { near.close(9) }).await;
            let reason = CloseReason::Remote { code: 9 };
            assert_eq!(waiting.unwrap_err(), reason);
            assert_eq!(far.closed().await, reason);
            assert_eq!(far.open_stream(&[ECHO]).await.unwrap_err(), OpenStreamError::ConnectionLost(reason));
            // What has arrived stays readable.
            inbound.read_exact(&mut [0]).await.unwrap();
            assert_eq!(inbound.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
            assert_eq!(inbound.write(&[0]).await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
            assert!(near.ping().await.is_err());
            assert!(near.identify().await.is_err());
        });
        world.end();
    }
}

#[test]
fn shutdown_ends_every_task_and_every_method_says_so() {
    for conditions in conditions(8) {
        let world = World::new(conditions);
        world.run(async {
            let (near, far, listener) = world.connected().await;
            let _stream = near.open_stream(&[ECHO]).await.unwrap();
            let (_, waiting) = join(world.bob.shutdown(Duration::from_secs(5)), listener.accept()).await;
            assert_eq!(waiting.unwrap_err(), AcceptError::ShutDown);
            assert_eq!(world.bob.stats().live_tasks, 0);
            assert_eq!(far.closed().await, CloseReason::Local);
            assert!(matches!(near.closed().await, CloseReason::Remote { code: 0x1006 }));
            assert_eq!(listener.accept().await.unwrap_err(), AcceptError::ShutDown);
            assert_eq!(world.bob.listen(&world.bob_addr()).await.unwrap_err(), ListenError::ShutDown);
            let dialed = world.bob.connect(&world.bob_addr(), ExpectedPeer::Any).await;
            assert_eq!(dialed.unwrap_err(), ConnectError::ShutDown);
            world.bob.shutdown(Duration::from_secs(5)).await;
        });
        assert_eq!(world.simulation.live_tasks(), Vec::<String>::new());
    }
}

#[test]
fn shutdown_cuts_off_what_does_not_end_by_itself() {
    let world = World::new(calm());
    world.run(async {
        let (near, _far, _listener) = world.connected().await;
        world.simulation.cut_network();
        let before = world.simulation.now();
        world.alice.shutdown(Duration::from_millis(100)).await;
        assert_eq!(world.simulation.now().saturating_duration_since(before), Duration::from_millis(100));
        assert_eq!(world.alice.stats().live_tasks, 0);
        near.closed().await;
    });
    // A cut network and a dead neighbour do not keep the other one from shutting down either.
    world.run(world.bob.shutdown(Duration::from_secs(5)));
    assert_eq!(world.simulation.live_tasks(), Vec::<String>::new());
}

#[test]
fn a_dropped_shutdown_goes_on() {
    let world = World::new(calm());
    world.run(async {
        let (_near, far, _listener) = world.connected().await;
        {
            let shutdown = world.bob.shutdown(Duration::from_secs(5));
            futures_util::pin_mut!(shutdown);
            assert!(futures_util::poll!(shutdown.as_mut()).is_pending());
        }
        assert_eq!(far.closed().await, CloseReason::Local);
        world.bob.shutdown(Duration::from_secs(5)).await;
        assert_eq!(world.bob.stats().live_tasks, 0);
    });
}

#[test]
fn a_greeting_followed_by_an_immediate_close_is_heard() {
    for conditions in conditions(8) {
        let world = World::with(conditions, |alice| alice.serve([ECHO]), |bob| bob);
        world.run(async {
            let listener = world.bob.listen(&world.bob_addr()).await.unwrap();
            let addr = world.bob_addr();
            let greet = async {
                let far = listener.accept().await.unwrap();
                let mut stream = far.open_stream(&[ECHO]).await.unwrap();
                stream.write_all(b"welcome").await.unwrap();
                stream.close().await.unwrap();
                far.close(4);
                stream
            };
            let hear = async {
                let near = world.alice.connect(&addr, ExpectedPeer::Any).await.unwrap();
                let mut inbound = near.accept_stream().await.unwrap();
                let mut greeting = [0; 7];
                inbound.read_exact(&mut greeting).await.unwrap();
                assert_eq!((&greeting, near.closed().await), (b"welcome", CloseReason::Remote { code: 4 }));
            };
            join(greet, hear).await;
        });
        world.end();
    }
}
