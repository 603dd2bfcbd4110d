//! What a node remembers between two runs.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use septa_core::{
    Identity,
    node::{BanSubject, Snapshot},
};
use septa_driver::{
    Node, Storage,
    node::{BuildError, Intent, PeerState},
    storage::{Loaded, StorageError},
};

use super::{LONG, Nodes, states, until};
use crate::world::calm;

/// Keeps the last snapshot in memory and counts.
#[derive(Default)]
struct Memory {
    kept: Mutex<Option<Snapshot>>,
    stores: Mutex<Vec<Result<(), StorageError>>>,
    failing: Mutex<bool>,
}

impl Storage for Memory {
    fn load(&self) -> Result<Loaded, StorageError> {
        Ok(self.kept.lock().unwrap().clone().map_or(Loaded::Nothing, |kept| Loaded::Snapshot(Box::new(kept))))
    }

    fn store(&self, snapshot: &Snapshot) -> Result<(), StorageError> {
        let failing = *self.failing.lock().unwrap();
        let result = if failing { Err(StorageError::DiskFull { path: "/full".into() }) } else { Ok(()) };
        if !failing {
            *self.kept.lock().unwrap() = Some(snapshot.clone());
        }
        self.stores.lock().unwrap().push(result.clone());
        result
    }
}

impl Memory {
    fn stores(&self) -> usize {
        self.stores.lock().unwrap().len()
    }
}

#[test]
fn a_node_that_restarts_finds_its_persistent_peers_and_keeps_its_bans() {
    let mut nodes = Nodes::new(calm(), 2);
    let bob = nodes.nodes[1].clone();
    let carol = Identity::from_ed25519_seed([77; 32]).peer_id();
    let storage = Arc::new(Memory::default());
    let host = nodes.hosts[0].clone();
    let make =
        || Node::builder(Identity::from_ed25519_seed([50; 32])).storage(storage.clone()).build(host.clone()).unwrap();
    let (first, second) = (make(), make);
    let second = nodes.run(async {
        let addr = bob.listen(&nodes.addr(1)).await.unwrap();
        first.add_peer(bob.peer_id(), &[addr], Intent::Persistent).unwrap();
        first.ban(carol, Some(Duration::from_secs(3600))).unwrap();
        first.set_metadata(bob.peer_id(), "name", b"bob").unwrap();
        // In the middle of the dial.
        first.shutdown(LONG).await;
        assert!(nodes.simulation.now() < septa_core::Instant::from_nanos(1_000_000_000));
        let second = second();
        assert!(second.recollection().set_aside.is_none());
        until(&mut states(&second, bob.peer_id()), PeerState::Established).await;
        assert_eq!(second.metadata(&bob.peer_id(), "name").unwrap(), b"bob");
        assert_eq!(second.bans()[0].subject, BanSubject::Peer(carol));
        second
    });
    nodes.nodes.push(second);
    nodes.end();
}

#[test]
fn changes_are_gathered_and_stored_once_each_interval_and_at_the_end() {
    let mut nodes = Nodes::new(calm(), 1);
    let storage = Arc::new(Memory::default());
    let identity = Identity::from_ed25519_seed([50; 32]);
    let node = Node::builder(identity).storage(storage.clone()).build(nodes.hosts[0].clone()).unwrap();
    let peer = |seed| Identity::from_ed25519_seed([seed; 32]).peer_id();
    nodes.run(async {
        nodes.sleep(Duration::from_secs(60)).await;
        assert_eq!(storage.stores(), 0, "nothing has changed");
        for seed in 100..150 {
            node.add_peer(peer(seed), &[nodes.addr(7)], Intent::Dormant).unwrap();
            nodes.sleep(Duration::from_millis(90)).await;
        }
        assert_eq!(storage.stores(), 0, "the interval is not over");
        nodes.sleep(Duration::from_secs(1)).await;
        assert_eq!(storage.stores(), 1);
        nodes.sleep(Duration::from_secs(60)).await;
        assert_eq!(storage.stores(), 1);
        assert_eq!(storage.kept.lock().unwrap().as_ref().unwrap().peers.len(), 50);
        node.add_peer(peer(99), &[nodes.addr(7)], Intent::Dormant).unwrap();
        node.shutdown(LONG).await;
        assert_eq!(storage.stores(), 2, "what was not stored yet is stored at the end");
        assert_eq!(storage.kept.lock().unwrap().as_ref().unwrap().peers.len(), 51);
    });
    nodes.nodes.push(node);
    nodes.end();
}

