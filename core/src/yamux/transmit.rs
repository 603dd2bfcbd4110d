//! Output: whole frames, packed into the caller's buffer.

use super::{
    Session, StreamId,
    header::{Flags, HEADER_LEN, Header},
    lifecycle::{place, tell_writable},
    scheduler::Popped,
    session::OwnGoAway,
    stream::{Opening, RecvHalf, SendHalf, Stream},
};
use crate::{Instant, buf::SpareBlocks};

/// Shortest buffer with which [`Session::poll_transmit`] always makes progress, in bytes.
pub const MIN_TRANSMIT_LEN: usize = HEADER_LEN + 1;

impl Session {
    /// [`poll_transmit`](Self::poll_transmit) would produce bytes. Costs no search.
    pub fn wants_transmit(&self) -> bool {
        match self.own_go_away {
            OwnGoAway::Sent => false,
            OwnGoAway::Queued(_) => true,
            OwnGoAway::None => self.pinger.is_due() || self.has_frames(),
        }
    }

    /// Packs as many whole frames as fit into `out` and returns their length; 0 if there is nothing
    /// to send, or if `out` is shorter than [`MIN_TRANSMIT_LEN`].
    ///
    /// Control frames go first, then the data of the writable streams, which take turns by their
    /// [`Priority`](super::Priority), the GoAway last. A data frame is cut to the space, but not to a
    /// tiny one behind other frames.
    #[must_use]
    pub fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> usize {
        self.observe(now);
        if out.len() < MIN_TRANSMIT_LEN {
            return 0;
        }
        let mut frames = Frames { out, used: 0, count: 0 };
        self.fill(&mut frames);
        self.stats.frames_sent = self.stats.frames_sent.saturating_add(frames.count);
        frames.used
    }

    fn has_frames(&self) -> bool {
        !(self.owed.is_empty() && self.control.is_empty() && self.ready.is_empty())
    }

    /// Frames other than of stream data may be due.
    pub(crate) fn may_frame_control(&self) -> bool {
        self.pinger.may_ride() || !(self.owed.is_empty() && self.control.is_empty())
    }

    fn fill(&mut self, frames: &mut Frames<'_>) {
        if self.own_go_away == OwnGoAway::Sent {
            return;
        }
        if self.failed.is_none() {
            // Framing a FIN may leave a reset to send, so look again until nothing is left.
            while self.pinger.is_due() || self.has_frames() {
                if (self.may_frame_control() && !self.fill_control(frames)) || !self.fill_data(frames) {
                    return;
                }
            }
        }
        if let OwnGoAway::Queued(code) = self.own_go_away
            && frames.push(Header::go_away(code))
        {
            self.own_go_away = OwnGoAway::Sent;
        }
    }

    /// This and those that follow return false when `out` is full. Those that small messages do without are kept out
    /// of line.
    #[inline(never)]
    fn fill_control(&mut self, frames: &mut Frames<'_>) -> bool {
        self.fill_session_control(frames) && self.fill_stream_control(frames)
    }

    fn fill_session_control(&mut self, frames: &mut Frames<'_>) -> bool {
        while let Some(value) = self.owed.next_pong() {
            if !frames.push(Header::pong(value)) {
                return false;
            }
            self.owed.pop_pong();
        }
        if self.pinger.may_ride() {
            if !frames.has_room() {
                return false;
            }
            frames.push(Header::ping(self.pinger.sent(self.now, self.config.keep_alive)));
        }
        while let Some((id, code)) = self.owed.next_reset() {
            if !frames.push(Header::reset(id, code)) {
                return false;
            }
            self.owed.pop_reset();
        }
        true
    }

    fn fill_stream_control(&mut self, frames: &mut Frames<'_>) -> bool {
        loop {
            let (id, stream) = match self.control.pop(&mut self.streams) {
                Popped::Nothing => return true,
                Popped::Stale => continue,
                Popped::Stream(id, stream) => (id, stream),
            };
            // An ACK alone rides on the data frame that follows in this turn.
            if !stream.has_control() || (!stream.update_due && stream.has_sendable_data()) {
                continue;
            }
            if !frames.has_room() {
                self.control.put_back(id, stream);
                return false;
            }
            let flags = take_opening_flags(&mut stream.opening);
            let delta = if core::mem::take(&mut stream.update_due) { self.grant(id) } else { 0 };
            frames.push(Header::window_update(id, flags, delta));
        }
    }

    /// The credit of the window update that is framed now.
    ///
    /// If the application took less than two round trips for the last half of the window, the window may
    /// be what holds the stream up: it is doubled, as far as the limits go. Without a keep-alive ping
    /// that was answered there is no round-trip time, and windows stay as they are. A window never
    /// shrinks, because credit cannot be taken back.
    fn grant(&mut self, id: StreamId) -> u32 {
        let rtt = self.pinger.rtt().unwrap_or_default();
        let Some(stream) = self.streams.get_mut(&id) else { return 0 };
        let window = &mut stream.recv_window;
        let is_fast = window.measure_pace(self.now).is_some_and(|took| took < rtt.saturating_mul(2));
        let extra = window.target().min(self.config.max_window.saturating_sub(window.target()));
        let limit = self.config.max_tuned_extra();
        if is_fast && !stream.stopped && usize::try_from(extra).is_ok_and(|extra| self.account.borrow(extra, limit)) {
            window.grow(extra);
        }
        window.grant()
    }

