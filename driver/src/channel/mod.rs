//! Named channels of messages between nodes.
//!
//! What a channel keeps for each peer, and what it reads from each stream, are the machines of [`septa_core::channel`].
//! Here are the tasks that move their bytes: one for each peer that is sent to, one for each inbound stream, and one
//! that takes those in.

mod broadcast;
#[cfg(feature = "zstd")]
mod compression;
mod error;
mod form;
mod inbound;
mod listen;
mod outgoing;
mod send;
mod sending;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
#[cfg(feature = "zstd")]
pub use compression::{CompressionLevel, InvalidCompressionLevel};
pub use error::{ChannelError, SendError, TrySendError};
pub use inbound::MESSAGE_OVERHEAD;
pub use septa_core::channel::{
    ChannelName, Config, DropCounts, DropReason, Epoch, InboxStats, OutboxStats, Payload, Pushed, Watermarks, WhenFull,
};
use septa_core::{PeerId, ProtocolId};

use self::{form::Form, inbound::Inbound, outgoing::Outgoing};
use crate::{Node, waiters::Woken};

/// How a channel is set up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChannelOptions {
    /// The limits for each peer and each stream.
    pub config: Config,
    /// Peers for which messages wait or a stream is open. Stops an application that sends to whoever shows up from
    /// filling memory. As many peers, at most, may have messages here that nobody takes.
    pub max_peers: usize,
    /// Bytes of received messages that wait for the application, of all peers together, each of whom may have
    /// [`max_received_bytes`](Config::max_received_bytes) on each stream. Each message counts for [`MESSAGE_OVERHEAD`]
    /// bytes more. Room is looked for before each chunk of up to 64 KiB that is read: what that completes is
    /// still taken. Beyond, what comes waits in the peers' windows; only of one peer at a time a stream that has ended, and
    /// behind which others of it wait, is read on, by a chunk. Stops many peers at once from filling memory.
    pub max_received_bytes: usize,
    /// How long messages wait for a peer to whom there is no connection. Then they are dropped, and senders that wait are
    /// told. Stops peers that ask something and are gone from filling the channel.
    pub keep: Duration,
    /// Compresses each message for itself with zstd; off unless set. Both ends must have it on, at whatever level: the
    /// messages of a compressed channel travel under a protocol of their own, and there is no falling back.
    ///
    /// **Not for secrets beside data that somebody else can choose.** The length of what is sent, which encryption does not
    /// hide, tells how much of the message repeats itself: who has a part of it repeated by guess learns the secret byte by
    /// byte, as CRIME and BREACH do.
    ///
    /// What waits counts with the bytes that travel, for the [`Watermarks`] too; [`Config::max_message_len`] is for the
    /// messages themselves, at both ends. A message is compressed by whoever sends it, before it takes its place, each time
    /// it is tried, and once for a broadcast; and inflated by whoever takes it. A peer whose message does not inflate to
    /// what it has announced, within the limit, has its stream reset with code 0x1004.
    #[cfg(feature = "zstd")]
    pub compression: Option<CompressionLevel>,
}

impl ChannelOptions {
    fn validate(&self) -> Result<(), ChannelError> {
        self.config.validate()?;
        let counts = [("max_peers", self.max_peers), ("max_received_bytes", self.max_received_bytes)];
        match counts.into_iter().find(|(_, count)| *count == 0) {
            Some((name, _)) => Err(ChannelError::Zero { name }),
            None => Ok(()),
        }
    }
}

