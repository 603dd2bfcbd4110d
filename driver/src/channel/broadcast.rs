//! One message to many peers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use septa_core::{
    PeerId,
    channel::{Payload, Pushed},
};

use super::{ChannelShared, TrySendError, send::send};
use crate::time::{after, within};

pub(super) async fn broadcast(
    channel: &Arc<ChannelShared>,
    peers: impl IntoIterator<Item = PeerId>,
    message: Payload<'_>,
    timeout: Duration,
    max_parallel: usize,
) -> BTreeMap<PeerId, Result<Pushed, TrySendError>> {
    let runtime = &**channel.node.runtime();
    let message = &channel.encode(message);
    let send_to = async |peer| match within(runtime, after(runtime, timeout), send(channel, peer, message)).await {
        Some(sent) => Ok(sent?),
        None => Err(TrySendError::Full { peer, channel: channel.protocol.clone() }),
    };
    crate::broadcast::broadcast(peers, max_parallel, send_to).await
}
