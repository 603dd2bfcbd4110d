//! Identify push both ways: what changes is told, and what strangers push is bounded.

use std::{future::poll_fn, pin::pin, sync::Arc, time::Duration};

use futures_util::{AsyncWriteExt, future::select};
use septa_core::{
    Connection as Core, ExpectedPeer, Identity, Link, ProtocolId, SignedPeerRecord,
    connection::{Config, codes},
    crypto::RustCrypto,
    noise::Credentials,
    peer_record::Format,
    protocol::identify::{Info, MAX_INBOUND_PUSHES, MIN_PUSH_INTERVAL, PUSH_PROTOCOL, TIMEOUT},
};
use septa_driver::{Connection, ReadError, RefuseReason, Stream, runtime::Runtime};

use crate::world::{ECHO, OTHER, World, calm, conditions, read_to_end};

fn names(info: &Info) -> Vec<&str> {
    info.protocols.iter().map(ProtocolId::as_str).filter(|name| name.starts_with("/test/")).collect()
}

/// Writes `message` as a push and waits for the end of it.
async fn push(connection: &Connection, message: &[u8]) -> Result<(), ReadError> {
    let mut stream = connection.open_stream(&[PUSH_PROTOCOL]).await.unwrap();
    stream.write_all(message).await.unwrap();
    stream.close().await.unwrap();
    stream.read_chunk().await.map(|chunk| assert_eq!(chunk, None, "a push is not answered"))
}

#[test]
fn a_change_of_protocols_is_told_and_takes_effect_on_open_connections() {
    for conditions in conditions(8) {
        let world = World::new(conditions);
        world.run(async {
            let (near, far, _listener) = world.connected().await;
            assert_eq!(near.remote_identify(), None);
            world.bob.serve([OTHER]);
            let told = near.remote_identify_after(0).await.unwrap();
            assert_eq!(names(told.info()), [OTHER.as_str()]);
            assert_eq!(near.remote_identify(), Some(told));

            let mut gone = near.open_stream(&[ECHO]).await.unwrap();
            assert_eq!(gone.read_chunk().await, Err(ReadError::Refused(RefuseReason::Unsupported)));
            let mut new = near.open_stream(&[OTHER]).await.unwrap();
            new.close().await.unwrap();
            assert_eq!(far.accept_stream().await.unwrap().protocol(), Some(OTHER));
        });
        world.end();
    }
}

#[test]
fn a_connection_that_opens_after_a_change_knows_the_new_protocols() {
    let world = World::new(calm());
    world.bob.serve([OTHER]);
    world.run(async {
        let (near, _far, _listener) = world.connected().await;
        assert_eq!(names(&near.identify().await.unwrap().info), [OTHER.as_str()]);
        near.open_stream(&[OTHER, ECHO]).await.unwrap();
    });
    world.end();
}

#[test]
fn an_address_that_is_listened_on_or_no_longer_is_told_under_the_peers_signature() {
    let world = World::new(calm());
    world.run(async {
        let (near, _far, first) = world.connected().await;
        let before = near.identify().await.unwrap().peer_record.valid().unwrap().clone();
        let second = world.bob.listen(&"/ip4/10.0.0.2/tcp/4002".parse().unwrap()).await.unwrap();
        let revision = near.remote_identify().unwrap().revision();
        let both = near.remote_identify_after(revision).await.unwrap();
        assert_eq!(both.addrs(), [first.local_addr(), second.local_addr()]);
        assert!(both.peer_record().unwrap().is_newer_than(&before));

        drop(second);
        let one = near.remote_identify_after(both.revision()).await.unwrap();
        assert_eq!(one.addrs(), [first.local_addr()]);
        drop(first);
        let none = near.remote_identify_after(one.revision()).await.unwrap();
        assert_eq!(none.addrs(), []);
        assert!(none.peer_record().unwrap().is_newer_than(one.peer_record().unwrap()));
    });
    world.end();
}

