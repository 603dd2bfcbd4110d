//! What peers have sent, until the application takes it.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::Arc,
    task::Waker,
};

use septa_core::{
    ConnectionId, PeerId, Role,
    channel::{Epoch, Inbox, InboxStats, Message},
};

use super::ChannelOptions;
use crate::{
    stream::Stream,
    waiters::{Waiters, Woken},
};

/// Streams of one peer that are read or of which something waits, at most. Two is what one connection needs where both
/// ends send on the same stream; two more, because a peer may be back before all was taken that it had sent. Stops a
/// peer that ends one full stream after the other from filling memory.
const MAX_STREAMS_OF_PEER: usize = 4;
/// What a message that waits is counted for beside its bytes: its place in a queue, and the smallest block, in which it may
/// be alone. Stops many peers from filling memory with messages of a byte or none.
pub const MESSAGE_OVERHEAD: usize = 288;
/// Losses of which the application has not heard, at most; further ones are not told. Stops an application that does
/// not listen from filling memory.
const MAX_LOST: usize = 1024;

/// The streams of a channel that are read, and what came on them.
///
/// Bounded by [`ChannelOptions::max_peers`], by four streams for each of them, by what an [`Inbox`] holds, and, for whole
/// messages, by [`ChannelOptions::max_received_bytes`]. Readers look for room before each chunk, so beyond that there are at
/// most: for each thread of the runtime the messages of one chunk, or the one that a chunk completes; those of a chunk of
/// the one peer that may go on without; and of each stream what was left of its last chunk when its inbox was full.
pub(super) struct Inbound {
    peers: BTreeMap<PeerId, Line>,
    last_key: u64,
    /// Peers with a message to be taken, each once, in the order in which they are served.
    ready: VecDeque<PeerId>,
    lost: VecDeque<(PeerId, Epoch)>,
    /// Those who wait for a message.
    pub(super) receivers: Waiters,
    /// The task that takes streams in.
    pub(super) listener: Option<Waker>,
    pub(super) closed: bool,
    max_peers: usize,
    /// Bytes of whole messages that wait, of all peers, with [`MESSAGE_OVERHEAD`] for each.
    waiting_bytes: usize,
    max_waiting_bytes: usize,
    /// Some reader waits until less than that waits.
    is_stalled: bool,
    /// The one peer of which is read although no more may wait. Were there several, each could add a message.
    excepted: Option<PeerId>,
    /// Another one waits behind which there are messages: it is to read on as soon as there is any room. What waits behind
    /// it is not taken, so that half of the room may never become free.
    is_held_up: bool,
    /// What has come on streams that are gone.
    past: InboxStats,
}

/// The streams of one peer, oldest first.
#[derive(Default)]
struct Line {
    entries: VecDeque<Entry>,
    /// It stands in `ready`.
    is_queued: bool,
}

pub(super) struct Entry {
    key: u64,
    connection: ConnectionId,
    /// Who has opened it.
    opener: Opener,
    pub(super) inbox: Inbox,
    /// `None` once its reader has ended.
    stream: Option<Arc<Stream>>,
    /// This end sends no more on it.
    is_retired: bool,
    /// A message of it was malformed: nothing more of it is taken.
    pub(super) is_violated: bool,
    /// The reader, if it waits for room.
    pub(super) reader: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Opener {
    Own,
    Peer,
}

/// What is taken, in the form in which it came.
pub(super) enum Taken {
    Message { peer: PeerId, key: u64, message: Message },
    Lost { peer: PeerId, epoch: Epoch },
}

/// Why a stream is not taken in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// The channel is closed.
    Closed,
    /// The peer has another one on the same connection, which it has not ended.
    Second,
    /// Of too many streams of this peer, or of too many peers, something was not taken yet.
    Full,
}

impl Entry {
    fn has_messages(&self) -> bool {
        self.inbox.stats().messages > 0
    }

