//! Many peers on one runtime: the async glue around [`septa_core::node`].
//!
//! A [`Node`] decides whom to reach and when, whom to let in, and which of two connections stays; all of that is in the
//! core, and what it decides is told as [`Event`]s. Here are the tasks that do it: one for the node, one for each
//! connection, listener and dial, and short ones that ask each new peer who it is.

mod attempt;
mod builder;
mod connecting;
mod error;
mod health;
mod identify;
mod incoming;
mod keeper;
mod lag;
mod reach;
mod shared;
mod subscription;
mod task;

use std::{fmt, future::poll_fn, sync::Arc, task::Poll, time::Duration};

pub use builder::{NodeBuilder, NodeLimits, Recollection};
pub use error::{AcceptError, BanError, BuildError, OpenError, PeerError, ReachError, ShutDown};
pub use health::{Health, ListenerHealth, MAX_STORE_TIME};
pub use incoming::{InboundStream, IncomingStreams};
pub use septa_core::node::{
    Backoff, Ban, BanSubject, Config, DebugSnapshot, DialError, DialFailure, Event, EventKind, FailedAttempt, Intent,
    NodeStats, PeerInfo, PeerState, Provenance,
};
use septa_core::{Identity, Multiaddr, PeerId, ProtocolId, PublicKey};
pub(crate) use shared::{Member, NodeShared};
pub use subscription::{EventFilter, MAX_WAITING_EVENTS, Subscription};

use crate::{
    connection::Connection,
    error::{ListenError, OpenStreamError},
    runtime::Runtime,
    stream::Stream,
    waiters::Woken,
};

/// Tries to open a stream while its connection gives way to another one.
const OPEN_TRIES: usize = 3;

/// One node on the network: an identity, the peers that it knows, and the connections to them. Cheap to clone.
///
/// Every method is safe to cancel: dropping its future loses nothing and leaves nothing behind, and what was asked for
/// still happens where its description says so. Dropping the last clone stops nothing; [`shutdown`](Self::shutdown) ends
/// everything, and after it every other method fails with a typed error.
#[derive(Clone)]
pub struct Node {
    shared: Arc<NodeShared>,
    recollection: Arc<Recollection>,
}

impl Node {
    /// Starts to configure a node that proves `identity` to its peers.
    pub fn builder(identity: Identity) -> NodeBuilder {
        NodeBuilder::new(identity)
    }

    fn new(shared: Arc<NodeShared>, recollection: Recollection) -> Self {
        Self { shared, recollection: Arc::new(recollection) }
    }

    /// Who this node is.
    pub fn peer_id(&self) -> PeerId {
        self.shared.endpoint.credentials.peer_id()
    }

    /// The key behind the peer id.
    pub fn public_key(&self) -> &PublicKey {
        self.shared.endpoint.credentials.public_key()
    }

