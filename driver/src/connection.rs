//! The application's handle on a connection.

use std::{fmt, sync::Arc, time::Duration};

use septa_core::{
    ConnectionId, Multiaddr, PeerId, ProtocolId, PublicKey, Role,
    connection::{CloseReason, OpenError, Stats, StreamId},
    protocol::{identify, perf},
};

use crate::{
    error::{IdentifyError, OpenStreamError, PerfError, PingError},
    node::Member,
    services,
    shared::{Handle, Shared},
    stream::Stream,
};

/// An open connection to a peer whose identity is proved. Cheap to clone.
///
/// It closes in good order when it is told to with [`close`](Self::close), or when the last handle on
/// it and on its streams is dropped.
#[derive(Clone)]
pub struct Connection {
    handle: Handle,
    peer: PeerId,
}

impl Connection {
    pub(crate) fn new(handle: Handle, peer: PeerId) -> Self {
        Self { handle, peer }
    }

    /// Which connection of its node this is; `None` if it belongs to none.
    pub fn id(&self) -> Option<ConnectionId> {
        self.handle.shared().member.as_ref().map(Member::id)
    }

    /// Who is at the other end.
    pub fn peer_id(&self) -> PeerId {
        self.peer
    }

    /// The key that the peer proved to have. `None` only if the connection broke down.
    pub fn remote_public_key(&self) -> Option<PublicKey> {
        self.handle.shared().task(|inner| inner.core().ok().and_then(|core| core.remote_public_key()))
    }

    /// The Noise handshake hash, equal on both ends and unique to this connection: what an application
    /// signs to bind its own authentication to it. `None` only if the connection broke down.
    pub fn channel_binding(&self) -> Option<[u8; 32]> {
        self.handle.shared().task(|inner| inner.core().ok().and_then(|core| core.channel_binding()))
    }

    /// Whether this end dialed or listened.
    pub fn role(&self) -> Role {
        self.handle.shared().role
    }

    /// The address of the peer, without its peer id.
    pub fn remote_addr(&self) -> Multiaddr {
        Multiaddr::from_socket_addr(self.handle.shared().remote)
    }

    /// The address of this end.
    pub fn local_addr(&self) -> Multiaddr {
        Multiaddr::from_socket_addr(self.handle.shared().local)
    }

    /// Opens a stream for the first of `protocols` that the peer serves.
    ///
    /// With a single protocol this does not wait for the peer: data may be written at once and leaves
    /// together with the proposal, and a refusal comes out of the stream's first read. With several,
    /// it waits for the peer's choice. It also waits while the peer has too many unanswered streams.
    /// Dropping the future gives the stream up.
    ///
    /// # Errors
    /// See [`OpenStreamError`].
    pub async fn open_stream(&self, protocols: &[ProtocolId]) -> Result<Stream, OpenStreamError> {
        let id = open(self.handle.shared(), protocols).await?;
        let mut stream = Stream::new(self.handle.clone(), id);
        if protocols.len() > 1 {
            stream.negotiated().await?;
        }
        Ok(stream)
    }

    /// The next stream that the peer opened for a protocol which this node serves. Ping, identify and
    /// its push are answered without the application, and so is perf if the endpoint serves it.
    ///
    /// May be called by several tasks, each stream goes to one of them. Dropping the future loses
    /// nothing. On a connection of a [`Node`](crate::Node) none comes: all go to
    /// [`Node::accept`](crate::Node::accept).
    ///
    /// # Errors
    /// The connection is over, for this reason.
    pub async fn accept_stream(&self) -> Result<Stream, CloseReason> {
        let shared = self.handle.shared();
        let next = shared.wait(
            |inner| &mut inner.accepting,
            |inner| match inner.next_inbound() {
                Some(id) => Some(Ok(id)),
                None => inner.reason().map(Err),
            },
        );
        next.await.map(|id| Stream::new(self.handle.clone(), id))
    }

    /// Waits until the connection is over and tells why.
    pub async fn closed(&self) -> CloseReason {
        self.handle.shared().wait(|inner| &mut inner.phase, |inner| inner.over()).await
    }

