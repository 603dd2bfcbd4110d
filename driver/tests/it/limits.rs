//! Every bound, at it and one past it.

use std::{io, time::Duration};

use futures_util::future::{join, join_all};
use septa_core::ExpectedPeer;
use septa_driver::{AcceptError, ConnectError, Limits};

use crate::world::{World, calm, conditions};

#[test]
fn failing_accepts_are_reported_and_tried_again_ever_more_slowly() {
    let world = World::new(calm());
    world.run(async {
        let listener = world.bob.listen(&world.bob_addr()).await.unwrap();
        let addr = world.bob_addr().socket_addr().unwrap();
        world.simulation.fail_accepts(addr, io::ErrorKind::Other, 10);
        let mut pauses = Vec::new();
        for _ in 0..10 {
            match listener.accept().await.unwrap_err() {
                AcceptError::Io { retry_in, .. } => pauses.push(retry_in.as_millis()),
                other => panic!("{other}"),
            }
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        // It has not given up, and starts again from the shortest pause.
        let near = world.alice.connect(&world.bob_addr(), ExpectedPeer::Any).await.unwrap();
        listener.accept().await.unwrap();
        world.simulation.fail_accepts(addr, io::ErrorKind::Other, 1);
        let error = listener.accept().await.unwrap_err();
        assert_eq!(error, AcceptError::Io { kind: io::ErrorKind::Other, retry_in: Duration::from_millis(5) });
        drop(near);
    });
    world.end();
}

#[test]
fn a_listener_that_backs_off_ends_at_once() {
    let world = World::new(calm());
    world.run(async {
        let _listener = world.bob.listen(&world.bob_addr()).await.unwrap();
        world.simulation.fail_accepts(world.bob_addr().socket_addr().unwrap(), io::ErrorKind::Other, 1000);
        world.simulation.sleep(Duration::from_secs(30)).await;
        let before = world.simulation.now();
        world.bob.shutdown(Duration::from_secs(5)).await;
        assert_eq!(world.simulation.now(), before);
    });
    world.end();
}

#[test]
fn connections_beyond_the_backlog_wait_until_the_application_accepts() {
    for conditions in conditions(4) {
        let limits = Limits { accept_backlog: 2, ..Limits::default() };
        let world = World::with(conditions, |alice| alice, |bob| bob.limits(limits));
        world.run(async {
            let listener = world.bob.listen(&world.bob_addr()).await.unwrap();
            let addr = world.bob_addr();
            let dials = join_all((0..5).map(|_| world.alice.connect(&addr, ExpectedPeer::Any)));
            let accepts = async {
                world.simulation.sleep(Duration::from_secs(1)).await;
                assert_eq!(world.bob.stats().connections, 2);
                let mut accepted = Vec::new();
                for _ in 0..5 {
                    accepted.push(listener.accept().await.unwrap());
                }
                accepted
            };
            let (dialed, accepted) = join(dials, accepts).await;
            assert!(dialed.iter().all(Result::is_ok));
            assert_eq!(accepted.len(), 5);
        });
        world.end();
    }
}

#[test]
fn silent_dialers_hold_up_handshakes_no_longer_than_their_deadline() {
    let limits = Limits { max_pending_upgrades: 2, ..Limits::default() };
    let patient = Limits { connect_timeout: Duration::from_secs(30), ..Limits::default() };
    let world = World::with(calm(), |alice| alice.limits(patient), |bob| bob.limits(limits));
    world.run(async {
        let listener = world.bob.listen(&world.bob_addr()).await.unwrap();
        let addr = world.bob_addr().socket_addr().unwrap();
        let mut silent = Vec::new();
        for _ in 0..2 {
            silent.push(world.alice_host.connect(addr).await.unwrap());
        }
        world.simulation.sleep(Duration::from_secs(9)).await;
        assert_eq!(world.bob.stats().connections, 2);
        let near = world.alice.connect(&world.bob_addr(), ExpectedPeer::Any).await.unwrap();
        assert_eq!(world.simulation.now().as_nanos(), 10_000_000_000);
        let mut failed = 0;
        while let Err(error) = listener.accept().await {
            assert!(matches!(error, AcceptError::Upgrade { .. }), "{error}");
            failed += 1;
        }
        assert_eq!(failed, 2);
        drop((near, silent));
    });
    world.end();
}

#[test]
fn inbound_connections_beyond_the_limit_are_dropped_and_reported() {
    let limits = Limits { max_connections: 2, ..Limits::default() };
    let world = World::with(calm(), |alice| alice, |bob| bob.limits(limits));
    world.run(async {
        let listener = world.bob.listen(&world.bob_addr()).await.unwrap();
        let mut kept = Vec::new();
        for _ in 0..2 {
            kept.push(world.alice.connect(&world.bob_addr(), ExpectedPeer::Any).await.unwrap());
            kept.push(listener.accept().await.unwrap());
        }
        assert!(world.alice.connect(&world.bob_addr(), ExpectedPeer::Any).await.is_err());
        let error = listener.accept().await.unwrap_err();
        assert!(matches!(error, AcceptError::TooManyConnections { limit: 2, .. }), "{error}");
        assert_eq!(world.bob.stats().refused_connections, 1);
        // One that ends makes room.
        let gone = kept.remove(0);
        gone.close(0);
        gone.closed().await;
        kept[0].closed().await;
        world.simulation.sleep(Duration::from_secs(1)).await;
        world.alice.connect(&world.bob_addr(), ExpectedPeer::Any).await.unwrap();
    });
    world.end();
}

#[test]
fn outbound_connections_beyond_the_limit_are_refused() {
    let limits = Limits { max_connections: 1, ..Limits::default() };
    let world = World::with(calm(), |alice| alice.limits(limits), |bob| bob);
    world.run(async {
        let (near, _far, _listener) = world.connected().await;
        let error = world.alice.connect(&world.bob_addr(), ExpectedPeer::Any).await.unwrap_err();
        assert_eq!(error, ConnectError::TooManyConnections { limit: 1 });
        drop(near);
        world.simulation.sleep(Duration::from_secs(3)).await;
        world.alice.connect(&world.bob_addr(), ExpectedPeer::Any).await.unwrap();
    });
    world.end();
}

#[test]
fn failures_that_nobody_looks_at_are_bounded() {
    let world = World::new(calm());
    world.run(async {
        let listener = world.bob.listen(&world.bob_addr()).await.unwrap();
        let addr = world.bob_addr().socket_addr().unwrap();
        for _ in 0..100 {
            drop(world.alice_host.connect(addr).await.unwrap());
            world.simulation.sleep(Duration::from_millis(1)).await;
        }
        world.bob.shutdown(Duration::from_secs(1)).await;
        let mut failures = 0;
        while !matches!(listener.accept().await, Err(AcceptError::ShutDown)) {
            failures += 1;
        }
        assert_eq!(failures, 64);
    });
}
