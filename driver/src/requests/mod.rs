//! Requests between nodes, and their answers.
//!
//! In the multiplexed mode ([`Node::requests`]) all requests to a peer share one stream, on which answers come in any
//! order. In the mode of other libp2p protocols ([`Node::exchanges`]) each has a stream of its own: one message and the
//! end of the stream in each direction. A handle does the same in both.
//!
//! ```
//! use std::time::Duration;
//!
//! use septa_core::PeerId;
//! use septa_driver::{
//!     Node,
//!     requests::{RequestError, RequestOptions, RequestsError},
//! };
//!
//! /// Answers whatever is asked with its length.
//! async fn answer(node: &Node) -> Result<(), RequestsError> {
//!     let requests = node.requests("length", RequestOptions::default())?;
//!     while let Some(request) = requests.next().await {
//!         let length = request.body().len().to_string();
//!         // If the peer has given up meanwhile, that is its affair.
//!         let _ = request.respond(length.as_bytes());
//!     }
//!     Ok(())
//! }
//!
//! /// Asks a peer, and waits five seconds at most.
//! async fn ask(node: &Node, peer: PeerId) -> Result<(), Box<dyn std::error::Error>> {
//!     let requests = node.requests("length", RequestOptions::default())?;
//!     match requests.request(peer, b"how long?", Duration::from_secs(5)).await {
//!         Ok(length) => println!("{length:?}"),
//!         Err(RequestError::Refused { why, .. }) => println!("it does not say: {why}"),
//!         Err(error) => return Err(error.into()),
//!     }
//!     Ok(())
//! }
//! ```
//!
//! What is pending, and what comes on each stream, are the machines of [`septa_core::channel::rpc`]. Here are the tasks
//! that move their bytes: one for each stream, and one that takes streams in.

mod answering;
mod asking;
mod error;
mod transmit;

use std::{
    collections::{BTreeMap, btree_map},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

pub use answering::Request;
use bytes::Bytes;
pub use error::{Refusal, RequestError, RequestsError, RespondError, Violation};
pub use septa_core::channel::{
    Payload, Watermarks,
    rpc::{ClientStats, Config, ServerStats},
};
use septa_core::{
    PeerId, ProtocolId,
    channel::{ChannelName, Variant},
    connection::Priority,
};

use self::{
    answering::{Desk, Listener},
    asking::Asking,
};
use crate::{Node, broadcast::broadcast, waiters::Woken};

/// How long a stream that has served its purpose waits for the peer's end of it.
const LINGER: Duration = Duration::from_secs(1);
/// Chunks that a task reads before others get their turn. Stops a peer that sends without end what is thrown away.
const ROUNDS: usize = 32;

/// How requests are asked and answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestOptions {
    /// The limits for each stream of requests. With [`exchanges`](Node::exchanges) `max_pending`, `max_waiting` and
    /// `max_answering` are limits for each peer, and the watermarks and what may be held mean nothing. In both modes the
    /// application has at most `max_answering` requests of a peer, those included that it still holds and the peer has
    /// cancelled: one that asks and cancels without end does not occupy it.
    pub config: Config,
    /// The share of the way out that the streams get.
    pub priority: Priority,
    /// Peers that are asked at once, those with an open stream included. Stops an application that asks whoever shows up
    /// from filling memory. Default 4096.
    pub max_peers: usize,
    /// Requests of all peers that the application has taken and not answered. Stops many peers from occupying the
    /// application together, where none of them does so alone; the others wait, and peers take turns. Default 1024.
    pub max_answering_in_all: usize,
    /// Bytes of requests that wait for the application, for each stream, or with [`exchanges`](Node::exchanges) for each
    /// peer, whose requests count from when their lengths are known; the one that reaches this is still taken. Stops
    /// a peer that asks faster than the application takes: of the rest so much is held that cancellations behind it are
    /// heard ([`Config::max_held_bytes`]), which is not counted here; what follows waits in the stream's window. Default
    /// 1 MiB.
    pub max_received_bytes: usize,
    /// The same for all streams together. Stops many peers at once from filling memory. Default 64 MiB.
    pub max_received_bytes_in_all: usize,
    /// Streams of a peer beyond `max_answering` that wait, unread, with [`exchanges`](Node::exchanges). Stops a peer from
    /// filling memory with streams; one more is reset. A peer with the same options asks no more than that: its other
    /// callers wait. Default 64.
    pub max_waiting_streams: usize,
    /// How long a request may take to come in whole, the wait for room included, and how long the peer may take no piece of its answer, with
    /// [`exchanges`](Node::exchanges). Stops a peer that holds places and asks nothing, or reads nothing. Default 10 s.
    pub read_timeout: Duration,
}

