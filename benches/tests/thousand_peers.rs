//! A thousand persistent peers over loopback TCP, whose listeners are killed and come back.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use septa_benches::CountingAllocator;
use septa_core::{Identity, Instant, Multiaddr, PeerId, Seed, crypto::Provider};
use septa_driver::{
    Node, Runtime,
    node::{EventFilter, EventKind, Intent, PeerState, Subscription},
    runtime::{Acceptor, BoxFuture, Socket, Timer},
};
use septa_tokio::TokioRuntime;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const PEERS: usize = 1000;
/// Heap that may stay behind: what the runtime and the standard library keep for themselves.
const KEPT: isize = 512 * 1024;
/// Far more than it takes, so that only a hang fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// Tokio, with a note of when each dial began.
#[derive(Debug)]
struct Noting {
    runtime: TokioRuntime,
    dials: Mutex<Vec<Instant>>,
}

impl Runtime for Noting {
    fn now(&self) -> Instant {
        self.runtime.now()
    }

    fn unix_time(&self) -> Duration {
        self.runtime.unix_time()
    }

    fn timer(&self) -> Box<dyn Timer> {
        self.runtime.timer()
    }

    fn spawn(&self, name: &str, task: BoxFuture<'static, ()>) {
        self.runtime.spawn(name, task);
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.runtime.spawn_blocking(work);
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Socket>> {
        self.dials.lock().unwrap().push(self.now());
        self.runtime.connect(addr)
    }

    fn listen(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Acceptor>>> {
        self.runtime.listen(addr)
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        self.runtime.resolve(host, port)
    }

    fn seed(&self) -> Seed {
        self.runtime.seed()
    }

    fn provider(&self) -> Arc<dyn Provider> {
        self.runtime.provider()
    }
}

struct Usage {
    tasks: usize,
    sockets: Option<usize>,
    heap: isize,
}

impl Usage {
    /// Waits until just so many tasks are left: those that ask a new peer who it is end soon, and a task counts until its
    /// thread has put it away.
    async fn with_tasks(tasks: usize) -> Self {
        let wait = async {
            while tokio::runtime::Handle::current().metrics().num_alive_tasks() != tasks {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the tasks that are expected, and no other");
        Self::now()
    }

    fn now() -> Self {
        let links = std::fs::read_dir("/proc/self/fd").ok();
        let is_socket = |entry: io::Result<std::fs::DirEntry>| {
            let target = std::fs::read_link(entry.ok()?.path()).ok()?;
            target.to_string_lossy().starts_with("socket:").then_some(())
        };
        Self {
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            sockets: links.map(|links| links.filter_map(is_socket).count()),
            heap: CountingAllocator::live_bytes(),
        }
    }
}

fn listener_identity(number: usize) -> Identity {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    Identity::from_ed25519_seed(seed)
}

async fn listeners(runtime: &Arc<TokioRuntime>, addrs: &[Multiaddr]) -> Vec<(Node, Multiaddr)> {
    let mut nodes = Vec::new();
    for (number, addr) in addrs.iter().enumerate() {
        let node = Node::builder(listener_identity(number)).build(runtime.clone()).unwrap();
        let addr = node.listen(addr).await.unwrap();
        nodes.push((node, addr));
    }
    nodes
}

/// Waits until every peer is established, and none was lost meanwhile.
async fn all_established(states: &mut Subscription) -> BTreeMap<PeerId, PeerState> {
    let mut latest = BTreeMap::new();
    let wait = async {
        while latest.values().filter(|state| **state == PeerState::Established).count() < PEERS {
            let Some(septa_driver::node::Event::State { peer, state }) = states.next().await else { panic!() };
            latest.insert(peer, state);
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("all peers come back");
    latest
}

/// The largest share of the dials in any 100 ms, in per mille.
fn densest(dials: &[Instant]) -> usize {
    let within = |begin: &Instant| {
        let end = begin.saturating_add(Duration::from_millis(100));
        dials.iter().filter(|at| **at >= *begin && **at < end).count()
    };
    dials.iter().map(within).max().unwrap_or(0) * 1000 / dials.len().max(1)
}

// On one thread, whose heap the allocator counts.
#[tokio::test]
async fn a_thousand_persistent_peers_come_back_and_nothing_leaks() {
    let runtime = Arc::new(TokioRuntime::current().unwrap());
    let noting = Arc::new(Noting { runtime: TokioRuntime::current().unwrap(), dials: Mutex::default() });
    let before = Usage::now();
    let any: Vec<Multiaddr> = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap(); PEERS];
    let mut killed = listeners(&runtime, &any).await;

    let node = Node::builder(Identity::from_ed25519_seed([1; 32])).build(noting.clone()).unwrap();
    let mut states = node.subscribe(EventFilter::new().kind(EventKind::State));
    for (_, addr) in &killed {
        node.add_peer(addr.peer_id().unwrap(), std::slice::from_ref(addr), Intent::Persistent).unwrap();
    }
    all_established(&mut states).await;
    // One for the node and each listening node, its listener, and each end of a connection.
    let tasks = 1 + 4 * PEERS + before.tasks;
    let connected = Usage::with_tasks(tasks).await;

    for round in 0..2 {
        noting.dials.lock().unwrap().clear();
        let addrs: Vec<Multiaddr> = killed.iter().map(|(_, addr)| addr.clone()).collect();
        // Without a goodbye.
        let kills =
            killed.drain(..).map(|(listener, _)| tokio::spawn(async move { listener.shutdown(Duration::ZERO).await }));
        for kill in kills.collect::<Vec<_>>() {
            kill.await.unwrap();
        }
        killed = listeners(&runtime, &addrs).await;
        all_established(&mut states).await;
        let dials = noting.dials.lock().unwrap().clone();
        println!("round {round}: {} dials, at most {} per mille of them within 100 ms", dials.len(), densest(&dials));
        assert!(dials.len() >= PEERS);
        assert!(densest(&dials) <= 50, "{}", densest(&dials));
        assert_eq!(states.lost_events(), 0);
        let again = Usage::with_tasks(tasks).await;
        assert_eq!(again.sockets, connected.sockets);
        assert!(again.heap <= connected.heap + connected.heap / 4, "{} {}", connected.heap, again.heap);
    }

    node.shutdown(Duration::from_secs(10)).await;
    for (listener, _) in killed {
        listener.shutdown(Duration::from_secs(10)).await;
    }
    drop((node, states, runtime, noting));
    let after = Usage::with_tasks(before.tasks).await;
    println!("heap bytes: {} before, {} connected, {} after", before.heap, connected.heap, after.heap);
    assert_eq!(after.sockets, before.sockets);
    assert!(after.heap <= before.heap + KEPT, "{} {}", before.heap, after.heap);
}
