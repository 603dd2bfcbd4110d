//! Two nodes in a small world.

use std::{fmt, sync::Arc};

use futures_util::{AsyncReadExt, AsyncWriteExt};
use septa_core::{ExpectedPeer, Identity, Multiaddr, ProtocolId, connection::codes};
use septa_driver::{Connection, Endpoint, EndpointBuilder, Listener, Stream, runtime::Runtime};
use septa_sim::{Cut, LinkOptions, Order, Simulation};

pub(crate) const ECHO: ProtocolId = ProtocolId::from_static("/test/echo/1");
pub(crate) const OTHER: ProtocolId = ProtocolId::from_static("/test/other/1");

/// What a test varies: none of it may change what an application sees.
#[derive(Clone, Copy)]
pub(crate) struct Conditions {
    pub(crate) seed: u64,
    pub(crate) order: Order,
    pub(crate) link: LinkOptions,
}

impl fmt::Debug for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}, {:?}, {:?}", self.seed, self.order, self.link)
    }
}

/// Seeds, both task orders and several cuts.
pub(crate) fn conditions(seeds: u64) -> impl Iterator<Item = Conditions> {
    let cuts = [(Cut::Whole, 64 * 1024), (Cut::Fixed(1), 700), (Cut::Fixed(37), 100), (Cut::Random(5000), 9000)];
    (0..seeds).flat_map(move |seed| {
        [Order::Fifo, Order::Seeded].into_iter().map(move |order| {
            let (cut, capacity) = cuts[(seed % cuts.len() as u64) as usize];
            let link = LinkOptions { read_cut: cut, write_cut: cut, capacity, ..LinkOptions::default() };
            Conditions { seed, order, link }
        })
    })
}

/// The kindest conditions.
pub(crate) fn calm() -> Conditions {
    Conditions { seed: 1, order: Order::Fifo, link: LinkOptions::default() }
}

pub(crate) struct World {
    pub(crate) simulation: Arc<Simulation>,
    pub(crate) alice: Endpoint,
    pub(crate) bob: Endpoint,
    pub(crate) alice_host: Arc<dyn Runtime>,
    pub(crate) bob_host: Arc<dyn Runtime>,
}

impl World {
    pub(crate) fn new(conditions: Conditions) -> Self {
        Self::with(conditions, |builder| builder, |builder| builder)
    }

    pub(crate) fn with(
        conditions: Conditions,
        alice: impl FnOnce(EndpointBuilder) -> EndpointBuilder,
        bob: impl FnOnce(EndpointBuilder) -> EndpointBuilder,
    ) -> Self {
        let simulation = Arc::new(Simulation::with_order(conditions.seed, conditions.order));
        simulation.set_link(conditions.link);
        let (alice_host, bob_host) = (simulation.host("alice"), simulation.host("bob"));
        let node = |seed: u8| Endpoint::builder(Identity::from_ed25519_seed([seed; 32])).serve([ECHO]);
        let alice = alice(node(1)).build(alice_host.clone()).unwrap();
        let bob = bob(node(2)).build(bob_host.clone()).unwrap();
        Self { simulation, alice, bob, alice_host, bob_host }
    }

    /// Runs `future` to its end; panics of tasks are failures.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let result = self.simulation.block_on(future);
        assert_eq!(self.simulation.take_panics(), []);
        result.unwrap()
    }

    /// Where bob listens, by default.
    pub(crate) fn bob_addr(&self) -> Multiaddr {
        Multiaddr::from_socket_addr((self.simulation.ip(2), 4001).into())
    }

    /// A connection from alice to bob, seen from both ends.
    pub(crate) async fn connected(&self) -> (Connection, Connection, Listener) {
        let listener = self.bob.listen(&self.bob_addr()).await.unwrap();
        let expected = ExpectedPeer::Exactly(self.bob.peer_id());
        let near = self.alice.connect(&listener.local_addr(), expected).await.unwrap();
        let far = listener.accept().await.unwrap();
        (near, far, listener)
    }

    /// Echoes every stream of `connection` until it ends.
    pub(crate) fn serve_echo(&self, connection: Connection) {
        let simulation = Arc::downgrade(&self.simulation);
        self.simulation.spawn("echo server", async move {
            while let Ok(stream) = connection.accept_stream().await {
                if let Some(simulation) = simulation.upgrade() {
                    simulation.spawn("echo", echo(stream));
                }
            }
        });
    }

    /// Shuts both ends down and checks that nothing is left.
    pub(crate) fn end(self) {
        self.run(async {
            self.alice.shutdown(std::time::Duration::from_secs(20)).await;
            self.bob.shutdown(std::time::Duration::from_secs(20)).await;
        });
        for endpoint in [&self.alice, &self.bob] {
            let stats = endpoint.stats();
            assert_eq!((stats.live_tasks, stats.connections, stats.panicked_tasks), (0, 0, 0));
        }
    }
}

/// Sends back what comes, then ends the stream.
pub(crate) async fn echo(mut stream: Stream) {
    let mut buffer = [0; 10_000];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) if stream.write_all(&buffer[..count]).await.is_err() => break,
            Ok(_) => {}
        }
    }
    let _ = stream.close().await;
    let _ = stream.read(&mut buffer).await;
}

/// Bytes that are not all alike.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

pub(crate) async fn read_to_end(stream: &mut Stream) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await?;
    Ok(all)
}

pub(crate) const NO_ERROR: u32 = codes::connection::NO_ERROR;
