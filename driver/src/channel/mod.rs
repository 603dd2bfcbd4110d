//! Named channels of messages between nodes.
//!
//! What a channel keeps for each peer, and what it reads from each stream, are the machines of [`septa_core::channel`].
//! Here are the tasks that move their bytes: one for each peer that is sent to, one for each inbound stream, and one
//! that takes those in.

mod error;
mod inbound;
mod listen;
mod outgoing;
mod send;

use std::{
    collections::{BTreeMap, btree_map},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Waker,
};

use bytes::Bytes;
pub use error::{ChannelError, SendError, TrySendError};
pub use septa_core::channel::{
    ChannelName, Config, DropCounts, DropReason, Epoch, OutboxStats, Payload, Pushed, Watermarks, WhenFull,
};
use septa_core::{PeerId, ProtocolId, channel::Variant};

use self::{inbound::Inbound, outgoing::Outgoing};
use crate::{Node, waiters::Woken};

/// How a channel is set up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChannelOptions {
    /// The limits for each peer and each stream.
    pub config: Config,
    /// Peers for which messages wait or a stream is open. Stops an application that sends to whoever shows up from
    /// filling memory.
    pub max_peers: usize,
}

impl Default for ChannelOptions {
    fn default() -> Self {
        Self { config: Config::default(), max_peers: 4096 }
    }
}

/// What a channel brings.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Received {
    /// A message.
    Message {
        /// Who sent it.
        peer: PeerId,
        /// The connection that it came on. Between two epochs of a peer messages may be missing.
        epoch: Epoch,
        /// The message.
        body: Bytes,
    },
    /// The connection was lost while a message of this end was on its way: it will not arrive.
    Lost {
        /// Whom it was for.
        peer: PeerId,
        /// The connection that it was begun on.
        epoch: Epoch,
    },
}

/// A named, bounded and ordered flow of messages to and from each peer of a node. Cheap to clone.
///
/// Messages for a peer wait until there is a connection to it, on which a stream is opened when the first one is sent;
/// the channel dials nobody. Delivery is at most once and in order for each [`Epoch`]. Up to the high
/// [`Watermarks`] messages wait for each peer, so that a slow one holds up nobody else; beyond, senders wait, in the
/// order in which they came. What peers send waits in each peer's own window until [`recv`](Self::recv) takes it.
///
/// Dropping the last clone [closes](Self::close) it.
pub struct Channel {
    shared: Arc<ChannelShared>,
}

/// One channel, shared by its handles and its tasks.
///
/// Of its locks none is held across an await or a system call. That of `peers` may be held for that of one peer, and
/// that of a peer for that of a connection; never the other way round.
struct ChannelShared {
    node: Node,
    name: ChannelName,
    protocol: ProtocolId,
    options: ChannelOptions,
    handles: AtomicUsize,
    is_closed: AtomicBool,
    peers: Mutex<BTreeMap<PeerId, Arc<Outgoing>>>,
    inbound: Mutex<Inbound>,
}

impl Node {
    /// Opens the channel `name` with the usual options.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn channel(&self, name: &str) -> Result<Channel, ChannelError> {
        self.channel_with(name, ChannelOptions::default())
    }

    /// Opens the channel `name`: its messages are taken from now on, and can be sent.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn channel_with(&self, name: &str, options: ChannelOptions) -> Result<Channel, ChannelError> {
        let name = ChannelName::new(name)?;
        options.config.validate()?;
        let protocol = name.protocol(Variant::Messages);
        let streams = self.accept(protocol.clone())?;
        let shared = Arc::new(ChannelShared {
            node: self.clone(),
            name,
            protocol,
            options,
            handles: AtomicUsize::new(1),
            is_closed: AtomicBool::new(false),
            peers: Mutex::default(),
            inbound: Mutex::default(),
        });
        self.spawn("channel", listen::run(shared.clone(), streams));
        Ok(Channel { shared })
    }
}

