//! Reaching peers, opening streams to them, and accepting theirs.

use std::{task::Poll, time::Duration};

use futures_util::{AsyncReadExt, future::join};
use septa_core::connection::RefuseReason;
use septa_driver::{
    CloseReason, Connection, Node, OpenStreamError, ReadError,
    node::{
        AcceptError, BanSubject, Config, DialError, DialFailure, IncomingStreams, Intent, OpenError, PeerState,
        ReachError, Subscription,
    },
};

use super::{Nodes, echo_to};
use crate::world::{ECHO, OTHER, calm, conditions, pattern};

#[test]
fn two_nodes_reach_each_other_and_exchange_data() {
    for conditions in conditions(8) {
        let nodes = Nodes::new(conditions, 2);
        let (alice, bob) = (nodes.nodes[0].clone(), nodes.nodes[1].clone());
        nodes.serve_echo(&bob);
        nodes.run(async {
            let addr = bob.listen(&nodes.addr(1)).await.unwrap();
            let connection = alice.connect_to(&addr).await.unwrap();
            assert_eq!(connection.peer_id(), bob.peer_id());
            assert_eq!(alice.state(&bob.peer_id()), PeerState::Established, "{conditions:?}");
            echo_to(&alice, &bob.peer_id(), &pattern(20_000)).await;
            assert_eq!(bob.state(&alice.peer_id()), PeerState::Established);
            let info = alice.peer_info(&bob.peer_id()).unwrap();
            let echo = info.connections[0].protocols.iter().find(|stats| stats.protocol == ECHO).unwrap();
            assert_eq!((echo.streams, echo.bytes_sent, echo.bytes_received), (1, 20_000, 20_000));
        });
        drop((alice, bob));
        nodes.end();
    }
}

#[test]
fn both_dial_at_once_and_one_connection_stays() {
    for conditions in conditions(8) {
        let nodes = Nodes::new(conditions, 2);
        let (alice, bob) = (nodes.nodes[0].clone(), nodes.nodes[1].clone());
        nodes.serve_echo(&alice);
        nodes.serve_echo(&bob);
        nodes.run(async {
            let near = alice.listen(&nodes.addr(0)).await.unwrap();
            let far = bob.listen(&nodes.addr(1)).await.unwrap();
            let (one, other) = join(alice.connect_to(&far), bob.connect_to(&near)).await;
            one.unwrap();
            other.unwrap();
            // No data is lost on streams that are opened while they settle.
            let (alice_id, bob_id) = (alice.peer_id(), bob.peer_id());
            let data = pattern(30_000);
            join(echo_to(&alice, &bob_id, &data), echo_to(&bob, &alice_id, &data)).await;
            nodes.sleep(Duration::from_secs(15)).await;
            assert_eq!(alice.stats().connections, 1, "{conditions:?}");
            assert_eq!(bob.stats().connections, 1, "{conditions:?}");
            assert_eq!(alice.state(&bob_id), PeerState::Established);
            join(echo_to(&alice, &bob_id, b"again"), echo_to(&bob, &alice_id, b"again")).await;
        });
        nodes.end();
    }
}

#[test]
fn an_address_where_another_peer_listens_fails_and_says_so() {
    let nodes = Nodes::new(calm(), 3);
    nodes.run(async {
        let addr = nodes.nodes[1].listen(&nodes.addr(1)).await.unwrap();
        let (peer, carol) = (nodes.peer(2), nodes.peer(1));
        assert_eq!(addr.peer_id(), Some(carol));
        nodes.nodes[0].add_peer(peer, &[nodes.addr(1)], Intent::Dormant).unwrap();
        let error = nodes.nodes[0].connect(peer).await.unwrap_err();
        let ReachError::Failed { attempts, retry_in: None, .. } = &error else { panic!("{error:?}") };
        assert!(matches!(attempts[0].why, DialFailure::Closed(_)), "{error}");
        assert_eq!(nodes.nodes[0].state(&peer), PeerState::Disconnected);
        assert_eq!(nodes.nodes[1].state(&nodes.peer(0)), PeerState::Disconnected);
    });
    nodes.end();
}

