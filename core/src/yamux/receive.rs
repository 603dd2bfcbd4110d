//! Input: frames from a byte stream that may be cut anywhere.

use alloc::boxed::Box;

use super::{
    INITIAL_WINDOW, Session, StreamId, Violation,
    header::{Flags, HEADER_LEN, Header, Kind},
    lifecycle::tell_readable,
    session::OwnGoAway,
    stream::{Opening, RecvHalf, SendHalf, Stream},
};
use crate::{Instant, Role};

/// Where in a frame the input stands.
#[derive(Debug)]
pub(super) enum Parser {
    Header {
        bytes: [u8; HEADER_LEN],
        filled: usize,
    },
    /// Inside a body that was admitted. `target` is `None` if it is to be dropped.
    Body {
        target: Option<StreamId>,
        left: u32,
        fin: bool,
    },
}

impl Default for Parser {
    fn default() -> Self {
        Self::Header { bytes: [0; HEADER_LEN], filled: 0 }
    }
}

impl Session {
    /// Takes bytes from the transport. Frames may be cut anywhere; bodies go straight to their
    /// streams. All of `plaintext` is taken unless the remote violated the protocol, which ends the
    /// session: further calls return the same violation.
    pub fn handle_recv(&mut self, now: Instant, plaintext: &[u8]) -> Result<(), Violation> {
        self.observe(now);
        if let Some(violation) = self.failed {
            return Err(violation);
        }
        self.shed_above_share();
        self.parse(plaintext).inspect_err(|violation| self.fail(*violation))
    }

    /// The transport's input ended. False if that was inside a frame, which is an abnormal end.
    pub fn handle_recv_eof(&mut self) -> bool {
        self.is_at_frame_boundary()
    }

    /// No frame is partly received.
    pub fn is_at_frame_boundary(&self) -> bool {
        matches!(self.parser, Parser::Header { filled: 0, .. })
    }

    fn fail(&mut self, violation: Violation) {
        self.failed = Some(violation);
        if self.own_go_away != OwnGoAway::Sent {
            self.own_go_away = OwnGoAway::Queued(GO_AWAY_PROTOCOL_ERROR);
        }
        self.owed.clear();
        self.unblock_open();
    }

    fn parse(&mut self, mut input: &[u8]) -> Result<(), Violation> {
        while !input.is_empty() {
            // The common case: the whole header is there.
            if let (Parser::Header { filled: 0, .. }, Some((bytes, rest))) = (&self.parser, input.split_first_chunk()) {
                input = rest;
                self.handle_frame(Header::decode(*bytes)?)?;
                continue;
            }
            match self.parser {
                Parser::Header { .. } => input = self.parse_partial_header(input)?,
                Parser::Body { target, left: before, fin } => {
                    let length = usize::try_from(before).unwrap_or(usize::MAX).min(input.len());
                    let (part, rest) = input.split_at_checked(length).unwrap_or((input, &[]));
                    input = rest;
                    self.handle_body(target, part, before);
                    self.expect_body(target, before.saturating_sub(saturating_u32(length)), fin);
                }
            }
        }
        Ok(())
    }

