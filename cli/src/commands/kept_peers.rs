//! The peers that `septa listen` keeps, and what it says of them.

use std::collections::BTreeMap;

use septa_core::{Instant, Multiaddr, PeerId};
use septa_driver::{
    Node,
    node::{Event, FailedAttempt, Intent, PeerState},
};
use serde_json::{Value, json};

use crate::{failure::Failure, output::Output};

/// The peers that are kept, each with what was said of it last.
pub(super) struct KeptPeers {
    node: Node,
    output: Output,
    peers: BTreeMap<PeerId, Told>,
}

struct Told {
    state: PeerState,
    /// How the last effort failed. The change of state that it leads to is told next.
    failure: Option<Failed>,
}

struct Failed {
    retry_at: Option<Instant>,
    attempts: Vec<FailedAttempt>,
}

impl KeptPeers {
    /// Those that the node remembers.
    pub(super) fn remembered(node: &Node, output: Output) -> Self {
        let mut kept = Self { node: node.clone(), output, peers: BTreeMap::new() };
        for peer in node.known_peers() {
            if node.peer_info(&peer).is_some_and(|info| info.intent == Intent::Persistent) {
                kept.watch(peer);
                kept.tell(peer, node.state(&peer));
            }
        }
        kept
    }

    /// Keeps the peer that `address` names.
    pub(super) fn add(&mut self, address: &Multiaddr) -> Result<(), Failure> {
        let peer = named_peer(address)?;
        self.watch(peer);
        self.node
            .add_peer(peer, std::slice::from_ref(address), Intent::Persistent)
            .map_err(|error| Failure::new(format_args!("cannot keep {peer}: {error}"), "choose another --peer"))
    }

    fn watch(&mut self, peer: PeerId) {
        self.peers.entry(peer).or_insert(Told { state: PeerState::Disconnected, failure: None });
    }

    pub(super) fn contains(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer)
    }

    /// Tells what an event means for a kept peer.
    pub(super) fn hear(&mut self, event: &Event) {
        match event {
            Event::State { peer, state } => self.tell(*peer, *state),
            Event::DialFailed { peer, retry_at, attempts, .. } => {
                if let Some(told) = self.peers.get_mut(peer) {
                    told.failure = Some(Failed { retry_at: *retry_at, attempts: attempts.clone() });
                }
            }
            _ => {}
        }
    }

    fn tell(&mut self, peer: PeerId, state: PeerState) {
        let Some(told) = self.peers.get_mut(&peer).filter(|told| told.state != state) else { return };
        told.state = state;
        let mut line = json!({ "event": "state", "peer": peer.to_string(), "state": state });
        if matches!(state, PeerState::Backoff | PeerState::Cooldown) {
            let failure = told.failure.take();
            let at = failure.as_ref().and_then(|failure| failure.retry_at);
            let retry_in = match at {
                Some(at) => at.saturating_duration_since(self.node.runtime().now()),
                // Nothing, if the delay is over already.
                None => self.node.peer_info(&peer).and_then(|info| info.retry_in).unwrap_or_default(),
            };
            line["retry_in_ms"] = json!(retry_in.as_nanos().div_ceil(1_000_000) as u64);
            line["failed"] = failure.iter().flat_map(|failure| &failure.attempts).map(failed).collect();
        }
        self.output.json_line(line);
    }
}

/// The peer at the end of an address that can be kept.
pub(super) fn named_peer(address: &Multiaddr) -> Result<PeerId, Failure> {
    let unnamed =
        || Failure::usage(format_args!("--peer {address} does not say which peer to keep; append /p2p/<peer id>"));
    let peer = address.peer_id().ok_or_else(unnamed)?;
    if super::is_tcp(address) {
        Ok(peer)
    } else {
        Err(Failure::usage(format_args!("--peer {address} is no TCP address; use /ip4, /ip6 or /dns with /tcp/<port>")))
    }
}

fn failed(attempt: &FailedAttempt) -> Value {
    json!({ "address": attempt.addr.to_string(), "error": attempt.why.to_string() })
}