impl Default for RequestOptions {
    fn default() -> Self {
        Self {
            config: Config::default(),
            priority: Priority::default(),
            max_peers: 4096,
            max_answering_in_all: 1024,
            max_received_bytes: 1024 * 1024,
            max_received_bytes_in_all: 64 * 1024 * 1024,
            max_waiting_streams: 64,
            read_timeout: Duration::from_secs(10),
        }
    }
}

/// Requests of one kind to and from each peer of a node. Cheap to clone.
///
/// Asking waits for a connection to the peer and dials nobody. Answers go to whoever asked; those that come too late or
/// twice are dropped and counted. Who only asks need not call [`next`](Self::next): what peers ask then waits within
/// limits until they give up.
///
/// Dropping the last clone [closes](Self::close) it.
pub struct Requests {
    shared: Arc<RequestsShared>,
}

/// How requests are laid on streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    /// One stream for each peer and direction.
    Multiplexed,
    /// One for each request.
    Exchange,
}

/// Requests of one kind, shared by their handles and their tasks.
///
/// Of its locks none is held across an await or a system call. That of `peers` may be held for that of one peer, and that
/// of a peer, or of a stream that is answered on, for that of a connection. That of the desk
/// may be held for that of a connection. Under those of peers and streams, what is written may wake the task of a
/// connection and tell the node: a waker must not call back into requests at once.
struct RequestsShared {
    node: Node,
    protocol: ProtocolId,
    mode: Mode,
    options: RequestOptions,
    handles: AtomicUsize,
    is_closed: AtomicBool,
    peers: Mutex<BTreeMap<PeerId, Arc<Asking>>>,
    desk: Desk,
}

impl Node {
    /// Asks and answers requests under a name, all to one peer on one stream (`/septa/rpc/<name>/1.0.0`). Peers may ask
    /// from now on.
    ///
    /// # Errors
    /// See [`RequestsError`].
    pub fn requests(&self, name: &str, options: RequestOptions) -> Result<Requests, RequestsError> {
        let protocol = ChannelName::new(name)?.protocol(Variant::Requests);
        Requests::new(self, protocol, Mode::Multiplexed, options)
    }

    /// Asks and answers requests of a protocol, each on a stream of its own: the message behind its length as a varint,
    /// then the end of the stream; the same back. Peers may ask from now on.
    ///
    /// # Errors
    /// See [`RequestsError`].
    pub fn exchanges(&self, protocol: ProtocolId, options: RequestOptions) -> Result<Requests, RequestsError> {
        Requests::new(self, protocol, Mode::Exchange, options)
    }
}

impl Requests {
    fn new(node: &Node, protocol: ProtocolId, mode: Mode, options: RequestOptions) -> Result<Self, RequestsError> {
        options.config.validate()?;
        let streams = node.accept(protocol.clone())?;
        let shared = Arc::new(RequestsShared {
            node: node.clone(),
            protocol,
            mode,
            desk: Desk::new(
                options.max_answering_in_all,
                options.config.max_answering,
                options.max_received_bytes_in_all,
            ),
            options,
            handles: AtomicUsize::new(1),
            is_closed: AtomicBool::new(false),
            peers: Mutex::default(),
        });
        node.spawn("requests", Listener(shared.clone()).run(streams));
        Ok(Self { shared })
    }

    /// The protocol of its streams.
    pub fn protocol(&self) -> &ProtocolId {
        &self.shared.protocol
    }

