//! Connections on which nothing happens for 15 s.
//!
//! The other end is a foreign program with a clock of its own, so this is real time and cannot be
//! simulated. All cases wait at the same time, in one test: libtest runs as many tests at once as there are
//! processors, and eight waits one after another would be most of the suite.

use std::time::{Duration, Instant};

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use septa_core::Role;
use septa_driver::CloseReason;
use septa_interop::{ECHO, Event, RustPeerConfig, WAIT};

use crate::support::{Pair, echo, echo_back, patient, payload, within};

/// Longer than the 10 s after which a default peer closes.
const IDLE: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifteen_idle_seconds_end_only_the_connection_that_has_no_stream() {
    within(async {
        tokio::join!(
            a_patient_peer_stays(Role::Dialer),
            a_patient_peer_stays(Role::Listener),
            our_open_stream_keeps_a_default_peer(Role::Dialer),
            our_open_stream_keeps_a_default_peer(Role::Listener),
            their_open_stream_keeps_a_default_peer(Role::Dialer),
            their_open_stream_keeps_a_default_peer(Role::Listener),
            a_default_peer_without_a_stream_closes_normally(Role::Dialer),
            a_default_peer_without_a_stream_closes_normally(Role::Listener),
        )
    })
    .await;
}

async fn a_patient_peer_stays(role: Role) {
    let pair = Pair::with(role, patient()).await;
    assert_stays(&pair, "patient peer").await;
    pair.assert_works().await;
}

async fn our_open_stream_keeps_a_default_peer(role: Role) {
    let pair = Pair::with(role, RustPeerConfig::default()).await;
    let mut stream = pair.we_open(ECHO).await;
    stream.write_all(b"before").await.unwrap();
    let mut echoed = [0; 6];
    stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"before");
    assert_stays(&pair, "our open stream").await;
    echo(stream, &payload(1000, 3)).await;
}

async fn their_open_stream_keeps_a_default_peer(role: Role) {
    let pair = Pair::with(role, RustPeerConfig::default()).await;
    let (theirs, ours) = pair.they_open(ECHO).await;
    assert_stays(&pair, "their open stream").await;
    let sent = payload(1000, 3);
    let ((), echoed) = tokio::join!(echo(theirs, &sent), echo_back(ours));
    echoed.unwrap();
}

/// It closes the socket without a GoAway. That is how it always ends, and nothing went wrong.
async fn a_default_peer_without_a_stream_closes_normally(role: Role) {
    let started = Instant::now();
    let pair = Pair::with(role, RustPeerConfig::default()).await;
    let reason = tokio::time::timeout(WAIT, pair.connection.closed()).await.expect("the peer closes");
    assert!(matches!(reason, CloseReason::Eof | CloseReason::Remote { code: 0 }), "{role:?}: {reason:?}");
    assert!(started.elapsed() > Duration::from_secs(8), "{role:?}: closed after {:?}", started.elapsed());
    let cause = pair.rust.wait_for(WAIT, |event| match event {
        Event::ConnectionClosed { cause, .. } => Some(cause.clone()),
        _ => None,
    });
    let cause = cause.await.unwrap();
    assert!(cause.as_ref().is_some_and(|cause| cause.contains("keep-alive timeout")), "{role:?}: {cause:?}");
}

async fn assert_stays(pair: &Pair, case: &str) {
    if let Ok(reason) = tokio::time::timeout(IDLE, pair.connection.closed()).await {
        panic!("{case}: closed with {reason:?}; the peer saw {:#?}", pair.rust.events());
    }
    let closed = |event: &Event| matches!(event, Event::ConnectionClosed { .. });
    assert!(!pair.rust.events().iter().any(closed), "{case}: {:#?}", pair.rust.events());
}
