//! Ping and identify, in both directions.

use std::time::Duration;

use libp2p::StreamProtocol;
use septa_core::{Role, protocol::identify::ClaimedKey};
use septa_interop::{ECHO, Event, RESET, RustPeerConfig, SINK, WAIT};

use crate::support::{Pair, as_dialer_and_as_listener, id, patient, rust_addr, septa_addr};

const PING: StreamProtocol = StreamProtocol::new("/ipfs/ping/1.0.0");
const IDENTIFY: StreamProtocol = StreamProtocol::new("/ipfs/id/1.0.0");

async fn both_ends_answer_pings(role: Role) {
    let config = RustPeerConfig { ping_interval: Some(Duration::from_millis(50)), ..patient() };
    let pair = Pair::with(role, config).await;
    for _ in 0..3 {
        assert!(pair.connection.ping().await.unwrap() < WAIT);
    }
    // The second too, so that the stream on which rust-libp2p pings outlives one round trip.
    let rtt = pair.rust.wait_for_nth(WAIT, 1, |event| match event {
        Event::PingSuccess { peer, rtt } if *peer == pair.septa_peer() => Some(*rtt),
        _ => None,
    });
    assert!(rtt.await.unwrap() < WAIT);
    assert!(!pair.rust.events().iter().any(|event| matches!(event, Event::PingFailed { .. })));
}

async fn we_learn_who_they_are(role: Role) {
    let pair = Pair::new(role).await;
    let received = pair.connection.identify().await.unwrap();
    let info = received.info;
    assert_eq!((received.claimed_key, received.dropped), (ClaimedKey::Same, 0));
    assert_eq!(info.public_key, pair.connection.remote_public_key());
    assert_eq!(info.protocol_version.as_deref(), Some("/septa-interop/1.0.0"));
    assert!(info.agent_version.as_ref().is_some_and(|agent| agent.starts_with("rust-libp2p/")), "{info:?}");
    for served in [PING, IDENTIFY, ECHO, SINK, RESET] {
        assert!(info.protocols.contains(&id(&served)), "{served} is missing in {info:?}");
    }
    assert_eq!(info.observed_addr, Some(pair.connection.local_addr()));
    if role == Role::Dialer {
        assert!(info.listen_addrs.contains(&pair.connection.remote_addr()), "{info:?}");
    }
}

async fn they_learn_who_we_are(role: Role) {
    let pair = Pair::new(role).await;
    let info = pair.rust.wait_for(WAIT, |event| match event {
        Event::IdentifyReceived { peer, info } if *peer == pair.septa_peer() => Some(info.clone()),
        _ => None,
    });
    let info = info.await.unwrap();
    assert_eq!(info.public_key.to_peer_id(), pair.septa_peer());
    assert!(info.agent_version.starts_with("septa/"), "{info:?}");
    assert_eq!(info.protocol_version, septa_driver::PROTOCOL_VERSION);
    for served in [PING, IDENTIFY, ECHO, SINK] {
        assert!(info.protocols.contains(&served), "{served} is missing in {info:?}");
    }
    let listening: Vec<_> = pair.septa.listen_addrs().iter().map(rust_addr).collect();
    assert_eq!(info.listen_addrs, listening);
    // The address from which our packets come, or to which we are dialed, as each end names the other.
    assert_eq!(septa_addr(&info.observed_addr), pair.connection.remote_addr());
}

as_dialer_and_as_listener! {
    both_ends_answer_pings
    we_learn_who_they_are
    they_learn_who_we_are
}
