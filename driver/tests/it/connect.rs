//! Connecting, accepting, and whom to trust.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::future::join;
use septa_core::{
    ExpectedPeer, Identity, Multiaddr, Role,
    crypto::{AeadKey, Provider, RustCrypto, X25519Key},
};
use septa_driver::{AcceptError, CloseReason, ConnectError, Endpoint, ListenError, expected_peer};

use crate::world::{World, calm, conditions};

#[test]
fn both_ends_know_each_other() {
    for conditions in conditions(16) {
        let world = World::new(conditions);
        let (near, far, listener) = world.run(world.connected());
        assert_eq!((near.peer_id(), far.peer_id()), (world.bob.peer_id(), world.alice.peer_id()), "{conditions:?}");
        assert_eq!(near.remote_addr(), far.local_addr());
        assert_eq!(near.local_addr(), far.remote_addr());
        assert_eq!(near.channel_binding(), far.channel_binding());
        assert_eq!((near.role(), far.role()), (Role::Dialer, Role::Listener));
        drop((near, far, listener));
        world.end();
    }
}

#[test]
fn a_wrong_peer_is_refused_by_both_ends() {
    for conditions in conditions(8) {
        let world = World::new(conditions);
        let stranger = Identity::from_ed25519_seed([9; 32]).peer_id();
        let (dialed, accepted) = world.run(async {
            let listener = world.bob.listen(&world.bob_addr()).await.unwrap();
            let addr = listener.local_addr().with_peer(stranger).unwrap();
            join(world.alice.connect(&addr, ExpectedPeer::Any), listener.accept()).await
        });
        let reason = match dialed.unwrap_err() {
            ConnectError::Upgrade { reason, .. } => reason,
            other => panic!("{other}"),
        };
        assert!(matches!(*reason, CloseReason::Protocol(_)), "{reason}");
        assert!(matches!(accepted.unwrap_err(), AcceptError::Upgrade { .. }));
        world.end();
    }
}

#[test]
fn an_address_without_a_peer_needs_a_decision() {
    let world = World::new(calm());
    let addr = world.bob_addr();
    let error = expected_peer(&addr).unwrap_err();
    assert!(error.to_string().contains("/p2p/"), "{error}");
    let named = addr.with_peer(world.bob.peer_id()).unwrap();
    assert_eq!(expected_peer(&named), Ok(ExpectedPeer::Exactly(world.bob.peer_id())));
    let other = world.run(world.alice.connect(&named, ExpectedPeer::Exactly(world.alice.peer_id())));
    assert!(matches!(other, Err(ConnectError::OtherPeer { .. })));
}

#[test]
fn names_are_resolved_and_their_addresses_tried_in_turn() {
    let world = World::new(calm());
    let (nobody, bob) = (world.simulation.ip(77), world.simulation.ip(2));
    world.simulation.add_name("bob.example", vec![nobody, bob]);
    world.run(async {
        let _listener = world.bob.listen(&world.bob_addr()).await.unwrap();
        let addr: Multiaddr = "/dns/bob.example/tcp/4001".parse().unwrap();
        let connection = world.alice.connect(&addr, ExpectedPeer::Any).await.unwrap();
        assert_eq!(connection.peer_id(), world.bob.peer_id());
        let unknown: Multiaddr = "/dns4/nowhere.example/tcp/1".parse().unwrap();
        let error = world.alice.connect(&unknown, ExpectedPeer::Any).await.unwrap_err();
        assert!(matches!(error, ConnectError::Resolve { .. }), "{error}");
        let v6_only: Multiaddr = "/dns6/bob.example/tcp/4001".parse().unwrap();
        let error = world.alice.connect(&v6_only, ExpectedPeer::Any).await.unwrap_err();
        assert!(matches!(error, ConnectError::Resolve { .. }), "{error}");
    });
    world.end();
}