impl Default for ChannelOptions {
    fn default() -> Self {
        Self {
            config: Config::default(),
            max_peers: 4096,
            max_received_bytes: 64 * 1024 * 1024,
            keep: Duration::from_secs(600),
            #[cfg(feature = "zstd")]
            compression: None,
        }
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
        /// The connection that it came on. Between two epochs of a peer messages may be missing, and the last of the
        /// older one may come behind the first of the newer one; see [`Channel`].
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
/// the channel dials nobody. Up to the high [`Watermarks`] messages wait for each peer, so that a slow one holds up nobody
/// else; beyond, senders wait, in the order in which they came. What peers send waits in each peer's own window until
/// [`recv`](Self::recv) takes it.
///
/// Delivery is at most once and in order for each [`Epoch`]. Where one connection takes the place of another, as when two
/// peers have dialed each other at once, messages go over the new one from then on, and may overtake the last ones of the
/// old one.
///
/// Dropping the last clone [closes](Self::close) it.
pub struct Channel {
    shared: Arc<ChannelShared>,
}

/// Which streams carry the messages of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    /// Each end sends on the stream that it has opened.
    OneWay,
    /// Both send on the same.
    Shared,
}

/// One channel, shared by its handles and its tasks.
///
/// Of its locks none is held across an await or a system call. That of `peers` may be held for that of one peer, that of a
/// peer for that of `inbound`, and both of these for that of a connection; never the other way round.
struct ChannelShared {
    node: Node,
    protocol: ProtocolId,
    mode: Mode,
    form: Form,
    options: ChannelOptions,
    /// The limits for messages in their form.
    wire: Config,
    handles: AtomicUsize,
    is_closed: AtomicBool,
    peers: Mutex<Peers>,
    inbound: Mutex<Inbound>,
}

/// The peers for which something waits, or to which a stream is open.
#[derive(Default)]
struct Peers {
    of: BTreeMap<PeerId, Arc<Outgoing>>,
    /// What became of the messages for those that are gone.
    past: OutboxStats,
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
        let (name, form) = (ChannelName::new(name)?, Form::of(&options, Mode::OneWay)?);
        self.open_channel(name.protocol(form.variant()), Mode::OneWay, form, options)
    }

    /// Opens a channel of somebody else's protocol, whose messages are framed like those of a named one: by their
    /// length as an unsigned varint.
    ///
    /// Both ends send and read on one stream, which whoever has the first message opens. If both have opened one at
    /// once, each sends on that of the dialer and reads both. A peer that ends its half of a stream is done with it:
    /// the next message opens another one. Messages are in order for each stream.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn shared_channel(&self, protocol: ProtocolId, options: ChannelOptions) -> Result<Channel, ChannelError> {
        let form = Form::of(&options, Mode::Shared)?;
        self.open_channel(protocol, Mode::Shared, form, options)
    }

    fn open_channel(
        &self,
        protocol: ProtocolId,
        mode: Mode,
        form: Form,
        options: ChannelOptions,
    ) -> Result<Channel, ChannelError> {
        options.validate()?;
        let streams = self.accept(protocol.clone())?;
        let shared = Arc::new(ChannelShared {
            node: self.clone(),
            protocol,
            mode,
            inbound: Mutex::new(Inbound::new(&options)),
            wire: form.wire_config(&options.config),
            form,
            options,
            handles: AtomicUsize::new(1),
            is_closed: AtomicBool::new(false),
            peers: Mutex::default(),
        });
        self.spawn("channel", listen::run(shared.clone(), streams));
        Ok(Channel { shared })
    }
}

impl Channel {
    /// The protocol of its streams, which a name stands for.
    pub fn protocol(&self) -> &ProtocolId {
        &self.shared.protocol
    }

