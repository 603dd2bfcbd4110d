//! Output: framing and sealing straight into the driver's buffer.

use alloc::vec::Vec;

use core::mem;

use super::{
    CloseReason, Connection, MIN_TRANSMIT, TransmitError,
    phase::Phase,
    records::{Framed, RecordOpener, RecordSealer, Records},
};
use crate::{
    Instant,
    crypto::TAG_LEN,
    noise::{self, RECORD_HEADER_LEN, RECORD_OVERHEAD},
    yamux,
};

/// Plaintext of one record at most: one full frame. Smaller records than Noise allows let the receiver
/// start opening sooner, and four of them gathered in a write beat a large one.
const MAX_RECORD_BODY: usize = 16 * 1024 + yamux::HEADER_LEN;
/// No record is begun in less room than this behind another one: a small record at the end of a
/// buffer costs the overhead and the cipher set-up of a large one.
const MIN_RECORD_ROOM: usize = 1024 + RECORD_OVERHEAD;

const _: () = assert!(super::TRANSMIT_BUFFER == 4 * (MAX_RECORD_BODY + RECORD_OVERHEAD));
const _: () = assert!(MIN_TRANSMIT >= RECORD_OVERHEAD + yamux::MIN_TRANSMIT_LEN);

impl Connection {
    /// Whether [`poll_transmit`](Self::poll_transmit) would produce bytes. Takes constant time, but
    /// looks at every stream while a [`close`](Self::close) waits for the peer to take the last data.
    #[must_use]
    pub fn wants_transmit(&self) -> bool {
        !self.clear_output.is_empty()
            || !self.sealed_output.is_empty()
            || match &self.phase {
                Phase::Open(streams) => {
                    streams.session.wants_transmit()
                        || streams.is_retired()
                        || (streams.draining.is_some() && streams.is_flushed())
                }
                _ => false,
            }
    }

    /// Whether the time makes a difference to the next [`poll_transmit`](Self::poll_transmit): false if all it would
    /// send is data of streams. Then any `now` will do that has been told before, and the owner need not look at its
    /// clock.
    #[must_use]
    pub fn transmit_needs_time(&self) -> bool {
        match &self.phase {
            Phase::Open(streams) => {
                streams.session.may_frame_control() || streams.draining.is_some() || streams.retiring.is_some()
            }
            _ => true,
        }
    }