#[test]
fn what_cannot_be_dialed_is_refused_with_the_reason() {
    let nodes = Nodes::new(calm(), 3);
    let alice = nodes.nodes[0].clone();
    let (me, bob, carol) = (nodes.peer(0), nodes.peer(1), nodes.peer(2));
    nodes.run(async {
        let refused = |error| match error {
            ReachError::Refused { error, .. } => error,
            error => panic!("{error:?}"),
        };
        assert_eq!(refused(alice.connect(bob).await.unwrap_err()), DialError::NoAddresses);
        assert_eq!(refused(alice.connect(me).await.unwrap_err()), DialError::SelfDial);
        alice.ban(carol, Some(Duration::from_secs(60))).unwrap();
        assert_eq!(alice.bans()[0].subject, BanSubject::Peer(carol));
        assert_eq!(refused(alice.connect(carol).await.unwrap_err()), DialError::Banned);
        assert!(matches!(alice.connect_to(&nodes.addr(1)).await, Err(ReachError::NoPeer { .. })));
        let nobody = nodes.addr(1).with_peer(bob).unwrap();
        let error = alice.connect_to(&nobody).await.unwrap_err();
        assert!(matches!(error, ReachError::Failed { .. }), "{error:?}");
        assert!(error.to_string().contains("the other end refused"), "{error}");
        assert!(matches!(alice.open_stream(&bob, &[ECHO]).await, Err(OpenError::NotConnected { peer }) if peer == bob));
    });
    nodes.end();
}

#[test]
fn a_protocol_is_served_as_long_as_somebody_accepts_it() {
    let nodes = Nodes::new(calm(), 2);
    let (alice, bob) = (nodes.nodes[0].clone(), nodes.nodes[1].clone());
    nodes.run(async {
        let addr = bob.listen(&nodes.addr(1)).await.unwrap();
        alice.connect_to(&addr).await.unwrap();
        let refused = async |node: &septa_driver::Node| {
            let mut stream = node.open_stream(&bob.peer_id(), &[ECHO]).await.unwrap();
            let mut buffer = [0; 1];
            let error = stream.read(&mut buffer).await.unwrap_err();
            let source = error.get_ref().and_then(|source| source.downcast_ref::<ReadError>());
            assert_eq!(source, Some(&ReadError::Refused(RefuseReason::Unsupported)));
        };
        refused(&alice).await;
        let streams = bob.accept(ECHO).unwrap();
        assert!(matches!(bob.accept(ECHO), Err(AcceptError::Taken { .. })));
        assert!(matches!(bob.accept(septa_core::protocol::ping::PROTOCOL), Err(AcceptError::Taken { .. })));
        nodes.serve(streams);
        echo_to(&alice, &bob.peer_id(), b"heard").await;
        // With several to choose from, the peer chooses what it serves.
        let stream = alice.open_stream(&bob.peer_id(), &[OTHER, ECHO]).await.unwrap();
        assert_eq!(stream.protocol(), Some(ECHO));
        let other = bob.accept(OTHER).unwrap();
        drop(other);
        let error = alice.open_stream(&bob.peer_id(), &[OTHER, OTHER]).await.unwrap_err();
        assert!(matches!(error, OpenError::Stream { error: OpenStreamError::Refused(_), .. }), "{error:?}");
    });
    nodes.end();
}

