use bytes::Bytes;

use super::{Error, Outgoing, Progress, Report, Stall};
use crate::Instant;

/// The end that opened the stream and measures.
///
/// Send what [`poll_transmit`](Self::poll_transmit) gives, one chunk after the other; when
/// [`wants_finish`](Self::wants_finish), end the sending side of the stream. The report comes from
/// [`handle_eof`](Self::handle_eof).
#[derive(Debug)]
pub struct Client {
    state: State,
    upload: Outgoing,
    download: u64,
    received: u64,
    started: Instant,
    stall: Stall,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    /// Until the first byte of the download, or its end: so the server says that it has all.
    Uploading,
    Downloading {
        since: Instant,
    },
    Done,
    Failed(Error),
}

impl Client {
    /// A client on a new stream whose protocol is agreed: else the time of the negotiation counts. It
    /// sends `upload` bytes and asks for `download`. The clock starts at `now`.
    pub fn new(upload: u64, download: u64, now: Instant) -> Self {
        Self {
            state: State::Header,
            upload: Outgoing::new(upload),
            download,
            received: 0,
            started: now,
            stall: Stall { moved: now },
        }
    }

    /// The next bytes to send. Ask again when these are written: what a client holds back here is
    /// what keeps it from outrunning the stream.
    #[must_use]
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Bytes> {
        let chunk = match self.state {
            State::Header => {
                self.state = State::Uploading;
                Some(Bytes::copy_from_slice(&self.download.to_be_bytes()))
            }
            State::Uploading => self.upload.next_chunk(),
            _ => None,
        };
        if chunk.is_some() {
            self.stall.moved(now);
        }
        chunk
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) has something to give.
    pub fn wants_transmit(&self) -> bool {
        match self.state {
            State::Header => true,
            State::Uploading => !self.upload.is_done(),
            _ => false,
        }
    }

    /// Whether all is handed out: end the sending side of the stream behind it.
    pub fn wants_finish(&self) -> bool {
        !self.wants_transmit() && !matches!(self.state, State::Failed(_))
    }

    /// Bytes have come. What they are does not matter.
    ///
    /// # Errors
    /// There are more than were asked for.
    pub fn handle_recv(&mut self, now: Instant, data: &[u8]) -> Result<(), Error> {
        match self.state {
            State::Failed(error) => return Err(error),
            _ if data.is_empty() => return Ok(()),
            State::Uploading if self.upload.is_done() => {
                self.state = State::Downloading { since: now.max(self.started) };
            }
            _ => {}
        }
        self.stall.moved(now);
        self.received = self.received.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        if self.received > self.download || matches!(self.state, State::Done) {
            return self.fail(Error::TooMuch { expected: self.download });
        }
        Ok(())
    }

    /// The remote sends no more. Returns the report, once.
    ///
    /// # Errors
    /// Not all has come that was asked for, or the end came before all was sent: nobody has counted
    /// the upload.
    pub fn handle_eof(&mut self, now: Instant) -> Result<Option<Report>, Error> {
        let now = now.max(self.started);
        let uploaded_at = match self.state {
            State::Failed(error) => return Err(error),
            State::Done => return Ok(None),
            State::Downloading { since } => since,
            _ => now,
        };
        if self.received < self.download || !self.wants_finish() {
            return self.fail(Error::UnexpectedEof { received: self.received, expected: self.download });
        }
        self.state = State::Done;
        Ok(Some(Report {
            amounts: self.progress(),
            upload_time: uploaded_at.saturating_duration_since(self.started),
            download_time: now.saturating_duration_since(uploaded_at),
        }))
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due if nothing moves before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if matches!(self.state, State::Done | State::Failed(_)) { None } else { self.stall.deadline() }
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
        Progress { uploaded: self.upload.sent, downloaded: self.received }
    }

    fn fail<T>(&mut self, error: Error) -> Result<T, Error> {
        self.state = State::Failed(error);
        Err(error)
    }
}