    /// Asks a peer and waits for the answer, `timeout` at most for everything: for room, for a connection, for the stream
    /// and for the answer. Beyond the [limits](Config) callers wait, in the order in which their futures are first polled.
    ///
    /// Dropping the future cancels the request: if it was sent, the peer is told. One that is neither polled nor dropped
    /// holds up those behind it.
    ///
    /// # Errors
    /// See [`RequestError`], which says whether the request may have been acted on.
    pub async fn request<'m>(
        &self,
        peer: PeerId,
        body: impl Into<Payload<'m>>,
        timeout: Duration,
    ) -> Result<Bytes, RequestError> {
        asking::request(&self.shared, peer, body.into(), timeout).await
    }

    /// Asks each of `peers` once, `max_parallel` at a time and at least one, and returns what each has answered. Each has
    /// `timeout` from when its turn comes. Dropping the future cancels those that are under way; others are not asked.
    ///
    /// A long `body` is shared by all, not copied.
    pub async fn broadcast(
        &self,
        peers: impl IntoIterator<Item = PeerId>,
        body: Bytes,
        timeout: Duration,
        max_parallel: usize,
    ) -> BTreeMap<PeerId, Result<Bytes, RequestError>> {
        broadcast(peers, max_parallel, |peer| self.request(peer, &body, timeout)).await
    }

    /// The next request of any peer, peers taking turns; `None` once all is closed or the node has ended. May be called by
    /// several tasks. Dropping the future loses nothing.
    ///
    /// Answer each, or drop it, which refuses it: of those that are out, only so many are given out, of each peer and of all
    /// ([`Config::max_answering`], [`RequestOptions::max_answering_in_all`]). One that is cancelled is out until it is
    /// dropped.
    pub async fn next(&self) -> Option<Request> {
        answering::next(&self.shared).await
    }

    /// What is asked of a peer, and what became of the rest on the stream of now; `None` if nothing is asked of it.
    pub fn stats(&self, peer: &PeerId) -> Option<ClientStats> {
        let asking = self.shared.lock_peers().get(peer).cloned();
        asking.map(|asking| asking.stats())
    }

    /// What a peer asks, on its streams of now; `None` if there is none. Being answered are those that the application has
    /// taken; others wait. With [`exchanges`](Node::exchanges) only these two are counted.
    pub fn answering_stats(&self, peer: &PeerId) -> Option<ServerStats> {
        self.shared.desk.stats(peer)
    }

    /// Requests that the application has taken and not answered.
    pub fn answering(&self) -> usize {
        self.shared.desk.out()
    }

    /// Closes all handles. What is asked fails, and peers are told that it is cancelled. Answers that were given still
    /// leave, if the peer takes them within a second; what was not answered is refused. Whoever waits is woken.
    pub fn close(&self) {
        self.shared.close();
    }
}

impl Clone for Requests {
    fn clone(&self) -> Self {
        self.shared.handles.fetch_add(1, Ordering::Relaxed);
        Self { shared: self.shared.clone() }
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        if self.shared.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.close();
        }
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").field("protocol", self.protocol()).finish_non_exhaustive()
    }
}

impl RequestsShared {
    /// What is asked of `peer`.
    fn asking(&self, peer: PeerId) -> Result<Arc<Asking>, RequestError> {
        let mut peers = self.lock_peers();
        // Under the lock under which `close` looks at all of them.
        if self.is_closed.load(Ordering::Acquire) {
            return Err(RequestError::Closed { protocol: self.protocol.clone() });
        }
        let count = peers.len();
        match peers.entry(peer) {
            btree_map::Entry::Occupied(entry) => Ok(entry.get().clone()),
            btree_map::Entry::Vacant(_) if count >= self.options.max_peers => {
                Err(RequestError::TooManyPeers { max: self.options.max_peers })
            }
            btree_map::Entry::Vacant(entry) => {
                Ok(entry.insert(Arc::new(Asking::new(peer, self.mode, &self.options))).clone())
            }
        }
    }

    /// Forgets a peer of which nothing is asked any more.
    fn retire(&self, asking: &Arc<Asking>) {
        let mut peers = self.lock_peers();
        if peers.get(&asking.peer()).is_some_and(|known| Arc::ptr_eq(known, asking)) && asking.retire() {
            peers.remove(&asking.peer());
        }
    }

    fn close(&self) {
        let mut woken = Woken::default();
        let peers = {
            let peers = self.lock_peers();
            self.is_closed.store(true, Ordering::Release);
            peers.clone()
        };
        let error = RequestError::Closed { protocol: self.protocol.clone() };
        peers.values().for_each(|asking| asking.close(&error, &mut woken));
        woken.wake();
        self.desk.close();
    }

    fn lock_peers(&self) -> MutexGuard<'_, BTreeMap<PeerId, Arc<Asking>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