    /// The runtime that everything runs on.
    pub fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.shared.endpoint.runtime
    }

    /// What the node found in its storage when it was made.
    pub fn recollection(&self) -> &Recollection {
        &self.recollection
    }

    /// Listens on `/ip4/../tcp/..` or `/ip6/../tcp/..`; port 0 chooses a free one. Returns the address with its real
    /// port and this node's peer id. When this returns, connections are being accepted, until the node is shut down
    /// or told to [stop](Self::stop_listening).
    ///
    /// # Errors
    /// The address is unsuitable or taken, or the node was shut down. Nothing was started.
    pub async fn listen(&self, addr: &Multiaddr) -> Result<Multiaddr, ListenError> {
        let listener = self.shared.endpoint.listen(addr, Some(&self.shared)).await?;
        let local = listener.local_addr();
        // If it is not kept, it is dropped when no lock is held.
        let mut listener = Some(listener);
        let kept = self.shared.command(|state, _| state.listeners.extend(listener.take()));
        kept.map_err(|ShutDown| ListenError::ShutDown)?;
        Ok(self.with_peer(local))
    }

    /// Stops listening on an address that [`listen`](Self::listen) returned. Connections stay. False if it was not
    /// listened on.
    pub fn stop_listening(&self, addr: &Multiaddr) -> bool {
        let stopped = self.shared.look(|state| {
            let index = state.listeners.iter().position(|listener| self.with_peer(listener.local_addr()) == *addr)?;
            Some(state.listeners.remove(index))
        });
        stopped.is_some()
    }

    /// The addresses that are listened on.
    pub fn listen_addrs(&self) -> Vec<Multiaddr> {
        let addrs: Vec<Multiaddr> =
            self.shared.look(|state| state.listeners.iter().map(|listener| listener.local_addr()).collect());
        addrs.into_iter().map(|addr| self.with_peer(addr)).collect()
    }

    fn with_peer(&self, addr: Multiaddr) -> Multiaddr {
        let without = addr.clone();
        addr.with_peer(self.peer_id()).unwrap_or(without)
    }

    /// A connection to a peer that is open and to stay, if there is one. It belongs to the node: dropping it closes
    /// nothing.
    pub fn connection(&self, peer: &PeerId) -> Option<Connection> {
        let handle = self.shared.look(|state| {
            let id = state.core.connection_to(peer)?;
            state.connections.get(&id).cloned()
        });
        handle.map(|handle| Connection::new(handle, *peer))
    }

    /// Opens a stream to a peer for the first of `protocols` that it serves; see [`Connection::open_stream`]. While one
    /// of several connections to the peer gives way, the stream goes to the one that stays.
    ///
    /// # Errors
    /// See [`OpenError`]. Connect first.
    pub async fn open_stream(&self, peer: &PeerId, protocols: &[ProtocolId]) -> Result<Stream, OpenError> {
        let peer = *peer;
        let mut failed = None;
        for _ in 0..OPEN_TRIES {
            if self.shared.look(|state| state.shut_down) {
                return Err(ShutDown.into());
            }
            let Some(connection) = self.connection(&peer) else { break };
            if failed.as_ref().is_some_and(|(_, id)| *id == connection.id()) {
                break;
            }
            match connection.open_stream(protocols).await {
                Ok(stream) => return Ok(stream),
                Err(error @ (OpenStreamError::Closing | OpenStreamError::ConnectionLost(_))) => {
                    failed = Some((error, connection.id()));
                }
                Err(error) => return Err(OpenError::Stream { peer, error }),
            }
        }
        Err(failed.map_or(OpenError::NotConnected { peer }, |(error, _)| OpenError::Stream { peer, error }))
    }

    /// Serves a protocol from now on, on every connection, and hands out the streams that peers open for it. Peers that
    /// speak identify push are told.
    ///
    /// # Errors
    /// It is served already, or the node was shut down.
    pub fn accept(&self, protocol: ProtocolId) -> Result<IncomingStreams, AcceptError> {
        if self.shared.endpoint.serves_itself(&protocol) {
            return Err(AcceptError::Taken { protocol });
        }
        IncomingStreams::new(&self.shared, protocol)
    }

    /// The next connection that is open and on which the application is to make its handshake, with
    /// [`Connection::finalize`] or [`Connection::reject`] at its end. Only with
    /// [`HandshakeMode::Application`](septa_core::connection::HandshakeMode::Application). Dropping the future loses
    /// nothing; dropping the connection leaves its handshake to the deadline.
    ///
    /// # Errors
    /// The node was shut down.
    pub async fn next_handshake(&self) -> Result<Connection, ShutDown> {
        let mut waiting = Handshaking { shared: &self.shared, key: None };
        poll_fn(|cx| {
            waiting.shared.look(|state| {
                if state.shut_down {
                    return Poll::Ready(Err(ShutDown));
                }
                let Some((handle, peer)) = state.handshakes.pop_front() else {
                    state.handshaking.wait(&mut waiting.key, cx.waker());
                    return Poll::Pending;
                };
                Poll::Ready(Ok(Connection::new(handle, peer)))
            })
        })
        .await
    }

    /// Runs a task of the node: it ends before the node does.
    pub(crate) fn spawn(&self, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        self.shared.endpoint.spawn(name, task);
    }

    /// All events from now on.
    pub fn events(&self) -> Subscription {
        self.subscribe(EventFilter::new())
    }

    /// The events from now on that `filter` lets through.
    pub fn subscribe(&self, filter: EventFilter) -> Subscription {
        Subscription::new(&self.shared, filter)
    }

    /// Stops listening and dialing, closes every connection in good order, stores what is remembered, and cuts off what
    /// is left at `deadline` from now. When this returns, no task of the node is alive.
    ///
    /// May be called again and by many at once; the earliest deadline counts. Dropping the future stops nothing that was
    /// begun. Every other method fails from now on.
    pub async fn shutdown(&self, deadline: Duration) {
        let mut woken = Woken::default();
        let listeners = self.shared.tell(|state, now| {
            state.shut_down = true;
            state.handshaking.wake_into(&mut woken);
            if !state.broken {
                state.core.shutdown(now);
            }
            std::mem::take(&mut state.listeners)
        });
        drop(listeners);
        self.shared.incoming.close();
        woken.wake();
        let _ = self.shared.endpoint.begin_shutdown();
        let cut = || self.shared.tell(|state, _| state.is_cut = true);
        self.shared.endpoint.idle_or_cut(deadline, cut).await;
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("peer", &self.peer_id()).finish_non_exhaustive()
    }
}

/// A future's place among those that wait for a handshake.
struct Handshaking<'a> {
    shared: &'a NodeShared,
    key: Option<u64>,
}

impl Drop for Handshaking<'_> {
    fn drop(&mut self) {
        self.shared.look(|state| state.handshaking.forget(self.key));
    }
}
