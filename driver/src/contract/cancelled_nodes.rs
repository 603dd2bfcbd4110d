//! Futures of nodes, dropped at every poll.

use futures_util::{AsyncWriteExt, future::join};
use septa_core::{
    Multiaddr,
    connection::{Config as ConnectionConfig, HandshakeMode},
    node::{Config, RateLimits},
};

use super::{
    ends::{Ends, any_addr},
    polled::{at_every_poll, polled},
    world::{ECHO, LONG, OTHER, identity, read_to_end, write_all},
};
use crate::node::{EventFilter, EventKind, IncomingStreams, Node, PeerState};

/// Two nodes, of which the second listens and serves.
struct Nodes {
    alice: Node,
    bob: Node,
    addr: Multiaddr,
    streams: IncomingStreams,
}

impl Nodes {
    async fn new(ends: &Ends, handshake: HandshakeMode) -> Self {
        // All come from one address, and faster than strangers may.
        let mut rates = RateLimits::inbound_connects();
        (rates.prefix.burst, rates.overall.burst) = (100_000, 100_000);
        let config = Config { connect_rates: rates, handshake_rates: rates, ..Config::default() };
        let connections = ConnectionConfig { handshake, ..ConnectionConfig::default() };
        let node = |seed| Node::builder(identity(seed)).config(config.clone()).connection_config(connections.clone());
        let alice = node(1).build(ends.dialer.clone()).unwrap();
        let bob = node(2).build(ends.listener.clone()).unwrap();
        let addr = bob.listen(&any_addr()).await.unwrap();
        let streams = bob.accept(ECHO).unwrap();
        Self { alice, bob, addr, streams }
    }

    /// Sends a message from alice to bob.
    async fn talk(&mut self) {
        let peer = self.bob.peer_id();
        let mut stream = self.alice.open_stream(&peer, &[ECHO]).await.unwrap();
        write_all(&mut stream, b"hello").await.unwrap();
        stream.close().await.unwrap();
        loop {
            let mut inbound = self.streams.next().await.unwrap();
            // Another one may have been given up.
            if read_to_end(&mut inbound.stream).await.is_ok_and(|read| read == b"hello") {
                return;
            }
        }
    }

    async fn part(&self, ends: &Ends) {
        let peer = self.bob.peer_id();
        self.alice.disconnect(peer).unwrap();
        ends.eventually(|| {
            self.alice.state(&peer) == PeerState::Disconnected
                && self.bob.state(&self.alice.peer_id()) == PeerState::Disconnected
        })
        .await;
    }

    async fn end(self) {
        join(self.alice.shutdown(LONG), self.bob.shutdown(LONG)).await;
        for node in [&self.alice, &self.bob] {
            assert_eq!((node.live_tasks(), node.stats().connections, node.health().panicked_tasks), (0, 0, 0));
        }
    }
}

/// Whoever gives up to wait for a connection does not give it up for others.
pub async fn listen_connect_and_open(ends: &Ends) {
    let mut nodes = Nodes::new(ends, HandshakeMode::Automatic).await;
    let (addr, peer) = (nodes.addr.clone(), nodes.bob.peer_id());
    at_every_poll(async |polls| {
        let listening = polled(polls, nodes.bob.listen(&any_addr())).await;
        if let Some(addr) = &listening {
            assert!(nodes.bob.stop_listening(addr.as_ref().unwrap()));
        }
        assert_eq!(nodes.bob.listen_addrs(), std::slice::from_ref(&addr));
        listening.is_some()
    })
    .await;
    at_every_poll(async |polls| {
        let early = polled(polls, nodes.alice.connect_to(&addr)).await;
        nodes.alice.connect_to(&addr).await.unwrap();
        nodes.talk().await;
        nodes.part(ends).await;
        early.is_some()
    })
    .await;
    at_every_poll(async |polls| {
        let early = polled(polls, nodes.alice.connect(peer)).await;
        nodes.alice.connect(peer).await.unwrap();
        nodes.talk().await;
        nodes.part(ends).await;
        early.is_some()
    })
    .await;
    nodes.alice.connect(peer).await.unwrap();
    at_every_poll(async |polls| {
        let is_done = polled(polls, nodes.alice.open_stream(&peer, &[OTHER, ECHO])).await.is_some();
        nodes.talk().await;
        is_done
    })
    .await;
    nodes.end().await;
}

/// Neither a stream nor an event is lost.
pub async fn streams_and_events(ends: &Ends) {
    let mut nodes = Nodes::new(ends, HandshakeMode::Automatic).await;
    let (addr, peer) = (nodes.addr.clone(), nodes.bob.peer_id());
    nodes.alice.connect_to(&addr).await.unwrap();
    at_every_poll(async |polls| {
        let mut stream = nodes.alice.open_stream(&peer, &[ECHO]).await.unwrap();
        let (early, written) = join(polled(polls, nodes.streams.next()), write_all(&mut stream, b"x")).await;
        written.unwrap();
        stream.close().await.unwrap();
        let is_done = early.is_some();
        let mut inbound = match early {
            Some(inbound) => inbound.unwrap(),
            None => nodes.streams.next().await.unwrap(),
        };
        assert_eq!(read_to_end(&mut inbound.stream).await.unwrap(), b"x");
        is_done
    })
    .await;
    nodes.part(ends).await;
    let mut events = nodes.alice.subscribe(EventFilter::new().kind(EventKind::State).state(PeerState::Established));
    at_every_poll(async |polls| {
        let (early, connected) = join(polled(polls, events.next()), nodes.alice.connect(peer)).await;
        connected.unwrap();
        let is_done = early.is_some();
        if !is_done {
            assert!(events.next().await.is_some());
        }
        nodes.part(ends).await;
        is_done
    })
    .await;
    assert_eq!(events.lost_events(), 0);
    nodes.end().await;
}

/// A connection that waits for its handshake waits for who comes next.
pub async fn next_handshake(ends: &Ends) {
    let mut nodes = Nodes::new(ends, HandshakeMode::APPLICATION).await;
    let addr = nodes.addr.clone();
    at_every_poll(async |polls| {
        let near = async { nodes.alice.next_handshake().await.unwrap().finalize().await.unwrap() };
        let far = async {
            let early = polled(polls, nodes.bob.next_handshake()).await;
            let is_done = early.is_some();
            let connection = match early {
                Some(connection) => connection.unwrap(),
                None => nodes.bob.next_handshake().await.unwrap(),
            };
            connection.finalize().await.unwrap();
            is_done
        };
        let (connected, ((), is_done)) = join(nodes.alice.connect_to(&addr), join(near, far)).await;
        connected.unwrap();
        nodes.talk().await;
        nodes.part(ends).await;
        is_done
    })
    .await;
    nodes.end().await;
}

/// A shutdown that is given up goes on.
pub async fn shutdown(ends: &Ends) {
    at_every_poll(async |polls| {
        let mut nodes = Nodes::new(ends, HandshakeMode::Automatic).await;
        nodes.alice.connect_to(&nodes.addr).await.unwrap();
        nodes.talk().await;
        let early = polled(polls, nodes.bob.shutdown(LONG)).await;
        if polls > 0 {
            ends.eventually(|| nodes.bob.live_tasks() == 0).await;
        }
        nodes.end().await;
        early.is_some()
    })
    .await;
}
