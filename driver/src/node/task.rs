//! The task of a node: it carries messages between the core and the connections, and does what the core wants.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use septa_core::{
    ConnectionId, Instant, Multiaddr, PeerId,
    link::{ToConnection, ToNode},
    node::{Action, AttemptId},
};

use super::{
    attempt::{self, Abort, Step},
    identify,
    keeper::Keeper,
    shared::{NodeShared, State},
};
use crate::{
    connection::Connection,
    runtime::Timer,
    shared::{Handle, Shared},
    waiters::Woken,
};

/// Rounds before other tasks get their turn.
const ROUNDS: usize = 16;
/// Actions that are fetched at once.
const BATCH: usize = 64;

/// Drives a node until it was shut down and nothing is left. If it is dropped or panics before that, everything is cut
/// off, so that nobody waits for a node that is dead.
pub(super) struct NodeTask {
    node: Arc<NodeShared>,
    timer: Box<dyn Timer>,
    /// What the timer is armed for.
    deadline: Option<Instant>,
    keeper: Keeper,
    /// Kept for its capacity.
    messages: Vec<ToNode>,
}

/// An action with what it is about.
enum Todo {
    Send(Arc<Shared>, ToConnection),
    /// The core has forgotten the connection.
    Forget(Handle),
    Attempt(AttemptId, Multiaddr, Step, Arc<Abort>),
    Abort(Arc<Abort>),
    /// Asks the peer who it is.
    Identify(Connection),
}

impl NodeTask {
    pub(super) fn new(node: Arc<NodeShared>, keeper: Keeper) -> Self {
        let timer = node.endpoint.runtime.timer();
        Self { node, timer, deadline: None, keeper, messages: Vec::new() }
    }

    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..ROUNDS {
            let now = self.node.now();
            let (calls, since) = self.node.take_calls(cx.waker());
            self.note_lag(now, since);
            let mut is_busy = !calls.is_empty();
            calls.into_iter().for_each(|id| self.hear(id));
            is_busy |= self.expire();
            is_busy |= self.act();
            let (ends, is_broken) = self.node.look(|state| (state.shut_down && state.core.is_idle(), state.broken));
            is_busy |= self.keeper.poll(cx, &self.node, now, ends);
            if is_broken || (ends && !is_busy && self.is_done()) {
                return Poll::Ready(());
            }
            if !is_busy && self.sleep(cx).is_pending() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Tells the core what a connection has to say.
    fn hear(&mut self, id: ConnectionId) {
        let is_last = self.node.fetch(id, &mut self.messages);
        let messages = &mut self.messages;
        let forgotten = self.node.quietly(|state, now| {
            messages.drain(..).for_each(|message| state.core.handle_connection(now, id, message));
            if is_last {
                state.core.handle_connection_lost(now, id);
            }
            is_last.then(|| (state.take_handshake(id), state.connections.remove(&id)))
        });
        drop(forgotten);
    }

    fn expire(&self) -> bool {
        self.node.quietly(|state, now| {
            let is_due = state.core.poll_timeout().is_some_and(|deadline| deadline <= now);
            if is_due {
                state.core.handle_timeout(now);
            }
            is_due
        })
    }

    /// Does what the core wants. True if there was something.
    fn act(&self) -> bool {
        let todo = self.node.quietly(|state, _| state.next_todo());
        let is_busy = !todo.is_empty();
        for todo in todo {
            match todo {
                Todo::Send(connection, message) => {
                    let now = self.node.now();
                    connection.command(|inner| inner.handle_node(now, message));
                    // It may wait for nothing but this.
                    connection.wake_task();
                }
                Todo::Forget(connection) => drop(connection),
                Todo::Attempt(id, addr, step, abort) => attempt::start(&self.node, id, addr, step, abort),
                Todo::Abort(attempt) => attempt.abort(),
                Todo::Identify(connection) => identify::start(&self.node, connection),
            }
        }
        is_busy
    }

    /// Ready if the timer has run out.
    fn sleep(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let core = self.node.look(|state| state.core.poll_timeout());
        let deadline = core.into_iter().chain(self.keeper.poll_timeout()).min();
        if deadline != self.deadline {
            self.timer.reset(deadline);
            self.deadline = deadline;
        }
        self.timer.poll_expired(cx)
    }

    fn note_lag(&mut self, now: Instant, since: Option<Instant>) {
        let late = self.deadline.filter(|deadline| *deadline <= now);
        if let Some(due) = since.into_iter().chain(late).min() {
            self.node.look(|state| state.lag.note(now, now.saturating_duration_since(due)));
        }
        if late.is_some() {
            // It is served now, however long it takes until the timer is armed again.
            self.timer.reset(None);
            self.deadline = None;
        }
    }

    fn is_done(&self) -> bool {
        let (revision, attempts, is_cut) =
            self.node.look(|state| (state.core.revision(), state.attempts.len(), state.is_cut));
        // A storage that hangs must not hold up the end.
        attempts == 0 && (is_cut || self.keeper.is_clean(revision))
    }
}

impl State {
    fn next_todo(&mut self) -> Vec<Todo> {
        let opened = std::mem::take(&mut self.opened);
        let connection = |(id, peer)| Some(Connection::new(self.connections.get(&id)?.clone(), peer));
        let mut todo: Vec<Todo> = opened.into_iter().filter_map(connection).map(Todo::Identify).collect();
        while todo.len() < BATCH {
            let Some(action) = self.core.poll_action() else { break };
            let next = match action {
                Action::Send { to, message } if message.is_last() => {
                    todo.extend(self.take_handshake(to).map(Todo::Forget));
                    self.connections.remove(&to).map(Todo::Forget)
                }
                Action::Send { to, message } => match self.connections.get(&to) {
                    Some(handle) => Some(Todo::Send(handle.shared().clone(), message)),
                    None => {
                        self.early.entry(to).or_default().put(message);
                        None
                    }
                },
                Action::Resolve { id, addr } => Some(self.attempt(id, addr, Step::Resolve)),
                Action::StartDial { id, addr } => Some(self.attempt(id, addr, Step::Dial)),
                Action::AbortDial { id } => self.attempts.remove(&id).map(Todo::Abort),
                _ => None,
            };
            todo.extend(next);
        }
        todo
    }

