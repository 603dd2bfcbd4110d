//! Where the application takes requests: peers in turn, and not more than it may have at once.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use septa_core::{ConnectionId, PeerId, channel::rpc::ServerStats};

use super::{
    room::{Limit, Room},
    stream::{AskedOn, Ending},
};
use crate::{
    node::InboundStream,
    waiters::{Waiters, Woken},
};

/// The streams on which peers ask, and whose turn it is.
///
/// Bounded by the connections of the node and their streams: a peer has one stream for each connection, or as many as
/// it may, and a bounded number that waits. A peer without a stream is known while requests of it are out.
pub(in super::super) struct Desk {
    /// Requests that may be out.
    max: usize,
    room: Arc<Limit>,
    /// Streams wait for room. Changed under the lock, read without it.
    any_stalled: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Requests that may be out of one peer.
    max_of_peer: usize,
    peers: BTreeMap<PeerId, Peer>,
    /// Peers with something to take. The number is that of the turn.
    turns: BTreeMap<u64, PeerId>,
    /// Streams that wait for room. The number is that of their entry.
    stalled: BTreeMap<u64, Arc<AskedOn>>,
    last_number: u64,
    /// Requests at the application.
    out: usize,
    /// Those who wait for a request.
    takers: Waiters,
    /// The task that takes streams in.
    listener: Option<Waker>,
    /// Streams that have waited, and have their place now.
    unparked: VecDeque<InboundStream>,
    closed: bool,
}

/// The streams of one peer.
#[derive(Default)]
struct Peer {
    /// Places that are taken: those of `streams`, and of one that is about to begin.
    active: usize,
    streams: BTreeMap<u64, Place>,
    /// Streams for which there is no place, unread.
    parked: VecDeque<InboundStream>,
    /// Streams with a request, each once.
    ready: VecDeque<Arc<AskedOn>>,
    /// Requests at the application, those included that are cancelled or whose stream is gone: the application still
    /// works on them. Stops a peer that asks and cancels without end from occupying it alone.
    out: usize,
    turn: Option<u64>,
    /// What its streams share.
    room: Option<Arc<Limit>>,
}

/// One stream that is read.
struct Place {
    /// It is the only one of this connection.
    only_of: Option<ConnectionId>,
    stream: Arc<AskedOn>,
}

/// What becomes of a stream that a peer has opened.
pub(super) enum Offer {
    Begin(InboundStream),
    /// It waits until another one of the peer is over.
    Parked,
    Refused(InboundStream),
}

/// What the task does that takes streams in.
pub(super) enum Next {
    /// A stream that has waited has its place.
    Begin(InboundStream),
    Closed,
}

