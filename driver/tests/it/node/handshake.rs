//! Two phases: connections that the applications must accept.

use std::time::Duration;

use futures_util::{FutureExt, future::join};
use septa_core::connection::{Config, HandshakeError, HandshakeMode};
use septa_driver::{
    CloseReason, OpenStreamError,
    node::{OpenError, PeerState, ReachError},
};

use super::{Nodes, echo_to};
use crate::world::{Conditions, ECHO, OTHER, calm, conditions};

fn nodes(conditions: Conditions) -> Nodes {
    let handshake = HandshakeMode::Application { timeout: Duration::from_secs(30) };
    let config = Config { handshake, ..Config::default() };
    Nodes::with(conditions, 2, |_, builder| builder.connection_config(config.clone()))
}

#[test]
fn both_applications_talk_and_accept_each_other() {
    for conditions in conditions(8) {
        let nodes = nodes(conditions);
        let (alice, bob) = (nodes.nodes[0].clone(), nodes.nodes[1].clone());
        nodes.serve_echo(&bob);
        nodes.run(async {
            let addr = bob.listen(&nodes.addr(1)).await.unwrap();
            let near = async {
                let connection = alice.next_handshake().await.unwrap();
                assert_eq!(alice.state(&connection.peer_id()), PeerState::Connected);
                let early = alice.open_stream(&connection.peer_id(), &[ECHO]).await;
                assert!(matches!(early, Err(OpenError::Stream { .. })), "{early:?}");
                connection.handshake_send(b"hello, I am alice").unwrap();
                assert_eq!(connection.handshake_recv().await.unwrap().unwrap(), b"hello, I am bob"[..]);
                connection.finalize().await.unwrap();
                assert_eq!(connection.handshake_recv().await, Ok(None));
            };
            let far = async {
                let connection = bob.next_handshake().await.unwrap();
                assert_eq!(connection.handshake_recv().await.unwrap().unwrap(), b"hello, I am alice"[..]);
                connection.handshake_send(b"hello, I am bob").unwrap();
                connection.prepare([ECHO]).unwrap();
                connection.finalize().await.unwrap();
            };
            let (outcome, _) = join(alice.connect_to(&addr), join(near, far)).await;
            outcome.unwrap();
            assert_eq!(alice.state(&bob.peer_id()), PeerState::Established, "{conditions:?}");
            echo_to(&alice, &bob.peer_id(), b"accepted").await;
            // What others may use from now on is not for a peer that was prepared for less.
            let _more = bob.accept(OTHER).unwrap();
            let refused = alice.open_stream(&bob.peer_id(), &[OTHER, OTHER]).await;
            assert!(
                matches!(refused, Err(OpenError::Stream { error: OpenStreamError::Refused(_), .. })),
                "{refused:?}"
            );
            echo_to(&alice, &bob.peer_id(), b"still accepted").await;
        });
        nodes.end();
    }
}

#[test]
fn a_rejected_peer_hears_it_and_stays_away_for_a_while() {
    let nodes = nodes(calm());
    let (alice, bob) = (nodes.nodes[0].clone(), nodes.nodes[1].clone());
    nodes.run(async {
        let addr = bob.listen(&nodes.addr(1)).await.unwrap();
        let far = async { bob.next_handshake().await.unwrap().reject(7, "not today") };
        let near = async { alice.next_handshake().await.unwrap().finalize().await };
        let (reached, (rejected, finalized)) = join(alice.connect_to(&addr), join(far, near)).await;
        rejected.unwrap();
        assert!(matches!(
            finalized,
            Err(HandshakeError::ConnectionLost(CloseReason::HandshakeRejected { code: 7, .. }))
        ));
        assert!(
            matches!(reached, Err(ReachError::Ended { state: PeerState::Draining | PeerState::Cooldown, .. })),
            "{reached:?}"
        );
        nodes.sleep(Duration::from_secs(5)).await;
        assert_eq!(alice.state(&bob.peer_id()), PeerState::Cooldown);
        assert_eq!(bob.state(&alice.peer_id()), PeerState::Cooldown);
        assert!(matches!(alice.connect_to(&addr).await, Err(ReachError::Refused { .. })));
        nodes.sleep(Duration::from_secs(60)).await;
        assert_eq!(alice.state(&bob.peer_id()), PeerState::Disconnected);
    });
    nodes.end();
}

/// Else strangers who leave would fill the queue, and the application would find only them.
#[test]
fn a_connection_that_is_over_does_not_wait_for_the_application() {
    for conditions in conditions(8) {
        let nodes = nodes(conditions);
        let (alice, bob) = (nodes.nodes[0].clone(), nodes.nodes[1].clone());
        nodes.run(async {
            let addr = bob.listen(&nodes.addr(1)).await.unwrap();
            alice.connect_to(&addr).await.unwrap_err();
            nodes.sleep(Duration::from_secs(20)).await;
            assert!(bob.next_handshake().now_or_never().is_none(), "{conditions:?}");
        });
        nodes.end();
    }
}

#[test]
fn a_handshake_that_nobody_makes_times_out() {
    let nodes = nodes(calm());
    let (alice, bob) = (nodes.nodes[0].clone(), nodes.nodes[1].clone());
    nodes.run(async {
        let addr = bob.listen(&nodes.addr(1)).await.unwrap();
        let begin = nodes.simulation.now();
        let (connected, late) = join(alice.connect_to(&addr), bob.next_handshake()).await;
        let error = connected.unwrap_err();
        assert!(matches!(error, ReachError::Ended { .. }), "{error:?}");
        let took = nodes.simulation.now().saturating_duration_since(begin);
        assert!(took >= Duration::from_secs(30) && took < Duration::from_secs(32), "{took:?}");
        // Who comes too late finds that it is over.
        nodes.sleep(Duration::from_secs(5)).await;
        assert!(matches!(late.unwrap().finalize().await, Err(HandshakeError::ConnectionLost(_))));
    });
    nodes.end();
}