#[test]
fn streams_that_nobody_takes_are_bounded_for_each_connection_and_in_all() {
    let limits = septa_driver::node::NodeLimits {
        max_waiting_streams: 5,
        max_waiting_streams_per_connection: 3,
        ..Default::default()
    };
    let nodes = Nodes::with(calm(), 3, |_, builder| builder.limits(limits));
    let bob = nodes.nodes[0].clone();
    nodes.run(async {
        let addr = bob.listen(&nodes.addr(0)).await.unwrap();
        let mut waiting = bob.accept(ECHO).unwrap();
        let mut streams = Vec::new();
        for node in &nodes.nodes[1..] {
            node.connect_to(&addr).await.unwrap();
            for _ in 0..4 {
                streams.push(node.open_stream(&bob.peer_id(), &[ECHO, OTHER]).await);
            }
        }
        // Whether the refusal overtakes the agreement is the connection's affair.
        nodes.sleep(Duration::from_secs(1)).await;
        let mut reset = Vec::new();
        for stream in &mut streams {
            let mut buffer = [0; 1];
            reset.push(match stream {
                Ok(stream) => matches!(futures_util::poll!(Box::pin(stream.read(&mut buffer))), Poll::Ready(Err(_))),
                Err(_) => true,
            });
        }
        assert_eq!(reset, [false, false, false, true, false, false, true, true]);
        let mut peers = Vec::new();
        for _ in 0..5 {
            peers.push(waiting.next().await.unwrap().peer);
        }
        assert_eq!(peers, [[nodes.peer(1); 3].as_slice(), &[nodes.peer(2); 2]].concat());
    });
    nodes.end();
}

/// A dialer may take itself for connected before it hears that it is not wanted.
async fn assert_denied(outcome: Result<Connection, ReachError>) {
    match outcome {
        Ok(connection) => assert_eq!(connection.closed().await, CloseReason::DeniedByRemote),
        Err(ReachError::Failed { .. } | ReachError::Ended { .. } | ReachError::Lost { .. }) => {}
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn a_banned_peer_is_cut_off_and_not_let_in_again() {
    let nodes = Nodes::new(calm(), 2);
    let (alice, bob) = (nodes.nodes[0].clone(), nodes.nodes[1].clone());
    nodes.run(async {
        let addr = bob.listen(&nodes.addr(1)).await.unwrap();
        let connection = alice.connect_to(&addr).await.unwrap();
        bob.ban(alice.peer_id(), None).unwrap();
        connection.closed().await;
        assert_denied(alice.connect_to(&addr).await).await;
        assert!(bob.unban(alice.peer_id()).unwrap());
        nodes.sleep(Duration::from_secs(1)).await;
        alice.connect_to(&addr).await.unwrap();
    });
    nodes.end();
}

#[test]
fn a_peer_that_has_called_can_be_called_back() {
    let nodes = Nodes::new(calm(), 2);
    let (alice, bob) = (nodes.nodes[0].clone(), nodes.nodes[1].clone());
    nodes.run(async {
        let addr = alice.listen(&nodes.addr(0)).await.unwrap();
        bob.listen(&nodes.addr(1)).await.unwrap();
        bob.connect_to(&addr).await.unwrap();
        // They tell each other who and where they are.
        nodes.sleep(Duration::from_secs(1)).await;
        let known = alice.connection(&bob.peer_id()).unwrap().remote_identify().unwrap();
        assert!(known.info().agent_version.as_ref().unwrap().starts_with("septa/"));
        bob.disconnect(alice.peer_id()).unwrap();
        nodes.sleep(Duration::from_secs(5)).await;
        assert_eq!(alice.state(&bob.peer_id()), PeerState::Disconnected);
        alice.connect(bob.peer_id()).await.unwrap();
    });
    nodes.end();
}

#[test]
fn a_full_node_refuses_more_and_takes_them_when_there_is_room() {
    let config =
        Config { max_connections: 2, max_inbound: 1, high_watermark: 2, low_watermark: 1, ..Config::default() };
    let nodes = Nodes::with(calm(), 3, |_, builder| builder.config(config.clone()));
    nodes.run(async {
        let addr = nodes.nodes[0].listen(&nodes.addr(0)).await.unwrap();
        nodes.nodes[1].connect_to(&addr).await.unwrap();
        assert_denied(nodes.nodes[2].connect_to(&addr).await).await;
        nodes.nodes[1].disconnect(nodes.peer(0)).unwrap();
        nodes.sleep(Duration::from_secs(5)).await;
        nodes.nodes[2].connect_to(&addr).await.unwrap();
    });
    nodes.end();
}

#[test]
fn handles_are_cheap_to_clone_and_go_anywhere() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    fn moved<T: Send + 'static>() {}
    shared::<Node>();
    shared::<Connection>();
    moved::<Subscription>();
    moved::<IncomingStreams>();
    assert!(size_of::<Node>() <= 2 * size_of::<usize>());
}