impl Desk {
    /// `max` requests may be out, so many of each peer, and so many bytes wait.
    pub(in super::super) fn new(max: usize, max_of_peer: usize, max_waiting_bytes: usize) -> Self {
        let state = State { max_of_peer, ..State::default() };
        Self {
            max,
            room: Arc::new(Limit::new(max_waiting_bytes)),
            any_stalled: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    /// A number that nobody else has.
    pub(super) fn next_number(&self) -> u64 {
        self.lock().next_number()
    }

    /// The room of one stream, which shares its own limit with all those of a peer if there is one.
    pub(super) fn room(&self, of_peer: Option<PeerId>, max: usize) -> Room {
        let own = Arc::new(Limit::new(max));
        let own = match of_peer {
            Some(peer) => self.lock().peers.entry(peer).or_default().room.get_or_insert(own).clone(),
            None => own,
        };
        Room::new(&self.room, own)
    }

    pub(in super::super) fn stats(&self, peer: &PeerId) -> Option<ServerStats> {
        let streams: Vec<_> = {
            let state = self.lock();
            state.peers.get(peer)?.streams.values().map(|place| place.stream.clone()).collect()
        };
        if streams.is_empty() {
            return None;
        }
        let mut stats = ServerStats::default();
        streams.iter().for_each(|stream| stream.add_stats(&mut stats));
        Some(stats)
    }

    pub(in super::super) fn out(&self) -> usize {
        self.lock().out
    }

    pub(in super::super) fn close(&self) {
        let mut woken = Woken::default();
        let (streams, parked) = {
            let mut state = self.lock();
            state.closed = true;
            woken.extend(state.listener.take());
            state.takers.wake_into(&mut woken);
            let mut parked: Vec<_> = state.unparked.drain(..).collect();
            let mut streams = Vec::new();
            for peer in state.peers.values_mut() {
                parked.extend(peer.parked.drain(..));
                streams.extend(peer.streams.values().map(|place| place.stream.clone()));
            }
            (streams, parked)
        };
        drop(parked);
        streams.iter().for_each(|stream| stream.close());
        woken.wake();
    }

    /// What the listener has to do. If nothing, it is woken when there is something.
    pub(super) fn poll_listener(&self, cx: &Context<'_>) -> Poll<Next> {
        let mut state = self.lock();
        if state.closed {
            return Poll::Ready(Next::Closed);
        }
        if let Some(inbound) = state.unparked.pop_front() {
            return Poll::Ready(Next::Begin(inbound));
        }
        state.listener = Some(cx.waker().clone());
        Poll::Pending
    }

    /// A place for a stream, if its peer has less than `max_active`; if not, it is one of at most `max_parked` that wait.
    pub(super) fn offer(&self, inbound: InboundStream, max_active: usize, max_parked: usize) -> Offer {
        // Those that the peer has given up keep nobody out. They are dropped when the lock is not held any more.
        let mut lost = VecDeque::new();
        let mut state = self.lock();
        if state.closed {
            return Offer::Refused(inbound);
        }
        let peer = state.peers.entry(inbound.peer).or_default();
        if peer.active < max_active {
            peer.active += 1;
            return Offer::Begin(inbound);
        }
        if peer.parked.len() >= max_parked {
            let (gone, left): (VecDeque<_>, _) = peer.parked.drain(..).partition(|parked| parked.stream.is_lost());
            lost.extend(gone);
            peer.parked = left;
        }
        if peer.parked.len() < max_parked {
            peer.parked.push_back(inbound);
            Offer::Parked
        } else {
            Offer::Refused(inbound)
        }
    }

    /// Takes a stream in that has a place. If it is to be the only one of a connection, the one before is ended: its peer
    /// has replaced it, and does not wait for answers on it. False if the desk is closed.
    pub(super) fn admit(&self, only_of: Option<ConnectionId>, stream: &Arc<AskedOn>) -> bool {
        let older = {
            let mut state = self.lock();
            if state.closed {
                return false;
            }
            let peer = state.peers.entry(stream.peer).or_default();
            let is_same = |place: &&Place| only_of.is_some() && place.only_of == only_of;
            // Those before it were ended when it came.
            let older = peer.streams.values().rev().find(is_same).map(|place| place.stream.clone());
            peer.streams.insert(stream.key, Place { only_of, stream: stream.clone() });
            older
        };
        if let Some(older) = older {
            older.end(self, Ending::Lost);
        }
        true
    }

    /// A stream is over. The listener gives its place to one that waits.
    pub(super) fn leave(&self, stream: &Arc<AskedOn>) {
        let listener = self.lock().leave(stream);
        listener.into_iter().for_each(Waker::wake);
        self.resume();
    }

    /// A stream waits for room that others take.
    pub(super) fn stall(&self, stream: &Arc<AskedOn>) {
        {
            let mut state = self.lock();
            // It may have left meanwhile.
            if !state.has(stream) {
                return;
            }
            let number = state.next_number();
            stream.stalled.store(number, Ordering::Relaxed);
            state.stalled.insert(number, stream.clone());
            self.any_stalled.store(true, Ordering::SeqCst);
        }
        // Whoever has made room meanwhile may not have seen it.
        self.resume();
    }

    /// Lets streams look that wait for room, as long as there is some.
    pub(super) fn resume(&self) {
        while self.any_stalled.load(Ordering::SeqCst) && self.room.is_left() {
            let first = {
                let mut state = self.lock();
                let first = state.stalled.pop_first();
                self.any_stalled.store(!state.stalled.is_empty(), Ordering::SeqCst);
                first
            };
            if let Some((_, stream)) = first {
                stream.resume(self);
            }
        }
    }

    /// Lets the streams of a peer look, one of which has made room for the others.
    pub(super) fn resume_peer(&self, peer: &PeerId) {
        let streams: Vec<_> = {
            let state = self.lock();
            state.peers.get(peer).map(|peer| peer.streams.values().map(|place| place.stream.clone()).collect())
        }
        .unwrap_or_default();
        streams.iter().for_each(|stream| stream.look(self));
    }

    /// A stream has something to take, of which the desk does not know.
    pub(super) fn announce(&self, stream: &Arc<AskedOn>, woken: &mut Woken) {
        let mut state = self.lock();
        // It may have left meanwhile.
        if !state.has(stream) {
            return;
        }
        if let Some(peer) = state.peers.get_mut(&stream.peer) {
            peer.ready.push_back(stream.clone());
        }
        state.settle(stream.peer);
        if state.out < self.max && !state.turns.is_empty() {
            state.takers.wake_into(woken);
        }
    }

    /// The stream whose turn it is. One more request is out now, unless it is [returned](Self::release). `None` once the
    /// desk is closed.
    pub(super) fn poll_next(&self, key: &mut Option<u64>, cx: &Context<'_>) -> Poll<Option<Arc<AskedOn>>> {
        let mut state = self.lock();
        if state.closed {
            return Poll::Ready(None);
        }
        if state.out < self.max
            && let Some(stream) = state.next_turn()
        {
            return Poll::Ready(Some(stream));
        }
        state.takers.wait(key, cx.waker());
        Poll::Pending
    }

    /// A request of a peer is not out any more.
    pub(super) fn release(&self, peer: PeerId) {
        let mut woken = Woken::default();
        {
            let mut state = self.lock();
            state.out -= 1;
            if let Some(entry) = state.peers.get_mut(&peer) {
                entry.out -= 1;
            }
            state.settle(peer);
            if !state.turns.is_empty() {
                state.takers.wake_into(&mut woken);
            }
        }
        woken.wake();
    }

    pub(super) fn forget(&self, key: Option<u64>) {
        self.lock().takers.forget(key);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn has(&self, stream: &AskedOn) -> bool {
        self.peers.get(&stream.peer).is_some_and(|peer| peer.streams.contains_key(&stream.key))
    }

    /// Whom to wake.
    fn leave(&mut self, stream: &Arc<AskedOn>) -> Option<Waker> {
        self.stalled.remove(&stream.stalled.load(Ordering::Relaxed));
        let peer = self.peers.get_mut(&stream.peer)?;
        peer.streams.remove(&stream.key)?;
        peer.ready.retain(|ready| !Arc::ptr_eq(ready, stream));
        let next = peer.parked.pop_front();
        peer.active -= usize::from(next.is_none());
        let listener = next.and_then(|next| {
            self.unparked.push_back(next);
            self.listener.take()
        });
        self.settle(stream.peer);
        listener
    }

    /// Sees to it that a peer has a turn if and only if something of it can be taken. One of which nothing is left is
    /// forgotten.
    fn settle(&mut self, peer: PeerId) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let is_due = !entry.ready.is_empty() && entry.out < self.max_of_peer;
        if !is_due && let Some(turn) = entry.turn.take() {
            self.turns.remove(&turn);
        }
        if is_due && entry.turn.is_none() {
            self.last_number += 1;
            entry.turn = Some(self.last_number);
            self.turns.insert(self.last_number, peer);
        }
        if entry.active == 0 && entry.out == 0 {
            self.peers.remove(&peer);
        }
    }

    /// One more request is out, of the peer whose turn it is.
    fn next_turn(&mut self) -> Option<Arc<AskedOn>> {
        let (_, peer) = self.turns.pop_first()?;
        let entry = self.peers.get_mut(&peer)?;
        entry.turn = None;
        let stream = entry.ready.pop_front()?;
        entry.out += 1;
        self.out += 1;
        self.settle(peer);
        Some(stream)
    }
}
