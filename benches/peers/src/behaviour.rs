//! Streams of one protocol on connections that are told apart.
//!
//! `libp2p-stream` opens streams to a *peer*, on whichever connection to it, and drops inbound streams while
//! one waits to be taken. Here each outbound connection has its own handle, and each inbound stream gets a
//! task at once. Otherwise it does the same: a channel leads from the handle to the connection's handler.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, transport::PortUse, upgrade::ReadyUpgrade},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
        StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use septa_race_scenarios::{Failure, ServedConnection, Server};
use tokio::sync::{mpsc, oneshot};

use crate::network::RustLibp2p;

const PROTOCOL: StreamProtocol = StreamProtocol::new("/race/1");

/// Asks for a stream.
pub(crate) type Request = oneshot::Sender<Result<Stream, Failure>>;

#[derive(Default)]
pub(crate) struct Behaviour {
    /// Who serves inbound streams, once there is a listener.
    pub(crate) server: Arc<OnceLock<Arc<Server>>>,
    dialed: HashMap<ConnectionId, mpsc::Sender<Request>>,
}

impl Behaviour {
    /// The handle on a connection that was dialed. To be taken once.
    pub(crate) fn take(&mut self, connection: ConnectionId) -> Option<mpsc::Sender<Request>> {
        self.dialed.remove(&connection)
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let server = self.server.get().cloned();
        let counted = server.as_ref().map(Server::connection);
        Ok(Handler { server, _counted: counted, requests: None, asked: VecDeque::new() })
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let (requests, inbox) = mpsc::channel(16);
        self.dialed.insert(connection, requests);
        Ok(Handler { server: None, _counted: None, requests: Some(inbox), asked: VecDeque::new() })
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

pub(crate) struct Handler {
    server: Option<Arc<Server>>,
    _counted: Option<ServedConnection>,
    requests: Option<mpsc::Receiver<Request>>,
    /// Requests whose streams are being negotiated.
    asked: VecDeque<Request>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        match self.requests.as_mut().map(|requests| requests.poll_recv(cx)) {
            Some(Poll::Ready(Some(request))) => {
                self.asked.push_back(request);
                let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ());
                Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
            }
            _ => Poll::Pending,
        }
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: stream, .. }) => {
                if let Some(server) = self.server.clone() {
                    tokio::spawn(async move { server.serve::<RustLibp2p>(stream).await });
                }
            }
            // All streams are alike, so whichever is ready first may go to who asked first.
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, .. }) => {
                if let Some(request) = self.asked.pop_front() {
                    let _ = request.send(Ok(stream));
                }
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => {
                if let Some(request) = self.asked.pop_front() {
                    let _ = request.send(Err(refused(&error).into()));
                }
            }
            ConnectionEvent::ListenUpgradeError(error) => {
                if let Some(server) = &self.server {
                    server.failed(format_args!("an inbound stream failed: {:?}", error.error));
                }
            }
            _ => {}
        }
    }
}

fn refused(error: &StreamUpgradeError<Infallible>) -> String {
    format!("the stream could not be opened: {error}")
}
