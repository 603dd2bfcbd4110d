//! The driver over real TCP.

use std::{sync::Arc, time::Duration};

use septa_core::{ExpectedPeer, Identity, ProtocolId, connection::Config};
use septa_driver::{CloseReason, Endpoint, Runtime as _};
use septa_tokio::{TokioRuntime, TokioStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ECHO: ProtocolId = ProtocolId::from_static("/test/echo/1");

fn node(seed: u8) -> Endpoint {
    let identity = Identity::from_ed25519_seed([seed; 32]);
    septa_tokio::build(Endpoint::builder(identity).serve([ECHO])).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_megabyte_goes_there_and_back_over_tcp() {
    let (alice, bob) = (node(1), node(2));
    for addr in ["/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0"] {
        let listener = match bob.listen(&addr.parse().unwrap()).await {
            Ok(listener) => listener,
            // A machine without IPv6.
            Err(error) if addr.contains("ip6") => return eprintln!("skipped: {error}"),
            Err(error) => panic!("{error}"),
        };
        let expected = ExpectedPeer::Exactly(bob.peer_id());
        let near = alice.connect(&listener.local_addr(), expected).await.unwrap();
        let far = listener.accept().await.unwrap();
        assert!(near.ping().await.unwrap() > Duration::ZERO);
        assert_eq!(far.identify().await.unwrap().info.public_key.as_ref(), Some(alice.public_key()));

        let echo = tokio::spawn(async move {
            let mut stream = TokioStream::from(far.accept_stream().await.unwrap());
            let (mut reader, mut writer) = tokio::io::split(&mut stream);
            let count = tokio::io::copy(&mut reader, &mut writer).await.unwrap();
            stream.shutdown().await.unwrap();
            (count, far.closed().await)
        });
        let payload: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
        let stream = TokioStream::from(near.open_stream(&[ECHO]).await.unwrap());
        let (mut reader, mut writer) = tokio::io::split(stream);
        let sent = payload.clone();
        let writing = tokio::spawn(async move {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
            writer
        });
        let mut received = Vec::new();
        reader.read_to_end(&mut received).await.unwrap();
        assert!(received == payload);
        drop(writing.await.unwrap());
        near.close(7);
        assert_eq!(near.closed().await, CloseReason::Local);
        assert_eq!(echo.await.unwrap(), (1_000_000, CloseReason::Remote { code: 7 }));
    }
    alice.shutdown(Duration::from_secs(5)).await;
    bob.shutdown(Duration::from_secs(5)).await;
    assert_eq!((alice.stats().live_tasks, bob.stats().live_tasks), (0, 0));
}

/// A wake-up that gets lost between a handle that flushes and the connection's task shows as an exchange that
/// never ends: with one stream there is nothing else that would wake the task, with several there are races.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost_between_threads_that_write_flush_and_read() {
    for streams in [1, 2, 8] {
        exchanges(streams).await;
    }
}

async fn exchanges(streams: u8) {
    const EXCHANGES: u32 = 500;
    // A ping would wake what hangs.
    let mut config = Config::default();
    Arc::make_mut(&mut config.yamux).keep_alive = None;
    let quiet = |seed| {
        let identity = Identity::from_ed25519_seed([seed; 32]);
        septa_tokio::build(Endpoint::builder(identity).serve([ECHO]).connection_config(config.clone())).unwrap()
    };
    let (alice, bob) = (quiet(1), quiet(2));
    let listener = bob.listen(&"/ip4/127.0.0.1/tcp/0".parse().unwrap()).await.unwrap();
    let near = alice.connect(&listener.local_addr(), ExpectedPeer::Exactly(bob.peer_id())).await.unwrap();
    let far = listener.accept().await.unwrap();
    tokio::spawn(async move {
        while let Ok(stream) = far.accept_stream().await {
            tokio::spawn(exchange(TokioStream::from(stream), false, EXCHANGES));
        }
    });
    let exchanges: Vec<_> = (0..streams)
        .map(|_| {
            let near = near.clone();
            tokio::spawn(async move {
                let stream = near.open_stream(&[ECHO]).await.unwrap();
                exchange(TokioStream::from(stream), true, EXCHANGES).await;
            })
        })
        .collect();
    let all = async {
        for exchange in exchanges {
            exchange.await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("an exchange hangs");
}

/// Sends and receives in turns. Some pieces are flushed, some are left to the connection's task, and some are
/// long enough to fill the socket.
async fn exchange(mut stream: TokioStream, begins: bool, times: u32) {
    let mut buffer = vec![0; 300_000];
    for i in 0..times {
        let length = if i % 100 == 7 { buffer.len() } else { 1 + i as usize % 50 };
        if begins || i > 0 {
            let piece = vec![i.to_le_bytes()[0]; length];
            stream.write_all(&piece).await.unwrap();
            if i % 3 != 0 {
                stream.flush().await.unwrap();
            }
        }
        if !begins || i + 1 < times {
            let next = if begins { i + 1 } else { i };
            let length = if next % 100 == 7 { buffer.len() } else { 1 + next as usize % 50 };
            stream.read_exact(&mut buffer[..length]).await.unwrap();
            assert!(buffer[..length].iter().all(|byte| *byte == next.to_le_bytes()[0]));
        }
    }
    stream.shutdown().await.unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
}

#[tokio::test]
async fn the_feature_chooses_the_cryptography() {
    let provider = TokioRuntime::current().unwrap().provider();
    let expected = if cfg!(feature = "aws-lc-rs") { "AwsLc" } else { "RustCrypto" };
    assert_eq!(format!("{provider:?}"), expected);
}
