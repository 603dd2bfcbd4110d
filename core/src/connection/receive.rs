//! Input: from transport bytes through the phases to the session.

use alloc::boxed::Box;
use core::mem;

use super::{
    Admission, CloseReason, Connection, DenyReason, Event, Layer, MAX_RECV, NoRoom, ProtocolError, YAMUX,
    negotiation::Negotiation,
    phase::{Muxer, Phase, Prepared, Secured, Upgrade},
    records::{Opened, Records},
    streams::{Ending, Streams},
};
use crate::{
    Instant,
    multistream::Progress,
    noise::{self, Finished, Handshake},
    yamux::Session,
};

/// How many bytes are read from a peer that broke a rule before the connection is cut. Stops it from
/// keeping us busy, after the verdict, until the linger timeout.
pub(super) const MAX_DISCARDED: usize = 256 * 1024;
/// First byte of a multistream-select header, its length; no Yamux header starts so.
const MULTISTREAM_FIRST_BYTE: u8 = 0x13;
/// First byte of every Yamux header, its version; no multistream-select message starts so.
const YAMUX_FIRST_BYTE: u8 = 0;

impl Connection {
    /// How many bytes are welcome; 0 means: do not read now. Never 0 on an open connection, unless its
    /// record side was detached.
    #[must_use]
    pub fn recv_room(&self) -> usize {
        let held = match &self.phase {
            _ if matches!(self.records, Records::Detached { .. }) => MAX_RECV,
            Phase::Secured(upgrade) if upgrade.ended => MAX_RECV,
            Phase::Secured(upgrade) => upgrade.pending.len().saturating_add(self.records.partial_len()),
            _ => 0,
        };
        MAX_RECV.saturating_sub(held)
    }

    /// Takes bytes from the transport, at most [`recv_room`](Self::recv_room).
    ///
    /// Whole records are opened in place, so the content of `data` is unspecified afterwards. Nothing
    /// of it is kept but a partial record and the plaintext that streams must hold.
    pub fn handle_recv(&mut self, now: Instant, data: &mut [u8]) -> Result<(), NoRoom> {
        let room = self.recv_room();
        if data.len() > room {
            return Err(NoRoom { given: data.len(), room });
        }
        self.advance(now);
        self.count_received(data.len());
        let mut rest = data;
        while !rest.is_empty() {
            let consumed = match &self.phase {
                Phase::Negotiating(_) => self.recv_negotiation(rest),
                Phase::Handshaking(_) => self.recv_handshake(rest),
                Phase::Secured(_) | Phase::Open(_) => {
                    self.recv_records(rest);
                    break;
                }
                Phase::Lingering(_) => {
                    self.discard(rest.len());
                    break;
                }
                Phase::Closed(_) => break,
            };
            rest = mem::take(&mut rest).get_mut(consumed..).unwrap_or_default();
        }
        self.after_input();
        Ok(())
    }

    /// [`handle_recv`](Self::handle_recv) after [`detach_records`](Self::detach_records): takes what the
    /// record side made of the bytes from the transport. Does nothing on a connection that still has it.
    pub fn handle_opened(&mut self, now: Instant, opened: &Opened<'_>) {
        let Records::Detached { inside_record } = &mut self.records else { return };
        *inside_record = opened.inside_record;
        self.advance(now);
        self.count_received(opened.received);
        match self.phase {
            Phase::Lingering(_) => self.discard(opened.received),
            _ => self.recv_opened(opened),
        }
        self.after_input();
    }

    fn count_received(&mut self, len: usize) {
        self.counters.bytes_received =
            self.counters.bytes_received.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
    }

    /// Counts input that nobody will read. A peer that broke a rule has no claim to our patience: past
    /// [`MAX_DISCARDED`] it is cut off, although it may then not see the GoAway.
    fn discard(&mut self, len: usize) {
        self.discarded = self.discarded.saturating_add(len);
        if self.discarded > MAX_DISCARDED && matches!(self.close_reason(), Some(CloseReason::Protocol(_))) {
            self.closed(CloseReason::Eof);
        }
    }

