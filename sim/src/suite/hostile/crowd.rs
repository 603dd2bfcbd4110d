//! One peer that comes over several connections at once.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use septa_core::{Identity, Role};
use septa_driver::runtime::Runtime;

use super::{
    super::{
        party::{PORT, draw},
        waiting::{sleep, within},
    },
    CONNECTING,
    siege::{Siege, Victim},
    wire::Wire,
};
use crate::network::ip_of;

/// Connections that a victim takes from one peer: those of an honest one that comes back sooner than its former
/// connections end.
pub(super) const MAX_PER_PEER: usize = 3;
/// Connections that come at once.
const CROWD: usize = MAX_PER_PEER + 2;
/// How long they stay, if they may.
const STAYS: Duration = Duration::from_secs(1);
/// The longest pause until somebody else comes so.
const PAUSE: Duration = Duration::from_secs(8);

/// Visits one victim again and again, as somebody else each time.
pub(super) async fn come(siege: Arc<Siege>, place: usize, runtime: &Arc<dyn Runtime>) {
    let mut luck = runtime.seed().public_stream();
    while !siege.is_over() {
        let identity = Arc::new(Identity::from_ed25519_seed(runtime.seed().secret_stream().next_key()));
        for _ in 0..CROWD {
            let (going_on, own, identity) = (siege.begin(), runtime.clone(), identity.clone());
            let visit = async move {
                visit(place, &*own, &identity).await;
                drop(going_on);
            };
            runtime.spawn("crowding attacker", Box::pin(visit));
        }
        let pause = draw(&mut luck, PAUSE.as_millis() as u64);
        sleep(&**runtime, CONNECTING + STAYS + Duration::from_millis(pause)).await;
        // Of somebody who breaks no rule nobody asks why it was closed.
        siege.forget_reasons(Victim { place, role: Role::Listener }, identity.peer_id());
    }
}

async fn visit(place: usize, runtime: &dyn Runtime, identity: &Identity) {
    let addr = SocketAddr::new(ip_of(place as u32 + 1, false), PORT);
    let Some(Ok(socket)) = within(runtime, CONNECTING, runtime.connect(addr)).await else { return };
    let mut wire = Wire::new(socket, Role::Dialer, runtime.seed().public_stream());
    let stay = async {
        if wire.upgrade(runtime, identity).await.is_ok() {
            wire.ended().await;
        }
    };
    let _ = within(runtime, STAYS, stay).await;
}
