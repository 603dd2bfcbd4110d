//! Ping: the listener echoes 32 random bytes, the dialer measures how long that takes.

use core::time::Duration;

use crate::{Instant, ProtocolId, Seed, seed::SeedStream};

/// The name of the protocol.
pub const PROTOCOL: ProtocolId = ProtocolId::from_static("/ipfs/ping/1.0.0");

/// Bytes of a payload and of its echo. There is no framing.
pub const PAYLOAD_LEN: usize = 32;

/// How long an echo may take.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// Ping streams that a connection should serve at the same time.
///
/// Stops a peer that opens many to make us hold their state. An honest one needs a second stream
/// only while it replaces its first.
pub const MAX_INBOUND_STREAMS: usize = 2;

/// How old the last ping of a stream may be for the stream to be used again.
///
/// go, js and py listeners end ping streams after 10 to 30 seconds; a ping that meets that end would
/// count as a failure.
pub const REUSE_LIMIT: Duration = Duration::from_secs(5);

/// Shortest round trip that is reported. A clock that stands still must not give zero, by which
/// somebody may divide. The longest is [`TIMEOUT`].
pub const MIN_ROUND_TRIP: Duration = Duration::from_micros(1);

/// The ping failed. The machine stays failed and the stream is to be reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The echo did not come within [`TIMEOUT`].
    #[error("the ping was not answered within 20 seconds")]
    Timeout,
    /// The echo differs from the payload.
    #[error("the ping was answered with other bytes than were sent")]
    WrongEcho,
    /// The remote sent bytes for which it had no payload.
    #[error("the remote answered a ping that was not sent")]
    Unsolicited,
    /// The stream ended inside a payload or before its echo was complete.
    #[error("the ping stream ended before the payload was complete")]
    UnexpectedEof,
}

/// A ping cannot be started. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CannotStart {
    /// The last one still waits for its echo.
    #[error("a ping is under way")]
    Busy,
    /// The stream has ended or failed; open another.
    #[error("the ping stream has ended")]
    Ended,
}

/// The end that opened the stream and measures.
///
/// [`start`](Self::start) a ping once the protocol is agreed (in optimistic mode after the answer,
/// else the time of the negotiation counts), send what [`poll_transmit`](Self::poll_transmit) gives,
/// and the round trip comes out of [`handle_recv`](Self::handle_recv). One ping at a time; the next
/// one may follow on the same stream while [`is_reusable`](Self::is_reusable). To be done with the
/// stream, end its sending side when no ping [is under way](Self::is_busy).
#[derive(Debug)]
pub struct Dialer {
    state: DialerState,
    payloads: SeedStream,
    last_started: Option<Instant>,
}

#[derive(Debug)]
enum DialerState {
    Idle,
    AwaitEcho { payload: [u8; PAYLOAD_LEN], sent: usize, received: usize, started: Instant },
    Ended,
    Failed(Error),
}

impl Dialer {
    /// A dialer on a new stream, whose payloads are drawn from `seed`.
    pub fn new(mut seed: Seed) -> Self {
        Self { state: DialerState::Idle, payloads: seed.public_stream(), last_started: None }
    }

    /// Starts a ping and its clock.
    ///
    /// # Errors
    /// See [`CannotStart`]. Nothing has changed.
    pub fn start(&mut self, now: Instant) -> Result<(), CannotStart> {
        match self.state {
            DialerState::Idle => {
                let payload = self.payloads.next_key();
                self.state = DialerState::AwaitEcho { payload, sent: 0, received: 0, started: now };
                self.last_started = Some(now);
                Ok(())
            }
            DialerState::AwaitEcho { .. } => Err(CannotStart::Busy),
            DialerState::Ended | DialerState::Failed(_) => Err(CannotStart::Ended),
        }
    }

    /// Reads all of `data`, and returns the round trip if the echo is complete, at least
    /// [`MIN_ROUND_TRIP`] and at most [`TIMEOUT`].
    ///
    /// # Errors
    /// The remote sent something else than the echo.
    pub fn handle_recv(&mut self, now: Instant, data: &[u8]) -> Result<Option<Duration>, Error> {
        match &mut self.state {
            DialerState::Failed(error) => Err(*error),
            _ if data.is_empty() => Ok(None),
            DialerState::Idle | DialerState::Ended => self.fail(Error::Unsolicited),
            DialerState::AwaitEcho { payload, sent, received, started } => {
                let end = received.saturating_add(data.len());
                match payload.get(*received..end) {
                    Some(expected) if end <= *sent && expected == data => *received = end,
                    Some(_) if end <= *sent => return self.fail(Error::WrongEcho),
                    _ => return self.fail(Error::Unsolicited),
                }
                if end < PAYLOAD_LEN {
                    return Ok(None);
                }
                let round_trip = now.saturating_duration_since(*started).clamp(MIN_ROUND_TRIP, TIMEOUT);
                self.state = DialerState::Idle;
                Ok(Some(round_trip))
            }
        }
    }

    /// The remote sends no more. Between pings that is how a listener ends a stream that it has
    /// served for long enough.
    ///
    /// # Errors
    /// A ping is left without its echo.
    pub fn handle_eof(&mut self) -> Result<(), Error> {
        match self.state {
            DialerState::Idle | DialerState::Ended => {
                self.state = DialerState::Ended;
                Ok(())
            }
            DialerState::AwaitEcho { .. } => self.fail(Error::UnexpectedEof),
            DialerState::Failed(error) => Err(error),
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            DialerState::AwaitEcho { started, .. } => {
                Some(started.saturating_add(TIMEOUT)).filter(|deadline| *deadline != Instant::NEVER)
            }
            _ => None,
        }
    }