    /// Why the connection ends or has ended, if it does.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.handle.shared().task(|inner| inner.reason())
    }

    /// Closes in good order: new streams are refused, what was written leaves, then the peer is told
    /// `code` (see [`septa_core::connection::codes::connection`]). Returns at once;
    /// [`closed`](Self::closed) waits. A second call changes nothing.
    pub fn close(&self, code: u32) {
        let now = self.handle.shared().now();
        self.handle.shared().command(|inner| {
            if let Ok(core) = inner.core() {
                core.close(now, code);
            }
        });
    }

    /// Smoothed round-trip time of the connection's own keep-alive pings, once one was answered.
    pub fn rtt(&self) -> Option<Duration> {
        self.handle.shared().task(|inner| inner.core().ok().and_then(|core| core.rtt()))
    }

    /// Counters since the connection was made.
    pub fn stats(&self) -> Stats {
        self.handle.shared().task(|inner| inner.core().map(|core| core.stats()).unwrap_or_default())
    }

    /// Bytes of the buffers of its streams, by capacity, and of the tables that grow with them; see
    /// [`septa_core::Connection::memory_used`]. Blocks that a thread has lent count while the connection has them, so the
    /// figure depends on what else the thread does. Not the sealed bytes that wait for the socket, up to 64 KiB.
    pub fn memory_used(&self) -> usize {
        self.handle.shared().quietly(|inner| inner.core().map(|core| core.memory_used()).unwrap_or_default())
    }

    /// Measures a round trip with the ping protocol, on a stream of its own.
    ///
    /// # Errors
    /// See [`PingError`].
    pub async fn ping(&self) -> Result<Duration, PingError> {
        services::ping(self).await
    }

    /// Asks the peer who it is. All of the answer is a claim but the key, and the addresses of a valid
    /// [`peer_record`](identify::Received::peer_record), which the peer has signed.
    ///
    /// # Errors
    /// See [`IdentifyError`].
    pub async fn identify(&self) -> Result<identify::Received, IdentifyError> {
        services::identify(self).await
    }

    /// What the peer has said of itself so far: in answers to [`identify`](Self::identify), and in what
    /// it has pushed because it had changed. `None` if nothing yet.
    pub fn remote_identify(&self) -> Option<identify::RemoteInfo> {
        self.handle.shared().task(|inner| inner.services().remote_identify().cloned())
    }

    /// Waits until what the peer has said of itself differs from the
    /// [`revision`](identify::RemoteInfo::revision) that is known to the caller, 0 for none. Dropping
    /// the future loses nothing.
    ///
    /// # Errors
    /// The connection is over, for this reason.
    pub async fn remote_identify_after(&self, revision: u64) -> Result<identify::RemoteInfo, CloseReason> {
        let shared = self.handle.shared();
        let later = |inner: &mut crate::inner::Inner| {
            let known = inner.services().remote_identify();
            known.filter(|known| known.revision() > revision).cloned()
        };
        shared
            .wait(
                |inner| &mut inner.services().informed,
                |inner| later(inner).map(Ok).or_else(|| inner.reason().map(Err)),
            )
            .await
    }

    /// Tells the peer who this node is now, as [`Endpoint::push_identify`](crate::Endpoint::push_identify)
    /// does for all peers. Returns at once. False if nothing will be sent: the peer does not speak
    /// identify push, or the connection is ending.
    pub fn push_identify(&self) -> bool {
        services::identify_changed(self.handle.shared())
    }

    /// Measures how fast `upload` bytes go to the peer and `download` bytes come back, with the perf
    /// protocol on a stream of its own. `progress` is called after each chunk.
    ///
    /// # Errors
    /// See [`PerfError`]. Most peers do not serve perf.
    pub async fn perf(
        &self,
        upload: u64,
        download: u64,
        progress: impl FnMut(perf::Progress),
    ) -> Result<perf::Report, PerfError> {
        services::perf(self, upload, download, progress).await
    }

    /// It closes, or another one replaces it: no new stream is opened here.
    pub(crate) fn is_giving_way(&self) -> bool {
        self.handle.shared().quietly(|inner| !inner.core().is_ok_and(|core| core.takes_streams()))
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

/// Opens a stream for the first of `protocols` that the peer serves, once it may have one more.
pub(crate) async fn open(shared: &Arc<Shared>, protocols: &[ProtocolId]) -> Result<StreamId, OpenStreamError> {
    let id = shared.wait(
        |inner| &mut inner.opening,
        |inner| {
            let now = shared.now();
            let opened = match inner.core() {
                Ok(core) => core.open(now, protocols),
                Err(reason) => Err(OpenError::ConnectionLost(reason)),
            };
            match opened {
                Err(OpenError::Blocked) => None,
                opened => Some(opened),
            }
        },
    );
    Ok(id.await?)
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .field("remote", &self.handle.shared().remote)
            .field("close_reason", &self.close_reason())
            .finish_non_exhaustive()
    }
}
