//! The end of a connection: draining, GoAway, lingering, closed.

use alloc::boxed::Box;
use core::{mem, time::Duration};

use super::{
    CloseReason, Connection, DenyReason, Event, ProtocolError, Timer, codes,
    phase::{Muxer, Phase},
    records::Records,
    streams::Retiring,
};
use crate::{Instant, Role, time::TimerTable, yamux};

/// How soon after [`Event::Open`] an unexplained end means that the listener did not want this dialer.
/// Listeners decide at once, and no peer is known to close an idle connection within less than 5 s.
pub const DENIAL_WINDOW: Duration = Duration::from_secs(3);

/// How long a connection that [retires](Connection::retire) stays at least.
const RETIRE_GRACE: Duration = Duration::from_secs(1);

impl Connection {
    /// Closes in good order: new streams are refused, written data and ends of streams leave, then a
    /// GoAway with `code` (see [`codes::connection`]), then the transport is half-closed and input is
    /// discarded until the peer closes too. Each of the two waits lasts at most the drain timeout.
    ///
    /// Until the GoAway leaves, streams can still be accepted, read, written and finished; what is
    /// written by then leaves first. Streams that are not finished by then are cut off.
    ///
    /// Before the connection is open it ends at once. A second call changes nothing. An application
    /// handshake that is not done is given up: messages of it that still wait for the stream are lost.
    pub fn close(&mut self, now: Instant, code: u32) {
        self.advance(now);
        match self.phase {
            Phase::Open(_) => self.drain(code),
            Phase::Negotiating(_) | Phase::Handshaking(_) | Phase::Secured(_) => {
                self.say_goodbye(code, CloseReason::Local);
            }
            Phase::Lingering(_) | Phase::Closed(_) => {}
        }
    }

    /// Closes in good order once no stream is left: those that are open may go on, no other is opened here, and those
    /// that the peer opens are still served. Not before a second has passed, so that those arrive which it opens
    /// before it can know; at the latest [`retire_timeout`](super::Config::retire_timeout) behind that; and at once if
    /// the connection is not ready yet. For a connection that another one replaces.
    pub fn retire(&mut self, now: Instant, code: u32) {
        self.advance(now);
        let is_ready = self.is_ready();
        match &mut self.phase {
            Phase::Open(streams) if is_ready => {
                if streams.retiring.is_none() {
                    streams.retiring = Some(Retiring { code, is_due: false });
                    streams.wake_open(&mut self.events);
                    self.timers.set(Timer::Retire, self.now.saturating_add(RETIRE_GRACE));
                }
            }
            _ => self.close(now, code),
        }
    }

    /// From now on the connection ends when no stream is left; or it has taken too long.
    pub(super) fn retire_timed_out(&mut self) {
        let Phase::Open(streams) = &mut self.phase else { return };
        let Some(retiring) = &mut streams.retiring else { return };
        if retiring.is_due {
            let code = retiring.code;
            return self.drain(code);
        }
        retiring.is_due = !cfg!(septa_mutant = "retires-for-ever");
        self.timers.set(Timer::Retire, self.now.saturating_add(self.config.retire_timeout));
    }

    /// The streams of a connection that retires are all over.
    pub(super) fn drain_if_retired(&mut self) {
        if let Phase::Open(streams) = &self.phase
            && let Some(Retiring { code, .. }) = streams.retiring.filter(|_| streams.is_retired())
        {
            self.drain(code);
        }
    }

    /// Begins the end of an open connection, unless it has begun.
    pub(super) fn drain(&mut self, code: u32) {
        let Phase::Open(streams) = &mut self.phase else { return };
        if streams.draining.is_none() {
            streams.session.refuse_inbound(codes::stream::SHUTDOWN);
            // A GoAway alone, soon after the start, would tell the dialer that it was denied.
            streams.session.ping_now();
            streams.answer_all();
            streams.draining = Some(code);
            streams.wake_open(&mut self.events);
            self.timers.stop(Timer::Handshake);
            self.timers.stop(Timer::Retire);
            self.timers.set(Timer::Drain, self.now.saturating_add(self.config.drain_timeout));
        }
    }

    /// Turns an authenticated peer away before it can open a stream. Without effect once it is admitted
    /// and the connection is open. The peer learns the reason's code if Yamux is already agreed.
    pub fn deny(&mut self, now: Instant, reason: DenyReason) {
        self.advance(now);
        if let Phase::Secured(_) = self.phase {
            self.say_goodbye(reason.code(), CloseReason::Denied(reason));
        }
    }

    /// The transport has ended: no more input will come, and none should be read.
    ///
    /// This closes the connection, unless plaintext of the peer waits for admission: then
    /// [`recv_room`](Self::recv_room) is 0 until [`admit`](Self::admit) or [`deny`](Self::deny).
    pub fn handle_recv_eof(&mut self, now: Instant) {
        self.advance(now);
        if let Phase::Secured(upgrade) = &mut self.phase
            && !upgrade.admitted
            && !upgrade.pending.is_empty()
        {
            upgrade.ended = true;
            return;
        }
        let reason = if self.is_inside_message() {
            CloseReason::Truncated
        } else if self.was_denied(0) {
            CloseReason::DeniedByRemote
        } else {
            CloseReason::Eof
        };
        self.closed(reason);
    }

