//! The peer that the other tests lean on, against itself: where both ends are rust-libp2p, every surprise
//! is the harness's.

use std::time::Duration;

use futures::{AsyncReadExt as _, AsyncWriteExt as _, future::try_join_all};
use libp2p::{Stream, StreamProtocol};
use septa_interop::{ECHO, Event, RESET, RustPeer, RustPeerConfig, RustPeerError, SINK, WAIT};

const RAISED: Duration = Duration::from_secs(300);

async fn pair(config: RustPeerConfig) -> (RustPeer, RustPeer) {
    let listener = RustPeer::spawn(config.clone());
    let dialer = RustPeer::spawn(config);
    let address = listener.listen().await.unwrap();
    let reached = dialer.dial(address, Some(listener.peer_id())).await.unwrap();
    assert_eq!(reached, listener.peer_id());
    (dialer, listener)
}

fn patient() -> RustPeerConfig {
    RustPeerConfig { idle_timeout: Some(RAISED), ..RustPeerConfig::default() }
}

/// Bytes without a period that frames or buffers could hide behind.
fn payload(length: usize, salt: u64) -> Vec<u8> {
    let mut state = salt | 1;
    let mut bytes = Vec::with_capacity(length);
    for _ in 0..length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.push((state >> 56) as u8);
    }
    bytes
}