#[test]
fn changes_go_out_together_at_most_once_in_an_interval_and_the_last_one_wins() {
    let world = World::new(calm());
    world.run(async {
        let (near, _far, _listener) = world.connected().await;
        world.bob.serve([]);
        let first = near.remote_identify_after(0).await.unwrap();
        let told_at = world.simulation.now();
        for number in 0..20 {
            world.bob.serve([ProtocolId::new(&format!("/test/{number}")).unwrap()]);
            world.simulation.sleep(Duration::from_millis(10)).await;
        }
        let second = near.remote_identify_after(first.revision()).await.unwrap();
        assert_eq!(names(second.info()), ["/test/19"]);
        assert!(world.simulation.now() >= told_at.saturating_add(MIN_PUSH_INTERVAL - Duration::from_millis(1)));
        world.simulation.sleep(Duration::from_secs(5)).await;
        assert_eq!(near.remote_identify(), Some(second), "nothing has changed since");
    });
    world.end();
}

#[test]
fn a_push_can_be_asked_for_and_one_that_waits_ends_with_its_connection() {
    let world = World::new(calm());
    world.run(async {
        let (near, far, listener) = world.connected().await;
        assert!(far.push_identify());
        let told = near.remote_identify_after(0).await.unwrap();
        assert_eq!(told.info().agent_version.as_deref(), Some(concat!("septa/", env!("CARGO_PKG_VERSION"))));

        world.bob.push_identify();
        near.close(0);
        assert!(near.remote_identify_after(told.revision()).await.is_err());
        far.closed().await;
        assert!(!far.push_identify());
        drop(listener);
        world.simulation.sleep(Duration::from_millis(1)).await;
        assert_eq!(world.bob.stats().live_tasks, 0);
    });
    world.end();
}

#[test]
fn a_push_counts_however_it_is_cut_and_wins_over_an_older_answer() {
    let world = World::new(calm());
    world.run(async {
        let (near, far, _listener) = world.connected().await;
        far.identify().await.unwrap();
        let before = far.remote_identify().unwrap();
        // Protocols, and nothing else: as js would.
        let message = [0x09, 0x1a, 0x07, b'/', b't', b'e', b's', b't', b'/', b'x'];
        let mut stream = near.open_stream(&[PUSH_PROTOCOL]).await.unwrap();
        for byte in message {
            stream.write_all(&[byte]).await.unwrap();
            world.simulation.sleep(Duration::from_millis(1)).await;
        }
        stream.close().await.unwrap();
        assert_eq!(read_to_end(&mut stream).await.unwrap(), b"");
        let after = far.remote_identify().unwrap();
        assert_eq!(names(after.info()), ["/test/x"]);
        assert_eq!(after.info().agent_version, before.info().agent_version);
        assert_eq!(after.peer_record(), before.peer_record());
    });
    world.end();
}

#[test]
fn a_record_that_the_pushing_peer_did_not_sign_is_not_used() {
    let world = World::new(calm());
    world.run(async {
        let (near, far, _listener) = world.connected().await;
        let mallory = Identity::from_ed25519_seed([9; 32]);
        let stolen = "/ip4/192.0.2.9/tcp/9".parse().unwrap();
        let claimed = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
        let record = SignedPeerRecord::seal(&mallory, &RustCrypto, Format::Common, 1, &[stolen]).unwrap();
        let lie = Info {
            public_key: Some(mallory.public_key().clone()),
            listen_addrs: vec![claimed],
            signed_peer_record: Some(record.envelope().to_vec()),
            ..Info::default()
        };
        push(&near, &lie.encode().unwrap()).await.unwrap();
        let told = far.remote_identify().unwrap();
        assert_eq!((told.info().public_key.as_ref(), told.peer_record()), (None, None));
        assert_eq!(told.addrs(), lie.listen_addrs);
        assert_eq!(far.peer_id(), world.alice.peer_id());
    });
    world.end();
}

