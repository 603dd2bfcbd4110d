//! Clocks that jump, stand still or lie: nothing panics or hangs, and no ban is lengthened or lost.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use septa_core::{Identity, Instant, PeerId, Seed, crypto::Provider, node::Snapshot};
use septa_driver::{
    Node, Storage,
    node::{BanSubject, Intent, PeerState},
    runtime::{Acceptor, BoxFuture, Runtime, Socket, Timer},
    storage::{Loaded, StorageError},
};

use super::{LONG, Nodes, states, until};
use crate::world::calm;

const HOUR: i64 = 3600;

/// A host whose clocks are off by so many seconds.
#[derive(Debug)]
struct Jumping {
    host: Arc<dyn Runtime>,
    now: AtomicI64,
    wall: AtomicI64,
}

impl Jumping {
    fn set_now(&self, secs: i64) {
        self.now.store(secs, Ordering::Relaxed);
    }

    fn set_wall(&self, secs: i64) {
        self.wall.store(secs, Ordering::Relaxed);
    }
}

impl Runtime for Jumping {
    fn now(&self) -> Instant {
        let nanos =
            i128::from(self.host.now().as_nanos()) + i128::from(self.now.load(Ordering::Relaxed)) * 1_000_000_000;
        Instant::from_nanos(u64::try_from(nanos.max(1)).unwrap())
    }

    fn unix_time(&self) -> Duration {
        let secs = i64::try_from(self.host.unix_time().as_secs()).unwrap() + self.wall.load(Ordering::Relaxed);
        // Before 1970 there is nothing.
        Duration::from_secs(u64::try_from(secs).unwrap_or(0))
    }

    fn timer(&self) -> Box<dyn Timer> {
        self.host.timer()
    }

