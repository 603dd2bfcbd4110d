//! Identify push, in both directions.

use libp2p::StreamProtocol;
use septa_core::{Role, protocol::identify::RemoteInfo};
use septa_interop::{ECHO, Event, WAIT};

use crate::support::{Pair, as_dialer_and_as_listener, id, rust_addr, septa_addr};

const NEW: StreamProtocol = StreamProtocol::new("/septa-interop/new/1.0.0");

async fn we_push_they_learn(role: Role) {
    let pair = Pair::new(role).await;
    let told = |wanted: fn(&libp2p::identify::Info) -> bool| {
        pair.rust.wait_for(WAIT, move |event| match event {
            Event::IdentifyReceived { info, .. } if wanted(info) => Some(info.clone()),
            _ => None,
        })
    };
    // As they asked when they connected.
    told(|info| info.protocols.contains(&ECHO)).await.unwrap();
    pair.septa.serve([id(&NEW)]);
    let info = told(|info| info.protocols.contains(&NEW)).await.unwrap();
    assert!(!info.protocols.contains(&ECHO), "{info:?}");
    assert_eq!(info.public_key.to_peer_id(), pair.septa_peer());

    let more = pair.septa.listen(&"/ip4/127.0.0.1/tcp/0".parse().unwrap()).await.unwrap();
    let address = rust_addr(&more.local_addr());
    let listening = pair.rust.wait_for(WAIT, |event| match event {
        Event::IdentifyReceived { info, .. } => info.listen_addrs.contains(&address).then_some(()),
        _ => None,
    });
    listening.await.unwrap();
}

async fn they_push_we_learn(role: Role) {
    let pair = Pair::new(role).await;
    let asked = pair.connection.identify().await.unwrap();
    let address = septa_addr(&pair.rust.listen().await.unwrap());
    assert!(!asked.addrs().contains(&address));
    pair.rust.push_identify(pair.septa_peer()).await.unwrap();
    let mut known: RemoteInfo = pair.connection.remote_identify().unwrap();
    while !known.addrs().contains(&address) {
        let next = pair.connection.remote_identify_after(known.revision());
        known = tokio::time::timeout(WAIT, next).await.unwrap().unwrap();
    }
    assert!(known.peer_record().unwrap().addrs().contains(&address), "they have signed it");
    assert_eq!(known.info().agent_version, asked.info.agent_version);
    assert!(known.info().protocols.contains(&id(&ECHO)));
}

as_dialer_and_as_listener! {
    we_push_they_learn
    they_push_we_learn
}
