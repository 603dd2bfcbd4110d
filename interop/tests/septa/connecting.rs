//! A node that proves another identity than the expected one is refused.

use septa_core::{ExpectedPeer, connection::ProtocolError, noise};
use septa_driver::{AcceptError, CloseReason, ConnectError, expected_peer};
use septa_interop::{Event, RustPeer, RustPeerError, WAIT};

use crate::support::{endpoint, listen, listen_addr, patient, rust_addr, rust_id, septa_id, stranger, within};

#[tokio::test]
async fn we_refuse_a_peer_that_is_not_the_expected_one() {
    let rust = RustPeer::spawn(patient());
    let septa = endpoint();
    let addr = listen_addr(&rust).await;
    let error = within(septa.connect(&addr, ExpectedPeer::Exactly(stranger()))).await.unwrap_err();
    let ConnectError::Upgrade { reason, .. } = error else { panic!("{error}") };
    let wrong_peer = matches!(*reason, CloseReason::Protocol(ProtocolError::Noise(noise::Error::WrongPeer { .. })));
    assert!(wrong_peer, "{reason:?}");
    // We do not even tell them who we are.
    let failed = rust.wait_for(WAIT, |event| matches!(event, Event::InboundFailed { .. }).then_some(()));
    failed.await.unwrap();
    assert!(!rust.events().iter().any(|event| matches!(event, Event::ConnectionEstablished { .. })));

    // The address may say whom to expect; nothing is left of the refusal.
    let named = addr.with_peer(septa_id(rust.peer_id())).unwrap();
    let connection = septa.connect(&named, expected_peer(&named).unwrap()).await.unwrap();
    assert_eq!(connection.peer_id(), septa_id(rust.peer_id()));
}

#[tokio::test]
async fn they_refuse_us_if_we_are_not_the_expected_peer() {
    let rust = RustPeer::spawn(patient());
    let septa = endpoint();
    let listener = listen(&septa).await;
    let addr = rust_addr(&listener.local_addr());
    let error = rust.dial(addr.clone(), Some(rust_id(stranger()))).await.unwrap_err();
    let obtained = match error {
        RustPeerError::WrongPeer { obtained } => obtained,
        other => panic!("{other}"),
    };
    assert_eq!(obtained, rust_id(septa.peer_id()));
    // They compare only when all is agreed, so we see either a connection that goes or one that never came.
    let reason = match within(listener.accept()).await {
        Ok(connection) => within(connection.closed()).await,
        Err(AcceptError::Upgrade { reason, .. }) => *reason,
        Err(other) => panic!("{other}"),
    };
    assert!(matches!(reason, CloseReason::Eof | CloseReason::Io | CloseReason::Remote { code: 0 }), "{reason:?}");

    let (dialed, accepted) = tokio::join!(rust.dial(addr, Some(rust_id(septa.peer_id()))), listener.accept());
    dialed.unwrap();
    assert_eq!(accepted.unwrap().peer_id(), septa_id(rust.peer_id()));
}