    /// Sends a message to a peer: returns once it waits for the stream, and waits itself while too many do. Messages
    /// of one peer are sent in the order in which the futures are first polled. If a future is dropped before it returns,
    /// nothing was sent; one that is neither polled nor dropped holds up those behind it.
    ///
    /// # Errors
    /// See [`SendError`]. Nothing was sent.
    pub async fn send<'m>(&self, peer: PeerId, message: impl Into<Payload<'m>>) -> Result<Pushed, SendError> {
        send::send(&self.shared, peer, &self.shared.encode(message.into())).await
    }

    /// Sends a message to a peer if it need not wait.
    ///
    /// # Errors
    /// See [`TrySendError`]. Nothing was sent.
    pub fn try_send<'m>(&self, peer: PeerId, message: impl Into<Payload<'m>>) -> Result<Pushed, TrySendError> {
        send::try_send(&self.shared, peer, &self.shared.encode(message.into()))
    }

    /// Sends a message to each of `peers` once, to `max_parallel` at a time and at least one, and returns what became of
    /// each: as [`send`](Self::send) does, but waiting `timeout` at most from when its turn comes. Dropping the future
    /// gives up those that wait; others may have been sent.
    ///
    /// A long message that is [shared](Payload::Shared) is not copied. For a peer whose time is over the error is
    /// [`Full`](TrySendError::Full).
    pub async fn broadcast<'m>(
        &self,
        peers: impl IntoIterator<Item = PeerId>,
        message: impl Into<Payload<'m>>,
        timeout: Duration,
        max_parallel: usize,
    ) -> BTreeMap<PeerId, Result<Pushed, TrySendError>> {
        broadcast::broadcast(&self.shared, peers, message.into(), timeout, max_parallel).await
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
        listen::recv(&self.shared).await
    }

    /// What waits for a peer and what became of the rest, since something waits for it or a stream to it is open; `None`
    /// if neither is so.
    pub fn stats(&self, peer: &PeerId) -> Option<OutboxStats> {
        let outgoing = self.shared.lock_peers().of.get(peer).cloned();
        outgoing.map(|outgoing| outgoing.stats())
    }

    /// What a peer has sent, since something of it waits or a stream of it is open; `None` if neither is so.
    pub fn received(&self, peer: &PeerId) -> Option<InboxStats> {
        self.shared.lock_inbound().stats(peer)
    }

    /// What waits for all peers and what became of everything else since the channel was opened; and what has come from
    /// them. Looks at each peer.
    pub fn totals(&self) -> (OutboxStats, InboxStats) {
        let (past, outgoing) = {
            let peers = self.shared.lock_peers();
            (peers.past, peers.of.values().cloned().collect::<Vec<_>>())
        };
        let sent = outgoing.iter().fold(past, |sum, outgoing| sum.plus(&outgoing.stats()));
        (sent, self.shared.lock_inbound().total())
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
        f.debug_struct("Channel").field("protocol", self.protocol()).finish_non_exhaustive()
    }
}

impl ChannelShared {
    /// What goes to `peer`. Must be [started](Outgoing::start) when something was put in.
    fn outgoing(&self, peer: PeerId) -> Result<Arc<Outgoing>, SendError> {
        let mut peers = self.lock_peers();
        // Under the lock under which `close` looks at all of them.
        if self.is_closed() {
            return Err(SendError::Closed { channel: self.protocol.clone() });
        }
        if let Some(outgoing) = peers.of.get(&peer) {
            return Ok(outgoing.clone());
        }
        self.check_peers(&peers)?;
        let outgoing = Arc::new(Outgoing::new(peer, &self.wire));
        peers.of.insert(peer, outgoing.clone());
        Ok(outgoing)
    }

    /// What goes to `peer`, if something does. If nothing does, there is room for it.
    fn find(&self, peer: PeerId) -> Result<Option<Arc<Outgoing>>, SendError> {
        let peers = self.lock_peers();
        match peers.of.get(&peer) {
            Some(outgoing) => Ok(Some(outgoing.clone())),
            None => self.check_peers(&peers).map(|()| None),
        }
    }

    fn check_peers(&self, peers: &Peers) -> Result<(), SendError> {
        let max = self.options.max_peers;
        if peers.of.len() < max {
            return Ok(());
        }
        Err(SendError::TooManyPeers { channel: self.protocol.clone(), max })
    }

    /// The task of `outgoing` ends because there is nothing to do; or `why` says why it ends whatever there is. False if
    /// it does not end.
    fn end_outgoing(&self, outgoing: &Arc<Outgoing>, why: Option<DropReason>) -> bool {
        let mut woken = Woken::default();
        let mut peers = self.lock_peers();
        let ends = match why {
            None => outgoing.retire(&mut woken),
            Some(why) => {
                outgoing.give_up(why, &mut woken);
                true
            }
        };
        if ends && peers.of.get(&outgoing.peer).is_some_and(|known| Arc::ptr_eq(known, outgoing)) {
            peers.of.remove(&outgoing.peer);
            // Senders that waited may not have left yet.
            let mut past = outgoing.stats();
            past.waiting = 0;
            peers.past = peers.past.plus(&past);
        }
        drop(peers);
        woken.wake();
        ends
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    fn close(&self) {
        let mut woken = Woken::default();
        let peers = {
            let peers = self.lock_peers();
            self.is_closed.store(true, Ordering::Release);
            peers.of.clone()
        };
        peers.values().for_each(|outgoing| outgoing.close(&mut woken));
        self.lock_inbound().close(&mut woken);
        woken.wake();
    }

    fn lock_peers(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_inbound(&self) -> MutexGuard<'_, Inbound> {
        self.inbound.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