    fn recv_negotiation(&mut self, data: &[u8]) -> usize {
        let Phase::Negotiating(clear) = &mut self.phase else { return 0 };
        let outcome = clear.negotiation.handle_recv(data);
        clear.negotiation.drain_into(&mut self.clear_output);
        match outcome {
            Ok((consumed, Progress::Pending)) => consumed,
            Ok((consumed, Progress::Agreed(_))) => {
                self.start_handshake();
                consumed
            }
            Ok((consumed, Progress::Unsupported)) => {
                self.closed(CloseReason::NothingInCommon(Layer::Security));
                consumed
            }
            Err(error) => {
                self.closed(CloseReason::Protocol(error.into()));
                0
            }
        }
    }

    fn start_handshake(&mut self) {
        let Phase::Negotiating(clear) = mem::replace(&mut self.phase, Phase::Closed(None)) else { return };
        let handshake = match clear.handshake {
            Prepared::Initiator(handshake) => *handshake,
            Prepared::Responder(seed, expected) => {
                Handshake::responder(self.credentials.clone(), expected, &[YAMUX], seed)
            }
        };
        self.phase = Phase::Handshaking(Box::new(handshake));
    }

    fn recv_handshake(&mut self, data: &[u8]) -> usize {
        let Phase::Handshaking(handshake) = &mut self.phase else { return 0 };
        match handshake.handle_recv(data) {
            Ok(consumed) => {
                drain_handshake(handshake, &mut self.clear_output);
                if handshake.is_finished() {
                    self.finish_handshake();
                }
                consumed
            }
            Err(error) => {
                self.closed(CloseReason::Protocol(error.into()));
                0
            }
        }
    }

    fn finish_handshake(&mut self) {
        let Phase::Handshaking(handshake) = mem::replace(&mut self.phase, Phase::Closed(None)) else { return };
        match handshake.finish() {
            Ok(finished) => self.secure(finished),
            Err(unfinished) => self.phase = Phase::Handshaking(Box::new(unfinished)),
        }
    }

    fn secure(&mut self, finished: Finished) {
        let Finished { peer, public_key, handshake_hash, muxer, sealer, opener } = finished;
        self.records = Records::new(sealer, opener);
        // The id was made from the key, so that what it contains is the key: not decoded here, which is slow.
        let public_key = (!peer.is_inlined()).then(|| Box::new(public_key));
        self.secured = Some(Box::new(Secured { peer, public_key, handshake_hash }));
        self.events.push(Event::Secured { peer });
        let muxer = if muxer.is_some() {
            Muxer::AgreedEarly
        } else {
            let mut negotiation = Negotiation::of_connection(self.role, YAMUX);
            negotiation.drain_into(&mut self.sealed_output);
            Muxer::Negotiating(negotiation)
        };
        let admitted = self.config.admission == Admission::Automatic && self.reporting.is_none();
        self.phase = Phase::Secured(Box::new(Upgrade { muxer, admitted, pending: Default::default(), ended: false }));
        if peer == self.credentials.peer_id() {
            self.deny(self.now, DenyReason::SelfDial);
        } else {
            self.open_if_ready();
        }
    }

    fn recv_records(&mut self, data: &mut [u8]) {
        if let Records::Attached(sides) = &mut self.records {
            let opened = sides.1.open(data);
            self.recv_opened(&opened);
        }
    }

    fn recv_opened(&mut self, opened: &Opened<'_>) {
        for plaintexts in opened.plaintexts() {
            for plaintext in plaintexts {
                if !matches!(self.phase, Phase::Secured(_) | Phase::Open(_)) {
                    return;
                }
                self.counters.records_received = self.counters.records_received.saturating_add(1);
                self.recv_plaintext(plaintext);
            }
        }
        if let Some(error) = &opened.error
            && matches!(self.phase, Phase::Secured(_) | Phase::Open(_))
        {
            self.abort(noise::Error::clone(error).into());
        }
    }

