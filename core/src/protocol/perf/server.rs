use bytes::Bytes;

use super::{Error, HEADER_LEN, Outgoing, Progress, Stall};
use crate::Instant;

/// The end that accepted the stream: it counts what comes until the end of that, then sends what was
/// asked for.
///
/// It holds nothing of what it reads. Ask for the next chunk when the last one is written: the server
/// goes only as fast as the client reads.
#[derive(Debug)]
pub struct Server {
    state: State,
    max_download: u64,
    uploaded: u64,
    stall: Stall,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Header { bytes: [u8; HEADER_LEN], received: usize },
    Counting { wanted: u64 },
    Sending(Outgoing),
    Failed(Error),
}

impl Server {
    /// A server on a new stream that sends at most `max_download` bytes.
    pub fn new(max_download: u64, now: Instant) -> Self {
        let state = State::Header { bytes: [0; HEADER_LEN], received: 0 };
        Self { state, max_download, uploaded: 0, stall: Stall { moved: now } }
    }

    /// Reads all of `data`.
    ///
    /// # Errors
    /// The client asks for more than is allowed.
    pub fn handle_recv(&mut self, now: Instant, data: &[u8]) -> Result<(), Error> {
        if !data.is_empty() {
            self.stall.moved(now);
        }
        let payload = match &mut self.state {
            State::Failed(error) => return Err(*error),
            State::Counting { .. } | State::Sending(_) => data.len(),
            State::Header { bytes, received } => {
                let missing = bytes.iter_mut().skip(*received);
                let taken = missing.zip(data).map(|(to, from)| *to = *from).count();
                *received = received.saturating_add(taken);
                if *received == HEADER_LEN {
                    let (wanted, max) = (u64::from_be_bytes(*bytes), self.max_download);
                    if wanted > max {
                        return self.fail(Error::DownloadTooLong { wanted, max });
                    }
                    self.state = State::Counting { wanted };
                }
                data.len().saturating_sub(taken)
            }
        };
        self.uploaded = self.uploaded.saturating_add(u64::try_from(payload).unwrap_or(u64::MAX));
        Ok(())
    }

    /// The client sends no more: its download begins.
    ///
    /// # Errors
    /// The header is not complete.
    pub fn handle_eof(&mut self, now: Instant) -> Result<(), Error> {
        self.stall.moved(now);
        match self.state {
            State::Failed(error) => Err(error),
            State::Header { received, .. } => {
                let [received, expected] = [received, HEADER_LEN].map(|len| u64::try_from(len).unwrap_or(u64::MAX));
                self.fail(Error::UnexpectedEof { received, expected })
            }
            State::Counting { wanted } => {
                self.state = State::Sending(Outgoing::new(wanted));
                Ok(())
            }
            State::Sending(_) => Ok(()),
        }
    }

    /// The next bytes to send.
    #[must_use]
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Bytes> {
        let State::Sending(outgoing) = &mut self.state else { return None };
        let chunk = outgoing.next_chunk();
        if chunk.is_some() {
            self.stall.moved(now);
        }
        chunk
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) has something to give.
    pub fn wants_transmit(&self) -> bool {
        matches!(self.state, State::Sending(outgoing) if !outgoing.is_done())
    }

    /// Whether all is handed out: end the sending side of the stream behind it, then forget this
    /// machine.
    pub fn is_finished(&self) -> bool {
        matches!(self.state, State::Sending(outgoing) if outgoing.is_done())
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due if nothing moves before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if matches!(self.state, State::Failed(_)) || self.is_finished() { None } else { self.stall.deadline() }
    }

    /// Time has passed. May be called early, late and repeatedly.
    ///
    /// # Errors
    /// Nothing has moved for too long.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        match self.state {
            State::Failed(error) => Err(error),
            _ if self.poll_timeout().is_some_and(|deadline| deadline <= now) => self.fail(Error::Stalled),
            _ => Ok(()),
        }
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let downloaded = match self.state {
            State::Sending(outgoing) => outgoing.sent,
            _ => 0,
        };
        Progress { uploaded: self.uploaded, downloaded }
    }

    fn fail<T>(&mut self, error: Error) -> Result<T, Error> {
        self.state = State::Failed(error);
        Err(error)
    }
}