    /// The transport has failed: nothing more will come or go.
    pub fn handle_io_error(&mut self, now: Instant) {
        self.advance(now);
        self.closed(if self.was_denied(0) { CloseReason::DeniedByRemote } else { CloseReason::Io });
    }

    /// The transport takes no bytes now. Starts the write-stall timer, unless it runs.
    pub fn handle_transmit_blocked(&mut self, now: Instant) {
        self.advance(now);
        if self.timers.get(Timer::WriteStall).is_none() && !self.is_closed() {
            self.timers.set(Timer::WriteStall, self.now.saturating_add(self.config.write_stall_timeout));
        }
    }

    /// The transport took bytes again. Stops the write-stall timer.
    pub fn handle_transmitted(&mut self, now: Instant) {
        self.advance(now);
        #[cfg(not(septa_mutant = "write-stall-timer-left"))]
        self.timers.stop(Timer::WriteStall);
    }

    /// The last byte has been handed out: once the driver has written it, it should half-close the
    /// transport and go on reading until [`is_closed`](Self::is_closed).
    #[must_use]
    pub fn wants_shutdown(&self) -> bool {
        matches!(self.phase, Phase::Lingering(_)) && !self.wants_transmit()
    }

    /// The connection is over and the transport can be dropped.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed(_))
    }

    /// The peer's GoAway: other implementations drop every stream at once, so there is nobody to
    /// whom the rest of our data could be sent.
    pub(super) fn remote_go_away(&mut self, code: u32) {
        let reason = if self.was_denied(1) { CloseReason::DeniedByRemote } else { CloseReason::Remote { code } };
        self.linger(reason);
    }

    /// The peer broke a rule after the handshake.
    ///
    /// What came before, perhaps in the same piece of input, counts: how the transport cuts must not
    /// decide what the application sees.
    pub(super) fn abort(&mut self, error: ProtocolError) {
        self.after_input();
        self.broke(error);
    }

    pub(super) fn broke(&mut self, error: ProtocolError) {
        if matches!(self.phase, Phase::Secured(_) | Phase::Open(_)) {
            self.say_goodbye(codes::connection::PROTOCOL_ERROR, CloseReason::Protocol(error));
        }
    }

    pub(super) fn drain_timed_out(&mut self) {
        if let Phase::Open(streams) = &self.phase {
            // Without a code it is our Reject that did not leave in time.
            let code = streams.draining.unwrap_or(codes::connection::GATED);
            self.say_goodbye(code, CloseReason::DrainTimeout);
        }
    }

    /// Sends a GoAway and lingers, if the peer speaks Yamux by now and has not gone; closes at once
    /// otherwise.
    pub(super) fn say_goodbye(&mut self, code: u32, reason: CloseReason) {
        let speaks_yamux = match &self.phase {
            Phase::Open(_) => true,
            Phase::Secured(upgrade) => !matches!(upgrade.muxer, Muxer::Negotiating(_)) && !upgrade.ended,
            _ => false,
        };
        if speaks_yamux {
            self.sealed_output.extend_from_slice(&yamux::go_away_frame(code));
            self.linger(reason);
        } else {
            self.closed(reason);
        }
    }

    /// Notes why the connection ends. The first reason counts.
    pub(super) fn give_reason(&mut self, reason: CloseReason) {
        self.reason.get_or_insert_with(|| Box::new(reason));
    }

    fn linger(&mut self, reason: CloseReason) {
        self.give_reason(reason);
        let mut streams = match mem::replace(&mut self.phase, Phase::Closed(None)) {
            Phase::Open(streams) => Some(streams),
            _ => None,
        };
        if let Some(streams) = &mut streams {
            streams.end(&mut self.events);
        }
        self.phase = Phase::Lingering(streams);
        self.end_handshake();
        self.timers.stop(Timer::Upgrade);
        self.timers.stop(Timer::Handshake);
        self.timers.stop(Timer::Retire);
        self.timers.stop(Timer::Drain);
        self.timers.set(Timer::Linger, self.now.saturating_add(self.config.drain_timeout));
    }

    pub(super) fn closed(&mut self, reason: CloseReason) {
        if self.is_closed() {
            return;
        }
        self.give_reason(reason);
        let mut streams = match mem::replace(&mut self.phase, Phase::Closed(None)) {
            Phase::Open(streams) | Phase::Lingering(Some(streams)) => Some(streams),
            _ => None,
        };
        if let Some(streams) = &mut streams {
            streams.end(&mut self.events);
        }
        self.phase = Phase::Closed(streams);
        self.end_handshake();
        self.timers = TimerTable::default();
        self.clear_output = Default::default();
        self.sealed_output = Default::default();
        if let Records::Attached(_) = self.records {
            self.records = Records::None;
        }
        self.events.push(Event::Closed);
    }

    /// A listener that ends the connection early and before any other Yamux frame does not want this
    /// dialer. `frames` is how many frames the ending itself has brought.
    fn was_denied(&self, frames: u64) -> bool {
        let denied = match &self.phase {
            Phase::Secured(_) => true,
            Phase::Open(streams) => {
                let early = self.now.saturating_duration_since(streams.since) < DENIAL_WINDOW;
                early && streams.draining.is_none() && streams.session.stats().frames_received <= frames
            }
            _ => false,
        };
        self.role == Role::Dialer && denied
    }

    fn is_inside_message(&self) -> bool {
        self.records.is_inside_record()
            || matches!(&self.phase, Phase::Open(streams) if !streams.session.is_at_frame_boundary())
    }
}
