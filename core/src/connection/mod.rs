//! One secure, multiplexed connection over any ordered byte stream.
//!
//! [`Connection`] runs the whole libp2p upgrade (multistream-select, Noise, multistream-select or early
//! muxer negotiation, Yamux) and then carries streams, each with its own negotiated protocol.

mod close;
pub mod codes;
mod config;
mod error;
mod event;
mod handshake;
mod negotiation;
mod phase;
mod receive;
mod records;
mod reporting;
mod stats;
mod stream;
mod streams;
#[cfg(test)]
mod tests;
mod transmit;

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{fmt, time::Duration};

pub use close::DENIAL_WINDOW;
pub use config::{Admission, Config, ConfigError, ConfigErrors, HandshakeMode, MAX_DRAIN_TIMEOUT, MIN_SEND_QUOTA};
pub use error::{
    CloseReason, DenyReason, HandshakeError, HandshakeRefusal, Layer, NoRoom, OpenError, ProtocolError, ReadError,
    RefuseReason, TransmitError, WriteError,
};
pub use event::Event;
pub use records::{Framed, Opened, RecordOpener, RecordSealer};
pub use stats::{MAX_COUNTED_PROTOCOLS, ProtocolStats, Stats};
pub use stream::Stream;

pub use crate::yamux::{Priority, StreamId};
use crate::{
    Instant, Link, PeerId, ProtocolId, ProtocolSet, PublicKey, Role,
    buf::SpareBlocks,
    noise::{Credentials, Handshake},
    time::{TimerKey, TimerTable, earlier},
    yamux,
};
use event::Events;
use handshake::ApplicationHandshake;
use negotiation::Negotiation;
use phase::{Clear, Phase, Prepared, Secured};
use records::Records;
use reporting::Reporting;
use stats::Counters;
use streams::{Streams, Surroundings};

/// `/noise`, the only security protocol offered (noise-libp2p).
pub const NOISE: ProtocolId = ProtocolId::from_static("/noise");
/// `/yamux/1.0.0`, the only stream multiplexer offered.
pub const YAMUX: ProtocolId = ProtocolId::from_static("/yamux/1.0.0");

/// Shortest output buffer that [`Connection::poll_transmit`] accepts, in bytes.
pub const MIN_TRANSMIT: usize = 64;
/// Best length of the output buffer: four records of a full frame each.
pub const TRANSMIT_BUFFER: usize = 4 * (16 * 1024 + 12 + 18);
/// Most bytes that one [`Connection::handle_recv`] takes, and most that wait for admission. Stops an
/// authenticated peer that is not admitted yet from filling memory.
pub const MAX_RECV: usize = 128 * 1024;
/// How long the answer to an inbound stream's proposal waits for the application to say something, so that
/// both leave together. Only answers that nobody waits for do: the dialer sent data or the end of the stream
/// behind its proposal.
pub const MAX_ANSWER_DELAY: Duration = Duration::from_millis(5);