    /// What the messages that wait are counted for.
    fn waiting_bytes(&self) -> usize {
        let InboxStats { messages, bytes, .. } = self.inbox.stats();
        bytes.saturating_add(messages.saturating_mul(MESSAGE_OVERHEAD))
    }

    /// Older than what follows, and not read to its end.
    fn comes_first(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| !stream.is_receiving())
    }

    fn is_usable(&self, connection: ConnectionId, opener: Opener) -> bool {
        self.connection == connection && self.opener == opener && self.stream.is_some() && !self.is_retired
    }
}

/// Where the next message is.
enum Next {
    /// On this stream.
    Waits(usize),
    /// Behind this one, which is not read to its end. Nothing of it waits.
    Behind(usize),
    Nowhere,
}

impl Line {
    /// Where the next message is to be taken from: the oldest stream that has one. One that its peer has ended is read to
    /// its end first, so that what a peer sends on one stream after the other stays in order.
    fn next(&self) -> Next {
        let mut first = None;
        for (index, entry) in self.entries.iter().enumerate() {
            match (entry.has_messages(), first) {
                (true, Some(first)) => return Next::Behind(first),
                (true, None) => return Next::Waits(index),
                (false, None) if entry.comes_first() => first = Some(index),
                (false, _) => {}
            }
        }
        Next::Nowhere
    }

    /// The stream behind which the next message is.
    fn holds_up(&mut self) -> Option<&mut Entry> {
        match self.next() {
            Next::Behind(index) => self.entries.get_mut(index),
            Next::Waits(_) | Next::Nowhere => None,
        }
    }

    fn entry(&mut self, key: u64) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.key == key)
    }
}

impl Inbound {
    pub(super) fn new(options: &ChannelOptions) -> Self {
        Self {
            peers: BTreeMap::new(),
            last_key: 0,
            ready: VecDeque::new(),
            lost: VecDeque::new(),
            receivers: Waiters::default(),
            listener: None,
            closed: false,
            max_peers: options.max_peers,
            waiting_bytes: 0,
            max_waiting_bytes: options.max_received_bytes,
            is_stalled: false,
            excepted: None,
            is_held_up: false,
            past: InboxStats::default(),
        }
    }

    /// A stream is read from now on. Returns its key.
    pub(super) fn add(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        opener: Opener,
        inbox: Inbox,
        stream: &Arc<Stream>,
    ) -> Result<u64, Refused> {
        if self.closed {
            return Err(Refused::Closed);
        }
        if self.peers.len() >= self.max_peers && !self.peers.contains_key(&peer) {
            return Err(Refused::Full);
        }
        let line = self.peers.entry(peer).or_default();
        let is_open = |entry: &Entry| entry.stream.as_ref().is_some_and(|stream| stream.is_receiving());
        let mut theirs = line.entries.iter().filter(|entry| entry.opener == Opener::Peer);
        if opener == Opener::Peer && theirs.any(|entry| entry.connection == connection && is_open(entry)) {
            return Err(Refused::Second);
        }
        if line.entries.len() >= MAX_STREAMS_OF_PEER {
            return Err(Refused::Full);
        }
        self.last_key += 1;
        line.entries.push_back(Entry {
            key: self.last_key,
            connection,
            opener,
            inbox,
            stream: Some(stream.clone()),
            is_retired: false,
            is_violated: false,
            reader: None,
        });
        Ok(self.last_key)
    }

    /// Whether the reader of a stream may read on. If not, it is woken when it may. Without room still one peer's may that
    /// holds up others: of what waits behind it nothing can be taken, and no room made, before it has come to its end.
    pub(super) fn has_room(&mut self, peer: &PeerId, key: u64, woken: &mut Woken) -> bool {
        if self.waiting_bytes < self.max_waiting_bytes {
            self.excepted = None;
            return true;
        }
        self.is_stalled = true;
        let Some(first) = self.peers.get_mut(peer).and_then(Line::holds_up) else { return false };
        if first.key != key {
            // It may have come to hold up others while it slept, and nobody else would tell it.
            woken.extend(first.reader.take());
            return false;
        }
        let is_excepted = *self.excepted.get_or_insert(*peer) == *peer;
        self.is_held_up |= !is_excepted;
        is_excepted
    }

