//! Nodes in a small world: what they do by themselves, and what they are asked.

mod clocks;
mod connecting;
mod events;
mod handshake;
mod hanging;
mod keeping;
mod reconnecting;
mod shutting_down;

use std::{sync::Arc, time::Duration};

use futures_util::{AsyncReadExt, AsyncWriteExt};
use septa_core::{Identity, Multiaddr, PeerId};
use septa_driver::{
    Node, NodeBuilder,
    node::{Event, EventFilter, EventKind, IncomingStreams, PeerState, Subscription},
    runtime::Runtime,
};
use septa_sim::Simulation;

use crate::world::{Conditions, ECHO, echo};

/// A world with any number of nodes, the first on host 1.
pub(crate) struct Nodes {
    pub(crate) simulation: Arc<Simulation>,
    pub(crate) hosts: Vec<Arc<dyn Runtime>>,
    pub(crate) nodes: Vec<Node>,
}

pub(crate) const LONG: Duration = Duration::from_secs(30);

impl Nodes {
    pub(crate) fn new(conditions: Conditions, count: u8) -> Self {
        Self::with(conditions, count, |_, builder| builder)
    }

    pub(crate) fn with(conditions: Conditions, count: u8, build: impl Fn(u8, NodeBuilder) -> NodeBuilder) -> Self {
        let simulation = Arc::new(Simulation::with_order(conditions.seed, conditions.order));
        simulation.set_link(conditions.link);
        let hosts: Vec<_> = (0..count).map(|number| simulation.host(&format!("host {number}"))).collect();
        let made = hosts.iter().zip(0..count).map(|(host, number)| {
            let builder = Node::builder(Identity::from_ed25519_seed([number + 1; 32]));
            build(number, builder).build(host.clone()).unwrap()
        });
        let nodes = made.collect();
        Self { simulation, hosts, nodes }
    }

    /// Runs `future` to its end; panics of tasks are failures.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let result = self.simulation.block_on(future);
        assert_eq!(self.simulation.take_panics(), []);
        result.unwrap()
    }

    pub(crate) fn addr(&self, number: u32) -> Multiaddr {
        Multiaddr::from_socket_addr((self.simulation.ip(number + 1), 4001).into())
    }

    pub(crate) fn peer(&self, number: usize) -> PeerId {
        self.nodes[number].peer_id()
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        self.simulation.sleep(duration).await;
    }

    /// Echoes every stream of `node` until it ends.
    pub(crate) fn serve_echo(&self, node: &Node) {
        self.serve(node.accept(ECHO).unwrap());
    }

    pub(crate) fn serve(&self, mut streams: IncomingStreams) {
        let simulation = Arc::downgrade(&self.simulation);
        self.simulation.spawn("echo server", async move {
            while let Some(inbound) = streams.next().await {
                if let Some(simulation) = simulation.upgrade() {
                    simulation.spawn("echo", echo(inbound.stream));
                }
            }
        });
    }

    /// Shuts every node down and checks that nothing is left.
    pub(crate) fn end(self) {
        self.run(async {
            for node in &self.nodes {
                node.shutdown(LONG).await;
                let stats = node.stats();
                assert_eq!((node.live_tasks(), stats.connections, stats.dialing, stats.queued), (0, 0, 0, 0));
                assert_eq!(node.health().panicked_tasks, 0);
            }
        });
        // The servers of tests end when their node has.
        self.run(self.sleep(Duration::from_secs(1)));
        assert_eq!(self.simulation.live_tasks(), Vec::<String>::new());
    }
}

/// Writes `data` to a peer that echoes and reads it back.
pub(crate) async fn echo_to(node: &Node, peer: &PeerId, data: &[u8]) {
    let mut stream = node.open_stream(peer, &[ECHO]).await.unwrap();
    stream.write_all(data).await.unwrap();
    stream.close().await.unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).await.unwrap();
    assert!(back == data);
}

pub(crate) fn states(node: &Node, peer: PeerId) -> Subscription {
    node.subscribe(EventFilter::new().kind(EventKind::State).peer(peer))
}

/// Takes events until the peer is in `wanted`, and returns the states on the way.
pub(crate) async fn until(subscription: &mut Subscription, wanted: PeerState) -> Vec<PeerState> {
    let mut seen = Vec::new();
    while let Some(event) = subscription.next().await {
        if let Event::State { state, .. } = event {
            seen.push(state);
            if state == wanted {
                return seen;
            }
        }
    }
    panic!("the node ended before the state {wanted:?} came; seen {seen:?}");
}