    fn fill_data(&mut self, frames: &mut Frames<'_>) -> bool {
        loop {
            let (id, stream) = match self.ready.pop(&mut self.streams) {
                Popped::Nothing => return true,
                Popped::Stale => continue,
                Popped::Stream(id, stream) => (id, stream),
            };
            let framed = if stream.has_sendable_data() {
                // One that is alone has no use for turns.
                let turn = if self.ready.is_empty() { usize::MAX } else { stream.turn_room() };
                let body = frames.fill_body(id, stream, turn.min(self.config.max_frame_body), &mut self.spares);
                if body > 0 {
                    self.stats.bytes_sent = self.stats.bytes_sent.saturating_add(body.into());
                    self.flood.progress();
                    tell_writable(id, stream, &mut self.events, self.config.send_quota);
                    // Back into the ring if there is more; and the ACK may have ridden on this frame.
                    place(id, stream, &mut self.control, &mut self.ready, &mut self.account);
                }
                body > 0
            } else {
                frames.fill_fin(id, stream)
            };
            if !framed {
                self.ready.insert(id, stream);
                return false;
            }
            if stream.send_half != SendHalf::Open {
                self.end_if_flushed(id);
            }
        }
    }

    /// Ends a stream whose last frame but the reset was framed and whose reader is gone.
    #[inline(never)]
    fn end_if_flushed(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get(&id) else { return };
        match (stream.send_half, stream.reset_after_fin, stream.recv_half) {
            (SendHalf::Finished, Some(code), RecvHalf::Open) => self.abort(id, code),
            (SendHalf::Aborting, Some(code), _) if stream.send.is_empty() => self.abort(id, code),
            (SendHalf::Finished, ..) if stream.released => self.forget(id),
            _ => {}
        }
    }
}

/// The flag that the stream's next frame carries, which then counts as sent.
fn take_opening_flags(opening: &mut Opening) -> Flags {
    match *opening {
        Opening::Unsent => {
            *opening = Opening::SynSent;
            Flags::SYN
        }
        Opening::AckDue => {
            *opening = Opening::Established;
            Flags::ACK
        }
        Opening::SynSent | Opening::Unaccepted | Opening::Established => Flags::NONE,
    }
}

/// The caller's buffer, filled from the front.
struct Frames<'a> {
    out: &'a mut [u8],
    used: usize,
    count: u64,
}

impl Frames<'_> {
    fn room(&self) -> usize {
        self.out.len().saturating_sub(self.used)
    }

    /// A header fits.
    fn has_room(&self) -> bool {
        self.room() >= HEADER_LEN
    }

    /// Frames data of a stream that has some to send, at most `max` bytes, and returns how much; 0 if there is no
    /// room for it.
    fn fill_body(&mut self, id: StreamId, stream: &mut Stream, max: usize, spares: &mut SpareBlocks) -> u32 {
        let credit = usize::try_from(stream.send_window.credit()).unwrap_or(usize::MAX);
        let wanted = stream.send.len().min(credit).min(max);
        let body = wanted.min(self.room().saturating_sub(HEADER_LEN));
        if body == 0 || (self.used > 0 && body < wanted.min(MIN_TAIL_BODY)) {
            return 0;
        }
        // No more than the credit, which is as long.
        let length = u32::try_from(body).unwrap_or(u32::MAX);
        let mut flags = take_opening_flags(&mut stream.opening);
        if flags == Flags::NONE && stream.send_half == SendHalf::Finishing && stream.send.len() == body {
            flags = Flags::FIN;
            stream.send_half = SendHalf::Finished;
        }
        self.push(Header::data(id, flags, length));
        self.body(body, |out| stream.send.read(out, spares));
        stream.send_window.spend(length);
        stream.spend_turn(body);
        stream.stats.frames_sent = stream.stats.frames_sent.saturating_add(1);
        stream.stats.bytes_sent = stream.stats.bytes_sent.saturating_add(length.into());
        length
    }

    /// Frames the FIN of a stream that has no data to send, if it is due; false if there is no room for it.
    #[inline(never)]
    fn fill_fin(&mut self, id: StreamId, stream: &mut Stream) -> bool {
        if stream.send_half != SendHalf::Finishing || !stream.send.is_empty() {
            return true;
        }
        // FIN never shares a frame with ACK, which py would not see, nor with SYN.
        if matches!(stream.opening, Opening::Unsent | Opening::AckDue) {
            if !self.has_room() {
                return false;
            }
            self.push(Header::window_update(id, take_opening_flags(&mut stream.opening), 0));
        }
        if !self.push(Header::data(id, Flags::FIN, 0)) {
            return false;
        }
        stream.send_half = SendHalf::Finished;
        stream.deficit = 0;
        stream.stats.frames_sent = stream.stats.frames_sent.saturating_add(1);
        true
    }

    /// Writes a header; false, and nothing written, if it does not fit.
    fn push(&mut self, header: Header) -> bool {
        let Some(to) = self.out.get_mut(self.used..).and_then(|rest| rest.first_chunk_mut()) else { return false };
        *to = header.encode();
        self.used = self.used.saturating_add(HEADER_LEN);
        self.count = self.count.saturating_add(1);
        true
    }

    /// Lets `fill` write a body of `length` bytes, which must fit.
    fn body(&mut self, length: usize, fill: impl FnOnce(&mut [u8]) -> usize) {
        let end = self.used.saturating_add(length);
        if let Some(to) = self.out.get_mut(self.used..end) {
            fill(to);
            self.used = end;
        }
    }
}

/// A body shorter than this is not framed at the end of the buffer if more of it waits: it would cost
/// the next layer a record of its own for little.
const MIN_TAIL_BODY: usize = 1024;
