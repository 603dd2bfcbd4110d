//! The driver over real TCP.

use std::time::Duration;

use septa_core::{ExpectedPeer, Identity, ProtocolId};
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

#[tokio::test]
async fn the_feature_chooses_the_cryptography() {
    let provider = TokioRuntime::current().unwrap().provider();
    let expected = if cfg!(feature = "aws-lc-rs") { "AwsLc" } else { "RustCrypto" };
    assert_eq!(format!("{provider:?}"), expected);
}