    /// Writes the next bytes for the transport into `out` and returns how many; 0 means nothing to send.
    ///
    /// Bytes once returned are gone from here: the driver must send all of them, in order, before it
    /// asks for more. A buffer of [`TRANSMIT_BUFFER`](super::TRANSMIT_BUFFER) bytes holds four full
    /// records.
    ///
    /// # Errors
    /// `out` is too short, or the record side was detached. Nothing changes.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Result<usize, TransmitError> {
        check_room(out)?;
        if let Records::Detached { .. } = self.records {
            return Err(TransmitError::Detached);
        }
        self.advance(now);
        let clear = take_front(&mut self.clear_output, out);
        let framed = out.get_mut(clear..).map_or(0, |room| self.frame(room, clear > 0));
        let mut written = clear;
        if let (Records::Attached(sides), Some(framed)) =
            (&mut self.records, out.get_mut(clear..).and_then(|room| room.get_mut(..framed)))
        {
            match sides.0.seal(Framed(framed)) {
                Ok(sealed) => written = written.saturating_add(sealed.len()),
                // 2^64 records were sealed: this key must never be used again.
                Err(_) => self.closed(CloseReason::Local),
            }
        }
        self.count_sent(written);
        Ok(written)
    }

    /// Takes the record side out of an open connection, so that cryptography runs where no lock on the
    /// connection is held. `None` as long as there is something to send in the clear, if the connection is
    /// not open, or if it was taken before.
    ///
    /// From then on output comes from [`poll_frames`](Self::poll_frames) and is sealed by the
    /// [`RecordSealer`]; input is opened by the [`RecordOpener`] and goes into
    /// [`handle_opened`](Self::handle_opened). Everything else stays as it is.
    pub fn detach_records(&mut self) -> Option<(RecordSealer, RecordOpener)> {
        if !matches!(self.phase, Phase::Open(_)) || !self.clear_output.is_empty() {
            return None;
        }
        let detached = Records::Detached { inside_record: self.records.is_inside_record() };
        match mem::replace(&mut self.records, detached) {
            Records::Attached(sides) => Some(*sides),
            others => {
                self.records = others;
                None
            }
        }
    }

    /// [`poll_transmit`](Self::poll_transmit) after [`detach_records`](Self::detach_records): the records
    /// are laid out in `out` and must be sealed before they are sent.
    ///
    /// # Errors
    /// `out` is too short, or the record side was not detached. Nothing changes.
    pub fn poll_frames<'o>(&mut self, now: Instant, out: &'o mut [u8]) -> Result<Framed<'o>, TransmitError> {
        check_room(out)?;
        let Records::Detached { .. } = self.records else { return Err(TransmitError::Attached) };
        self.advance(now);
        let framed = self.frame(out, false);
        self.count_sent(framed);
        Ok(Framed(out.get_mut(..framed).unwrap_or_default()))
    }

    /// Lays out records one behind the other, with their headers and room for their tags, and returns
    /// their length. `behind` says that other output stands in front of them.
    fn frame(&mut self, out: &mut [u8], behind: bool) -> usize {
        let mut used = 0_usize;
        while let Some(room) = out.get_mut(used..) {
            let is_first = used == 0 && !behind;
            if !is_first && (room.len() < MIN_RECORD_ROOM || !self.wants_transmit()) {
                break;
            }
            match self.frame_record(room) {
                0 => break,
                record => used = used.saturating_add(record),
            }
        }
        used
    }

    /// Lays out one record at the front of `out`, which has room for at least the smallest one.
    fn frame_record(&mut self, out: &mut [u8]) -> usize {
        if matches!(self.records, Records::None) || !self.clear_output.is_empty() {
            return 0;
        }
        let room = out.len().saturating_sub(RECORD_OVERHEAD).min(MAX_RECORD_BODY);
        let Some((header, rest)) = out.split_first_chunk_mut::<RECORD_HEADER_LEN>() else { return 0 };
        let Some(body) = rest.get_mut(..room) else { return 0 };
        let len = self.transmit_plaintext(body);
        if len == 0 {
            return 0;
        }
        *header = noise::body_len_bytes(len.saturating_add(TAG_LEN));
        self.counters.records_sent = self.counters.records_sent.saturating_add(1);
        len.saturating_add(RECORD_OVERHEAD)
    }

    fn count_sent(&mut self, len: usize) {
        self.counters.bytes_sent = self.counters.bytes_sent.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
    }

    fn transmit_plaintext(&mut self, body: &mut [u8]) -> usize {
        self.drain_if_retired();
        let mut len = take_front(&mut self.sealed_output, body);
        if let (Phase::Open(streams), Some(rest)) = (&mut self.phase, body.get_mut(len..)) {
            if rest.len() >= yamux::MIN_TRANSMIT_LEN {
                len = len.saturating_add(streams.session.poll_transmit(self.now, rest));
            }
            if let Some(code) = streams.draining.filter(|_| streams.is_flushed()) {
                // All data has left: the GoAway is the last frame, because the peer drops everything at it.
                self.say_goodbye(code, CloseReason::Local);
                let rest = body.get_mut(len..).unwrap_or_default();
                len = len.saturating_add(take_front(&mut self.sealed_output, rest));
            }
        }
        len
    }
}

fn check_room(out: &[u8]) -> Result<(), TransmitError> {
    if out.len() < MIN_TRANSMIT { Err(TransmitError::TooSmall) } else { Ok(()) }
}

/// Moves as many bytes as fit from the front of `queue` to `out`.
fn take_front(queue: &mut Vec<u8>, out: &mut [u8]) -> usize {
    if queue.is_empty() {
        return 0;
    }
    let len = queue.len().min(out.len());
    if let (Some(out), Some(front)) = (out.get_mut(..len), queue.get(..len)) {
        out.copy_from_slice(front);
    }
    if len == queue.len() {
        *queue = Vec::new();
    } else {
        queue.drain(..len);
    }
    len
}