#[test]
fn nobody_there_means_an_error_with_address_and_reason() {
    let world = World::new(calm());
    let error = world.run(world.alice.connect(&world.bob_addr(), ExpectedPeer::Any)).unwrap_err();
    assert_eq!(error.to_string(), "cannot connect to 10.0.0.2:4001: connection refused (nobody listens there)");
}

#[test]
fn a_listener_that_says_nothing_costs_the_connect_timeout() {
    let world = World::new(calm());
    world.run(async {
        let _silent = world.bob_host.listen((world.simulation.ip(2), 4001).into()).await.unwrap();
        let error = world.alice.connect(&world.bob_addr(), ExpectedPeer::Any).await.unwrap_err();
        assert!(matches!(error, ConnectError::Timeout { .. } | ConnectError::Upgrade { .. }), "{error}");
    });
    assert_eq!(world.simulation.now().as_nanos(), 10_000_000_000);
    world.end();
}

#[test]
fn listening_fails_at_once_where_it_cannot_work() {
    let world = World::new(calm());
    world.run(async {
        let listener = world.bob.listen(&"/ip4/127.0.0.1/tcp/0".parse().unwrap()).await.unwrap();
        assert_ne!(listener.local_addr().socket_addr().unwrap().port(), 0);
        assert_eq!(world.bob.listen_addrs(), [listener.local_addr()]);
        let taken = world.bob.listen(&listener.local_addr()).await.unwrap_err();
        assert!(taken.to_string().contains("address in use"), "{taken}");
        let elsewhere = world.bob.listen(&"/ip4/10.0.0.1/tcp/1".parse().unwrap()).await.unwrap_err();
        assert!(matches!(elsewhere, ListenError::Io { .. }), "{elsewhere}");
        for unsuitable in ["/ip4/127.0.0.1/udp/1/quic-v1", "/dns/example.com/tcp/1", "/memory/1"] {
            let error = world.bob.listen(&unsuitable.parse().unwrap()).await.unwrap_err();
            assert!(matches!(error, ListenError::Unsupported { .. }), "{unsuitable}: {error}");
        }
        drop(listener);
        world.simulation.sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(world.bob.listen_addrs(), []);
    });
    world.end();
}

#[test]
fn an_endpoint_reports_every_wrong_value_at_once() {
    let simulation = septa_sim::Simulation::new(1);
    let limits = septa_driver::Limits { max_connections: 0, accept_backlog: 0, ..Default::default() };
    let errors = Endpoint::builder(Identity::from_ed25519_seed([1; 32]))
        .limits(limits)
        .agent_version(&"x".repeat(257))
        .build(simulation.host("a"))
        .unwrap_err();
    assert_eq!(errors.iter().count(), 3, "{errors}");
}

/// Pure Rust that counts the keys it makes.
#[derive(Default, Debug)]
struct Counting(AtomicUsize);

impl Provider for Counting {
    fn chacha20_poly1305(&self, key: &[u8; 32]) -> Box<dyn AeadKey> {
        RustCrypto.chacha20_poly1305(key)
    }
    fn x25519_key(&self, secret: &[u8; 32]) -> Box<dyn X25519Key> {
        self.0.fetch_add(1, Ordering::Relaxed);
        RustCrypto.x25519_key(secret)
    }
    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        RustCrypto.sha256(parts)
    }
    fn ed25519_sign(&self, seed: &[u8; 32], message: &[u8]) -> [u8; 64] {
        RustCrypto.ed25519_sign(seed, message)
    }
}

#[test]
fn the_provider_of_the_builder_wins_over_the_runtimes() {
    let counting = Arc::new(Counting::default());
    let world = World::with(calm(), |builder| builder.provider(counting.clone()), |builder| builder);
    world.run(async {
        let _connected = world.connected().await;
    });
    // Its static key, and the ephemeral one of a single handshake.
    assert_eq!(counting.0.load(Ordering::Relaxed), 2);
    world.end();
}
