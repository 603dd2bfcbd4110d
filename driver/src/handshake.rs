//! The application's handshake on a connection.

use bytes::Bytes;
use septa_core::{
    ProtocolId, ProtocolSet,
    channel::handshake::Rejection,
    connection::{CloseReason, HandshakeError},
};

use crate::{connection::Connection, inner::Inner};

/// With [`HandshakeMode::Application`](septa_core::connection::HandshakeMode::Application), both applications say who
/// they are in words of their own, and accept or reject each other, before anything but ping and identify is served.
/// All of it must be done by the deadline of that mode.
impl Connection {
    /// Sends a message of this application, which the peer's [receives](Self::handshake_recv). Of at most
    /// [`MAX_MESSAGE_LEN`](septa_core::channel::handshake::MAX_MESSAGE_LEN) bytes; there may be
    /// [`MAX_MESSAGES`](septa_core::channel::handshake::MAX_MESSAGES) each way.
    ///
    /// # Errors
    /// See [`HandshakeError`]. Nothing was sent.
    pub fn handshake_send(&self, message: &[u8]) -> Result<(), HandshakeError> {
        self.in_handshake(|core, now| core.handshake_send(now, message))
    }

    /// The next message of the peer's application; `None` once the handshake is done. Dropping the future loses
    /// nothing.
    ///
    /// # Errors
    /// The connection is over, for this reason. What came before was received already.
    pub async fn handshake_recv(&self) -> Result<Option<Bytes>, CloseReason> {
        let next = self.handle().shared().wait(
            |inner| &mut inner.handshaking,
            |inner| {
                let (message, is_ready) = match inner.core() {
                    Ok(core) => (core.handshake_recv(), core.is_ready()),
                    Err(reason) => return Some(Err(reason)),
                };
                match (message, inner.reason()) {
                    (Some(message), _) => Some(Ok(Some(message))),
                    (None, Some(reason)) => Some(Err(reason)),
                    (None, None) => is_ready.then_some(Ok(None)),
                }
            },
        );
        next.await
    }

    /// Names the protocols that the peer may use once the handshake is done, besides ping and identify. That holds as
    /// long as the connection does, whatever is served to others later. Without it, it may use all that are served.
    ///
    /// # Errors
    /// See [`HandshakeError`]. Nothing has changed.
    pub fn prepare(&self, protocols: impl IntoIterator<Item = ProtocolId>) -> Result<(), HandshakeError> {
        let protocols: ProtocolSet = protocols.into_iter().collect();
        self.in_handshake(|core, now| core.prepare(now, protocols))?;
        self.handle().shared().quietly(Inner::set_prepared);
        Ok(())
    }

    /// Accepts the peer, and waits until it has done the same: then the connection is ready. If the future is dropped,
    /// the peer is accepted all the same.
    ///
    /// # Errors
    /// See [`HandshakeError`]. The peer may have rejected this end; [`rejection`](Self::rejection) has its words.
    pub async fn finalize(&self) -> Result<(), HandshakeError> {
        self.in_handshake(septa_core::Connection::finalize)?;
        self.ready().await.map_err(HandshakeError::ConnectionLost)
    }

    /// Rejects the peer and tells it why: a `code` whose meaning the applications agree on, and a `reason` for people
    /// of at most [`MAX_REASON_LEN`](septa_core::channel::handshake::MAX_REASON_LEN) bytes. The connection closes.
    ///
    /// # Errors
    /// See [`HandshakeError`]. Nothing has changed.
    pub fn reject(&self, code: u8, reason: &str) -> Result<(), HandshakeError> {
        self.in_handshake(|core, now| core.reject(now, code, reason))
    }

    /// Who rejected whom, with what code and what words, if one application did not want the other. It can be read for as
    /// long as there is a handle on the connection.
    pub fn rejection(&self) -> Option<Rejection> {
        self.handle().shared().task(|inner| inner.core().ok().and_then(|core| core.rejection().cloned()))
    }

    /// Waits until both applications have accepted each other. At once if the handshake is automatic.
    ///
    /// # Errors
    /// The connection is over, for this reason.
    pub async fn ready(&self) -> Result<(), CloseReason> {
        let ready = self.handle().shared().wait(
            |inner| &mut inner.phase,
            |inner| match inner.reason() {
                Some(reason) => Some(Err(reason)),
                None => inner.core().is_ok_and(|core| core.is_ready()).then_some(Ok(())),
            },
        );
        ready.await
    }

    fn in_handshake<T>(
        &self,
        command: impl FnOnce(&mut septa_core::Connection, septa_core::Instant) -> Result<T, HandshakeError>,
    ) -> Result<T, HandshakeError> {
        let shared = self.handle().shared();
        let now = shared.now();
        shared.command(|inner| match inner.core() {
            Ok(core) => command(core, now),
            Err(reason) => Err(HandshakeError::ConnectionLost(reason)),
        })
    }
}
