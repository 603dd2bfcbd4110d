use std::time::Duration;

use septa_core::{
    Instant,
    connection::codes,
    protocol::ping::{Dialer, Listener, PAYLOAD_LEN, PROTOCOL},
};

use super::{Answered, GOODBYE, refused_or};
use crate::{
    connection::Connection,
    error::PingError,
    stream::Stream,
    time::{after, within},
};

/// Measures one round trip.
pub(crate) async fn ping(connection: &Connection) -> Result<Duration, PingError> {
    let runtime = &connection.handle().shared().endpoint.runtime;
    let mut stream = connection.open_stream(&[PROTOCOL]).await?;
    // Otherwise the time of the negotiation counts.
    stream.negotiated().await?;
    let mut dialer = Dialer::new(runtime.seed());
    // A new machine can always start.
    let _ = dialer.start(runtime.now());
    let mut buffer = [0; PAYLOAD_LEN];
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

pub(super) async fn answer(_answered: &Answered, mut stream: Stream) {
    let mut listener = Listener::new();
    if echo_pings(&mut listener, &mut stream).await.is_none() {
        stream.reset(codes::stream::PROTOCOL_VIOLATION);
    }
}

/// Echoes until the peer is done; `None` if something is wrong with the stream.
async fn echo_pings(listener: &mut Listener, stream: &mut Stream) -> Option<()> {
    let mut buffer = [0; PAYLOAD_LEN];
    let mut echo = [0; PAYLOAD_LEN];
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