    /// Wakes whoever may read on, behind anything that may have made room or has ended what held up others.
    fn wake_for_room(&mut self, woken: &mut Woken) {
        if self.is_stalled && self.waiting_bytes <= self.max_waiting_bytes / 2 {
            (self.is_stalled, self.is_held_up) = (false, false);
            return self.wake_readers(woken);
        }
        // If nothing is left to be taken of the peer that is excepted, it is another one's turn.
        let excepted = self.excepted.map(|peer| self.peers.get(&peer));
        let is_anybodys_turn =
            excepted.is_some_and(|line| line.is_none_or(|line| matches!(line.next(), Next::Nowhere)));
        if is_anybodys_turn {
            self.excepted = None;
        }
        let has_some_room = self.waiting_bytes < self.max_waiting_bytes;
        if (has_some_room || is_anybodys_turn) && mem::take(&mut self.is_held_up) {
            let first = self.peers.values_mut().filter_map(Line::holds_up);
            woken.extend(first.filter_map(|entry| entry.reader.take()));
        }
    }

    pub(super) fn entry(&mut self, peer: &PeerId, key: u64) -> Option<&mut Entry> {
        self.peers.get_mut(peer)?.entry(key)
    }

    /// Does something with a stream's inbox, then tells whom it concerns.
    pub(super) fn with<T>(
        &mut self,
        peer: &PeerId,
        key: u64,
        woken: &mut Woken,
        f: impl FnOnce(&mut Entry) -> T,
    ) -> Option<T> {
        let entry = self.entry(peer, key)?;
        let before = entry.waiting_bytes();
        let result = f(entry);
        let (after, has_messages) = (entry.waiting_bytes(), entry.has_messages());
        self.waiting_bytes = (self.waiting_bytes + after).saturating_sub(before);
        if has_messages {
            self.enqueue(peer, woken);
        }
        Some(result)
    }

    /// A reader has ended. What it has read stays until it is taken.
    pub(super) fn end(&mut self, peer: &PeerId, key: u64, woken: &mut Woken) {
        let Some(entry) = self.entry(peer, key) else { return };
        // The reader still has it, so that it is not dropped here.
        entry.stream = None;
        self.tidy(peer);
        self.wake_for_room(woken);
        // What is behind it may be taken now.
        self.enqueue(peer, woken);
    }

    /// The stream to send on, where both ends send on the same: of two that were opened at once, that of the connection's
    /// dialer.
    pub(super) fn preferred(&self, peer: &PeerId, connection: ConnectionId, role: Role) -> Option<&Arc<Stream>> {
        let line = self.peers.get(peer)?;
        let openers = match role {
            Role::Dialer => [Opener::Own, Opener::Peer],
            Role::Listener => [Opener::Peer, Opener::Own],
        };
        let usable = |opener| line.entries.iter().find(|entry| entry.is_usable(connection, opener));
        openers.into_iter().find_map(usable).and_then(|entry| entry.stream.as_ref())
    }

    /// This end sends no more on a stream. It may still be read.
    pub(super) fn retire(&mut self, peer: &PeerId, stream: &Arc<Stream>) {
        let Some(line) = self.peers.get_mut(peer) else { return };
        for entry in &mut line.entries {
            entry.is_retired |= entry.stream.as_ref().is_some_and(|other| Arc::ptr_eq(other, stream));
        }
    }

    pub(super) fn close(&mut self, woken: &mut Woken) {
        self.closed = true;
        woken.extend(self.listener.take());
        self.wake_readers(woken);
        self.receivers.wake_into(woken);
    }