#[test]
fn a_push_that_breaks_the_rules_is_reset_and_changes_nothing() {
    let world = World::new(calm());
    world.run(async {
        let (near, far, _listener) = world.connected().await;
        let violation = ReadError::Reset(codes::stream::PROTOCOL_VIOLATION);
        for bad in [&[0x81, 0x40][..], &[0xff; 20], &[2, 0x1a, 5], &[5, 1, 2], &[0x80, 0], &[]] {
            assert_eq!(push(&near, bad).await, Err(violation.clone()), "{bad:?}");
        }
        // It begins and never ends.
        let mut endless = near.open_stream(&[PUSH_PROTOCOL]).await.unwrap();
        endless.write_all(&[50, 1, 2]).await.unwrap();
        let start = world.simulation.now();
        assert_eq!(endless.read_chunk().await, Err(violation));
        assert!(world.simulation.now().saturating_duration_since(start) >= TIMEOUT);
        assert_eq!(far.remote_identify(), None);
        near.ping().await.unwrap();
    });
    world.end();
}

#[test]
fn too_many_pushes_at_once_are_reset() {
    let world = World::new(calm());
    world.run(async {
        let (near, far, _listener) = world.connected().await;
        let mut streams = Vec::new();
        for _ in 0..MAX_INBOUND_PUSHES {
            let mut stream: Stream = near.open_stream(&[PUSH_PROTOCOL]).await.unwrap();
            stream.write_all(&[2]).await.unwrap();
            stream.negotiated().await.unwrap();
            streams.push(stream);
        }
        let mut excess = near.open_stream(&[PUSH_PROTOCOL]).await.unwrap();
        let refused = ReadError::Refused(RefuseReason::Reset(codes::stream::RESOURCE_LIMIT));
        assert_eq!(excess.read_chunk().await.unwrap_err(), refused);
        for mut stream in streams {
            stream.write_all(&[0x38, 1]).await.unwrap();
            stream.close().await.unwrap();
            assert_eq!(read_to_end(&mut stream).await.unwrap(), b"");
        }
        push(&near, &[2, 0x38, 1]).await.unwrap();
        assert_eq!(far.remote_identify().unwrap().revision(), 1);
    });
    world.end();
}

/// A peer that proves who it is and serves nothing at all, for as long as it is polled.
async fn serve_nothing(runtime: Arc<dyn Runtime>, addr: std::net::SocketAddr) {
    let identity = Identity::from_ed25519_seed([7; 32]);
    let credentials = Arc::new(Credentials::new(&identity, Arc::new(RustCrypto), runtime.seed()));
    let link = Link::dialer(ExpectedPeer::Any, runtime.seed());
    let mut core = Core::new(link, Arc::new(Config::default()), credentials, runtime.now());
    let mut socket = runtime.connect(addr).await.unwrap();
    let mut buffer = [0; 64 * 1024];
    loop {
        while core.poll_event().is_some() || core.wants_transmit() {
            let length = core.poll_transmit(runtime.now(), &mut buffer).unwrap();
            let mut rest = &buffer[..length];
            while !rest.is_empty() {
                let count = poll_fn(|cx| socket.writer.poll_write(cx, rest)).await.unwrap();
                rest = &rest[count..];
            }
        }
        let count = poll_fn(|cx| socket.reader.poll_read(cx, &mut buffer)).await.unwrap();
        core.handle_recv(runtime.now(), &mut buffer[..count]).unwrap();
    }
}

#[test]
fn a_peer_without_identify_push_is_left_alone() {
    let world = World::new(calm());
    world.run(async {
        let listener = world.bob.listen(&world.bob_addr()).await.unwrap();
        let silent = serve_nothing(world.alice_host.clone(), world.bob_addr().socket_addr().unwrap());
        let test = async {
            let far = listener.accept().await.unwrap();
            assert!(far.push_identify(), "nobody knows yet");
            world.simulation.sleep(Duration::from_secs(2)).await;
            assert!(!far.push_identify());
            assert_eq!(far.stats().streams_opened, 1);
            world.bob.serve([]);
            world.simulation.sleep(Duration::from_secs(2)).await;
            assert_eq!((far.close_reason(), far.stats().streams_opened), (None, 1));
        };
        select(pin!(silent), pin!(test)).await;
    });
    world.end();
}
