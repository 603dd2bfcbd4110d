//! Where the application takes requests: peers in turn, and not more than it may have at once.

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
    room::{Room, RoomOfAll},
    stream::{AskedOn, Ending},
};
use crate::{
    node::InboundStream,
    waiters::{Waiters, Woken},
};

/// The streams on which peers ask, and whose turn it is.
///
/// Bounded by the connections of the node and their streams: a peer has one stream for each connection, or as many as
/// it may, and a bounded number that waits.
pub(in super::super) struct Desk {
    /// Requests that may be out.
    max: usize,
    room: Arc<RoomOfAll>,
    /// Streams wait for room. Changed under the lock, read without it.
    any_stalled: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
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
    turn: Option<u64>,
}

/// One stream that is read.
struct Place {
    connection: ConnectionId,
    stream: Arc<AskedOn>,
}

/// What becomes of a stream that a peer has opened.
pub(super) enum Offer {
    Begin(InboundStream),
    /// It waits until another one of the peer is over.
    Parked,
    Refused(InboundStream),
}

/// A stream has its place.
pub(super) struct Admitted {
    pub(super) key: u64,
    /// The stream that had it before.
    pub(super) older: Option<Arc<AskedOn>>,
}

impl Desk {
    /// `max` requests may be out, and so many bytes wait.
    pub(in super::super) fn new(max: usize, max_waiting_bytes: usize) -> Self {
        Self {
            max,
            room: Arc::new(RoomOfAll::new(max_waiting_bytes)),
            any_stalled: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// The room of one stream.
    pub(super) fn room(&self, max: usize) -> Room {
        Room::new(&self.room, max)
    }

    pub(in super::super) fn stats(&self, peer: &PeerId) -> Option<ServerStats> {
        let streams: Vec<_> = {
            let state = self.lock();
            state.peers.get(peer)?.streams.values().map(|place| place.stream.clone()).collect()
        };
        let mut stats = ServerStats::default();
        streams.iter().for_each(|stream| stream.add_stats(&mut stats));
        Some(stats)
    }

    pub(in super::super) fn out(&self) -> usize {
        self.lock().out
    }

    pub(in super::super) fn close(&self) {
        let mut woken = Woken::new();
        let (streams, parked) = {
            let mut state = self.lock();
            state.closed = true;
            woken.extend(state.listener.take());
            state.takers.wake_into(&mut woken);
            let mut parked = Vec::new();
            let mut streams = Vec::new();
            for peer in state.peers.values_mut() {
                parked.extend(peer.parked.drain(..));
                streams.extend(peer.streams.values().map(|place| place.stream.clone()));
            }
            (streams, parked)
        };
        drop(parked);
        streams.iter().for_each(|stream| stream.close());
        woken.into_iter().for_each(Waker::wake);
    }

    /// Ready if the desk is closed. If not, the listener is woken when it is.
    pub(super) fn poll_closed(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.closed {
            return Poll::Ready(());
        }
        state.listener = Some(cx.waker().clone());
        Poll::Pending
    }

    /// A place for a stream, if its peer has less than `max_active`; if not, it is one of at most `max_parked` that wait.
    pub(super) fn offer(&self, inbound: InboundStream, max_active: usize, max_parked: usize) -> Offer {
        let mut state = self.lock();
        if state.closed {
            return Offer::Refused(inbound);
        }
        let peer = state.peers.entry(inbound.peer).or_default();
        if peer.active < max_active {
            peer.active += 1;
            Offer::Begin(inbound)
        } else if peer.parked.len() < max_parked {
            peer.parked.push_back(inbound);
            Offer::Parked
        } else {
            Offer::Refused(inbound)
        }
    }

    /// Takes a stream in that has a place. If it is to be the only one of its connection, the one before has to go. `None`
    /// if the desk is closed.
    pub(super) fn admit(&self, connection: ConnectionId, is_only: bool, stream: &Arc<AskedOn>) -> Option<Admitted> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        state.last_number += 1;
        let key = state.last_number;
        let peer = state.peers.entry(stream.peer).or_default();
        let is_same = |place: &&Place| is_only && place.connection == connection;
        // Those before it were ended when it came.
        let older = peer.streams.values().rev().find(is_same).map(|place| place.stream.clone());
        peer.streams.insert(key, Place { connection, stream: stream.clone() });
        Some(Admitted { key, older })
    }

    /// A stream is over, and leaves its place to the one that is returned.
    pub(super) fn leave(&self, stream: &Arc<AskedOn>, key: u64) -> Option<InboundStream> {
        let next = self.lock().leave(stream, key);
        self.resume();
        next
    }

    /// A stream waits for room that others take.
    pub(super) fn stall(&self, stream: &Arc<AskedOn>) {
        {
            let mut state = self.lock();
            state.last_number += 1;
            let number = state.last_number;
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

    /// A stream has something to take, of which the desk does not know.
    pub(super) fn announce(&self, stream: &Arc<AskedOn>, woken: &mut Woken) {
        let mut state = self.lock();
        let Some(peer) = state.peers.get_mut(&stream.peer) else { return };
        peer.ready.push_back(stream.clone());
        if peer.turn.is_none() {
            state.queue(stream.peer);
        }
        if state.out < self.max {
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
            state.out += 1;
            return Poll::Ready(Some(stream));
        }
        state.takers.wait(key, cx.waker());
        Poll::Pending
    }

    /// A request is not out any more.
    pub(super) fn release(&self) {
        let mut woken = Woken::new();
        {
            let mut state = self.lock();
            state.out -= 1;
            if !state.turns.is_empty() {
                state.takers.wake_into(&mut woken);
            }
        }
        woken.into_iter().for_each(Waker::wake);
    }

    pub(super) fn forget(&self, key: Option<u64>) {
        self.lock().takers.forget(key);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn leave(&mut self, stream: &Arc<AskedOn>, key: u64) -> Option<InboundStream> {
        self.stalled.remove(&stream.stalled.load(Ordering::Relaxed));
        let peer = self.peers.get_mut(&stream.peer)?;
        peer.streams.remove(&key);
        peer.ready.retain(|ready| !Arc::ptr_eq(ready, stream));
        let next = peer.parked.pop_front();
        peer.active -= usize::from(next.is_none());
        let is_gone = peer.active == 0;
        let stale = if is_gone || peer.ready.is_empty() { peer.turn.take() } else { None };
        if is_gone {
            self.peers.remove(&stream.peer);
        }
        if let Some(turn) = stale {
            self.turns.remove(&turn);
        }
        next
    }

    fn queue(&mut self, peer: PeerId) {
        self.last_number += 1;
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.turn = Some(self.last_number);
            self.turns.insert(self.last_number, peer);
        }
    }

    fn next_turn(&mut self) -> Option<Arc<AskedOn>> {
        loop {
            let (_, peer) = self.turns.pop_first()?;
            let Some(entry) = self.peers.get_mut(&peer) else { continue };
            entry.turn = None;
            let stream = entry.ready.pop_front();
            if !entry.ready.is_empty() {
                self.queue(peer);
            }
            if stream.is_some() {
                return stream;
            }
        }
    }
}

impl Admitted {
    /// The peer has replaced a stream: it does not wait for answers on the older one.
    pub(super) fn end_older(&self) {
        if let Some(older) = &self.older {
            older.end(Ending::Lost);
        }
    }
}