    /// The place of a connection that is over among those whose handshake the application is to make.
    fn take_handshake(&mut self, id: ConnectionId) -> Option<Handle> {
        let handle = self.connections.get(&id)?;
        let is_same = |(other, _): &(Handle, PeerId)| Arc::ptr_eq(other.shared(), handle.shared());
        let index = self.handshakes.iter().position(is_same)?;
        self.handshakes.remove(index).map(|(handle, _)| handle)
    }

    /// Registers an attempt, so that it can be called off even before it has begun.
    fn attempt(&mut self, id: AttemptId, addr: Multiaddr, step: Step) -> Todo {
        let abort = Arc::new(Abort::default());
        self.attempts.insert(id, abort.clone());
        Todo::Attempt(id, addr, step, abort)
    }
}

impl Future for NodeTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.get_mut().drive(cx)
    }
}

impl Drop for NodeTask {
    fn drop(&mut self) {
        let (listeners, _) = self.node.endpoint.begin_shutdown();
        listeners.iter().for_each(|listener| listener.close());
        let mut woken = Woken::default();
        let (connections, attempts, handshakes, listeners) = self.node.look(|state| {
            state.close(&mut woken);
            let handshakes = std::mem::take(&mut state.handshakes);
            let listeners = std::mem::take(&mut state.listeners);
            (std::mem::take(&mut state.connections), std::mem::take(&mut state.attempts), handshakes, listeners)
        });
        connections.values().for_each(|handle| handle.shared().kill());
        attempts.values().for_each(|attempt| attempt.abort());
        drop((connections, handshakes, listeners));
        self.node.incoming.close();
        woken.wake();
    }
}
