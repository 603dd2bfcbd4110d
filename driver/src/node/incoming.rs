//! Inbound streams, sorted by protocol.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use septa_core::{ConnectionId, PeerId, ProtocolId, connection::codes};

use super::{NodeLimits, error::AcceptError, shared::NodeShared};
use crate::stream::Stream;

/// A stream that a peer has opened.
#[derive(Debug)]
#[non_exhaustive]
pub struct InboundStream {
    /// Who opened it.
    pub peer: PeerId,
    /// On which connection.
    pub connection: ConnectionId,
    /// The stream, on which the protocol is agreed.
    pub stream: Stream,
}

/// The streams that peers open for one protocol. Dropping it stops serving the protocol and resets the streams that
/// wait.
pub struct IncomingStreams {
    node: Arc<NodeShared>,
    protocol: ProtocolId,
}

impl IncomingStreams {
    pub(super) fn new(node: &Arc<NodeShared>, protocol: ProtocolId) -> Result<Self, AcceptError> {
        node.incoming.add(&protocol)?;
        let streams = Self { node: node.clone(), protocol };
        streams.node.serve_incoming();
        Ok(streams)
    }

    /// The protocol.
    pub fn protocol(&self) -> &ProtocolId {
        &self.protocol
    }

    /// The next stream; `None` once the node has ended. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<InboundStream> {
        poll_fn(|cx| {
            let mut backlogs = self.node.incoming.lock();
            let is_closed = backlogs.closed;
            let Some(backlog) = backlogs.of.get_mut(&self.protocol) else { return Poll::Ready(None) };
            match backlog.waiting.pop_front() {
                Some(inbound) => Poll::Ready(Some(inbound)),
                None if is_closed => Poll::Ready(None),
                None => {
                    backlog.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl Drop for IncomingStreams {
    fn drop(&mut self) {
        let backlog = self.node.incoming.lock().of.remove(&self.protocol);
        drop(backlog);
        self.node.serve_incoming();
    }
}

impl fmt::Debug for IncomingStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IncomingStreams({})", self.protocol)
    }
}

/// The streams that wait for the application.
pub(crate) struct Incoming {
    max_waiting: usize,
    max_waiting_per_connection: usize,
    backlogs: Mutex<Backlogs>,
    /// Held while what is served is looked up and applied, so that of two changes the last one stays.
    serving: Mutex<()>,
}

#[derive(Default)]
struct Backlogs {
    of: BTreeMap<ProtocolId, Backlog>,
    closed: bool,
}

#[derive(Default)]
struct Backlog {
    waiting: VecDeque<InboundStream>,
    waker: Option<Waker>,
}

impl Incoming {
    pub(super) fn new(limits: NodeLimits) -> Self {
        Self {
            max_waiting: limits.max_waiting_streams,
            max_waiting_per_connection: limits.max_waiting_streams_per_connection,
            backlogs: Mutex::default(),
            serving: Mutex::default(),
        }
    }

    fn add(&self, protocol: &ProtocolId) -> Result<(), AcceptError> {
        let mut backlogs = self.lock();
        if backlogs.closed {
            return Err(AcceptError::ShutDown);
        }
        if backlogs.of.contains_key(protocol) {
            return Err(AcceptError::Taken { protocol: protocol.clone() });
        }
        backlogs.of.insert(protocol.clone(), Backlog::default());
        Ok(())
    }

    pub(super) fn protocols(&self) -> Vec<ProtocolId> {
        self.lock().of.keys().cloned().collect()
    }

    /// Takes a stream in, or resets it because nobody serves its protocol any more or too many wait.
    pub(crate) fn offer(&self, protocol: &ProtocolId, connection: ConnectionId, peer: PeerId, mut stream: Stream) {
        let refused = {
            let mut backlogs = self.lock();
            match backlogs.of.get_mut(protocol).filter(|backlog| self.has_room(backlog, connection)) {
                Some(backlog) => {
                    backlog.waiting.push_back(InboundStream { peer, connection, stream });
                    Ok(backlog.waker.take())
                }
                None => Err(stream),
            }
        };
        match refused {
            Ok(waker) => waker.into_iter().for_each(Waker::wake),
            Err(refused) => {
                stream = refused;
                stream.reset(codes::stream::RESOURCE_LIMIT);
            }
        }
    }

    fn has_room(&self, backlog: &Backlog, connection: ConnectionId) -> bool {
        let same = || backlog.waiting.iter().filter(|inbound| inbound.connection == connection).count();
        backlog.waiting.len() < self.max_waiting && same() < self.max_waiting_per_connection
    }

    /// The node has ended.
    pub(super) fn close(&self) {
        let mut backlogs = self.lock();
        backlogs.closed = true;
        let wakers: Vec<Waker> = backlogs.of.values_mut().filter_map(|backlog| backlog.waker.take()).collect();
        drop(backlogs);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Backlogs> {
        self.backlogs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NodeShared {
    /// Serves the protocols of now.
    fn serve_incoming(&self) {
        let _serving = self.incoming.serving.lock().unwrap_or_else(PoisonError::into_inner);
        self.endpoint.serve(self.incoming.protocols());
    }
}