impl Channel {
    /// Its name.
    pub fn name(&self) -> &ChannelName {
        &self.shared.name
    }

    /// Sends a message to a peer: returns once it waits for the stream, and waits itself while too many do. Messages
    /// of one peer are sent in the order in which the futures are first polled. If a future is dropped before it returns,
    /// nothing was sent; one that is neither polled nor dropped holds up those behind it.
    ///
    /// # Errors
    /// See [`SendError`]. Nothing was sent.
    pub async fn send<'m>(&self, peer: PeerId, message: impl Into<Payload<'m>>) -> Result<Pushed, SendError> {
        send::send(&self.shared, peer, message.into()).await
    }

    /// Sends a message to a peer if it need not wait.
    ///
    /// # Errors
    /// See [`TrySendError`]. Nothing was sent.
    pub fn try_send<'m>(&self, peer: PeerId, message: impl Into<Payload<'m>>) -> Result<Pushed, TrySendError> {
        send::try_send(&self.shared, peer, message.into())
    }

    /// Waits until [`try_send`](Self::try_send) would take a message for the peer. Somebody else may be faster.
    ///
    /// # Errors
    /// The channel is closed.
    pub async fn ready(&self, peer: PeerId) -> Result<(), SendError> {
        send::ready(&self.shared, peer).await
    }

    /// The next message of any peer, each in turn, or the news that one of this end was lost; `None` once the channel
    /// is closed or the node has ended, and all was taken. May be called by several tasks. Dropping the future loses
    /// nothing.
    pub async fn recv(&self) -> Option<Received> {
        inbound::recv(&self.shared).await
    }

    /// What waits for a peer and what became of the rest; `None` if there is nothing for it.
    pub fn stats(&self, peer: &PeerId) -> Option<OutboxStats> {
        let outgoing = self.shared.lock_peers().get(peer).cloned();
        outgoing.map(|outgoing| outgoing.stats())
    }

    /// Closes the channel for all its handles. Messages that wait for a stream that is open still leave, others are
    /// dropped. Whoever waits is woken. Peers that send are told that nobody takes it.
    pub fn close(&self) {
        self.shared.close();
    }
}

impl Clone for Channel {
    fn clone(&self) -> Self {
        self.shared.handles.fetch_add(1, Ordering::Relaxed);
        Self { shared: self.shared.clone() }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if self.shared.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.close();
        }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("name", self.name()).finish_non_exhaustive()
    }
}

impl ChannelShared {
    /// What goes to `peer`. Must be [started](Outgoing::start) when something was put in.
    fn outgoing(&self, peer: PeerId) -> Result<Arc<Outgoing>, SendError> {
        let mut peers = self.lock_peers();
        // Under the lock under which `close` looks at all of them.
        if self.is_closed() {
            return Err(SendError::Closed { name: self.name.clone() });
        }
        let count = peers.len();
        match peers.entry(peer) {
            btree_map::Entry::Occupied(entry) => Ok(entry.get().clone()),
            btree_map::Entry::Vacant(_) if count >= self.options.max_peers => {
                Err(SendError::TooManyPeers { name: self.name.clone(), max: self.options.max_peers })
            }
            btree_map::Entry::Vacant(entry) => {
                Ok(entry.insert(Arc::new(Outgoing::new(peer, &self.options.config))).clone())
            }
        }
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    fn close(&self) {
        let mut woken = Woken::new();
        let peers = {
            let peers = self.lock_peers();
            self.is_closed.store(true, Ordering::Release);
            peers.clone()
        };
        peers.values().for_each(|outgoing| outgoing.close(&mut woken));
        self.lock_inbound().close(&mut woken);
        woken.into_iter().for_each(Waker::wake);
    }

    fn lock_peers(&self) -> MutexGuard<'_, BTreeMap<PeerId, Arc<Outgoing>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_inbound(&self) -> MutexGuard<'_, Inbound> {
        self.inbound.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
