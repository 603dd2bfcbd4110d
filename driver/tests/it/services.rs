//! Ping and identify.

use std::time::Duration;

use futures_util::{AsyncReadExt, AsyncWriteExt};
use septa_core::{
    connection::codes,
    protocol::{
        identify::{self, ClaimedKey},
        ping,
    },
};
use septa_driver::{PROTOCOL_VERSION, ReadError, RefuseReason};
use septa_sim::LinkOptions;

use crate::world::{Conditions, ECHO, World, calm, conditions};

#[test]
fn ping_measures_the_round_trip() {
    let link = LinkOptions { latency: Duration::from_millis(30), ..LinkOptions::default() };
    let world = World::new(Conditions { link, ..calm() });
    world.run(async {
        let (near, far, _listener) = world.connected().await;
        assert_eq!(near.ping().await, Ok(Duration::from_millis(60)));
        assert_eq!(far.ping().await, Ok(Duration::from_millis(60)));
    });
    world.end();
}

#[test]
fn both_ends_can_ask_at_once_and_again() {
    for conditions in conditions(8) {
        let world = World::new(conditions);
        world.run(async {
            let (near, far, _listener) = world.connected().await;
            for _ in 0..5 {
                let (a, b) = futures_util::future::join(near.ping(), far.ping()).await;
                a.unwrap();
                b.unwrap();
            }
        });
        world.end();
    }
}

#[test]
fn identify_tells_who_and_where() {
    for conditions in conditions(8) {
        let world = World::with(conditions, |alice| alice.agent_version("test/7"), |bob| bob);
        world.run(async {
            let (near, far, listener) = world.connected().await;
            let bob = near.identify().await.unwrap();
            assert_eq!(bob.claimed_key, ClaimedKey::Same);
            assert_eq!(bob.info.public_key.as_ref(), Some(world.bob.public_key()));
            assert_eq!(bob.info.listen_addrs, [listener.local_addr()]);
            assert_eq!(bob.info.observed_addr, Some(near.local_addr()));
            assert_eq!(bob.info.protocol_version.as_deref(), Some(PROTOCOL_VERSION));
            assert!(bob.info.agent_version.unwrap().starts_with("septa/"));
            assert_eq!(bob.info.protocols, [identify::PROTOCOL, identify::PUSH_PROTOCOL, ping::PROTOCOL, ECHO]);
            let record = bob.peer_record.valid().unwrap();
            assert_eq!((record.peer_id(), record.addrs()), (world.bob.peer_id(), &[listener.local_addr()][..]));
            assert_eq!(near.remote_identify().unwrap().peer_record(), Some(record));
            let alice = far.identify().await.unwrap();
            assert_eq!(alice.info.agent_version.as_deref(), Some("test/7"));
            assert_eq!(alice.info.listen_addrs, []);
        });
        world.end();
    }
}

#[test]
fn an_unspecified_listen_address_is_told_as_the_one_that_was_dialed() {
    let world = World::new(calm());
    world.run(async {
        let _everywhere = world.bob.listen(&"/ip4/0.0.0.0/tcp/4001".parse().unwrap()).await.unwrap();
        let expected = septa_core::ExpectedPeer::Any;
        let near = world.alice.connect(&world.bob_addr(), expected).await.unwrap();
        assert_eq!(near.identify().await.unwrap().info.listen_addrs, [world.bob_addr()]);
    });
    world.end();
}

#[test]
fn too_many_ping_streams_are_reset() {
    let world = World::new(calm());
    world.run(async {
        let (near, _far, _listener) = world.connected().await;
        let mut streams = Vec::new();
        for _ in 0..ping::MAX_INBOUND_STREAMS {
            let mut stream = near.open_stream(&[ping::PROTOCOL]).await.unwrap();
            stream.write_all(&[1; 32]).await.unwrap();
            stream.read_exact(&mut [0; 32]).await.unwrap();
            streams.push(stream);
        }
        let mut excess = near.open_stream(&[ping::PROTOCOL]).await.unwrap();
        excess.write_all(&[1; 32]).await.unwrap();
        let error = excess.read_chunk().await.unwrap_err();
        assert_eq!(error, ReadError::Reset(codes::stream::RESOURCE_LIMIT));
        // One that ends makes room for another.
        let mut ended = streams.pop().unwrap();
        ended.close().await.unwrap();
        assert_eq!(ended.read(&mut [0]).await.unwrap(), 0);
        drop(ended);
        near.ping().await.unwrap();
    });
    world.end();
}

#[test]
fn too_many_identify_streams_are_reset() {
    let world = World::new(calm());
    world.run(async {
        let (near, _far, _listener) = world.connected().await;
        let mut streams = Vec::new();
        for _ in 0..10 {
            // Not finished, so that the other end waits for us.
            let mut stream = near.open_stream(&[identify::PROTOCOL]).await.unwrap();
            assert!(stream.read_chunk().await.unwrap().is_some());
            streams.push(stream);
        }
        let mut excess = near.open_stream(&[identify::PROTOCOL]).await.unwrap();
        let error = excess.read_chunk().await.unwrap_err();
        assert_eq!(error, ReadError::Refused(RefuseReason::Reset(codes::stream::RESOURCE_LIMIT)));
        drop(streams);
        near.ping().await.unwrap();
        near.identify().await.unwrap();
    });
    world.end();
}
