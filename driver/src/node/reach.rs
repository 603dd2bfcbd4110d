//! What a node is asked to do about a peer.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use septa_core::{
    ConnectionId, Multiaddr, PeerId,
    node::{Backoff, Ban, BanSubject, DialError, DialId, Intent, PeerState, Provenance},
};

use super::{
    Node,
    error::{BanError, PeerError, ReachError, ShutDown},
    shared::{NodeShared, State},
};
use crate::connection::Connection;

impl Node {
    /// Takes a peer into the address book, or adds addresses to one that is there, and says what is wanted of it. A
    /// persistent one is dialed at once and whenever it is lost, until [`disconnect`](Self::disconnect) or
    /// [`remove_peer`](Self::remove_peer).
    ///
    /// # Errors
    /// There is no room, the peer is banned or this node itself, or the node was shut down. Nothing changes.
    pub fn add_peer(&self, peer: PeerId, addrs: &[Multiaddr], intent: Intent) -> Result<(), DialError> {
        let added = self.shared.command(|state, now| state.core.add_peer(now, peer, addrs, intent));
        added.unwrap_or(Err(DialError::ShuttingDown))
    }

    /// Takes an address of a peer into the book that somebody else has told.
    ///
    /// # Errors
    /// See [`PeerError`]. Nothing changes.
    pub fn add_addr(&self, peer: PeerId, addr: &Multiaddr, provenance: Provenance) -> Result<(), PeerError> {
        Ok(self.shared.command(|state, now| state.core.add_addr(now, peer, addr, provenance))??)
    }

    /// Keeps a peer in the book, and its connections when others are closed for the watermark; or no longer.
    ///
    /// # Errors
    /// See [`PeerError`]. Nothing changes.
    pub fn protect(&self, peer: PeerId, protected: bool) -> Result<(), PeerError> {
        Ok(self.shared.command(|state, now| state.core.protect(now, peer, protected))??)
    }

    /// Notes something about a peer; nothing, if `value` is empty.
    ///
    /// # Errors
    /// See [`PeerError`]. Nothing changes.
    pub fn set_metadata(&self, peer: PeerId, key: &str, value: &[u8]) -> Result<(), PeerError> {
        Ok(self.shared.command(|state, now| state.core.set_metadata(now, peer, key, value))??)
    }

    /// What was noted about a peer under `key`.
    pub fn metadata(&self, peer: &PeerId, key: &str) -> Option<Vec<u8>> {
        self.shared.look(|state| state.core.book().metadata(peer, key).map(<[u8]>::to_vec))
    }

    /// Gives a peer delays of its own between efforts; those of the configuration again, if `None`. They are not
    /// stored.
    ///
    /// # Errors
    /// See [`PeerError`]. Nothing changes.
    pub fn set_backoff(&self, peer: PeerId, backoff: Option<Backoff>) -> Result<(), PeerError> {
        Ok(self.shared.command(|state, now| state.core.set_backoff(now, peer, backoff))??)
    }

    /// Connects to a peer and waits until it is [established](PeerState::Established). If there is a connection, that is
    /// the one; if one is being made, this joins the effort. Dropping the future does not end the effort:
    /// [`cancel_reconnect`](Self::cancel_reconnect) does.
    ///
    /// # Errors
    /// See [`ReachError`].
    pub async fn connect(&self, peer: PeerId) -> Result<Connection, ReachError> {
        let mut waiting = Reaching::join(&self.shared, peer)?;
        poll_fn(|cx| waiting.poll(cx)).await?;
        // The dialer may take itself for connected before it hears that it is not wanted.
        match self.connection(&peer).map(|connection| (connection.close_reason(), connection)) {
            Some((None, connection)) => Ok(connection),
            Some((Some(reason), _)) => Err(ReachError::Lost { peer, reason: Box::new(reason) }),
            None => Err(ReachError::Ended { peer, state: self.state(&peer) }),
        }
    }

    /// Waits until a peer is [established](PeerState::Established) on another connection than `except`, dialing nobody.
    /// `None` once the node was shut down.
    pub(crate) async fn established(&self, peer: PeerId, except: Option<ConnectionId>) -> Option<Connection> {
        self.shared.look(|state| state.connecting.join(peer));
        let mut waiting = Reaching { shared: &self.shared, peer, dial: None, key: None };
        poll_fn(|cx| {
            let Reaching { shared, key, .. } = &mut waiting;
            shared.look(|state| {
                if state.shut_down {
                    return Poll::Ready(None);
                }
                let id = state.core.connection_to(&peer).filter(|_| state.core.state(&peer) == PeerState::Established);
                match id.filter(|id| Some(*id) != except).and_then(|id| state.connections.get(&id)) {
                    Some(handle) => Poll::Ready(Some(Connection::new(handle.clone(), peer))),
                    None => {
                        state.connecting.wait(peer, key, cx.waker());
                        Poll::Pending
                    }
                }
            })
        })
        .await
    }

