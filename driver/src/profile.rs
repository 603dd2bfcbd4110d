//! What a node tells others about itself.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use septa_core::{
    Identity, Multiaddr, ProtocolId, ProtocolSet, SignedPeerRecord,
    crypto::Provider,
    peer_record::{Format, MAX_ADDRS},
    protocol::identify::Info,
};

use crate::{builder::PROTOCOL_VERSION, runtime::Runtime};

pub(crate) struct Profile {
    identity: Identity,
    agent_version: String,
    /// The protocols that the endpoint itself serves.
    own: Vec<ProtocolId>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    protocols: ProtocolSet,
    /// The last record that was signed, so that not every question costs a signature. Peers that reach a
    /// listener on all addresses by different ones get different records, and do cost one each.
    record: Option<SignedPeerRecord>,
    last_seq: u64,
}

impl Profile {
    pub(crate) fn new(identity: Identity, agent_version: String, own: Vec<ProtocolId>) -> Self {
        Self { identity, agent_version, own, state: Mutex::default() }
    }

    /// All protocols that are served.
    pub(crate) fn protocols(&self) -> ProtocolSet {
        self.state(|state| state.protocols.clone())
    }

    /// The protocol is one that the endpoint serves itself.
    pub(crate) fn serves_itself(&self, protocol: &ProtocolId) -> bool {
        self.own.contains(protocol)
    }

    /// Replaces the protocols that the application serves. Whether that is a change.
    pub(crate) fn serve(&self, protocols: impl IntoIterator<Item = ProtocolId>) -> bool {
        let all: ProtocolSet = self.own.iter().cloned().chain(protocols).collect();
        self.state(|state| std::mem::replace(&mut state.protocols, all.clone()) != all)
    }

    /// What identify tells a peer whose connection goes from `local` to `remote`.
    pub(crate) fn identify_info(
        &self,
        runtime: &dyn Runtime,
        provider: &dyn Provider,
        listening: &[SocketAddr],
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Info {
        // Nobody can dial 0.0.0.0; the peer knows this address of ours to be reachable.
        let concrete = |mut addr: SocketAddr| {
            if addr.ip().is_unspecified() && addr.is_ipv4() == local.is_ipv4() {
                addr.set_ip(local.ip());
            }
            (!addr.ip().is_unspecified()).then(|| Multiaddr::from_socket_addr(addr))
        };
        let listen_addrs: Vec<Multiaddr> = listening.iter().copied().filter_map(concrete).collect();
        Info {
            public_key: Some(self.identity.public_key().clone()),
            protocols: self.protocols().iter().cloned().collect(),
            observed_addr: Some(Multiaddr::from_socket_addr(remote)),
            protocol_version: Some(PROTOCOL_VERSION.to_owned()),
            agent_version: Some(self.agent_version.clone()),
            signed_peer_record: self.record(runtime, provider, &listen_addrs).map(|record| record.envelope().to_vec()),
            listen_addrs,
        }
    }

    /// A record with these addresses, as far as it takes them. One without any is worth sending too:
    /// it takes back what an earlier one said.
    fn record(&self, runtime: &dyn Runtime, provider: &dyn Provider, addrs: &[Multiaddr]) -> Option<SignedPeerRecord> {
        let addrs = addrs.get(..MAX_ADDRS).unwrap_or(addrs);
        let known = self.state(|state| state.record.clone());
        if let Some(known) = known.filter(|known| known.addrs() == addrs) {
            return Some(known);
        }
        // The time, so that it is greater than what an earlier process used, and never the same twice.
        let time = u64::try_from(runtime.unix_time().as_nanos()).unwrap_or(u64::MAX);
        let seq = self.state(|state| {
            state.last_seq = state.last_seq.saturating_add(1).max(time);
            state.last_seq
        });
        let record = SignedPeerRecord::seal(&self.identity, provider, Format::Common, seq, addrs).ok()?;
        self.state(|state| state.record = Some(record.clone()));
        Some(record)
    }

    fn state<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
