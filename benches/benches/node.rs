//! What a node does for each input and command, with more and more peers that it knows: a tenth of them persistent and
//! in backoff, and a hundred connections.
//!
//! The sizes are measured in turns, in one run, and compared by their medians. Then criterion measures each by itself.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::{
    hint::black_box,
    net::Ipv4Addr,
    time::{Duration, Instant as Clock},
};

use criterion::{Criterion, criterion_group};
use septa_benches::measures;
use septa_core::{
    ConnectionId, Instant, Multiaddr, PeerId, Seed,
    connection::CloseReason,
    node::{Action, Config, DialFailure, Endpoints, Intent, Node, Rate, RateLimits},
    testing::to_node,
};

const SIZES: [u32; 3] = [100, 10_000, 100_000];
/// Where nothing is measured.
const SIZES_OF_TEST: [u32; 2] = [100, 1000];
const CONNECTIONS: u32 = 100;
/// The first number of those to whom the connections lead. The others are numbered from 0.
const STRANGERS: u32 = 1 << 24;

const ROUNDS: usize = 301;
/// Repetitions of each operation in a round.
const BATCH: u32 = 32;

type Operation = (&'static str, fn(&mut World));

const OPERATIONS: [Operation; 10] = [
    ("poll_timeout", |world| _ = black_box(world.node.poll_timeout())),
    ("handle_timeout, nothing due", |world| world.node.handle_timeout(world.now)),
    ("connect and cancel_reconnect", World::connect_and_cancel),
    ("a dial that fails, and cancel_reconnect", World::fail_to_dial),
    ("an inbound connection, from its transport to its end", World::accept_and_close),
    ("a report of a connection", World::report),
    ("add_peer and remove_peer", World::add_and_remove),
    ("add_peer of a known one", World::add_again),
    ("ban and unban", World::ban_and_unban),
    ("state", World::state),
];

criterion_group!(benches, each);

fn main() {
    if measures() {
        table();
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}

/// Medians of all sizes, and the last one in multiples of the first.
fn table() {
    let mut worlds = SIZES.map(World::new);
    println!("medians in us with {SIZES:?} known peers, and the last divided by the first");
    for (name, operation) in OPERATIONS {
        let mut rounds = worlds.each_ref().map(|_| Vec::with_capacity(ROUNDS));
        for _ in 0..ROUNDS {
            for (world, rounds) in worlds.iter_mut().zip(&mut rounds) {
                let start = Clock::now();
                (0..BATCH).for_each(|_| operation(world));
                rounds.push(start.elapsed() / BATCH);
            }
        }
        let medians = rounds.map(|mut rounds| {
            rounds.sort();
            rounds[ROUNDS / 2].as_secs_f64() * 1e6
        });
        let [first, .., last] = medians;
        println!("{name}: {:.3} {:.3} {:.3} = {:.2}", medians[0], medians[1], medians[2], last / first);
    }
}

fn each(criterion: &mut Criterion) {
    let sizes: &[u32] = if measures() { &SIZES } else { &SIZES_OF_TEST };
    for size in sizes {
        let mut world = World::new(*size);
        let mut group = criterion.benchmark_group(format!("node, {size} known"));
        for (name, operation) in OPERATIONS {
            group.bench_function(name, |bencher| bencher.iter(|| operation(&mut world)));
        }
        group.finish();
    }
}

struct World {
    node: Node,
    now: Instant,
    known: u32,
    /// Counts the operations, so that each is about another peer.
    turn: u32,
    connections: Vec<ConnectionId>,
}

impl World {
    fn new(known: u32) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let node = Node::new(config(), id_of(u32::MAX), now, Seed::from_bytes([7; 32])).expect("limits that fit");
        let mut world = Self { node, now, known, turn: 0, connections: Vec::new() };
        for peer in 0..known {
            let intent = if peer % 10 == 0 { Intent::Persistent } else { Intent::Transient };
            world.node.add_peer(now, id_of(peer), &addrs_of(peer), intent).expect("there is room");
            world.fail_all();
        }
        for number in 0..CONNECTIONS {
            let id = world.accept(number);
            world.open(id, STRANGERS + number);
            world.connections.push(id);
        }
        world
    }

    /// Each dial that is under way fails.
    fn fail_all(&mut self) {
        while let Some(action) = self.node.poll_action() {
            if let Action::StartDial { id, .. } = action {
                self.node.handle_dial_failed(self.now, id, DialFailure::Refused);
            }
        }
        self.drain();
    }

    fn drain(&mut self) {
        while self.node.poll_action().is_some() {}
        while self.node.poll_event().is_some() {}
    }

    /// A peer that is neither persistent nor connected, another one each time.
    fn next(&mut self) -> u32 {
        self.turn = self.turn.wrapping_add(7919);
        let tens = self.known / 10;
        let peer = self.turn % tens * 10 + 9;
        debug_assert!(peer < self.known);
        peer
    }

    fn state(&mut self) {
        let id = id_of(self.next());
        black_box(self.node.state(&id));
    }

    fn connect_and_cancel(&mut self) {
        let id = id_of(self.next());
        self.node.connect(self.now, id).expect("it has addresses");
        self.drain();
        self.node.cancel_reconnect(self.now, id);
        self.drain();
    }

    fn fail_to_dial(&mut self) {
        let id = id_of(self.next());
        self.node.connect(self.now, id).expect("it has addresses");
        self.fail_all();
        self.node.cancel_reconnect(self.now, id);
        self.drain();
    }

    fn accept(&mut self, number: u32) -> ConnectionId {
        // The rates count.
        self.now = self.now.saturating_add(Duration::from_micros(1));
        let endpoints = Endpoints { local: addr(0), remote: addr(0x0a00_0000 + number) };
        let link = self.node.handle_incoming(self.now, endpoints).expect("there is room");
        link.id().expect("it is of a node")
    }

    fn open(&mut self, id: ConnectionId, peer: u32) {
        self.node.handle_connection(self.now, id, to_node::secured(id_of(peer)));
        self.drain();
        self.node.handle_connection(self.now, id, to_node::opened(true));
        self.drain();
    }

    fn accept_and_close(&mut self) {
        let peer = self.next();
        let id = self.accept(0x0001_0000 + peer);
        self.open(id, peer);
        self.node.handle_connection(self.now, id, to_node::closed(CloseReason::Eof));
        self.drain();
        self.node.cancel_reconnect(self.now, id_of(peer));
        self.drain();
    }

    fn report(&mut self) {
        self.turn = self.turn.wrapping_add(1);
        let id = self.connections[self.turn as usize % self.connections.len()];
        self.node.handle_connection(self.now, id, to_node::report());
    }

    fn add_and_remove(&mut self) {
        let peer = self.known + self.next();
        self.node.add_peer(self.now, id_of(peer), &addrs_of(peer), Intent::Transient).expect("there is room");
        self.node.remove_peer(self.now, id_of(peer));
        self.drain();
    }

    fn add_again(&mut self) {
        let peer = self.next();
        self.node.add_peer(self.now, id_of(peer), &addrs_of(peer), Intent::Transient).expect("there is room");
        self.drain();
    }

    fn ban_and_unban(&mut self) {
        let id = id_of(self.next());
        self.node.ban(self.now, id.into(), Some(Duration::from_secs(3600))).expect("there is room");
        self.node.unban(self.now, id.into());
        self.drain();
    }
}

/// Nothing is due while this runs, and nothing is full.
fn config() -> Config {
    let rate = Rate { burst: 1_000_000, interval: Duration::from_nanos(1) };
    let rates = RateLimits { prefix: rate, overall: rate, max_prefixes: 4096 };
    let mut config =
        Config { connect_rates: rates, handshake_rates: rates, dial_spread: Duration::ZERO, ..Config::default() };
    config.book.max_peers = 400_000;
    config.book.max_bytes = 1 << 30;
    config.backoff.initial = Duration::from_secs(24 * 60 * 60);
    config.backoff.max = config.backoff.initial * 10;
    config
}

/// Far from each other in their order, as the hashes of keys are.
fn id_of(number: u32) -> PeerId {
    let mut bytes = [0; 34];
    (bytes[0], bytes[1]) = (0x12, 32);
    let mixed = u64::from(number).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bytes[2..10].copy_from_slice(&mixed.to_be_bytes());
    bytes[10..14].copy_from_slice(&number.to_be_bytes());
    PeerId::from_bytes(&bytes).expect("a SHA-256 multihash")
}

fn addrs_of(peer: u32) -> [Multiaddr; 2] {
    [addr(0x0b00_0000 + peer * 2), addr(0x0b00_0001 + peer * 2)]
}

fn addr(host: u32) -> Multiaddr {
    format!("/ip4/{}/tcp/4001", Ipv4Addr::from_bits(host)).parse().expect("an address")
}
