//! The end of a node, from every side.

use std::time::Duration;

use futures_util::{AsyncReadExt, AsyncWriteExt, FutureExt, future::join_all};
use septa_driver::{
    ListenError,
    node::{AcceptError, BanError, DialError, Intent, OpenError, PeerError, PeerState, ReachError, ShutDown},
};

use super::{LONG, Nodes, echo_to};
use crate::world::{ECHO, OTHER, calm, conditions, pattern};

#[test]
fn after_the_end_every_method_says_so() {
    let nodes = Nodes::new(calm(), 2);
    let (alice, bob) = (nodes.nodes[0].clone(), nodes.peer(1));
    nodes.run(async {
        let mut events = alice.events();
        let mut streams = alice.accept(ECHO).unwrap();
        alice.shutdown(LONG).await;
        assert_eq!(alice.add_peer(bob, &[], Intent::Persistent), Err(DialError::ShuttingDown));
        assert_eq!(alice.connect(bob).await.unwrap_err(), ReachError::ShutDown(ShutDown));
        assert_eq!(
            alice.connect_to(&nodes.addr(1).with_peer(bob).unwrap()).await.unwrap_err(),
            ReachError::ShutDown(ShutDown)
        );
        assert_eq!(alice.listen(&nodes.addr(0)).await.unwrap_err(), ListenError::ShutDown);
        assert_eq!(alice.open_stream(&bob, &[ECHO]).await.unwrap_err(), OpenError::ShutDown(ShutDown));
        assert_eq!(alice.accept(OTHER).unwrap_err(), AcceptError::ShutDown);
        assert_eq!(alice.ban(bob, None), Err(BanError::ShutDown(ShutDown)));
        assert_eq!(alice.unban(bob), Err(ShutDown));
        assert_eq!(alice.disconnect(bob), Err(ShutDown));
        assert_eq!(alice.remove_peer(bob), Err(ShutDown));
        assert_eq!(alice.cancel_reconnect(bob), Err(ShutDown));
        assert_eq!(alice.protect(bob, true), Err(PeerError::ShutDown(ShutDown)));
        assert_eq!(alice.set_metadata(bob, "a", b"b"), Err(PeerError::ShutDown(ShutDown)));
        assert_eq!(alice.set_backoff(bob, None), Err(PeerError::ShutDown(ShutDown)));
        assert_eq!(alice.next_handshake().await.unwrap_err(), ShutDown);
        assert_eq!(alice.state(&bob), PeerState::Disconnected);
        assert!(!alice.health().is_running && alice.connection(&bob).is_none());
        assert_eq!(events.next().await, None);
        assert!(streams.next().await.is_none());
        alice.shutdown(LONG).await;
    });
    nodes.end();
}

#[test]
fn twenty_shutdowns_at_once_end_together_and_so_does_whoever_waits() {
    for conditions in conditions(4) {
        let nodes = Nodes::new(conditions, 2);
        let (alice, bob) = (nodes.nodes[0].clone(), nodes.nodes[1].clone());
        nodes.serve_echo(&bob);
        nodes.run(async {
            let addr = bob.listen(&nodes.addr(1)).await.unwrap();
            alice.connect_to(&addr).await.unwrap();
            // Waits for a stream that will never come.
            let mut streams = alice.accept(OTHER).unwrap();
            let waiting = async move { assert!(streams.next().await.is_none()) };
            let shutdowns = (0..20).map(|number| {
                let (alice, simulation) = (alice.clone(), nodes.simulation.clone());
                async move {
                    simulation.sleep(Duration::from_millis(number)).await;
                    alice.shutdown(LONG).await;
                    assert_eq!(alice.live_tasks(), 0);
                }
            });
            futures_util::future::join(join_all(shutdowns), waiting).await;
        });
        nodes.end();
    }
}

#[test]
fn what_was_written_arrives_before_the_end() {
    for conditions in conditions(4) {
        let nodes = Nodes::new(conditions, 2);
        let (alice, bob) = (nodes.nodes[0].clone(), nodes.nodes[1].clone());
        nodes.run(async {
            let addr = bob.listen(&nodes.addr(1)).await.unwrap();
            let mut streams = bob.accept(ECHO).unwrap();
            alice.connect_to(&addr).await.unwrap();
            let mut stream = alice.open_stream(&bob.peer_id(), &[ECHO]).await.unwrap();
            let data = pattern(30_000);
            stream.write_all(&data).await.unwrap();
            stream.close().await.unwrap();
            let read = async {
                let mut inbound = streams.next().await.unwrap().stream;
                let mut all = Vec::new();
                inbound.read_to_end(&mut all).await.unwrap();
                all
            };
            let (all, ()) = futures_util::future::join(read, alice.shutdown(LONG)).await;
            assert!(all == data, "{conditions:?}");
        });
        nodes.end();
    }
}

#[test]
fn a_peer_that_never_answers_is_cut_off_at_the_deadline() {
    let nodes = Nodes::new(calm(), 2);
    let (alice, bob) = (nodes.nodes[0].clone(), nodes.nodes[1].clone());
    nodes.run(async {
        let addr = bob.listen(&nodes.addr(1)).await.unwrap();
        alice.connect_to(&addr).await.unwrap();
        nodes.simulation.cut_network();
        let begin = nodes.simulation.now();
        alice.shutdown(Duration::from_millis(300)).await;
        let took = nodes.simulation.now().saturating_duration_since(begin);
        assert!(took <= Duration::from_millis(301), "{took:?}");
        assert_eq!(alice.live_tasks(), 0);
        nodes.simulation.heal_network();
    });
    nodes.end();
}

#[test]
fn a_dial_that_hangs_does_not_hold_up_the_end() {
    let nodes = Nodes::new(calm(), 2);
    let alice = nodes.nodes[0].clone();
    nodes.run(async {
        nodes.nodes[1].listen(&nodes.addr(1)).await.unwrap();
        nodes.simulation.cut_network();
        alice.add_peer(nodes.peer(1), &[nodes.addr(1)], Intent::Persistent).unwrap();
        nodes.sleep(Duration::from_millis(100)).await;
        let begin = nodes.simulation.now();
        alice.shutdown(LONG).await;
        assert!(nodes.simulation.now().saturating_duration_since(begin) < Duration::from_secs(3));
        nodes.simulation.heal_network();
    });
    nodes.end();
}

#[test]
fn futures_that_are_dropped_at_any_point_leave_nothing_behind() {
    let nodes = Nodes::new(calm(), 2);
    let (alice, bob) = (nodes.nodes[0].clone(), nodes.nodes[1].clone());
    nodes.serve_echo(&bob);
    nodes.run(async {
        let addr = bob.listen(&nodes.addr(1)).await.unwrap();
        let (bob_id, protocols) = (bob.peer_id(), [ECHO, OTHER]);
        for polls in 0..12 {
            let mut connect = Box::pin(alice.connect_to(&addr).fuse());
            let mut open = Box::pin(alice.open_stream(&bob_id, &protocols).fuse());
            let mut handshake = Box::pin(alice.next_handshake());
            for _ in 0..polls {
                let _ = futures_util::poll!(&mut connect);
                let _ = futures_util::poll!(&mut open);
                let _ = futures_util::poll!(&mut handshake);
                nodes.sleep(Duration::from_micros(1)).await;
            }
        }
        // The effort went on without them.
        nodes.sleep(Duration::from_secs(1)).await;
        assert_eq!(alice.state(&bob.peer_id()), PeerState::Established);
        echo_to(&alice, &bob.peer_id(), b"fine").await;
        assert_eq!(alice.stats().connections, 1);
    });
    nodes.end();
}
