//! Output: framing and sealing straight into the driver's buffer.

use alloc::vec::Vec;

use super::{CloseReason, Connection, MIN_TRANSMIT, TooSmall, phase::Phase};
use crate::{
    Instant,
    noise::{RECORD_HEADER_LEN, RECORD_OVERHEAD},
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
                    streams.session.wants_transmit() || (streams.draining.is_some() && streams.is_flushed())
                }
                _ => false,
            }
    }

    /// Writes the next bytes for the transport into `out` and returns how many; 0 means nothing to send.
    ///
    /// Bytes once returned are gone from here: the driver must send all of them, in order, before it
    /// asks for more. A buffer of [`TRANSMIT_BUFFER`](super::TRANSMIT_BUFFER) bytes holds four full
    /// records; one of less than [`MIN_TRANSMIT`] is refused and nothing changes.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Result<usize, TooSmall> {
        if out.len() < MIN_TRANSMIT {
            return Err(TooSmall);
        }
        self.advance(now);
        let mut written = take_front(&mut self.clear_output, out);
        while let Some(room) = out.get_mut(written..).filter(|room| written == 0 || room.len() >= MIN_RECORD_ROOM) {
            let sealed = self.transmit_record(room);
            if sealed == 0 {
                break;
            }
            written = written.saturating_add(sealed);
        }
        self.stats.bytes_sent = self.stats.bytes_sent.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
        Ok(written)
    }

    /// Fills one record at the front of `out`, which has room for at least the smallest one.
    fn transmit_record(&mut self, out: &mut [u8]) -> usize {
        if self.records.is_none() || !self.clear_output.is_empty() {
            return 0;
        }
        let room = out.len().saturating_sub(RECORD_OVERHEAD).min(MAX_RECORD_BODY);
        let Some(body) = out.get_mut(RECORD_HEADER_LEN..).and_then(|body| body.get_mut(..room)) else { return 0 };
        let len = self.transmit_plaintext(body);
        let Some(records) = self.records.as_mut().filter(|_| len > 0) else { return 0 };
        match records.sealer.seal_in_place(out, len) {
            Ok(sealed) => {
                self.stats.records_sent = self.stats.records_sent.saturating_add(1);
                sealed
            }
            // 2^64 records were sealed: this key must never be used again.
            Err(_) => {
                self.closed(CloseReason::Local);
                0
            }
        }
    }

    fn transmit_plaintext(&mut self, body: &mut [u8]) -> usize {
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

/// Moves as many bytes as fit from the front of `queue` to `out`.
fn take_front(queue: &mut Vec<u8>, out: &mut [u8]) -> usize {
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
