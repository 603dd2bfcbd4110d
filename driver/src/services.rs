//! Ping and identify: answered for the application, and asked on its behalf.

use std::{sync::Arc, time::Duration};

use septa_core::{
    Instant, ProtocolId,
    connection::{ReadError, StreamId, codes},
    protocol::{identify, ping},
};

use crate::{
    connection::Connection,
    error::{IdentifyError, OpenStreamError, PingError},
    shared::Shared,
    stream::Stream,
    time::{after, within},
};

/// Identify streams that are answered at the same time on one connection. Stops a peer that opens
/// many to make us hold an answer for each; one more is reset.
pub(crate) const MAX_IDENTIFY_STREAMS: usize = 10;
/// How long a stream that has served its purpose waits for the peer's end of it.
const GOODBYE: Duration = Duration::from_secs(1);

/// A protocol that the endpoint itself serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Service {
    Ping,
    Identify,
}

impl Service {
    /// The service with this protocol.
    pub(crate) fn of(protocol: &ProtocolId) -> Option<Self> {
        if *protocol == ping::PROTOCOL {
            Some(Self::Ping)
        } else if *protocol == identify::PROTOCOL {
            Some(Self::Identify)
        } else {
            None
        }
    }
}

/// How many streams of one connection each service answers now.
#[derive(Debug, Default)]
pub(crate) struct ServiceCounts {
    ping: usize,
    identify: usize,
}

impl ServiceCounts {
    /// Counts one more stream, or refuses it.
    pub(crate) fn begin(&mut self, service: Service) -> bool {
        let (count, max) = match service {
            Service::Ping => (&mut self.ping, ping::MAX_INBOUND_STREAMS),
            Service::Identify => (&mut self.identify, MAX_IDENTIFY_STREAMS),
        };
        let admitted = *count < max;
        *count += usize::from(admitted);
        admitted
    }

    fn end(&mut self, service: Service) {
        match service {
            Service::Ping => self.ping -= 1,
            Service::Identify => self.identify -= 1,
        }
    }
}

/// Answers an inbound stream on a task of its own.
pub(crate) fn spawn(shared: &Arc<Shared>, id: StreamId, service: Service) {
    let answered = Answered { shared: shared.clone(), service };
    let stream = Stream::of_service(shared, id);
    match service {
        Service::Ping => shared.endpoint.spawn("ping", async move { answer_ping(&answered, stream).await }),
        Service::Identify => shared.endpoint.spawn("identify", async move { answer_identify(&answered, stream).await }),
    }
}

/// Measures one round trip.
pub(crate) async fn ping(connection: &Connection) -> Result<Duration, PingError> {
    let runtime = &connection.handle().shared().endpoint.runtime;
    let mut stream = connection.open_stream(&[ping::PROTOCOL]).await?;
    // Otherwise the time of the negotiation counts.
    stream.negotiated().await?;
    let mut dialer = ping::Dialer::new(runtime.seed());
    // A new machine can always start.
    let _ = dialer.start(runtime.now());
    let mut buffer = [0; ping::PAYLOAD_LEN];
    let length = dialer.poll_transmit(&mut buffer);
    stream.write_all(buffer.get(..length).unwrap_or_default()).await?;
    let deadline = dialer.poll_timeout().unwrap_or(Instant::NEVER);
    let round_trip = loop {
        match within(&**runtime, deadline, stream.read(&mut buffer)).await {
            None => dialer.handle_timeout(runtime.now().max(deadline))?,
            Some(Ok(0)) => dialer.handle_eof()?,
            Some(Ok(count)) => {
                let received = buffer.get(..count).unwrap_or_default();
                if let Some(round_trip) = dialer.handle_recv(runtime.now(), received)? {
                    break round_trip;
                }
            }
            Some(Err(error)) => return Err(refused_or(error, PingError::Open, PingError::Read)),
        }
    };
    stream.finish()?;
    let _ = within(&**runtime, after(&**runtime, GOODBYE), stream.read_to_end()).await;
    Ok(round_trip)
}

