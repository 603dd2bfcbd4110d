//! Whether a node is well and what it does, as plain data.

use std::time::Duration;

use septa_core::{
    PeerId,
    node::{ConnectionInfo, DebugSnapshot, LimitNear, NodeStats, PeerInfo},
};
use serde::Serialize;

use super::Node;
use crate::error::describe;

/// A store that takes longer is reported as trouble. Stops a disk that hangs from going unnoticed.
pub const MAX_STORE_TIME: Duration = Duration::from_secs(30);

/// What is wrong with a node, if something is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Nothing below is amiss: every listener listens, the storage works, no task has panicked, and the node runs.
    pub is_healthy: bool,
    /// The node was not shut down.
    pub is_running: bool,
    /// What is listened on.
    pub listeners: Vec<ListenerHealth>,
    /// How late the node's task has run at worst in the last half minute, or the one before too, or is now. More than
    /// some milliseconds means that something blocks the runtime or that the machine is overloaded.
    pub event_loop_lag: Duration,
    /// Why the last store failed, until one works. `None` without a storage.
    pub storage_error: Option<String>,
    /// How long the store that is under way has taken so far. Trouble from [`MAX_STORE_TIME`] on.
    pub storing_for: Option<Duration>,
    /// Tasks that ended in a panic, which is a bug.
    pub panicked_tasks: u64,
    /// The limits that are nearly used up. They do no harm by themselves.
    pub limits_near: Vec<LimitNear>,
}

/// How one listener fares.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct ListenerHealth {
    /// The address, with its real port.
    pub addr: String,
    /// It accepts connections.
    pub is_listening: bool,
    /// Why the last accept failed, until one works.
    pub error: Option<String>,
}

impl Node {
    /// Whether the node is well, and what is wrong if not.
    pub fn health(&self) -> Health {
        let now = self.shared.now();
        let panicked_tasks = self.shared.endpoint.panicked_tasks();
        let late_now = self.shared.late_since().map(|since| now.saturating_duration_since(since));
        self.shared.look(|state| {
            let listeners: Vec<ListenerHealth> = state.listeners.iter().map(ListenerHealth::of).collect();
            let storage_error = state.keeper.error.as_ref().map(ToString::to_string);
            let storing_for = state.keeper.storing_since.map(|since| now.saturating_duration_since(since));
            let is_running = !state.shut_down;
            let is_healthy = is_running
                && storage_error.is_none()
                && storing_for.is_none_or(|time| time < MAX_STORE_TIME)
                && panicked_tasks == 0
                && listeners.iter().all(|listener| listener.is_listening && listener.error.is_none());
            let event_loop_lag = state.lag.worst(now).max(late_now.unwrap_or_default());
            let limits_near = state.core.limits_near();
            Health {
                is_healthy,
                is_running,
                listeners,
                event_loop_lag,
                storage_error,
                storing_for,
                panicked_tasks,
                limits_near,
            }
        })
    }

    /// How much there is of everything, and what was counted since the node was made. Cheap to take.
    pub fn stats(&self) -> NodeStats {
        self.shared.look(|state| state.core.stats())
    }

    /// Tasks of the node that have not ended: one for itself and one for each listener, dial, connection, and ping,
    /// identify or perf stream that is being answered.
    pub fn live_tasks(&self) -> usize {
        self.shared.endpoint.live_tasks()
    }

    /// What a peer is to this node, with the counters of its connections of now; `None` if nothing is known about it.
    pub fn peer_info(&self, peer: &PeerId) -> Option<PeerInfo> {
        let mut info = self.shared.look(|state| state.core.peer_info(peer))?;
        info.connections.iter_mut().for_each(|connection| self.refresh(connection));
        Some(info)
    }

    /// Everything that the node is doing, with the counters of the connections of now. Looks at every peer and every
    /// connection.
    pub fn debug_snapshot(&self) -> DebugSnapshot {
        let mut snapshot = self.shared.look(|state| state.core.debug_snapshot());
        let peers = snapshot.peers.iter_mut().flat_map(|peer| &mut peer.connections);
        peers.chain(&mut snapshot.others).for_each(|connection| self.refresh(connection));
        snapshot
    }

    /// Asks the connection itself, which reports to the core only now and then.
    fn refresh(&self, info: &mut ConnectionInfo) {
        let handle = self.shared.look(|state| state.connections.get(&info.id).cloned());
        if let Some(handle) = handle {
            handle.shared().task(|inner| {
                if let Ok(core) = inner.core() {
                    (info.rtt, info.stats, info.protocols) = (core.rtt(), core.stats(), core.protocol_stats());
                }
            });
        }
    }
}

impl ListenerHealth {
    fn of(listener: &crate::listener::Listener) -> Self {
        Self {
            addr: listener.local_addr().to_string(),
            is_listening: listener.is_listening(),
            error: listener.trouble().map(describe),
        }
    }
}