    pub(super) fn recv(&mut self, woken: &mut Woken) -> Option<Taken> {
        if let Some((peer, epoch)) = self.lost.pop_front() {
            return Some(Taken::Lost { peer, epoch });
        }
        while let Some(peer) = self.ready.pop_front() {
            let Some(line) = self.peers.get_mut(&peer) else { continue };
            line.is_queued = false;
            let Next::Waits(index) = line.next() else {
                woken.extend(line.holds_up().and_then(|entry| entry.reader.take()));
                continue;
            };
            let Some(entry) = line.entries.get_mut(index) else { continue };
            let key = entry.key;
            let before = entry.waiting_bytes();
            let taken = entry.inbox.recv();
            self.waiting_bytes = (self.waiting_bytes + entry.waiting_bytes()).saturating_sub(before);
            if entry.inbox.wants_input() || entry.inbox.failure().is_some() {
                woken.extend(entry.reader.take());
            }
            let is_over = entry.stream.is_none() && !entry.has_messages();
            if entry.has_messages() || line.entries.len() > 1 {
                line.is_queued = true;
                self.ready.push_back(peer);
            }
            if is_over {
                self.tidy(&peer);
            }
            self.wake_for_room(woken);
            if let Ok(message) = taken {
                return Some(Taken::Message { peer, key, message });
            }
        }
        None
    }

    /// A message of a stream was malformed. What came behind it is dropped, and its reader ends the stream.
    pub(super) fn violated(&mut self, peer: &PeerId, key: u64, woken: &mut Woken) {
        let reader = self.with(peer, key, woken, |entry| {
            entry.is_violated = true;
            while entry.inbox.recv().is_ok() {}
            entry.reader.take()
        });
        woken.extend(reader.flatten());
        self.tidy(peer);
        self.wake_for_room(woken);
        // What is behind it may be taken now.
        self.enqueue(peer, woken);
    }

    pub(super) fn lose(&mut self, peer: PeerId, epoch: Epoch, woken: &mut Woken) {
        if self.lost.len() < MAX_LOST && !self.closed {
            self.lost.push_back((peer, epoch));
            self.receivers.wake_into(woken);
        }
    }

    /// What has come from a peer on streams of which something waits, or which are open.
    pub(super) fn stats(&self, peer: &PeerId) -> Option<InboxStats> {
        let line = self.peers.get(peer)?;
        Some(line.entries.iter().fold(InboxStats::default(), |sum, entry| sum.plus(entry.inbox.stats())))
    }

    /// What has come from all peers.
    pub(super) fn total(&self) -> InboxStats {
        let entries = self.peers.values().flat_map(|line| &line.entries);
        entries.fold(self.past, |sum, entry| sum.plus(entry.inbox.stats()))
    }

    /// Has a peer's messages taken, if there are any.
    fn enqueue(&mut self, peer: &PeerId, woken: &mut Woken) {
        let Some(line) = self.peers.get_mut(peer) else { return };
        match line.next() {
            Next::Waits(_) => {}
            Next::Behind(_) => return woken.extend(line.holds_up().and_then(|entry| entry.reader.take())),
            Next::Nowhere => return,
        }
        if !mem::replace(&mut line.is_queued, true) {
            self.ready.push_back(*peer);
        }
        self.receivers.wake_into(woken);
    }

    /// Forgets the streams that are over and of which nothing waits.
    fn tidy(&mut self, peer: &PeerId) {
        let Some(line) = self.peers.get_mut(peer) else { return };
        let past = &mut self.past;
        line.entries.retain(|entry| {
            let stays = entry.stream.is_some() || entry.has_messages();
            if !stays {
                *past = past.plus(entry.inbox.stats());
            }
            stays
        });
        if line.entries.is_empty() {
            if line.is_queued {
                // Otherwise it would have two turns in each round if it is back before the next.
                self.ready.retain(|queued| queued != peer);
            }
            self.peers.remove(peer);
        }
    }

    fn wake_readers(&mut self, woken: &mut Woken) {
        let entries = self.peers.values_mut().flat_map(|line| &mut line.entries);
        woken.extend(entries.filter_map(|entry| entry.reader.take()));
    }
}