#[test]
fn a_storage_that_fails_is_tried_again_and_shown_in_the_health() {
    let mut nodes = Nodes::new(calm(), 1);
    let storage = Arc::new(Memory::default());
    let identity = Identity::from_ed25519_seed([50; 32]);
    let node = Node::builder(identity).storage(storage.clone()).build(nodes.hosts[0].clone()).unwrap();
    nodes.run(async {
        assert!(node.health().is_healthy);
        *storage.failing.lock().unwrap() = true;
        node.add_peer(nodes.peer(0), &[nodes.addr(7)], Intent::Dormant).unwrap();
        nodes.sleep(Duration::from_secs(16)).await;
        assert_eq!(storage.stores(), 3, "once each interval, not more often");
        let health = node.health();
        assert!(!health.is_healthy && health.storage_error.unwrap().contains("free disk space"));
        *storage.failing.lock().unwrap() = false;
        nodes.sleep(Duration::from_secs(6)).await;
        assert!(node.health().is_healthy);
        assert_eq!(storage.kept.lock().unwrap().as_ref().unwrap().peers.len(), 1);
        // One that fails at the end does not hold up the end.
        *storage.failing.lock().unwrap() = true;
        node.remove_peer(nodes.peer(0)).unwrap();
        node.shutdown(LONG).await;
        assert!(!node.health().is_running);
    });
    nodes.nodes.push(node);
    nodes.end();
}

#[test]
fn a_second_node_on_the_same_file_is_refused_and_a_corrupt_one_is_set_aside() {
    use septa_driver::FileStorage;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("book.json");
    std::fs::write(&path, "{ not json").unwrap();
    let mut nodes = Nodes::new(calm(), 1);
    let storage = Arc::new(FileStorage::open(&path).unwrap());
    assert!(matches!(FileStorage::open(&path), Err(StorageError::Locked { .. })));
    let identity = Identity::from_ed25519_seed([50; 32]);
    let node = Node::builder(identity).storage(storage).build(nodes.hosts[0].clone()).unwrap();
    let (set_aside, why) = node.recollection().set_aside.clone().unwrap();
    assert!(set_aside.exists() && !why.is_empty());
    nodes.nodes.push(node);
    nodes.end();
}

#[test]
fn everything_that_is_wrong_with_a_configuration_is_told_at_once() {
    let nodes = Nodes::new(calm(), 1);
    let config = septa_driver::node::Config { max_dials: 0, max_connections: 0, ..Default::default() };
    let limits = septa_driver::node::NodeLimits { max_waiting_streams: 0, ..Default::default() };
    let identity = Identity::from_ed25519_seed([50; 32]);
    let builder = Node::builder(identity).config(config).limits(limits).agent_version(&"x".repeat(300));
    let Err(BuildError::Config(errors)) = builder.build(nodes.hosts[0].clone()) else { panic!() };
    let text = errors.to_string();
    for expected in ["max_dials", "max_connections", "max_waiting_streams", "agent version"] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    nodes.end();
}

/// Never comes back from a store, as a disk that has gone away.
struct Hanging;

impl Storage for Hanging {
    fn load(&self) -> Result<Loaded, StorageError> {
        Ok(Loaded::Nothing)
    }

    fn store(&self, _: &Snapshot) -> Result<(), StorageError> {
        unreachable!("the runtime below never runs it")
    }
}

#[test]
fn a_storage_that_hangs_does_not_hold_up_the_end_beyond_its_deadline() {
    let mut nodes = Nodes::new(calm(), 1);
    let host = Arc::new(super::hanging::Hanging::new(nodes.hosts[0].clone()));
    let identity = Identity::from_ed25519_seed([50; 32]);
    let node = Node::builder(identity).storage(Arc::new(Hanging)).build(host).unwrap();
    nodes.run(async {
        node.add_peer(nodes.peer(0), &[nodes.addr(7)], Intent::Dormant).unwrap();
        nodes.sleep(Duration::from_secs(34)).await;
        let health = node.health();
        assert_eq!((health.storing_for, health.is_healthy), (Some(Duration::from_secs(29)), true));
        nodes.sleep(Duration::from_secs(1)).await;
        assert!(!node.health().is_healthy);
        let begin = nodes.simulation.now();
        node.shutdown(Duration::from_secs(2)).await;
        let took = nodes.simulation.now().saturating_duration_since(begin);
        assert!(took >= Duration::from_secs(2) && took < Duration::from_millis(2100), "{took:?}");
        assert_eq!(node.live_tasks(), 0);
    });
    nodes.nodes.push(node);
    nodes.end();
}
