//! What an application can do with the node on which it runs.

use std::{net::SocketAddr, sync::Arc};

use septa_core::{Connection, ConnectionId, Instant, node::Node};
use septa_driver::runtime::Runtime;

use super::slots::Slots;

/// The node of an [`Application`](super::Application), and its loop.
pub struct Context<'a>(pub(super) &'a mut Inner);

/// What a node's loop holds besides the application.
pub(super) struct Inner {
    pub(super) runtime: Arc<dyn Runtime>,
    node: Node,
    /// What it may want, and when it wants to be called, is to be asked again. Most runs of the task are about one
    /// connection, and the node is large.
    pub(super) has_touched_node: bool,
    /// When it wanted to be called when it was asked last.
    pub(super) node_deadline: Option<Instant>,
    pub(super) slots: Slots,
    /// When this run of the task began.
    pub(super) now: Instant,
    /// When the application wants to be called.
    pub(super) alarm: Option<Instant>,
    pub(super) listening: Vec<SocketAddr>,
    pub(super) is_ending: bool,
    /// What the application says is wrong.
    pub(super) reports: Vec<String>,
}

impl Inner {
    pub(super) fn new(runtime: Arc<dyn Runtime>, node: Node, now: Instant) -> Self {
        Self {
            runtime,
            node,
            has_touched_node: true,
            node_deadline: None,
            slots: Slots::default(),
            now,
            alarm: None,
            listening: Vec::new(),
            is_ending: false,
            reports: Vec::new(),
        }
    }

    pub(super) fn node(&mut self) -> &mut Node {
        self.has_touched_node = true;
        &mut self.node
    }

    /// The node has dropped events, as too many waited.
    pub(super) fn has_lost_events(&self) -> bool {
        self.node.lost_events() > 0
    }
}

impl Context<'_> {
    /// What time it is, by the clock of the host.
    pub fn now(&self) -> Instant {
        self.0.now
    }

    /// The node. What it wants then is done, and what it tells is told, behind this call.
    pub fn node(&mut self) -> &mut Node {
        self.0.node()
    }

    /// A connection of the node, until its last event. None while it has its turn: then the call has been handed it.
    pub fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.0.slots.connection(id)
    }

    /// The connections of the node, in the order in which they were made.
    pub fn connections(&self) -> Vec<ConnectionId> {
        self.0.slots.connections().collect()
    }

    /// Has [`timer`](super::Application::timer) called once, at this instant or as soon as it is past, instead of when it
    /// was to be before.
    pub fn set_timer(&mut self, at: Option<Instant>) {
        self.0.alarm = at;
    }

    /// The addresses at which the node listens.
    pub fn listening(&self) -> &[SocketAddr] {
        &self.0.listening
    }

    /// The host on which the node runs.
    pub fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.0.runtime
    }

    /// Says that something has happened that never should. It is kept as a [`Violation`](super::Violation).
    pub fn report(&mut self, what: impl Into<String>) {
        self.0.reports.push(what.into());
    }

    /// Shuts the node down. Its task ends when all connections have.
    pub fn end(&mut self) {
        self.0.is_ending = true;
        let now = self.0.now;
        self.0.node().shutdown(now);
    }
}