    /// Time has passed. May be called early, late and repeatedly.
    ///
    /// # Errors
    /// The ping under way took too long.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        match self.state {
            DialerState::Failed(error) => Err(error),
            _ if self.poll_timeout().is_some_and(|deadline| deadline <= now) => self.fail(Error::Timeout),
            _ => Ok(()),
        }
    }

    /// Writes what is to be sent into `out`, as much as fits, and returns its length.
    #[must_use]
    pub fn poll_transmit(&mut self, out: &mut [u8]) -> usize {
        match &mut self.state {
            DialerState::AwaitEcho { payload, sent, .. } => copy_rest(payload, sent, out),
            _ => 0,
        }
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) has something to write.
    pub fn wants_transmit(&self) -> bool {
        matches!(self.state, DialerState::AwaitEcho { sent, .. } if sent < PAYLOAD_LEN)
    }

    /// Whether a ping waits for its echo.
    pub fn is_busy(&self) -> bool {
        matches!(self.state, DialerState::AwaitEcho { .. })
    }

    /// Whether a ping may be started here: none is under way, the stream has not ended, and the last
    /// ping was started at most [`REUSE_LIMIT`] ago. If false and not busy, open a fresh stream.
    pub fn is_reusable(&self, now: Instant) -> bool {
        let fresh = self.last_started.is_none_or(|last| now.saturating_duration_since(last) <= REUSE_LIMIT);
        fresh && matches!(self.state, DialerState::Idle)
    }

    fn fail<T>(&mut self, error: Error) -> Result<T, Error> {
        self.state = DialerState::Failed(error);
        Err(error)
    }
}

/// The end that accepted the stream and echoes.
///
/// It holds one payload. While the echo of that waits in [`poll_transmit`](Self::poll_transmit), no
/// input is taken, so that a dialer that does not read fills its own send window and not our memory.
#[derive(Debug)]
pub struct Listener {
    payload: [u8; PAYLOAD_LEN],
    state: ListenerState,
}

#[derive(Debug)]
enum ListenerState {
    Reading { received: usize },
    Echoing { sent: usize, last: bool },
    Finished,
    Failed(Error),
}

impl Default for Listener {
    fn default() -> Self {
        Self::new()
    }
}

impl Listener {
    /// A listener on a new stream.
    pub fn new() -> Self {
        Self { payload: [0; PAYLOAD_LEN], state: ListenerState::Reading { received: 0 } }
    }

    /// Reads from `data` up to the end of one payload and returns how many bytes it took.
    ///
    /// If it took less than all, hand it the rest after the echo was taken with
    /// [`poll_transmit`](Self::poll_transmit).
    ///
    /// # Errors
    /// Only one that [`handle_eof`](Self::handle_eof) reported before.
    pub fn handle_recv(&mut self, data: &[u8]) -> Result<usize, Error> {
        match &mut self.state {
            ListenerState::Reading { received } => {
                let free = self.payload.get_mut(*received..).unwrap_or_default();
                let count = free.len().min(data.len());
                free.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
                *received = received.saturating_add(count);
                if *received == PAYLOAD_LEN {
                    self.state = ListenerState::Echoing { sent: 0, last: false };
                }
                Ok(count)
            }
            ListenerState::Echoing { .. } => Ok(0),
            // Nothing follows the end of a stream; a caller that thinks so must not spin.
            ListenerState::Finished => Ok(data.len()),
            ListenerState::Failed(error) => Err(*error),
        }
    }

    /// The remote sends no more. Pass on what was received before first.
    ///
    /// # Errors
    /// The stream ended inside a payload.
    pub fn handle_eof(&mut self) -> Result<(), Error> {
        self.state = match self.state {
            ListenerState::Reading { received: 0 } | ListenerState::Finished => ListenerState::Finished,
            ListenerState::Reading { .. } => ListenerState::Failed(Error::UnexpectedEof),
            ListenerState::Echoing { sent, .. } => ListenerState::Echoing { sent, last: true },
            ListenerState::Failed(error) => ListenerState::Failed(error),
        };
        match self.state {
            ListenerState::Failed(error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes what is to be sent into `out`, as much as fits, and returns its length.
    #[must_use]
    pub fn poll_transmit(&mut self, out: &mut [u8]) -> usize {
        let ListenerState::Echoing { sent, last } = &mut self.state else { return 0 };
        let count = copy_rest(&self.payload, sent, out);
        if *sent == PAYLOAD_LEN {
            self.state = if *last { ListenerState::Finished } else { ListenerState::Reading { received: 0 } };
        }
        count
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) has something to write.
    pub fn wants_transmit(&self) -> bool {
        matches!(self.state, ListenerState::Echoing { .. })
    }

    /// Whether the dialer is done and all is echoed: end the sending side of the stream.
    pub fn is_finished(&self) -> bool {
        matches!(self.state, ListenerState::Finished)
    }
}

/// Copies what of `payload` is not yet sent.
fn copy_rest(payload: &[u8; PAYLOAD_LEN], sent: &mut usize, out: &mut [u8]) -> usize {
    let rest = payload.get(*sent..).unwrap_or_default();
    let count = rest.len().min(out.len());
    out.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    *sent = sent.saturating_add(count);
    count
}
