//! The sockets of a node and their deadlines.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    task::Waker,
};

use septa_core::{Connection, ConnectionId, Instant, Multiaddr, node::AttemptId};
use septa_driver::runtime::{Acceptor, BoxFuture, Socket};

use crate::growth;

use super::{
    ready::{Mark, Ready},
    transport::Transport,
};

/// What is in a place of the table.
///
/// | from | to | when |
/// |---|---|---|
/// | `Free` | `Listening` | at the start |
/// | `Free` | `Dialing` | the node wants an address dialed |
/// | `Free` | `Open` | a socket was accepted or is connected |
/// | `Dialing` | `Free` | the socket is connected, which is in a place of its own then, or never will be |
/// | `Open` | `Free` | the connection is over |
/// | any | `Away` and back | while it has its turn |
pub(super) enum Slot {
    Free,
    Away,
    Listening(Box<Listener>),
    Dialing(Box<Dial>),
    Open(Box<Transport>),
}

/// Where connections are accepted. Boxed in its place, as nearly all places are for connections.
pub(super) struct Listener {
    pub(super) acceptor: Box<dyn Acceptor>,
    /// The address at which the last connection was accepted. Most are accepted at one, and share it.
    pub(super) accepted_at: Option<Multiaddr>,
}

/// An attempt to connect. Boxed in its place, which another one has soon.
pub(super) struct Dial {
    pub(super) id: AttemptId,
    /// What is dialed.
    pub(super) addr: Multiaddr,
    pub(super) connecting: BoxFuture<'static, io::Result<Socket>>,
}

struct Entry {
    /// Stays when the place changes hands: what an old socket still marks costs a turn that finds nothing.
    mark: Arc<Mark>,
    slot: Slot,
    /// What it is in the list of deadlines for.
    armed: Option<Instant>,
}

#[derive(Default)]
pub(super) struct Slots {
    entries: Vec<Entry>,
    free: Vec<usize>,
    connections: BTreeMap<ConnectionId, usize>,
    dials: BTreeMap<AttemptId, usize>,
    deadlines: BTreeSet<(Instant, usize)>,
    pub(super) ready: Arc<Ready>,
}

impl Slots {
    /// Gives something a place. It has a turn at once.
    pub(super) fn insert(&mut self, slot: Slot) {
        let index = self.free.pop().unwrap_or(self.entries.len());
        if self.free.is_empty() {
            // An empty list would keep its memory.
            self.free = Vec::new();
        }
        if index == self.entries.len() {
            growth::make_room(&mut self.entries);
            let mark = Mark::new(index, self.ready.clone());
            self.entries.push(Entry { mark, slot: Slot::Free, armed: None });
        }
        self.put(index, slot);
        self.mark(index);
    }

    /// Takes out what is to have its turn, and tells whether its socket has woken it. It must be
    /// [put](Self::put_back) back, or [removed](Self::remove).
    pub(super) fn take(&mut self, index: usize) -> (Slot, bool) {
        let Some(entry) = self.entries.get_mut(index) else { return (Slot::Free, false) };
        let is_woken = entry.mark.clear();
        let empty = if let Slot::Free = entry.slot { Slot::Free } else { Slot::Away };
        (std::mem::replace(&mut entry.slot, empty), is_woken)
    }

    /// The deadline of what is in this place has come.
    pub(super) fn is_due(&self, index: usize, now: Instant) -> bool {
        self.entries.get(index).and_then(|entry| entry.armed).is_some_and(|deadline| deadline <= now)
    }

    /// Puts something new into a place.
    fn put(&mut self, index: usize, slot: Slot) {
        match &slot {
            Slot::Dialing(dial) => drop(self.dials.insert(dial.id, index)),
            Slot::Open(transport) => drop(self.connections.insert(transport.id(), index)),
            _ => {}
        }
        self.put_back(index, slot);
    }

    /// Puts back what had its turn.
    pub(super) fn put_back(&mut self, index: usize, slot: Slot) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.slot = slot;
        }
    }

    /// Frees the place of what was taken out of it.
    pub(super) fn remove(&mut self, index: usize, slot: &Slot) {
        match slot {
            Slot::Dialing(dial) => self.forget_dial(dial.id),
            Slot::Open(transport) => drop(self.connections.remove(&transport.id())),
            _ => {}
        }
        self.arm(index, None);
        self.put_back(index, Slot::Free);
        self.free.push(index);
    }

    fn forget_dial(&mut self, id: AttemptId) {
        self.dials.remove(&id);
        if self.dials.is_empty() {
            // An empty map would keep its memory.
            self.dials = BTreeMap::new();
        }
    }

    /// Drops a dial.
    pub(super) fn abort(&mut self, id: AttemptId) {
        if let Some(index) = self.dials.get(&id).copied() {
            let (dial, _) = self.take(index);
            self.remove(index, &dial);
        }
    }

    /// The waker that marks a place.
    pub(super) fn waker(&self, index: usize) -> Option<Waker> {
        Some(self.entries.get(index)?.mark.clone().into())
    }

    /// A connection that is not having its turn. It has one soon.
    pub(super) fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let entry = self.entries.get_mut(*self.connections.get(&id)?)?;
        let Slot::Open(transport) = &mut entry.slot else { return None };
        entry.mark.set();
        Some(transport.connection())
    }

    pub(super) fn connections(&self) -> impl Iterator<Item = ConnectionId> {
        self.connections.keys().copied()
    }

    /// No connection is left, and none is being made.
    pub(super) fn is_idle(&self) -> bool {
        self.connections.is_empty() && self.dials.is_empty()
    }

    pub(super) fn mark(&self, index: usize) {
        if let Some(entry) = self.entries.get(index) {
            entry.mark.set();
        }
    }

    /// Gives what is in this place a turn at `deadline`, or none for that reason.
    pub(super) fn arm(&mut self, index: usize, deadline: Option<Instant>) {
        let Some(entry) = self.entries.get_mut(index).filter(|entry| entry.armed != deadline) else { return };
        if let Some(before) = std::mem::replace(&mut entry.armed, deadline) {
            self.deadlines.remove(&(before, index));
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, index));
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Marks all whose deadline has come.
    pub(super) fn expire(&self, now: Instant) {
        self.deadlines.range(..=(now, usize::MAX)).for_each(|(_, index)| self.mark(*index));
    }
}