/// Asks the peer who it is.
pub(crate) async fn identify(connection: &Connection) -> Result<identify::Received, IdentifyError> {
    let runtime = &connection.handle().shared().endpoint.runtime;
    let mut stream = connection.open_stream(&[identify::PROTOCOL]).await?;
    stream.negotiated().await?;
    // Nothing is sent; a stream that cannot be ended will say so when it is read.
    let _ = stream.finish();
    let Some(authenticated) = connection.remote_public_key() else {
        let reason = connection.closed().await;
        return Err(IdentifyError::Open(OpenStreamError::ConnectionLost(reason)));
    };
    let mut dialer = identify::Dialer::new(authenticated, runtime.now());
    let deadline = dialer.poll_timeout().unwrap_or(Instant::NEVER);
    loop {
        let received = match within(&**runtime, deadline, stream.read_chunk()).await {
            None => dialer.handle_timeout(runtime.now().max(deadline))?,
            Some(Ok(None)) => dialer.handle_eof()?,
            Some(Ok(Some(chunk))) => dialer.handle_recv(&chunk)?,
            Some(Err(error)) => return Err(refused_or(error, IdentifyError::Open, IdentifyError::Read)),
        };
        if let Some(received) = received {
            return Ok(received);
        }
    }
}

fn refused_or<E>(error: ReadError, open: fn(OpenStreamError) -> E, read: fn(ReadError) -> E) -> E {
    match error {
        ReadError::Refused(reason) => open(OpenStreamError::Refused(reason)),
        error => read(error),
    }
}

async fn answer_ping(_answered: &Answered, mut stream: Stream) {
    let mut listener = ping::Listener::new();
    if echo_pings(&mut listener, &mut stream).await.is_none() {
        stream.reset(codes::stream::PROTOCOL_VIOLATION);
    }
}

/// Echoes until the peer is done; `None` if something is wrong with the stream.
async fn echo_pings(listener: &mut ping::Listener, stream: &mut Stream) -> Option<()> {
    let mut buffer = [0; ping::PAYLOAD_LEN];
    let mut echo = [0; ping::PAYLOAD_LEN];
    while !listener.is_finished() {
        let count = stream.read(&mut buffer).await.ok()?;
        if count == 0 {
            listener.handle_eof().ok()?;
        }
        let mut rest = buffer.get(..count)?;
        loop {
            let taken = listener.handle_recv(rest).ok()?;
            rest = rest.get(taken..)?;
            while listener.wants_transmit() {
                let length = listener.poll_transmit(&mut echo);
                stream.write_all(echo.get(..length)?).await.ok()?;
            }
            if rest.is_empty() {
                break;
            }
        }
    }
    stream.finish().ok()
}

async fn answer_identify(answered: &Answered, mut stream: Stream) {
    let shared = &answered.shared;
    let Some(mut listener) = identify_listener(shared) else {
        return stream.reset(codes::stream::NO_ERROR);
    };
    let mut buffer = [0; 1024];
    while listener.wants_transmit() {
        let length = listener.poll_transmit(&mut buffer);
        if stream.write_all(buffer.get(..length).unwrap_or_default()).await.is_err() {
            return;
        }
    }
    if stream.finish().is_ok() {
        let runtime = &*shared.endpoint.runtime;
        let _ = within(runtime, after(runtime, identify::TIMEOUT), stream.read_to_end()).await;
    }
}

/// The answer, shortened until it is short enough to be sent.
fn identify_listener(shared: &Shared) -> Option<identify::Listener> {
    let mut info = shared.endpoint.identify_info(shared.local, shared.remote);
    loop {
        match identify::Listener::new(&info) {
            Ok(listener) => return Some(listener),
            Err(identify::EncodeError::TooLong { .. }) => {
                info.protocols.pop().map(drop).or_else(|| info.listen_addrs.pop().map(drop))?;
            }
            Err(_) => return None,
        }
    }
}

/// Counts a service stream down when its task ends, however it ends.
struct Answered {
    shared: Arc<Shared>,
    service: Service,
}

impl Drop for Answered {
    fn drop(&mut self) {
        self.shared.task(|inner| inner.services().end(self.service));
    }
}