/// One secure, multiplexed connection, driven by its owner.
///
/// # Driving it
///
/// * **Inputs**: [`handle_recv`](Self::handle_recv), [`handle_recv_eof`](Self::handle_recv_eof),
///   [`handle_io_error`](Self::handle_io_error), [`handle_timeout`](Self::handle_timeout),
///   [`handle_transmit_blocked`](Self::handle_transmit_blocked),
///   [`handle_transmitted`](Self::handle_transmitted).
/// * **Commands**: [`open`](Self::open), [`accept`](Self::accept), [`stream`](Self::stream),
///   [`serve`](Self::serve), [`admit`](Self::admit), [`deny`](Self::deny), [`close`](Self::close); with
///   [an application handshake](HandshakeMode::Application) also [`handshake_send`](Self::handshake_send),
///   [`handshake_recv`](Self::handshake_recv), [`prepare`](Self::prepare), [`finalize`](Self::finalize),
///   [`reject`](Self::reject).
/// * **Outputs**: after any of these ask again for
///   [`poll_transmit`](Self::poll_transmit) (if [`wants_transmit`](Self::wants_transmit)),
///   [`poll_timeout`](Self::poll_timeout) and [`poll_event`](Self::poll_event), in any order. Then
///   half-close the transport if [`wants_shutdown`](Self::wants_shutdown), and drop it if
///   [`is_closed`](Self::is_closed).
///
/// An open connection always takes input, even while the application does not read: window updates
/// of other streams sit behind unread data. What bounds memory is granted credit. Only a connection
/// that waits for admission may answer [`recv_room`](Self::recv_room) with 0.
///
/// # Errors
///
/// A mistake of the caller is a typed `Err`. A violation by the peer ends the connection:
/// [`Event::Closed`] follows and [`close_reason`](Self::close_reason) names the rule.
pub struct Connection {
    role: Role,
    config: Arc<Config>,
    credentials: Arc<Credentials>,
    /// What inbound streams may negotiate now.
    served: ProtocolSet,
    /// The latest `now` seen.
    now: Instant,
    phase: Phase,
    /// Bytes of the negotiation and the handshake that leave in the clear.
    clear_output: Vec<u8>,
    /// Plaintext that leaves, sealed, before anything of the session.
    sealed_output: Vec<u8>,
    records: Records,
    secured: Option<Box<Secured>>,
    /// `None` if the handshake is automatic.
    handshake: Option<Box<ApplicationHandshake>>,
    timers: TimerTable<Timer, TIMERS>,
    events: Events,
    /// Boxed: it is long, and most of the time there is none.
    reason: Option<Box<CloseReason>>,
    /// Bytes received since the connection lingers.
    discarded: usize,
    counters: Counters,
    /// What the node was told, if there is one.
    reporting: Option<Box<Reporting>>,
}

/// The timers of the connection itself; those of the session and of negotiations are theirs.
#[derive(Clone, Copy)]
enum Timer {
    /// From creation to `Open`.
    Upgrade,
    /// From `Open` to `Ready`.
    Handshake,
    /// While the transport refuses bytes.
    WriteStall,
    /// From `retire` until no stream is left.
    Retire,
    /// From `close` or `reject` until all data has left.
    Drain,
    /// From the last byte out until the peer's end of stream.
    Linger,
}

const TIMERS: usize = 6;

impl TimerKey for Timer {
    fn index(self) -> usize {
        self as usize
    }
}

impl Connection {
    /// A connection over a transport that is established at `now`.
    pub fn new(link: Link, config: Arc<Config>, credentials: Arc<Credentials>, now: Instant) -> Self {
        let Link { role, expected, mut seed, id } = link;
        let mut negotiation = Negotiation::of_connection(role, NOISE);
        let mut clear_output = Vec::new();
        negotiation.drain_into(&mut clear_output);
        let seed = seed.child("noise handshake");
        let noise = match role {
            Role::Dialer => {
                let mut handshake = Handshake::initiator(credentials.clone(), expected, &[YAMUX], seed);
                receive::drain_handshake(&mut handshake, &mut clear_output);
                Prepared::Initiator(Box::new(handshake))
            }
            Role::Listener => Prepared::Responder(seed, expected),
        };
        let mut timers = TimerTable::default();
        timers.set(Timer::Upgrade, now.saturating_add(config.upgrade_timeout));
        let handshake = match config.handshake {
            HandshakeMode::Automatic => None,
            HandshakeMode::Application { .. } => Some(Box::new(ApplicationHandshake::new(config.protocols.clone()))),
        };
        Self {
            role,
            served: handshake.as_ref().map_or_else(|| config.protocols.clone(), |handshake| handshake.served()),
            config,
            credentials,
            now,
            phase: Phase::Negotiating(Box::new(Clear { negotiation, handshake: noise })),
            clear_output,
            sealed_output: Vec::new(),
            records: Records::None,
            secured: None,
            handshake,
            timers,
            events: Events::default(),
            reason: None,
            discarded: 0,
            counters: Counters::default(),
            reporting: id.map(|_| Box::default()),
        }
    }

