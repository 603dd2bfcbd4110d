//! What peers have sent, until the application takes it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::poll_fn,
    sync::Arc,
    task::{Poll, Waker},
};

use septa_core::{
    ConnectionId, PeerId,
    channel::{Epoch, Inbox, Message},
};

use super::{ChannelShared, Received};
use crate::waiters::{Waiters, Woken};

/// Losses of which the application has not heard, at most; further ones are not told. Stops an application that does
/// not listen from filling memory.
const MAX_LOST: usize = 1024;

/// The streams of a channel that peers have opened, and what came on them. Bounded by the connections of the node, each
/// of which has one at most, and by what an [`Inbox`] holds.
#[derive(Default)]
pub(super) struct Inbound {
    streams: BTreeMap<u64, InboundEntry>,
    last_key: u64,
    /// Connections with a stream whose reader runs.
    connections: BTreeSet<ConnectionId>,
    /// Streams with a message, each once, in the order in which they are served.
    ready: VecDeque<u64>,
    lost: VecDeque<(PeerId, Epoch)>,
    /// Those who wait for a message.
    receivers: Waiters,
    /// The task that takes streams in.
    pub(super) listener: Option<Waker>,
    pub(super) closed: bool,
}

pub(super) struct InboundEntry {
    peer: PeerId,
    connection: ConnectionId,
    pub(super) inbox: Inbox,
    /// The reader, if it waits for room.
    pub(super) reader: Option<Waker>,
    /// It stands in `ready`.
    is_queued: bool,
    /// The reader has ended.
    is_over: bool,
}

impl Inbound {
    /// Takes a stream in; `None` if the connection has one already, or the channel is closed.
    pub(super) fn add(&mut self, peer: PeerId, connection: ConnectionId, inbox: Inbox) -> Option<u64> {
        if self.closed || !self.connections.insert(connection) {
            return None;
        }
        self.last_key += 1;
        let entry = InboundEntry { peer, connection, inbox, reader: None, is_queued: false, is_over: false };
        self.streams.insert(self.last_key, entry);
        Some(self.last_key)
    }

    /// Does something with a stream's inbox, then tells whom it concerns. `None` once the channel is closed.
    pub(super) fn with<T>(&mut self, key: u64, woken: &mut Woken, f: impl FnOnce(&mut InboundEntry) -> T) -> Option<T> {
        let entry = self.streams.get_mut(&key)?;
        let result = f(entry);
        if entry.inbox.is_readable() && !std::mem::replace(&mut entry.is_queued, true) {
            self.ready.push_back(key);
            self.receivers.wake_into(woken);
        }
        Some(result)
    }

    /// A reader has ended. What it has read stays until it is taken.
    pub(super) fn end(&mut self, key: u64) {
        let Some(entry) = self.streams.get_mut(&key) else { return };
        self.connections.remove(&entry.connection);
        entry.is_over = true;
        if !entry.is_queued {
            self.streams.remove(&key);
        }
    }

    pub(super) fn close(&mut self, woken: &mut Woken) {
        self.closed = true;
        woken.extend(self.listener.take());
        woken.extend(self.streams.values_mut().filter_map(|entry| entry.reader.take()));
        self.receivers.wake_into(woken);
    }

    fn recv(&mut self, woken: &mut Woken) -> Option<Received> {
        if let Some((peer, epoch)) = self.lost.pop_front() {
            return Some(Received::Lost { peer, epoch });
        }
        while let Some(key) = self.ready.pop_front() {
            let Some(entry) = self.streams.get_mut(&key) else { continue };
            entry.is_queued = false;
            let taken = entry.inbox.recv();
            let peer = entry.peer;
            // The end of the stream can be read, too, but there is nothing behind it.
            if taken.is_ok() && entry.inbox.is_readable() {
                entry.is_queued = true;
                self.ready.push_back(key);
            } else if entry.is_over {
                self.streams.remove(&key);
            }
            if let Some(entry) = self.streams.get_mut(&key)
                && (entry.inbox.wants_input() || entry.inbox.failure().is_some())
            {
                woken.extend(entry.reader.take());
            }
            if let Ok(Message { epoch, body }) = taken {
                return Some(Received::Message { peer, epoch, body });
            }
        }
        None
    }
}

/// A future's place among those that wait for a message.
struct Receiving<'a> {
    channel: &'a ChannelShared,
    key: Option<u64>,
}

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        self.channel.lock_inbound().receivers.forget(self.key);
    }
}

pub(super) async fn recv(channel: &Arc<ChannelShared>) -> Option<Received> {
    let mut waiting = Receiving { channel, key: None };
    poll_fn(|cx| {
        let mut woken = Woken::new();
        let received = {
            let mut inbound = waiting.channel.lock_inbound();
            match inbound.recv(&mut woken) {
                Some(received) => Poll::Ready(Some(received)),
                None if inbound.closed => Poll::Ready(None),
                None => {
                    inbound.receivers.wait(&mut waiting.key, cx.waker());
                    Poll::Pending
                }
            }
        };
        woken.into_iter().for_each(Waker::wake);
        received
    })
    .await
}

impl ChannelShared {
    /// A message was on its way to `peer` when its stream was lost.
    pub(super) fn tell_lost(&self, peer: PeerId, epoch: Epoch) {
        let mut woken = Woken::new();
        {
            let mut inbound = self.lock_inbound();
            if inbound.lost.len() < MAX_LOST {
                inbound.lost.push_back((peer, epoch));
                inbound.receivers.wake_into(&mut woken);
            }
        }
        woken.into_iter().for_each(Waker::wake);
    }
}
