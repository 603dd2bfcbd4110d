//! Connections that are closed right behind 16 MiB.

use futures::AsyncWriteExt as _;
use septa_core::{Role, connection::codes};
use septa_driver::CloseReason;
use septa_interop::{Event, RustPeer, SINK, WAIT};

use crate::support::{Pair, SCENARIO, as_dialer_and_as_listener, payload, read_all, within};

const LENGTH: usize = 16 << 20;

/// How much the sink of rust-libp2p read until the end of the stream.
async fn sunk(rust: &RustPeer) -> u64 {
    let bytes = rust.wait_for(WAIT, |event| match event {
        Event::StreamServed { protocol, bytes, .. } if *protocol == SINK => Some(*bytes),
        _ => None,
    });
    bytes.await.unwrap()
}

async fn our_last_bytes_arrive_before_we_close(role: Role) {
    let pair = Pair::new(role).await;
    let mut stream = pair.we_open(SINK).await;
    stream.write_all(&payload(LENGTH, 11)).await.unwrap();
    stream.finish().unwrap();
    pair.connection.close(codes::connection::NO_ERROR);
    assert_eq!(sunk(&pair.rust).await, LENGTH as u64);
    assert_eq!(within(pair.connection.closed()).await, CloseReason::Local);
    let closed = pair.rust.wait_for(WAIT, |event| matches!(event, Event::ConnectionClosed { .. }).then_some(()));
    closed.await.unwrap();
}

async fn our_last_bytes_arrive_before_we_shut_down(role: Role) {
    let pair = Pair::new(role).await;
    let mut stream = pair.we_open(SINK).await;
    stream.write_all(&payload(LENGTH, 11)).await.unwrap();
    stream.finish().unwrap();
    pair.septa.shutdown(SCENARIO).await;
    assert_eq!(pair.septa.stats().live_tasks, 0);
    assert_eq!(sunk(&pair.rust).await, LENGTH as u64);
    assert_eq!(pair.connection.closed().await, CloseReason::Local);
}

/// What rust-libp2p has written it sends before its GoAway, so long as the stream was finished.
async fn their_last_bytes_arrive_before_they_close(role: Role) {
    let pair = Pair::new(role).await;
    let (mut theirs, mut ours) = pair.they_open(SINK).await;
    let sent = payload(LENGTH, 11);
    let write = async {
        theirs.write_all(&sent).await.unwrap();
        theirs.close().await.unwrap();
        pair.rust.disconnect(pair.septa_peer()).await.unwrap();
    };
    let ((), (received, end)) = tokio::join!(write, read_all(&mut ours));
    assert!(received == sent, "{} bytes arrived, or they changed; then {end:?}", received.len());
    assert_eq!(end, Ok(()));
    let reason = within(pair.connection.closed()).await;
    assert!(matches!(reason, CloseReason::Remote { code: 0 } | CloseReason::Eof), "{reason:?}");
}

as_dialer_and_as_listener! {
    our_last_bytes_arrive_before_we_close
    our_last_bytes_arrive_before_we_shut_down
    their_last_bytes_arrive_before_they_close
}
