//! Who is told what happens on a node.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    future::poll_fn,
    sync::Arc,
    task::{Poll, Waker},
};

use septa_core::{
    PeerId,
    node::{Event, EventKind, PeerState},
};

use super::shared::NodeShared;
use crate::waiters::Woken;

/// Events that wait in one [`Subscription`] at most, besides the latest state of each peer. Stops a subscriber that
/// does not read from filling memory.
pub const MAX_WAITING_EVENTS: usize = 1024;

/// Which events a [`Subscription`] gets. Without any choice, all.
#[derive(Clone, Default, Debug)]
pub struct EventFilter {
    peers: Option<BTreeSet<PeerId>>,
    kinds: Option<BTreeSet<EventKind>>,
    states: Option<BTreeSet<PeerState>>,
}

impl EventFilter {
    /// Every event.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only what is about this peer, or others that are named so.
    #[must_use]
    pub fn peer(mut self, peer: PeerId) -> Self {
        self.peers.get_or_insert_default().insert(peer);
        self
    }

    /// Only this kind, and others that are named so.
    #[must_use]
    pub fn kind(mut self, kind: EventKind) -> Self {
        self.kinds.get_or_insert_default().insert(kind);
        self
    }

    /// Of the changes of state only those to this one, and others that are named so.
    #[must_use]
    pub fn state(mut self, state: PeerState) -> Self {
        self.states.get_or_insert_default().insert(state);
        self
    }

    /// Whether a subscriber that has seen a peer in another state is told that it is disconnected.
    fn tells_the_end(&self) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&EventKind::State))
            && self.states.as_ref().is_none_or(|states| states.contains(&PeerState::Disconnected))
    }

    /// Whether it lets `event` through.
    pub fn matches(&self, event: &Event) -> bool {
        let peer = self.peers.as_ref().is_none_or(|peers| event.peer().is_some_and(|peer| peers.contains(&peer)));
        let kind = self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&event.kind()));
        let state = match (event, &self.states) {
            (Event::State { state, .. }, Some(states)) => states.contains(state),
            _ => true,
        };
        peer && kind && state
    }
}

/// Events of a node from the moment of subscribing on, in order. Dropping it ends it.
///
/// At most [`MAX_WAITING_EVENTS`] wait. When one more comes, the oldest is dropped and [counted](Self::lost_events). A
/// change of state that is dropped is not lost as long as it is the latest of its peer: it comes before the events
/// that still wait. That holds for every peer that is in the book or not disconnected, and for every peer that this
/// subscription has shown in another state and that may still be shown as disconnected. Of others, strangers who have
/// gone, as many are kept as events may wait, and then they are forgotten, so that those who come and go cannot fill
/// memory.
pub struct Subscription {
    node: Arc<NodeShared>,
    key: u64,
}

impl Subscription {
    pub(super) fn new(node: &Arc<NodeShared>, filter: EventFilter) -> Self {
        let key = node.look(|state| {
            let shown = state.core.tracked().filter(|(_, state)| *state != PeerState::Disconnected);
            state.subscribers.add(filter, shown.map(|(peer, _)| peer).collect())
        });
        Self { node: node.clone(), key }
    }

    /// The next event; `None` once the node has ended and all events were taken. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| {
            self.node.look(|state| match state.subscribers.take(self.key) {
                Some(event) => Poll::Ready(Some(event)),
                None if state.subscribers.wait(self.key, cx.waker()) => Poll::Pending,
                None => Poll::Ready(None),
            })
        })
        .await
    }

    /// The next event, if one waits.
    pub fn try_next(&mut self) -> Option<Event> {
        self.node.look(|state| state.subscribers.take(self.key))
    }

    /// Events that were dropped because too many waited, states that came later included.
    pub fn lost_events(&self) -> u64 {
        self.node.look(|state| state.subscribers.lost(self.key))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let subscriber = self.node.look(|state| state.subscribers.remove(self.key));
        drop(subscriber);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("lost_events", &self.lost_events()).finish_non_exhaustive()
    }
}

/// Whether a peer is in the book or not disconnected. There are only so many.
type IsKnown<'a> = &'a dyn Fn(&PeerId) -> bool;