    fn recv_plaintext(&mut self, plaintext: &[u8]) {
        match &mut self.phase {
            Phase::Secured(upgrade) if matches!(upgrade.muxer, Muxer::Negotiating(_)) => {
                self.recv_muxer_negotiation(plaintext);
            }
            Phase::Secured(upgrade) => upgrade.pending.extend_from_slice(plaintext),
            Phase::Open(streams) => {
                let session = &mut streams.session;
                let nothing_yet = session.stats().frames_received == 0 && session.is_at_frame_boundary();
                if nothing_yet && plaintext.first() == Some(&MULTISTREAM_FIRST_BYTE) {
                    self.abort(ProtocolError::MuxerMismatch);
                } else if session.handle_recv(self.now, plaintext).is_err() {
                    self.after_input();
                }
            }
            _ => {}
        }
    }

    fn recv_muxer_negotiation(&mut self, plaintext: &[u8]) {
        let mut rest = plaintext;
        while let (Phase::Secured(upgrade), false) = (&mut self.phase, rest.is_empty()) {
            let Muxer::Negotiating(negotiation) = &mut upgrade.muxer else {
                upgrade.pending.extend_from_slice(rest);
                break;
            };
            if rest.first() == Some(&YAMUX_FIRST_BYTE) {
                return self.abort(ProtocolError::MuxerMismatch);
            }
            let outcome = negotiation.handle_recv(rest);
            negotiation.drain_into(&mut self.sealed_output);
            match outcome {
                Ok((consumed, progress)) => {
                    rest = rest.get(consumed..).unwrap_or_default();
                    match progress {
                        Progress::Pending => {}
                        Progress::Agreed(_) => upgrade.muxer = Muxer::Agreed,
                        Progress::Unsupported => return self.closed(CloseReason::NothingInCommon(Layer::Muxer)),
                    }
                }
                Err(error) => return self.abort(error.into()),
            }
        }
        self.open_if_ready();
    }

    /// Enters `Open` once the muxer is agreed and the peer is admitted.
    pub(super) fn open_if_ready(&mut self) {
        let Phase::Secured(upgrade) = &mut self.phase else { return };
        if !upgrade.admitted || matches!(upgrade.muxer, Muxer::Negotiating(_)) {
            return;
        }
        let pending = mem::take(&mut upgrade.pending);
        let ended = upgrade.ended;
        let session = Session::new(self.role, self.config.yamux.clone(), self.now);
        self.phase = Phase::Open(Box::new(Streams::new(session, self.now)));
        self.timers.stop(super::Timer::Upgrade);
        self.events.push(Event::Open);
        self.begin_handshake();
        self.recv_plaintext(&pending);
        self.after_input();
        if ended {
            self.handle_recv_eof(self.now);
        }
    }

    /// Turns what the session reports into events, negotiations and, at a GoAway, the end.
    pub(super) fn after_input(&mut self) {
        let ending = match self.open_parts() {
            Some((streams, mut around)) => streams.handle_session_events(&mut around),
            None => None,
        };
        if ending.is_some() || self.handshake.is_some() {
            self.after_session(ending);
        }
    }

    #[inline(never)]
    fn after_session(&mut self, ending: Option<Ending>) {
        if ending.is_some() {
            self.finish_handshake_input();
        }
        self.drive_handshake();
        match ending {
            Some(Ending::GoAway(code)) => self.remote_go_away(code),
            Some(Ending::Broke(violation)) => self.broke(violation.into()),
            None => {}
        }
    }
}

pub(super) fn drain_handshake(handshake: &mut Handshake, out: &mut alloc::vec::Vec<u8>) {
    let mut step = [0; 256];
    loop {
        let n = handshake.poll_transmit(&mut step);
        match step.get(..n) {
            Some(bytes) if n > 0 => out.extend_from_slice(bytes),
            _ => return,
        }
    }
}
