//! The protocols that a [`RustPeer`](crate::RustPeer) answers.
//!
//! `libp2p-stream` can accept streams too, but its hand-over holds one stream and drops the next while
//! that one waits, which a test with a hundred streams at once would see as resets. Here the connection
//! handler starts a task for each stream, so none is dropped.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    io,
    task::{Context, Poll},
};

use asynchronous_codec::Framed;
use bytes::Bytes;
use futures::{AsyncReadExt as _, AsyncWriteExt as _, SinkExt as _, StreamExt as _};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{
        Endpoint, UpgradeInfo,
        transport::PortUse,
        upgrade::{DeniedUpgrade, InboundUpgrade},
    },
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
        SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, FullyNegotiatedInbound},
    },
};

use unsigned_varint::codec::UviBytes;

use crate::rust_peer::{Event, EventLog};

/// Copies what it reads until the end, then closes.
///
/// The peer acknowledges a stream with its first frame on it. Its part of the protocol negotiation is that
/// frame, so the acknowledgement does not wait for data.
pub const ECHO: StreamProtocol = StreamProtocol::new("/septa-interop/echo/1.0.0");

/// Reads until the end, then writes the number of bytes as eight bytes, big-endian, and closes.
///
/// Reports [`Event::StreamServed`] before it answers, so that a connection which closes right after its
/// last byte can still be checked for loss.
pub const SINK: StreamProtocol = StreamProtocol::new("/septa-interop/sink/1.0.0");

/// Reads four bytes, then drops the stream.
///
/// Yamux 0.14 then sends a Data frame with RST, no body and so no error code. Had the other side finished
/// first, it would send FIN instead: leave the stream open for writing to see a reset.
pub const RESET: StreamProtocol = StreamProtocol::new("/septa-interop/reset/1.0.0");

/// Reads eight bytes, big-endian, and the rest up to the end, then writes as many bytes as the eight say and
/// closes: the perf protocol of libp2p, whose own crate does not work with this release.
pub const PERF: StreamProtocol = StreamProtocol::new("/perf/1.0.0");

/// Answers each message with its bytes in reverse. Messages are framed by the codec that rust-libp2p's own protocols use:
/// behind their length as an unsigned varint.
pub const FRAMES: StreamProtocol = StreamProtocol::new("/septa-interop/frames/1.0.0");

async fn serve(peer: PeerId, protocol: StreamProtocol, mut stream: Stream, events: EventLog) {
    let mut bytes = 0;
    let result = if protocol == SINK {
        sink(&mut stream, &mut bytes, |bytes| {
            events.push(Event::StreamServed { peer, protocol: protocol.clone(), bytes, error: None });
        })
        .await
    } else if protocol == PERF {
        perf(&mut stream, &mut bytes).await
    } else if protocol == FRAMES {
        reverse(stream, &mut bytes).await
    } else if protocol == RESET {
        stream.read_exact(&mut [0; 4]).await
    } else {
        echo(&mut stream, &mut bytes).await
    };
    if protocol == SINK && result.is_ok() {
        return;
    }
    let error = result.err().map(|error| error.to_string());
    events.push(Event::StreamServed { peer, protocol, bytes, error });
}

async fn echo(stream: &mut Stream, bytes: &mut u64) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        stream.write_all(&buffer[..read]).await?;
        stream.flush().await?;
        *bytes += read as u64;
    }
    stream.close().await
}

async fn sink(stream: &mut Stream, bytes: &mut u64, at_end: impl FnOnce(u64)) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        *bytes += read as u64;
    }
    at_end(*bytes);
    stream.write_all(&bytes.to_be_bytes()).await?;
    stream.close().await
}

async fn perf(stream: &mut Stream, bytes: &mut u64) -> io::Result<()> {
    let mut wanted = [0; 8];
    stream.read_exact(&mut wanted).await?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        *bytes += read as u64;
    }
    let mut left = u64::from_be_bytes(wanted);
    while left > 0 {
        let step = left.min(buffer.len() as u64);
        stream.write_all(&buffer[..step as usize]).await?;
        left -= step;
    }
    stream.close().await
}

/// A stream of messages, as rust-libp2p's own protocols frame them.
pub type Frames = Framed<Stream, UviBytes<Bytes>>;

/// Frames the messages of a stream, each of at most 1 MiB.
pub fn frames(stream: Stream) -> Frames {
    let mut codec = UviBytes::default();
    codec.set_max_len(1 << 20);
    Framed::new(stream, codec)
}

async fn reverse(stream: Stream, bytes: &mut u64) -> io::Result<()> {
    let mut frames = frames(stream);
    while let Some(message) = frames.next().await {
        let mut message = message?.to_vec();
        *bytes += message.len() as u64;
        message.reverse();
        frames.send(message.into()).await?;
    }
    frames.close().await
}

pub(crate) struct Behaviour(EventLog);

impl Behaviour {
    pub(crate) fn new(events: EventLog) -> Self {
        Self(events)
    }

    fn handler(&self, peer: PeerId) -> Handler {
        Handler { peer, events: self.0.clone() }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer))
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
    peer: PeerId,
    events: EventLog,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = Accept;
    type OutboundProtocol = DeniedUpgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Accept> {
        SubstreamProtocol::new(Accept, ())
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<DeniedUpgrade, (), Infallible>> {
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Accept, DeniedUpgrade>) {
        if let ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
            protocol: (stream, protocol), ..
        }) = event
        {
            tokio::spawn(serve(self.peer, protocol, stream, self.events.clone()));
        }
    }
}

/// Hands out the raw stream with the name that was agreed.
pub(crate) struct Accept;

impl UpgradeInfo for Accept {
    type Info = StreamProtocol;
    type InfoIter = [StreamProtocol; 5];

    fn protocol_info(&self) -> Self::InfoIter {
        [ECHO, SINK, RESET, PERF, FRAMES]
    }
}

impl InboundUpgrade<Stream> for Accept {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}