    /// Takes bytes of a header that is cut, and returns the rest of the input.
    #[inline(never)]
    fn parse_partial_header<'i>(&mut self, input: &'i [u8]) -> Result<&'i [u8], Violation> {
        let Parser::Header { bytes, filled } = &mut self.parser else { return Ok(input) };
        let wanted = HEADER_LEN.saturating_sub(*filled).min(input.len());
        let (Some((part, rest)), Some(to)) = (input.split_at_checked(wanted), bytes.get_mut(*filled..)) else {
            return Ok(&[]);
        };
        to.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
        *filled = filled.saturating_add(wanted);
        if *filled == HEADER_LEN {
            let header = Header::decode(*bytes)?;
            self.parser = Parser::default();
            self.handle_frame(header)?;
        }
        Ok(rest)
    }

    fn handle_frame(&mut self, header: Header) -> Result<(), Violation> {
        self.stats.frames_received = self.stats.frames_received.saturating_add(1);
        match header.kind {
            Kind::Data => self.handle_data(header),
            Kind::WindowUpdate => self.handle_window_update(header),
            Kind::Ping => self.handle_ping(header),
            Kind::GoAway => self.handle_go_away(header),
        }
    }

    fn handle_data(&mut self, header: Header) -> Result<(), Violation> {
        let id = StreamId::new(header.stream).ok_or(Violation::ZeroStreamId)?;
        let (flags, length) = (header.flags, header.length);
        self.stats.bytes_received = self.stats.bytes_received.saturating_add(length.into());
        if flags.has(Flags::RST) {
            self.handle_reset(id, flags, 0, length)?;
            self.expect_body(None, length, false);
            return Ok(());
        }
        let fin = flags.has(Flags::FIN);
        if flags.has(Flags::SYN) && !self.handle_syn(id, flags, length)? {
            self.expect_body(None, length, false);
            return Ok(());
        }
        let Some(stream) = self.live_stream(id) else {
            self.drain_unknown(length)?;
            self.expect_body(None, length, false);
            return Ok(());
        };
        if !stream.recv_window.receive(length) {
            return Err(Violation::CreditExceeded);
        }
        stream.stats.frames_received = stream.stats.frames_received.saturating_add(1);
        let after_fin = stream.recv_half == RecvHalf::Finished;
        let is_answer = stream.opening == Opening::SynSent;
        self.note_progress(id, flags, length)?;
        if is_answer {
            self.acknowledge(id);
        }
        if after_fin && length > 0 {
            self.stats.data_after_fin = self.stats.data_after_fin.saturating_add(1);
            self.stats.bytes_discarded = self.stats.bytes_discarded.saturating_add(length.into());
            self.reset_offender(id, RESET_PROTOCOL_VIOLATION);
            self.expect_body(None, length, false);
            return Ok(());
        }
        self.expect_body(Some(id), length, fin);
        Ok(())
    }

    fn handle_window_update(&mut self, header: Header) -> Result<(), Violation> {
        let id = StreamId::new(header.stream).ok_or(Violation::ZeroStreamId)?;
        let (flags, delta) = (header.flags, header.length);
        if flags.has(Flags::RST) {
            return self.handle_reset(id, flags, delta, 0);
        }
        if flags.has(Flags::SYN) && !self.handle_syn(id, flags, 0)? {
            return Ok(());
        }
        let Some(stream) = self.live_stream(id) else { return self.flood.empty_frame(&self.config) };
        #[cfg(septa_mutant = "fin-behind-window")]
        let delta = if stream.send_half == SendHalf::Finishing { 0 } else { delta };
        // After our FIN credit is of no use, so that even an overflow of it is no concern.
        if stream.send_half != SendHalf::Finished && !stream.send_window.grant(delta) {
            return Err(Violation::WindowOverflow);
        }
        self.note_progress(id, flags, 0)?;
        self.acknowledge(id);
        if flags.has(Flags::FIN) {
            self.handle_fin(id);
        }
        self.refresh(id);
        Ok(())
    }

    fn handle_ping(&mut self, header: Header) -> Result<(), Violation> {
        match (header.flags.has(Flags::SYN), header.flags.has(Flags::ACK)) {
            (true, false) if self.own_go_away == OwnGoAway::Sent => {}
            (true, false) if self.owed.pongs() >= self.config.max_pending_pongs => return Err(Violation::PingFlood),
            (true, false) => self.owed.push_pong(header.length),
            (false, true) if self.pinger.pong(header.length, self.now, self.config.keep_alive) => return Ok(()),
            (false, true) => self.stats.unexpected_pongs = self.stats.unexpected_pongs.saturating_add(1),
            _ => {}
        }
        self.flood.empty_frame(&self.config)
    }

    fn handle_go_away(&mut self, header: Header) -> Result<(), Violation> {
        if self.remote_go_away.is_some() {
            return self.flood.empty_frame(&self.config);
        }
        self.remote_go_away = Some(header.length);
        self.pending.go_away = Some(header.length);
        self.unblock_open();
        Ok(())
    }

    /// Checks and takes a SYN; false if the stream was refused.
    ///
    /// The ids of inbound streams are not in order, because go sends SYNs concurrently and rust
    /// lazily, and the ids that were used cannot all be remembered. So an id that was used and
    /// forgotten is taken as new: a remote that reuses one, against the specification, can only mix up
    /// its own streams.
    fn handle_syn(&mut self, id: StreamId, flags: Flags, body: u32) -> Result<bool, Violation> {
        if flags.has(Flags::ACK) {
            return Err(Violation::SynWithAck);
        }
        if id.is_dialer_initiated() == (self.role == Role::Dialer) {
            return Err(Violation::WrongParity);
        }
        if self.streams.contains_key(&id) {
            return Err(Violation::DuplicateStream);
        }
        let credit_left = INITIAL_WINDOW.checked_sub(body).ok_or(Violation::CreditExceeded)?;
        // Not only refused streams leave a reset behind: the application resets some, and we those
        // that break a rule. All of them begin with a SYN, so this bounds the queue.
        if self.owed.resets() >= self.config.max_pending_resets {
            return Err(Violation::RapidReset);
        }
        if let Some(code) = self.refusal(body) {
            self.owe_reset(id, code);
            self.stats.streams_refused = self.stats.streams_refused.saturating_add(1);
            self.stats.bytes_discarded = self.stats.bytes_discarded.saturating_add(body.into());
            if !flags.has(Flags::FIN) {
                self.ghost_allowance = self.ghost_allowance.saturating_add(credit_left.into());
            }
            // A remote that reads its resets could open such streams for ever.
            self.flood.empty_frame(&self.config)?;
            return Ok(false);
        }
        let stream = self.streams.entry(id).or_insert_with(|| Box::new(Stream::new(Opening::Unaccepted, self.now)));
        self.accept_queue.insert(id, stream);
        self.stats.streams_received = self.stats.streams_received.saturating_add(1);
        if core::mem::take(&mut self.incoming_armed) {
            self.pending.incoming = true;
        }
        Ok(true)
    }

    fn refusal(&self, body: u32) -> Option<u32> {
        if self.own_go_away != OwnGoAway::None {
            return Some(self.refusing.unwrap_or(RESET_SHUTDOWN));
        }
        let full = self.streams.len() >= self.config.max_streams
            || self.accept_queue.len() >= self.config.accept_backlog
            || !self.account.has_room(usize::try_from(body).unwrap_or(usize::MAX));
        self.refusing.or(full.then_some(RESET_RESOURCE_LIMIT))
    }

    /// Handles a RST that came with a body of `body` bytes, which is to be dropped.
    fn handle_reset(&mut self, id: StreamId, flags: Flags, code: u32, body: u32) -> Result<(), Violation> {
        let Some(stream) = self.live_stream(id) else {
            if flags.has(Flags::SYN) && body <= INITIAL_WINDOW {
                // Opened and reset at once: nothing happened, but it must not happen too often.
                return self.flood.unaccepted_reset(&self.config);
            }
            if body > 0 {
                return self.drain_unknown(body);
            }
            return self.flood.empty_frame(&self.config);
        };
        if !stream.recv_window.receive(body) {
            return Err(Violation::CreditExceeded);
        }
        if stream.opening == Opening::Unaccepted {
            self.forget(id);
            return self.flood.unaccepted_reset(&self.config);
        }
        self.acknowledge(id);
        self.apply_reset(id, RecvHalf::Reset(code), SendHalf::Reset(code));
        Ok(())
    }

    /// Resets a stream on which the remote broke a rule. An application that holds it is told as if
    /// the remote had reset it, so that no blocked call of it waits for ever.
    fn reset_offender(&mut self, id: StreamId, code: u32) {
        let Some(stream) = self.streams.get(&id) else { return };
        if !stream.is_held() {
            return self.abort(id, code);
        }
        if !stream.is_closed() {
            self.owe_reset(id, code);
        }
        self.apply_reset(id, RecvHalf::Reset(code), SendHalf::Reset(code));
    }

    /// Counts an inbound stream that the remote reset before it agreed on a protocol, like one that was
    /// reset before it was accepted.
    pub(crate) fn count_unwanted_reset(&mut self) {
        if let Err(violation) = self.flood.unaccepted_reset(&self.config) {
            self.fail(violation);
        }
    }

    /// Ends both halves of a stream that was reset. What was received before stays readable.
    pub(super) fn apply_reset(&mut self, id: StreamId, recv_half: RecvHalf, send_half: SendHalf) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.released {
            return self.forget(id);
        }
        let was_open = stream.recv_half == RecvHalf::Open;
        if was_open {
            self.ghost_allowance = self.ghost_allowance.saturating_add(stream.recv_window.credit().into());
        }
        if was_open || recv_half == RecvHalf::Shed {
            stream.recv_half = recv_half;
        }
        stream.send_half = send_half;
        stream.send.clear(&mut self.spares);
        stream.opening = Opening::Established;
        stream.update_due = false;
        self.refresh(id);
        self.notify_readable(id);
        self.notify_writable(id);
    }

    fn handle_fin(&mut self, id: StreamId) {
        let Some(stream) = self.live_stream(id).filter(|stream| stream.recv_half == RecvHalf::Open) else { return };
        stream.recv_half = RecvHalf::Finished;
        stream.update_due = false;
        self.refresh(id);
        self.notify_readable(id);
    }

    /// Says that `left` body bytes follow, or, if none do, ends the frame.
    fn expect_body(&mut self, target: Option<StreamId>, left: u32, fin: bool) {
        if left > 0 {
            self.parser = Parser::Body { target, left, fin };
            return;
        }
        self.parser = Parser::default();
        if let Some(id) = target.filter(|_| fin) {
            self.handle_fin(id);
        }
    }

    /// Hands a part of a body of which `left` bytes, this part included, are outstanding to its stream.
    fn handle_body(&mut self, target: Option<StreamId>, part: &[u8], left: u32) {
        let Some(id) = target else { return };
        if !self.account.has_room(part.len())
            && self.streams.get(&id).is_some_and(|stream| !stream.stopped && !stream.is_reset())
        {
            self.make_room(id, part.len());
        }
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| !stream.is_reset()) else {
            self.stats.bytes_discarded = self.stats.bytes_discarded.saturating_add(saturating_u64(part.len()));
            return;
        };
        stream.stats.bytes_received = stream.stats.bytes_received.saturating_add(saturating_u64(part.len()));
        if stream.stopped {
            stream.consumed(part.len());
            self.refresh(id);
        } else {
            let limit = stream.recv_window.credit().saturating_add(left);
            let occupied = stream.recv.capacity();
            stream.recv.append_received(part, usize::try_from(limit).unwrap_or(usize::MAX), &mut self.spares);
            self.account.recount(occupied, stream.recv.capacity());
            // What it has to send is as before.
            tell_readable(id, stream, &mut self.events);
        }
    }

    /// A stream that the remote knows and has not reset.
    fn live_stream(&mut self, id: StreamId) -> Option<&mut Stream> {
        let stream = self.streams.get_mut(&id)?;
        (stream.opening != Opening::Unsent && !stream.is_reset()).then_some(stream)
    }

    /// Lets a body for a stream that does not exist pass, as long as it may have been in flight when
    /// we forgot the stream. The allowance keeps a remote from sending ghost data for ever.
    fn drain_unknown(&mut self, body: u32) -> Result<(), Violation> {
        if body == 0 {
            return self.flood.empty_frame(&self.config);
        }
        let left = self.ghost_allowance.checked_sub(body.into()).ok_or(Violation::UnknownStreamData)?;
        self.ghost_allowance = left;
        self.stats.bytes_discarded = self.stats.bytes_discarded.saturating_add(body.into());
        Ok(())
    }

    /// Counts the frame as one that moves something, or as one that does not.
    fn note_progress(&mut self, id: StreamId, flags: Flags, body: u32) -> Result<(), Violation> {
        if body > 0 || flags.has(Flags::SYN) {
            self.flood.progress();
            return Ok(());
        }
        let Some(stream) = self.streams.get(&id) else { return Ok(()) };
        let finishes = flags.has(Flags::FIN) && stream.recv_half == RecvHalf::Open;
        if finishes || stream.opening == Opening::SynSent { Ok(()) } else { self.flood.empty_frame(&self.config) }
    }
}

fn saturating_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn saturating_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// GoAway code of a protocol error.
const GO_AWAY_PROTOCOL_ERROR: u32 = 1;
/// Reset codes that libp2p peers understand.
pub(super) const RESET_RESOURCE_LIMIT: u32 = 0x1002;
const RESET_PROTOCOL_VIOLATION: u32 = 0x1004;
const RESET_SHUTDOWN: u32 = 0x1007;
