//! Listeners that go and come back.

use std::{sync::Arc, time::Duration};

use septa_core::{
    Multiaddr,
    connection::{CloseReason, codes},
    node::{Backoff, Config},
};

use super::{
    ends::{Ends, any_addr},
    world::{ECHO, LONG, World, echo, exchange, identity},
};
use crate::{
    error::{ConnectError, ListenError},
    node::{Event, EventFilter, EventKind, Intent, Node, NodeBuilder, PeerState, Subscription},
};

/// How often a case begins anew because somebody else has taken the port of the listener that was gone.
const TRIES: usize = 10;

/// A connection ends with its listening endpoint; another endpoint at the same address is reached.
pub async fn a_listener_that_comes_back_is_reached_again(ends: &Ends) {
    for _ in 0..TRIES {
        let before = World::new(ends);
        let (near, _far, listener) = before.connected().await;
        let addr = listener.local_addr();
        before.bob.shutdown(LONG).await;
        assert_eq!(near.closed().await, CloseReason::Remote { code: codes::connection::SHUTDOWN });
        let gone = before.alice.connect(&addr, before.bobs_id()).await.unwrap_err();
        assert!(matches!(gone, ConnectError::Io { .. } | ConnectError::Upgrade { .. }), "{gone}");

        let after = World::new(ends);
        match after.bob.listen(&addr).await {
            Ok(listener) => {
                after.serve(Arc::new(listener));
                let near = before.alice.connect(&addr, after.bobs_id()).await.unwrap();
                exchange(&near, b"again").await;
                before.end().await;
                return after.end().await;
            }
            Err(ListenError::Io { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("somebody takes every port");
}

fn node(seed: u8) -> NodeBuilder {
    let backoff = Backoff { initial: Duration::from_millis(5), max: Duration::from_millis(20), ..Backoff::default() };
    Node::builder(identity(seed)).config(Config { backoff, ..Config::default() })
}

/// Takes events until the peer is in the state.
async fn until(events: &mut Subscription, wanted: PeerState) {
    while let Some(event) = events.next().await {
        if matches!(event, Event::State { state, .. } if state == wanted) {
            return;
        }
    }
    panic!("the node has ended before {wanted:?}");
}

/// Listens, and echoes.
async fn serving(ends: &Ends, addr: &Multiaddr) -> Option<(Node, Multiaddr)> {
    let bob = node(2).build(ends.listener.clone()).unwrap();
    let Ok(addr) = bob.listen(addr).await else {
        bob.shutdown(LONG).await;
        return None;
    };
    let mut streams = bob.accept(ECHO).unwrap();
    let runtime = ends.listener.clone();
    ends.listener.spawn(
        "echo server",
        Box::pin(async move {
            while let Some(inbound) = streams.next().await {
                runtime.spawn("echo", Box::pin(echo(inbound.stream)));
            }
        }),
    );
    Some((bob, addr))
}

/// A node that keeps a peer reaches it again by itself, as soon as it is back.
pub async fn a_node_dials_a_lost_peer_again(ends: &Ends) {
    for _ in 0..TRIES {
        let (bob, addr) = serving(ends, &any_addr()).await.unwrap();
        let alice = node(1).build(ends.dialer.clone()).unwrap();
        let peer = bob.peer_id();
        let mut events = alice.subscribe(EventFilter::new().kind(EventKind::State).peer(peer));
        alice.add_peer(peer, std::slice::from_ref(&addr), Intent::Persistent).unwrap();
        until(&mut events, PeerState::Established).await;
        bob.shutdown(LONG).await;
        until(&mut events, PeerState::Backoff).await;
        let back = serving(ends, &addr).await;
        if back.is_some() {
            until(&mut events, PeerState::Established).await;
            exchange(&alice.connection(&peer).unwrap(), b"found again").await;
        }
        alice.shutdown(LONG).await;
        assert_eq!((alice.live_tasks(), bob.live_tasks()), (0, 0));
        if let Some((bob, _)) = back {
            bob.shutdown(LONG).await;
            return assert_eq!(bob.live_tasks(), 0);
        }
    }
    panic!("somebody takes every port");
}