    /// The earliest instant at which [`handle_timeout`](Self::handle_timeout) has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let streams = match &self.phase {
            Phase::Open(streams) => streams.poll_timeout(),
            _ => None,
        };
        earlier(self.timers.next(), streams)
    }

    /// Tells the time. Early, late and repeated calls are harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        let now = self.now;
        if self.timers.expire(Timer::Upgrade, now) {
            return self.closed(CloseReason::UpgradeTimeout);
        }
        if self.timers.expire(Timer::WriteStall, now) {
            return self.closed(CloseReason::WriteStall);
        }
        if self.timers.expire(Timer::Handshake, now) {
            self.turn_away(CloseReason::HandshakeTimeout);
        }
        if self.timers.expire(Timer::Retire, now) {
            self.retire_timed_out();
        }
        if self.timers.expire(Timer::Drain, now) {
            self.drain_timed_out();
        }
        if self.timers.expire(Timer::Linger, now) {
            return self.closed(CloseReason::Local);
        }
        if let Some((streams, mut around)) = self.open_parts() {
            if streams.session.handle_timeout(now).is_err() {
                return self.closed(CloseReason::KeepAliveTimeout);
            }
            streams.expire_negotiations(now, &mut around);
        }
        self.after_input();
    }

    /// If this is false, [`poll_event`](Self::poll_event) has none; if it is true, it mostly has one. Costs little: drivers ask after each call, mostly in vain.
    #[must_use]
    #[inline]
    pub fn may_have_event(&self) -> bool {
        !self.events.is_empty() || self.has_news()
    }

    /// The session has something to tell.
    fn has_news(&self) -> bool {
        matches!(&self.phase, Phase::Open(streams) if streams.session.has_news())
    }

    /// The next event, if any.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        // Sending frees quota and releasing a stream frees its slot: the session reports that only here.
        if self.has_news() {
            self.after_input();
        }
        loop {
            let event = self.events.pop()?;
            let due = match (&event, &mut self.handshake) {
                (Event::HandshakeReadable, Some(handshake)) => handshake.take_event(),
                _ => self.streams_mut().0.is_none_or(|streams| streams.take_event(&event)),
            };
            if due {
                return Some(event);
            }
        }
    }

    /// Opens a stream and proposes `protocols` in this order.
    ///
    /// With a single protocol the negotiation is optimistic: data may be written at once and leaves
    /// together with the proposal. With several, writing is blocked until one is agreed.
    /// [`Event::Negotiated`] or [`Event::Refused`] follows.
    pub fn open(&mut self, now: Instant, protocols: &[ProtocolId]) -> Result<StreamId, OpenError> {
        self.advance(now);
        let negotiation = Negotiation::of_outbound_stream(protocols)?;
        if let Some(reason) = self.lost() {
            return Err(OpenError::ConnectionLost(reason));
        }
        let (is_open, may_open) = (self.is_open(), self.may_open(protocols));
        let Some((streams, mut around)) = self.open_parts() else { return Err(OpenError::NotOpen) };
        if !is_open || streams.retiring.is_some() {
            return Err(OpenError::Closing);
        }
        if !may_open {
            streams.opening.arm();
            return Err(OpenError::NotReady);
        }
        let opened = streams.open(negotiation, &mut around);
        if opened == Err(yamux::OpenError::Blocked) {
            streams.opening.arm();
        }
        opened.map_err(|error| match error {
            yamux::OpenError::Blocked => OpenError::Blocked,
            yamux::OpenError::IdsExhausted => OpenError::IdsExhausted,
            yamux::OpenError::GoneAway | yamux::OpenError::Closing => OpenError::Closing,
        })
    }

    /// The next inbound stream whose protocol is agreed. After `None`, [`Event::Incoming`] announces
    /// the next one. After the end of the connection those that arrived before it still come, so that
    /// what they brought can be read.
    pub fn accept(&mut self) -> Option<StreamId> {
        match &mut self.phase {
            Phase::Open(streams) | Phase::Lingering(Some(streams)) | Phase::Closed(Some(streams)) => {
                streams.accept(&mut self.events)
            }
            _ => None,
        }
    }

    /// The stream `id`. If there is none, its calls say so.
    pub fn stream(&mut self, id: StreamId) -> Stream<'_> {
        Stream { connection: self, id }
    }

    /// Replaces the set of protocols that inbound streams may negotiate from now on, or as soon as an
    /// application handshake is done.
    pub fn serve(&mut self, protocols: ProtocolSet) {
        self.served = match &mut self.handshake {
            Some(handshake) => handshake.serve(protocols),
            None => protocols,
        };
    }

    /// Lets the authenticated peer in. Without effect unless admission is pending.
    pub fn admit(&mut self, now: Instant) {
        self.advance(now);
        if let Phase::Secured(upgrade) = &mut self.phase {
            upgrade.admitted = true;
            self.open_if_ready();
        }
    }

    /// Moves the full-size blocks of `spares` to the connection's own list, from which blocks of stream data are taken
    /// and to which drained ones return: for a driver that shares blocks among many connections. Does
    /// nothing unless the connection is between open and closing.
    pub fn lend_spare_blocks(&mut self, spares: &mut SpareBlocks) {
        if let Phase::Open(streams) = &mut self.phase {
            streams.session.lend_spare_blocks(spares);
        }
    }

    /// Moves the full-size blocks of the connection's list to `spares`, and frees those for which there is no room.
    pub fn reclaim_spare_blocks(&mut self, spares: &mut SpareBlocks) {
        if let Phase::Open(streams) = &mut self.phase {
            streams.session.reclaim_spare_blocks(spares);
        }
    }

    /// This end's role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The authenticated peer, from [`Event::Secured`] on.
    pub fn peer(&self) -> Option<PeerId> {
        self.secured.as_ref().map(|secured| secured.peer)
    }

    /// The public key of the authenticated peer, from [`Event::Secured`] on.
    pub fn remote_public_key(&self) -> Option<PublicKey> {
        let secured = self.secured.as_ref()?;
        secured.public_key.as_deref().cloned().or_else(|| secured.peer.public_key())
    }

    /// The Noise handshake hash, equal on both ends and unique to this connection: what an
    /// application signs to bind its own authentication to it.
    pub fn channel_binding(&self) -> Option<[u8; 32]> {
        self.secured.as_ref().map(|secured| secured.handshake_hash)
    }

    /// True from [`Event::Open`] until the connection is closing.
    pub fn is_open(&self) -> bool {
        // With a reason it is closing, although the Reject has not left.
        self.reason.is_none() && matches!(&self.phase, Phase::Open(streams) if streams.draining.is_none())
    }

    /// True from [`Event::Open`] until the connection is closing or [retires](Self::retire): no stream is opened here
    /// any more.
    pub fn takes_streams(&self) -> bool {
        self.is_open() && matches!(&self.phase, Phase::Open(streams) if streams.retiring.is_none())
    }

    /// No stream is live.
    pub fn is_idle(&self) -> bool {
        self.streams().is_none_or(|streams| streams.session.is_idle())
    }

    /// Why the connection ended, once that is decided.
    pub fn close_reason(&self) -> Option<&CloseReason> {
        self.reason.as_deref()
    }

    /// Round-trip time of the last Yamux ping that was answered.
    pub fn rtt(&self) -> Option<Duration> {
        self.streams()?.session.rtt()
    }

    /// Counters since the connection was made.
    pub fn stats(&self) -> Stats {
        let session = self.streams().map(|streams| &streams.session);
        self.counters.stats(session.map(yamux::Session::stream_count), session.map(yamux::Session::stats))
    }

    /// What the streams of each protocol have moved, those of the first [`MAX_COUNTED_PROTOCOLS`]; what the connection
    /// says for itself, as in the application's handshake, is not in it. Looks at every live stream.
    pub fn protocol_stats(&self) -> Vec<ProtocolStats> {
        self.streams().map_or_else(Vec::new, Streams::protocol_stats)
    }

    /// Bytes of the buffers of streams and of this connection, by capacity, spare and lent blocks included, and of the
    /// tables that grow with the streams, by entries. Not what each stream has in its session beside its buffers, a few
    /// hundred bytes, nor a detached record side.
    pub fn memory_used(&self) -> usize {
        let pending = match &self.phase {
            Phase::Secured(upgrade) => upgrade.pending.capacity(),
            _ => 0,
        };
        [
            self.streams().map_or(0, Streams::memory_used),
            self.records.memory_used(),
            self.clear_output.capacity(),
            self.sealed_output.capacity(),
            self.events.memory_used(),
            self.secured.as_ref().map_or(0, |_| size_of::<Secured>()),
            self.handshake.as_ref().map_or(0, |handshake| handshake.memory_used()),
        ]
        .into_iter()
        .fold(pending, usize::saturating_add)
    }

    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// The streams, in any phase that has them.
    fn streams(&self) -> Option<&Streams> {
        match &self.phase {
            Phase::Open(streams) | Phase::Lingering(Some(streams)) | Phase::Closed(Some(streams)) => Some(streams),
            _ => None,
        }
    }

    /// The streams, and why nothing more comes or goes on them if that is so.
    fn streams_mut(&mut self) -> (Option<&mut Streams>, Option<CloseReason>) {
        let lost = self.lost();
        (self.any_streams(), lost)
    }

    /// The streams, in any phase that has them.
    fn any_streams(&mut self) -> Option<&mut Streams> {
        match &mut self.phase {
            Phase::Open(streams) | Phase::Lingering(Some(streams)) | Phase::Closed(Some(streams)) => Some(streams),
            _ => None,
        }
    }

    /// Nothing more comes or goes.
    fn is_lost(&self) -> bool {
        matches!(self.phase, Phase::Lingering(_) | Phase::Closed(_)) && self.reason.is_some()
    }

    /// Why nothing more comes or goes, if that is so.
    #[cold]
    fn lost(&self) -> Option<CloseReason> {
        match self.phase {
            Phase::Lingering(_) | Phase::Closed(_) => self.close_reason().cloned(),
            _ => None,
        }
    }

    /// The streams of an open connection together with what they borrow from it.
    fn open_parts(&mut self) -> Option<(&mut Streams, Surroundings<'_>)> {
        let Phase::Open(streams) = &mut self.phase else { return None };
        let around = Surroundings {
            events: &mut self.events,
            counters: &mut self.counters,
            served: &self.served,
            handshake: self.handshake.as_deref_mut(),
            role: self.role,
            now: self.now,
            negotiation_timeout: self.config.negotiation_timeout,
        };
        Some((streams, around))
    }

    fn reset_stream(&mut self, id: StreamId, code: u32) {
        if let Phase::Open(streams) = &mut self.phase {
            streams.reset(id, code, &mut self.events);
        }
    }

    fn release_stream(&mut self, id: StreamId) {
        match &mut self.phase {
            Phase::Open(streams) | Phase::Lingering(Some(streams)) | Phase::Closed(Some(streams)) => {
                streams.release(id, &mut self.events);
            }
            _ => {}
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("role", &self.role)
            .field("peer", &self.peer())
            .field("open", &self.is_open())
            .field("reason", &self.close_reason())
            .finish_non_exhaustive()
    }
}