/// All subscriptions of a node. There are as many as the application holds.
#[derive(Default)]
pub(super) struct Subscribers {
    subscribers: BTreeMap<u64, Subscriber>,
    last_key: u64,
    /// The node has ended.
    closed: bool,
}

#[derive(Default)]
pub(super) struct Subscriber {
    filter: EventFilter,
    waiting: VecDeque<Event>,
    /// The latest states of peers of which no other state waits.
    behind: BTreeMap<PeerId, PeerState>,
    /// How many of these were of peers that somebody knows, when last the strangers among them were forgotten. With
    /// it the map is bounded by what the node and the subscriber know, and forgetting costs little for each event.
    known_behind: usize,
    /// Peers that are not disconnected for all the subscriber knows, if it will be told when they are.
    shown: BTreeSet<PeerId>,
    lost: u64,
    waker: Option<Waker>,
}

impl Subscribers {
    /// `shown` are the peers that are not disconnected now.
    pub(super) fn add(&mut self, filter: EventFilter, shown: BTreeSet<PeerId>) -> u64 {
        self.last_key += 1;
        let shown = if filter.tells_the_end() { shown } else { BTreeSet::new() };
        self.subscribers.insert(self.last_key, Subscriber { filter, shown, ..Subscriber::default() });
        self.last_key
    }

    fn remove(&mut self, key: u64) -> Option<Subscriber> {
        self.subscribers.remove(&key)
    }

    pub(super) fn publish(&mut self, event: &Event, is_known: IsKnown<'_>, woken: &mut Woken) {
        for subscriber in self.subscribers.values_mut() {
            if subscriber.filter.matches(event) {
                subscriber.push(event.clone(), is_known);
                woken.extend(subscriber.waker.take());
            } else if let Event::State { peer, state } = event {
                subscriber.hide(peer, *state);
            }
        }
    }

    fn take(&mut self, key: u64) -> Option<Event> {
        self.subscribers.get_mut(&key)?.pop()
    }

    /// False if nothing will come.
    fn wait(&mut self, key: u64, waker: &Waker) -> bool {
        if self.closed {
            return false;
        }
        if let Some(subscriber) = self.subscribers.get_mut(&key) {
            subscriber.waker = Some(waker.clone());
        }
        true
    }

    fn lost(&self, key: u64) -> u64 {
        self.subscribers.get(&key).map_or(0, |subscriber| subscriber.lost)
    }

    pub(super) fn close(&mut self, woken: &mut Woken) {
        self.closed = true;
        woken.extend(self.subscribers.values_mut().filter_map(|subscriber| subscriber.waker.take()));
    }
}

impl Subscriber {
    fn push(&mut self, event: Event, is_known: IsKnown<'_>) {
        if self.waiting.len() >= MAX_WAITING_EVENTS {
            self.lost += 1;
            if let Some(Event::State { peer, state }) = self.waiting.pop_front() {
                self.fall_behind(peer, state, is_known);
            }
        }
        self.waiting.push_back(event);
    }

    /// The filter does not let a state through: what was kept of the peer is not the latest any more.
    fn hide(&mut self, peer: &PeerId, state: PeerState) {
        self.behind.remove(peer);
        if state == PeerState::Disconnected {
            self.shown.remove(peer);
        }
    }

    /// Keeps a state that would be lost. It is older than all that wait.
    fn fall_behind(&mut self, peer: PeerId, state: PeerState, is_known: IsKnown<'_>) {
        self.behind.insert(peer, state);
        if self.behind.len() > MAX_WAITING_EVENTS + 2 * self.known_behind {
            self.behind.retain(|peer, _| self.shown.contains(peer) || is_known(peer));
            self.known_behind = self.behind.len();
        }
    }

    fn pop(&mut self) -> Option<Event> {
        let behind = self.behind.pop_first().map(|(peer, state)| Event::State { peer, state });
        let event = behind.or_else(|| self.waiting.pop_front())?;
        if let Event::State { peer, state } = event {
            if state == PeerState::Disconnected {
                self.shown.remove(&peer);
            } else if self.filter.tells_the_end() {
                self.shown.insert(peer);
            }
        }
        Some(event)
    }
}

#[cfg(test)]
mod tests;
