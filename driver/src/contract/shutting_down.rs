//! Ends in good order, and others.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{
    AsyncWriteExt,
    future::{join, join5},
};
use septa_core::{
    ExpectedPeer, Identity,
    connection::{CloseReason, codes},
};

use super::{
    ends::{Ends, any_addr},
    world::{ECHO, LONG, OTHER, World, identity, pattern, read_to_end, write_all},
};
use crate::{
    error::{AcceptError, ConnectError, ListenError},
    node::{self, EventFilter, Intent, Node},
};

const SHUTDOWN: u32 = codes::connection::SHUTDOWN;

/// Whoever waits is told, the peers are told, and nothing is left.
pub async fn a_shutdown_ends_everything(ends: &Ends) {
    let world = World::new(ends);
    let (near, far, listener) = world.connected().await;
    let (mut stream, mut inbound) = world.stream(&near, &far).await;
    let (accepted, opened, closed, read, ()) =
        join5(listener.accept(), far.accept_stream(), near.closed(), inbound.read_chunk(), world.bob.shutdown(LONG))
            .await;
    assert_eq!(accepted.unwrap_err(), AcceptError::ShutDown);
    assert!(opened.is_err() && read.is_err());
    assert_eq!(closed, CloseReason::Remote { code: SHUTDOWN });
    assert!(stream.read_chunk().await.is_err());
    let stats = world.bob.stats();
    assert_eq!((stats.live_tasks, stats.connections), (0, 0));
    assert!(world.bob.listen_addrs().is_empty());
    assert_eq!(world.bob.listen(&any_addr()).await.unwrap_err(), ListenError::ShutDown);
    assert_eq!(world.bob.connect(&listener.local_addr(), ExpectedPeer::Any).await.unwrap_err(), ConnectError::ShutDown);
    // Again, and by several at once.
    join(world.bob.shutdown(LONG), world.bob.shutdown(Duration::ZERO)).await;
    world.end().await;
}

/// A shutdown waits for data that the peer takes.
pub async fn what_was_written_leaves_first(ends: &Ends) {
    let world = World::new(ends);
    let (near, far, _listener) = world.connected().await;
    let (mut stream, mut inbound) = world.stream(&near, &far).await;
    let data = pattern(200_000);
    write_all(&mut stream, &data).await.unwrap();
    stream.close().await.unwrap();
    let (received, ()) = join(read_to_end(&mut inbound), world.alice.shutdown(LONG)).await;
    assert!(received.unwrap() == data);
    world.end().await;
}

/// At its deadline a shutdown does not wait for data that nobody takes, nor for a handshake that nobody makes.
pub async fn a_deadline_cuts_off_what_does_not_end(ends: &Ends) {
    let world = World::new(ends);
    let (near, far, listener) = world.connected().await;
    let (mut stream, _unread) = world.stream(&near, &far).await;
    let mut data = Bytes::from(pattern(1_000_000));
    let silent = ends.dialer.connect(listener.local_addr().socket_addr().unwrap()).await.unwrap();
    ends.eventually(|| world.bob.stats().connections == 2).await;
    let moment = Duration::from_millis(5);
    let (written, (), ()) =
        futures_util::future::join3(stream.write_chunk(&mut data), world.alice.shutdown(moment), async {
            far.ping().await.ok();
            world.bob.shutdown(moment).await;
        })
        .await;
    assert!(written.is_err());
    for endpoint in [&world.alice, &world.bob] {
        assert_eq!((endpoint.stats().live_tasks, endpoint.stats().connections), (0, 0));
    }
    drop(silent);
    world.end().await;
}

/// Peers that are being dialed, those that are connected, and all who wait.
pub async fn a_node_ends_with_all_its_tasks(ends: &Ends) {
    let alice = Node::builder(identity(1)).build(ends.dialer.clone()).unwrap();
    let bob = Node::builder(identity(2)).build(ends.listener.clone()).unwrap();
    let addr = bob.listen(&any_addr()).await.unwrap();
    let mut streams = bob.accept(ECHO).unwrap();
    let mut events = bob.subscribe(EventFilter::new());
    let peer = bob.peer_id();
    alice.connect_to(&addr).await.unwrap();
    let gone = ends.listener.listen(super::ends::any_port()).await.unwrap().local_addr().unwrap();
    let nobody = Identity::from_ed25519_seed([9; 32]).peer_id();
    alice.add_peer(nobody, &[septa_core::Multiaddr::from_socket_addr(gone)], Intent::Persistent).unwrap();
    let mut stream = alice.open_stream(&peer, &[ECHO]).await.unwrap();
    write_all(&mut stream, b"x").await.unwrap();
    let inbound = streams.next().await.unwrap();
    let ((), (), (), next) = futures_util::future::join4(
        bob.shutdown(LONG),
        alice.shutdown(LONG),
        async { while events.next().await.is_some() {} },
        streams.next(),
    )
    .await;
    assert!(next.is_none());
    drop((stream, inbound));
    for node in [&alice, &bob] {
        let stats = node.stats();
        assert_eq!((node.live_tasks(), stats.connections, stats.dialing), (0, 0, 0));
        assert_eq!(node.health().panicked_tasks, 0);
        assert_eq!(node.accept(OTHER).err(), Some(node::AcceptError::ShutDown));
    }
}
