//! Connections: who may be reached, who not, and many at once.

use std::{
    future::poll_fn,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::{join, join_all};
use septa_core::{
    ExpectedPeer, Multiaddr, Role,
    channel::handshake::{Party, Rejection},
    connection::{Config, HandshakeError, HandshakeMode},
};

use super::{
    ends::{Ends, any_port},
    world::{LONG, World, exchange, pattern},
};
use crate::{
    builder::Limits,
    error::{ConnectError, ListenError},
};

/// Each end knows who and where the other one is, and pings and identifies it.
pub async fn both_ends_know_each_other(ends: &Ends) {
    let world = World::new(ends);
    let (near, far, listener) = world.connected().await;
    assert_eq!((near.peer_id(), far.peer_id()), (world.bob.peer_id(), world.alice.peer_id()));
    assert_eq!((near.role(), far.role()), (Role::Dialer, Role::Listener));
    assert_eq!((near.local_addr(), near.remote_addr()), (far.remote_addr(), far.local_addr()));
    assert_eq!(near.remote_addr(), listener.local_addr());
    assert!(near.channel_binding().is_some() && near.channel_binding() == far.channel_binding());
    for (from, to) in [(&near, &world.bob), (&far, &world.alice)] {
        from.ping().await.unwrap();
        let answer = from.identify().await.unwrap();
        assert_eq!(answer.info.public_key.as_ref(), Some(to.public_key()));
    }
    world.end().await;
}

/// A name is resolved and its addresses tried.
pub async fn a_name_leads_to_a_peer(ends: &Ends) {
    let world = World::new(ends);
    let listener = world.listen().await;
    let port = listener.local_addr().socket_addr().unwrap().port();
    let named: Multiaddr = format!("/dns4/localhost/tcp/{port}").parse().unwrap();
    let (near, far) = join(world.alice.connect(&named, world.bobs_id()), listener.accept()).await;
    assert_eq!(near.unwrap().peer_id(), world.bob.peer_id());
    far.unwrap();
    world.end().await;
}

/// A connect to nobody, or to somebody else, fails with its reason, and so does a listen that cannot be.
pub async fn a_connect_that_cannot_be_fails(ends: &Ends) {
    let world = World::new(ends);
    let listener = world.listen().await;
    let addr = listener.local_addr();
    let taken = world.bob.listen(&addr).await.unwrap_err();
    assert!(matches!(taken, ListenError::Io { kind: io::ErrorKind::AddrInUse, .. }), "{taken}");
    let impostor = world.alice.connect(&addr, ExpectedPeer::Exactly(world.alice.peer_id())).await.unwrap_err();
    assert!(matches!(impostor, ConnectError::Upgrade { .. }), "{impostor}");
    assert!(listener.accept().await.is_err());
    let nobody = ends.listener.listen(any_port()).await.unwrap().local_addr().unwrap();
    let refused = world.alice.connect(&Multiaddr::from_socket_addr(nobody), ExpectedPeer::Any).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Io { kind: io::ErrorKind::ConnectionRefused, .. }), "{refused}");
    // None of this was in the way of anybody.
    let (near, far) = join(world.connect(&listener), listener.accept()).await;
    drop((near, far.unwrap()));
    world.end().await;
}

/// Whoever accepts and says nothing does not hold a dialer up for ever, nor a dialer that says nothing a listener.
pub async fn a_peer_that_says_nothing_is_given_up(ends: &Ends) {
    let hasty = Limits { connect_timeout: Duration::from_millis(50), ..Limits::default() };
    let config = Config { upgrade_timeout: Duration::from_millis(50), ..Config::default() };
    let world = World::with(ends, |alice| alice.limits(hasty), |bob| bob.connection_config(config));
    let mut silent = ends.listener.listen(any_port()).await.unwrap();
    let addr = Multiaddr::from_socket_addr(silent.local_addr().unwrap());
    let timed_out = world.alice.connect(&addr, ExpectedPeer::Any).await.unwrap_err();
    assert_eq!(timed_out, ConnectError::Timeout { addr });
    // It did reach somebody.
    poll_fn(|cx| silent.poll_accept(cx)).await.unwrap();

    let listener = world.listen().await;
    let dialer = ends.dialer.connect(listener.local_addr().socket_addr().unwrap()).await.unwrap();
    listener.accept().await.unwrap_err();
    drop(dialer);
    world.end().await;
}

/// With an application handshake, nothing is served before both have accepted each other.
pub async fn both_applications_make_a_handshake(ends: &Ends) {
    let config = Config { handshake: HandshakeMode::APPLICATION, ..Config::default() };
    let world =
        World::with(ends, |alice| alice.connection_config(config.clone()), |bob| bob.connection_config(config.clone()));
    let (near, far, listener) = world.connected().await;
    near.handshake_send(b"alice").unwrap();
    far.handshake_send(b"bob").unwrap();
    assert_eq!(near.handshake_recv().await.unwrap().unwrap(), b"bob"[..]);
    assert_eq!(far.handshake_recv().await.unwrap().unwrap(), b"alice"[..]);
    let (here, there) = join(near.finalize(), far.finalize()).await;
    here.and(there).unwrap();
    assert_eq!(near.handshake_recv().await, Ok(None));
    super::world::serve_echo(&ends.listener, far);
    exchange(&near, b"accepted").await;

    let (near, far) = join(world.connect(&listener), listener.accept()).await;
    let far = far.unwrap();
    assert_eq!(near.rejection(), None);
    far.reject(7, "not today").unwrap();
    let rejected = near.finalize().await.unwrap_err();
    assert!(matches!(rejected, HandshakeError::ConnectionLost(_)), "{rejected}");
    join(near.closed(), far.closed()).await;
    for (end, by) in [(near, Party::Remote), (far, Party::Local)] {
        assert_eq!(end.rejection(), Some(Rejection { by, code: 7, reason: "not today".into() }));
    }
    world.end().await;
}

/// Connections are many, and each carries its own bytes.
#[expect(clippy::await_holding_lock, reason = "each test has a thread of its own, and waits for nobody else")]
pub async fn two_hundred_connections_at_once(ends: &Ends) {
    const BATCHES: usize = 4;
    const AT_ONCE: usize = 50;
    // Several such tests at once would need more descriptors than a process usually may have.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // A slow machine may need long for so many handshakes at once, and there is nobody whom that keeps waiting.
    let patient = Limits { connect_timeout: LONG, ..Limits::default() };
    let config = Config { upgrade_timeout: LONG, ..Config::default() };
    let world = World::with(
        ends,
        |alice| alice.limits(patient).connection_config(config.clone()),
        |bob| bob.connection_config(config.clone()),
    );
    let listener = Arc::new(world.listen().await);
    world.serve(listener.clone());
    let mut connections = Vec::new();
    for _ in 0..BATCHES {
        connections.extend(join_all((0..AT_ONCE).map(|_| world.connect(&listener))).await);
    }
    let exchanges = connections.iter().enumerate();
    join_all(exchanges.map(|(number, near)| async move { exchange(near, &pattern(5000 + number)).await })).await;
    assert_eq!((connections.len(), world.alice.stats().connections), (200, 200));
    assert_eq!(world.bob.stats().connections, 200);
    world.end().await;
}