async fn echo(stream: Stream, sent: Vec<u8>) -> std::io::Result<()> {
    let (mut reader, mut writer) = stream.split();
    let write = async {
        writer.write_all(&sent).await?;
        writer.close().await
    };
    let read = async {
        let mut received = Vec::new();
        reader.read_to_end(&mut received).await?;
        std::io::Result::Ok(received)
    };
    let ((), received) = futures::try_join!(write, read)?;
    assert!(received == sent, "{} bytes came back changed", sent.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn echoes_nothing_one_byte_and_sixteen_mebibytes() {
    let (dialer, listener) = pair(patient()).await;
    for length in [0, 1, 16 << 20] {
        let stream = dialer.open_stream(listener.peer_id(), ECHO).await.unwrap();
        tokio::time::timeout(WAIT, echo(stream, payload(length, 7))).await.unwrap().unwrap();
        let served = listener.wait_for(WAIT, |event| match event {
            Event::StreamServed { bytes, error: None, .. } if *bytes == length as u64 => Some(()),
            _ => None,
        });
        served.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stream_of_a_hundred_at_once_is_dropped() {
    let (dialer, listener) = pair(patient()).await;
    let all = (0..100).map(|index| {
        let (dialer, peer) = (&dialer, listener.peer_id());
        async move {
            let stream = dialer.open_stream(peer, ECHO).await.unwrap();
            echo(stream, payload(10_000, index)).await
        }
    });
    tokio::time::timeout(WAIT, try_join_all(all)).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_listener_may_open_streams_too() {
    let (dialer, listener) = pair(patient()).await;
    let stream = listener.open_stream(dialer.peer_id(), ECHO).await.unwrap();
    echo(stream, payload(1000, 3)).await.unwrap();
}

#[tokio::test]
async fn the_sink_counts_what_it_read() {
    let (dialer, listener) = pair(patient()).await;
    let mut stream = dialer.open_stream(listener.peer_id(), SINK).await.unwrap();
    stream.write_all(&payload(100_000, 5)).await.unwrap();
    stream.close().await.unwrap();
    let mut count = Vec::new();
    stream.read_to_end(&mut count).await.unwrap();
    assert_eq!(count, 100_000_u64.to_be_bytes());
}

#[tokio::test]
async fn a_reset_ends_reading_and_fails_writing() {
    let (dialer, listener) = pair(patient()).await;
    let mut stream = dialer.open_stream(listener.peer_id(), RESET).await.unwrap();
    stream.write_all(b"stop").await.unwrap();
    stream.flush().await.unwrap();
    let read = tokio::time::timeout(WAIT, stream.read(&mut [0; 16])).await.unwrap();
    assert_eq!(read.unwrap(), 0, "rust-libp2p shows a reset as the end");
    assert!(stream.write_all(b"more").await.is_err());
}

#[tokio::test]
async fn an_unknown_protocol_is_refused_by_name() {
    let (dialer, listener) = pair(patient()).await;
    let unknown = StreamProtocol::new("/septa-interop/unknown/1.0.0");
    let error = dialer.open_stream(listener.peer_id(), unknown.clone()).await.unwrap_err();
    assert!(matches!(error, RustPeerError::UnsupportedProtocol(name) if name == unknown));
}

#[tokio::test]
async fn a_wrong_peer_is_refused() {
    let listener = RustPeer::spawn(patient());
    let dialer = RustPeer::spawn(patient());
    let stranger = RustPeer::spawn(RustPeerConfig { seed: Some([9; 32]), ..patient() }).peer_id();
    let address = listener.listen().await.unwrap();
    let error = dialer.dial(address, Some(stranger)).await.unwrap_err();
    assert!(matches!(error, RustPeerError::WrongPeer { obtained } if obtained == listener.peer_id()));
}

#[tokio::test]
async fn a_fixed_seed_gives_the_same_peer() {
    let fixed = || RustPeer::spawn(RustPeerConfig { seed: Some([9; 32]), ..patient() }).peer_id();
    assert_eq!(fixed(), fixed());
    assert_ne!(fixed(), RustPeer::spawn(patient()).peer_id());
}

#[tokio::test]
async fn both_sides_ping_and_identify() {
    let (dialer, listener) = pair(RustPeerConfig { ping_interval: Some(Duration::from_millis(50)), ..patient() }).await;
    for (here, there) in [(&dialer, &listener), (&listener, &dialer)] {
        let rtt = here.wait_for_nth(WAIT, 1, |event| match event {
            Event::PingSuccess { peer, rtt } if *peer == there.peer_id() => Some(*rtt),
            _ => None,
        });
        assert!(rtt.await.unwrap() < WAIT);
        let info = here.wait_for(WAIT, |event| match event {
            Event::IdentifyReceived { info, .. } => Some(info.clone()),
            _ => None,
        });
        let info = info.await.unwrap();
        assert_eq!(info.public_key.to_peer_id(), there.peer_id());
        assert_eq!(info.protocol_version, "/septa-interop/1.0.0");
        for served in [ECHO, SINK, RESET] {
            assert!(info.protocols.contains(&served), "{served} is not advertised");
        }
    }
}

fn closed(event: &Event) -> Option<Option<String>> {
    match event {
        Event::ConnectionClosed { cause, .. } => Some(cause.clone()),
        _ => None,
    }
}

/// The other side gives a cause even so, and which one depends on what it was about to write: compare no
/// text of a peer that is disconnected.
#[tokio::test]
async fn who_disconnects_sees_no_cause() {
    let (dialer, listener) = pair(patient()).await;
    dialer.disconnect(listener.peer_id()).await.unwrap();
    assert_eq!(dialer.wait_for(WAIT, closed).await.unwrap(), None);
    assert!(listener.wait_for(WAIT, closed).await.unwrap().is_some());
}

#[tokio::test]
async fn a_default_peer_closes_an_idle_connection_after_ten_seconds() {
    let listener = RustPeer::spawn(patient());
    let dialer = RustPeer::spawn(RustPeerConfig::default());
    dialer.dial(listener.listen().await.unwrap(), None).await.unwrap();
    dialer.wait_for(Duration::from_secs(5), closed).await.expect_err("closed too early");
    let cause = dialer.wait_for(WAIT, closed).await.unwrap();
    assert!(cause.as_ref().is_some_and(|cause| cause.contains("keep-alive timeout")), "{cause:?}");
    listener.wait_for(WAIT, closed).await.unwrap();
}

#[tokio::test]
async fn an_open_stream_keeps_the_connection_of_a_default_peer() {
    let listener = RustPeer::spawn(patient());
    let dialer = RustPeer::spawn(RustPeerConfig::default());
    dialer.dial(listener.listen().await.unwrap(), None).await.unwrap();
    let stream = dialer.open_stream(listener.peer_id(), ECHO).await.unwrap();
    dialer.wait_for(Duration::from_secs(12), closed).await.expect_err("closed in spite of the stream");
    echo(stream, payload(1000, 3)).await.unwrap();
}

#[tokio::test]
async fn a_wait_that_fails_says_what_was_seen() {
    let (dialer, _listener) = pair(patient()).await;
    let error = dialer.wait_for(Duration::from_millis(10), |_| None::<()>).await.unwrap_err();
    assert!(error.to_string().contains("ConnectionEstablished"), "{error}");
}