    /// [`connect`](Self::connect)s to the peer that `addr` names at its end, and remembers the address. What is wanted
    /// of the peer does not change; one that was not known becomes dormant.
    ///
    /// # Errors
    /// See [`ReachError`].
    pub async fn connect_to(&self, addr: &Multiaddr) -> Result<Connection, ReachError> {
        let peer = addr.peer_id().ok_or_else(|| ReachError::NoPeer { addr: addr.clone() })?;
        let added = self.shared.command(|state, now| {
            if state.core.book().intent(&peer).is_none() {
                return state.core.add_peer(now, peer, std::slice::from_ref(addr), Intent::Dormant);
            }
            // Without room for the address, those that are known must do.
            let _ = state.core.add_addr(now, peer, addr, Provenance::Manual);
            Ok(())
        })?;
        added.map_err(|error| ReachError::Refused { peer, error })?;
        self.connect(peer).await
    }

    /// Gives up the effort to reach a peer. Its connections stay, and so does what is wanted of it: a persistent peer is
    /// tried again when it is next lost.
    ///
    /// # Errors
    /// The node was shut down.
    pub fn cancel_reconnect(&self, peer: PeerId) -> Result<(), ShutDown> {
        self.shared.command(|state, now| state.core.cancel_reconnect(now, peer))
    }

    /// Closes the connections to a peer in good order and makes no more by itself: the peer becomes dormant. Returns at
    /// once.
    ///
    /// # Errors
    /// The node was shut down.
    pub fn disconnect(&self, peer: PeerId) -> Result<(), ShutDown> {
        self.shared.command(|state, now| state.core.disconnect(now, peer))
    }

    /// Closes the connections to a peer and forgets everything about it, but not a ban. Returns at once.
    ///
    /// # Errors
    /// The node was shut down.
    pub fn remove_peer(&self, peer: PeerId) -> Result<(), ShutDown> {
        self.shared.command(|state, now| state.core.remove_peer(now, peer))
    }

    /// Bans a peer or a network for `length`, for ever if `None`. Its connections are closed, and neither side makes new
    /// ones. The peer need not be known.
    ///
    /// # Errors
    /// See [`BanError`]. Nothing changes.
    pub fn ban(&self, subject: impl Into<BanSubject>, length: Option<Duration>) -> Result<(), BanError> {
        let subject = subject.into();
        Ok(self.shared.command(|state, now| state.core.ban(now, subject, length))??)
    }

    /// Lifts a ban and forgives what led to it. False if there was none.
    ///
    /// # Errors
    /// The node was shut down.
    pub fn unban(&self, subject: impl Into<BanSubject>) -> Result<bool, ShutDown> {
        let subject = subject.into();
        self.shared.command(|state, now| state.core.unban(now, subject))
    }

    /// The bans that run now.
    pub fn bans(&self) -> Vec<Ban> {
        self.shared.look(|state| state.core.bans().collect())
    }

    /// What a peer is to this node now.
    pub fn state(&self, peer: &PeerId) -> PeerState {
        self.shared.look(|state| state.core.state(peer))
    }

    /// The peers in the address book, in the order of their ids.
    pub fn known_peers(&self) -> Vec<PeerId> {
        self.shared.look(|state| state.core.book().peers().copied().collect())
    }
}

/// A future that waits until a peer is established.
struct Reaching<'a> {
    shared: &'a Arc<NodeShared>,
    peer: PeerId,
    dial: Option<DialId>,
    key: Option<u64>,
}

impl<'a> Reaching<'a> {
    fn join(shared: &'a Arc<NodeShared>, peer: PeerId) -> Result<Self, ReachError> {
        let dial = shared.command(|state, now| {
            // Before the effort, which may fail at once.
            state.connecting.join(peer);
            let outcome = match state.core.connect(now, peer) {
                Ok(dial) => Ok(Some(dial)),
                Err(DialError::AlreadyConnected) => Ok(None),
                Err(error) => Err(ReachError::Refused { peer, error }),
            };
            if outcome.is_err() {
                state.connecting.leave(peer, None);
            }
            outcome
        })??;
        Ok(Self { shared, peer, dial, key: None })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReachError>> {
        let (peer, dial) = (self.peer, self.dial);
        let now = self.shared.now();
        let (shared, key) = (self.shared, &mut self.key);
        shared.look(|state: &mut State| {
            if state.shut_down {
                return Poll::Ready(Err(ShutDown.into()));
            }
            let failure = dial.and_then(|dial| state.connecting.failure(&peer, dial));
            match (state.core.state(&peer), failure) {
                (PeerState::Established, _) => return Poll::Ready(Ok(())),
                (_, Some(failure)) => {
                    let retry_in = failure.retry_at.map(|at| at.saturating_duration_since(now));
                    return Poll::Ready(Err(ReachError::Failed { peer, attempts: failure.attempts, retry_in }));
                }
                (PeerState::Connecting | PeerState::Connected, None) => {}
                (state, None) => return Poll::Ready(Err(ReachError::Ended { peer, state })),
            }
            state.connecting.wait(peer, key, cx.waker());
            Poll::Pending
        })
    }
}

impl Drop for Reaching<'_> {
    fn drop(&mut self) {
        self.shared.look(|state| state.connecting.leave(self.peer, self.key));
    }
}