    fn spawn(&self, name: &str, task: BoxFuture<'static, ()>) {
        self.host.spawn(name, task);
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.host.spawn_blocking(work);
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Socket>> {
        self.host.connect(addr)
    }

    fn listen(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Acceptor>>> {
        self.host.listen(addr)
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        self.host.resolve(host, port)
    }

    fn seed(&self) -> Seed {
        self.host.seed()
    }

    fn provider(&self) -> Arc<dyn Provider> {
        self.host.provider()
    }
}

#[derive(Default)]
struct Memory(Mutex<Option<Snapshot>>);

impl Storage for Memory {
    fn load(&self) -> Result<Loaded, StorageError> {
        Ok(self.0.lock().unwrap().clone().map_or(Loaded::Nothing, |kept| Loaded::Snapshot(Box::new(kept))))
    }

    fn store(&self, snapshot: &Snapshot) -> Result<(), StorageError> {
        *self.0.lock().unwrap() = Some(snapshot.clone());
        Ok(())
    }
}

fn stranger(seed: u8) -> PeerId {
    Identity::from_ed25519_seed([seed; 32]).peer_id()
}

fn jumping(nodes: &Nodes, number: usize) -> Arc<Jumping> {
    Arc::new(Jumping { host: nodes.hosts[number].clone(), now: AtomicI64::new(0), wall: AtomicI64::new(0) })
}

#[test]
fn a_node_lives_on_when_its_clock_jumps_either_way() {
    let mut nodes = Nodes::new(calm(), 2);
    let bob = nodes.nodes[1].clone();
    let clock = jumping(&nodes, 0);
    clock.set_now(10 * HOUR);
    let node = Node::builder(Identity::from_ed25519_seed([50; 32])).build(clock.clone()).unwrap();
    nodes.serve_echo(&bob);
    nodes.run(async {
        let addr = bob.listen(&nodes.addr(1)).await.unwrap();
        let mut seen = states(&node, bob.peer_id());
        node.add_peer(bob.peer_id(), &[addr], Intent::Persistent).unwrap();
        until(&mut seen, PeerState::Established).await;
        node.ban(stranger(77), Some(Duration::from_secs(7200))).unwrap();
        // Backwards: time stands still for the node until its clock is where it was.
        for jump in [9 * HOUR, 0, 10 * HOUR] {
            clock.set_now(jump);
            nodes.sleep(Duration::from_secs(1)).await;
            super::echo_to(&node, &bob.peer_id(), b"still here").await;
            assert_eq!(node.bans().len(), 1);
        }
        // Forwards: what was due is due at once; the peer is lost at worst, and comes back.
        clock.set_now(11 * HOUR);
        node.add_peer(stranger(78), &[nodes.addr(7)], Intent::Dormant).unwrap();
        nodes.sleep(Duration::from_secs(60)).await;
        assert_eq!(node.bans().len(), 1, "an hour is left");
        clock.set_now(13 * HOUR);
        node.add_peer(stranger(79), &[nodes.addr(7)], Intent::Dormant).unwrap();
        nodes.sleep(Duration::from_secs(600)).await;
        assert_eq!(node.bans().len(), 0);
        assert_eq!(node.state(&bob.peer_id()), PeerState::Established);
        super::echo_to(&node, &bob.peer_id(), b"still here").await;
        // Far beyond the end of every deadline, and back.
        clock.set_now(500_000 * HOUR);
        nodes.sleep(Duration::from_secs(1)).await;
        clock.set_now(0);
        nodes.sleep(Duration::from_secs(1)).await;
    });
    nodes.nodes.push(node);
    nodes.end();
}

#[test]
fn a_node_whose_task_does_not_get_to_run_shows_it_at_once() {
    let mut nodes = Nodes::new(calm(), 1);
    let clock = jumping(&nodes, 0);
    let node = Node::builder(Identity::from_ed25519_seed([50; 32])).build(clock.clone()).unwrap();
    nodes.run(async {
        nodes.sleep(Duration::from_secs(1)).await;
        assert_eq!(node.health().event_loop_lag, Duration::ZERO);
        node.add_peer(stranger(79), &[nodes.addr(7)], Intent::Dormant).unwrap();
        // No other task runs before this one waits.
        clock.set_now(7);
        assert_eq!(node.health().event_loop_lag, Duration::from_secs(7));
        nodes.sleep(Duration::from_secs(1)).await;
    });
    nodes.nodes.push(node);
    nodes.end();
}

#[test]
fn a_wall_clock_that_is_set_back_or_stands_before_1970_loses_and_lengthens_no_ban() {
    // What the clock shows when the first node ends, and when the second one begins.
    for (before, after) in [(100 * HOUR, 100 * HOUR), (100 * HOUR, 50 * HOUR), (100 * HOUR, -HOUR), (-HOUR, -HOUR)] {
        let mut nodes = Nodes::new(calm(), 1);
        let clock = jumping(&nodes, 0);
        let storage = Arc::new(Memory::default());
        let make = || {
            let builder = Node::builder(Identity::from_ed25519_seed([50; 32])).storage(storage.clone());
            builder.build(clock.clone()).unwrap()
        };
        clock.set_wall(before);
        let first = make();
        let (forever, hour) = (stranger(77), stranger(78));
        let second = nodes.run(async {
            first.ban(forever, None).unwrap();
            first.ban(hour, Some(Duration::from_secs(3600))).unwrap();
            nodes.sleep(Duration::from_secs(600)).await;
            first.shutdown(LONG).await;
            clock.set_wall(after);
            let second = make();
            let left = |peer: PeerId| {
                let snapshot = second.debug_snapshot();
                snapshot.bans.iter().find(|ban| ban.subject == BanSubject::Peer(peer)).map(|ban| ban.left)
            };
            assert_eq!(left(forever), Some(None), "{before} {after}");
            // The clock of this host cannot show zero.
            let rest = left(hour).flatten().unwrap_or_default().saturating_sub(Duration::from_nanos(1));
            let fifty_minutes = Duration::from_secs(3000);
            assert!(
                rest <= fifty_minutes && rest + Duration::from_secs(2) >= fifty_minutes,
                "{rest:?} {before} {after}"
            );
            nodes.sleep(Duration::from_secs(3001)).await;
            assert_eq!(left(hour), None);
            assert_eq!(left(forever), Some(None));
            second
        });
        nodes.nodes.push(second);
        nodes.end();
    }
}
