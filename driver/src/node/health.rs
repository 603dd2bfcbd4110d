//! Whether a node is well, as plain data.

use std::time::Duration;

use serde::Serialize;

use super::Node;
use crate::error::describe;

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
    /// How late the node's task has run at worst in the last half minute, or the one before too. More than some
    /// milliseconds means that something blocks the runtime or that the machine is overloaded.
    pub event_loop_lag: Duration,
    /// Why the last store failed, until one works. `None` without a storage.
    pub storage_error: Option<String>,
    /// Tasks that ended in a panic, which is a bug.
    pub panicked_tasks: u64,
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
        self.shared.look(|state| {
            let listeners: Vec<ListenerHealth> = state.listeners.iter().map(ListenerHealth::of).collect();
            let storage_error = state.keeper.error.as_ref().map(ToString::to_string);
            let is_running = !state.shut_down;
            let is_healthy = is_running
                && storage_error.is_none()
                && panicked_tasks == 0
                && listeners.iter().all(|listener| listener.is_listening && listener.error.is_none());
            let event_loop_lag = state.lag.worst(now);
            Health { is_healthy, is_running, listeners, event_loop_lag, storage_error, panicked_tasks }
        })
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
