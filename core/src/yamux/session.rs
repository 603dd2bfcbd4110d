//! The session: its state, getters, timers and events.

use alloc::sync::Arc;
use core::time::Duration;

use super::{
    Config, KeepAliveTimeout, StreamId, StreamStats, Violation,
    flood::FloodGuard,
    keep_alive::Pinger,
    memory::Account,
    owed::Owed,
    receive::Parser,
    scheduler::{Popped, Ready, Ring, Streams},
    stream::RingName,
};
use crate::{Instant, Role, buf::SpareBlocks};

/// A Yamux session over an ordered, secure byte stream.
///
/// Bytes from the transport go into [`handle_recv`](Self::handle_recv); bytes for it come from
/// [`poll_transmit`](Self::poll_transmit). After any call that takes `&mut self`, ask again for
/// output ([`wants_transmit`](Self::wants_transmit)), timeout and events.
///
/// The application's calls are [`open`](Self::open), [`accept`](Self::accept), `read*`, `write*`,
/// [`finish`](Self::finish), [`reset`](Self::reset), [`stop`](Self::stop) and, when it lets go of a
/// stream, [`release`](Self::release). A stream counts as live until it is released or reset here.
///
/// An event is emitted once after a call returned `Blocked` and the condition then changed, and once
/// initially when data waits. So no more than two events wait for each live stream, and three others.
#[derive(Debug)]
pub struct Session {
    pub(super) config: Arc<Config>,
    pub(super) role: Role,
    pub(super) now: Instant,
    pub(super) streams: Streams,
    /// The id of the next stream that we open; `None` when all were used.
    pub(super) next_id: Option<StreamId>,
    /// Streams that we opened and the remote has not acknowledged.
    pub(super) unacknowledged: usize,
    pub(super) accept_queue: Ring,
    pub(super) events: Ring,
    pub(super) control: Ring,
    pub(super) ready: Ready,
    pub(super) owed: Owed,
    pub(super) parser: Parser,
    pub(super) pinger: Pinger,
    pub(super) flood: FloodGuard,
    pub(super) account: Account,
    pub(super) spares: SpareBlocks,
    /// Body bytes that may be in flight for streams that we forgot.
    pub(super) ghost_allowance: u64,
    /// Code with which inbound streams are refused.
    pub(super) refusing: Option<u32>,
    pub(super) own_go_away: OwnGoAway,
    pub(super) remote_go_away: Option<u32>,
    pub(super) failed: Option<Violation>,
    pub(super) open_armed: bool,
    pub(super) incoming_armed: bool,
    pub(super) pending: PendingEvents,
    pub(super) stats: SessionStats,
}

/// What became possible. Carries no payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// [`Session::accept`] has a stream.
    Incoming,
    /// A read returns data, the end of the stream or a reset.
    Readable(StreamId),
    /// A write takes data or fails.
    Writable(StreamId),
    /// [`Session::open`] may be tried again.
    OpenUnblocked,
    /// The remote is going away. Most peers drop all streams at once; treat the connection as closed.
    GoAway {
        /// The remote's reason: 0 normal, 1 protocol error, 2 internal error, others by convention.
        code: u32,
    },
}

/// What a session has moved so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SessionStats {
    /// Body bytes framed.
    pub bytes_sent: u64,
    /// Body bytes received, those for unknown streams included.
    pub bytes_received: u64,
    /// Frames of every type framed.
    pub frames_sent: u64,
    /// Frames of every type received.
    pub frames_received: u64,
    /// Streams that we opened.
    pub streams_opened: u64,
    /// Streams that the remote opened and we took.
    pub streams_received: u64,
    /// Streams that the remote opened and we refused.
    pub streams_refused: u64,
    /// Body bytes received for streams that were reset, forgotten or refused.
    pub bytes_discarded: u64,
    /// Answers to pings that nobody sent.
    pub unexpected_pongs: u64,
    /// Streams reset because the remote sent data after its FIN.
    pub data_after_fin: u64,
    /// Streams reset because receive memory was short; see
    /// [`MemoryLimits::hard_cap`](super::MemoryLimits::hard_cap).
    pub streams_shed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OwnGoAway {
    None,
    Queued(u32),
    Sent,
}

/// Events that belong to no stream.
#[derive(Debug, Default)]
pub(super) struct PendingEvents {
    pub(super) incoming: bool,
    pub(super) open_unblocked: bool,
    pub(super) go_away: Option<u32>,
}

impl PendingEvents {
    fn is_any(&self) -> bool {
        self.incoming || self.open_unblocked || self.go_away.is_some()
    }

    fn take(&mut self) -> Option<Event> {
        if core::mem::take(&mut self.incoming) {
            return Some(Event::Incoming);
        }
        if core::mem::take(&mut self.open_unblocked) {
            return Some(Event::OpenUnblocked);
        }
        self.go_away.take().map(|code| Event::GoAway { code })
    }
}

impl Session {
    /// A session whose limits are `config`, which should be [valid](Config::validate). If keep-alive is
    /// on, a ping leaves with the first frames.
    pub fn new(role: Role, config: impl Into<Arc<Config>>, now: Instant) -> Self {
        let config = config.into();
        Self {
            pinger: Pinger::new(config.keep_alive, now),
            spares: SpareBlocks::new(config.spare_blocks),
            account: Account::new(config.memory.clone()),
            config,
            role,
            now,
            streams: Streams::new(),
            next_id: StreamId::new(match role {
                Role::Dialer => 1,
                Role::Listener => 2,
            }),
            unacknowledged: 0,
            accept_queue: Ring::new(RingName::Accept),
            events: Ring::new(RingName::Events),
            control: Ring::new(RingName::Control),
            ready: Ready::new(),
            owed: Owed::default(),
            parser: Parser::default(),
            flood: FloodGuard::new(now),
            ghost_allowance: 0,
            refusing: None,
            own_go_away: OwnGoAway::None,
            remote_go_away: None,
            failed: None,
            open_armed: false,
            incoming_armed: true,
            pending: PendingEvents::default(),
            stats: SessionStats::default(),
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.failed.is_some() || self.own_go_away == OwnGoAway::Sent { None } else { self.pinger.poll_timeout() }
    }

    /// Sends the next keep-alive ping, or reports that the last one was not answered. Early, late and
    /// repeated calls do no harm.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), KeepAliveTimeout> {
        self.observe(now);
        self.shed_above_share();
        if self.poll_timeout().is_none() {
            return Ok(());
        }
        if self.pinger.handle_timeout(self.now)? {
            self.give_back_idle_memory();
        }
        Ok(())
    }

    /// The next event.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        if self.pending.is_any()
            && let Some(event) = self.pending.take()
        {
            return Some(event);
        }
        self.poll_stream_event()
    }

    fn poll_stream_event(&mut self) -> Option<Event> {
        loop {
            let (id, stream) = match self.events.pop(&mut self.streams) {
                Popped::Nothing => return None,
                Popped::Stale => continue,
                Popped::Stream(id, stream) => (id, stream),
            };
            if core::mem::take(&mut stream.readable) {
                if stream.writable {
                    self.events.put_back(id, stream);
                }
                return Some(Event::Readable(id));
            }
            if core::mem::take(&mut stream.writable) {
                return Some(Event::Writable(id));
            }
        }
    }

    /// The last measured round-trip time, at most [`MAX_RTT`](super::MAX_RTT).
    pub fn rtt(&self) -> Option<Duration> {
        self.pinger.rtt()
    }

    /// Live streams, unaccepted ones and those that the application still holds included.
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// No stream is live.
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty()
    }

    /// The code of the remote's GoAway, if it sent one.
    pub fn remote_go_away(&self) -> Option<u32> {
        self.remote_go_away
    }

    /// The rule that the remote broke, if it did.
    pub fn violation(&self) -> Option<Violation> {
        self.failed
    }

    /// No written data, FIN or control frame is left to frame, or the GoAway was sent and nothing
    /// ever will be. A keep-alive ping does not count. Looks at every stream.
    pub fn is_flushed(&self) -> bool {
        if self.own_go_away == OwnGoAway::Sent {
            return true;
        }
        self.owed.is_empty()
            && self.control.is_empty()
            && !matches!(self.own_go_away, OwnGoAway::Queued(_))
            && !self.streams.values().any(|stream| stream.is_unflushed())
    }

    /// Bytes that blocks of all queues occupy, by capacity. Looks at every stream.
    pub fn memory_used(&self) -> usize {
        let streams = self.streams.values().map(|stream| stream.memory_used());
        streams.fold(self.spares.capacity(), usize::saturating_add)
    }

    /// The part of [`memory_used`](Self::memory_used) that the remote caused: blocks of received and
    /// unread data. Never more than [`Config::memory_budget`].
    pub fn receive_memory_used(&self) -> usize {
        self.account.used()
    }

    /// What the session has moved so far.
    pub fn stats(&self) -> SessionStats {
        self.stats
    }

    /// What a live stream has moved so far.
    pub fn stream_stats(&self, id: StreamId) -> Option<StreamStats> {
        self.streams.get(&id).map(|stream| stream.stats)
    }

    /// Takes note of the time, which never runs backwards.
    pub(super) fn observe(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.flood.observe(self.now);
    }

    /// Moves the blocks of `spares` to the session's own list, as far as there is room.
    pub fn lend_spare_blocks(&mut self, spares: &mut SpareBlocks) {
        self.spares.take_from(spares);
    }

    /// Moves the full-size blocks of the session's list to `spares` and frees those for which there is no room.
    pub fn reclaim_spare_blocks(&mut self, spares: &mut SpareBlocks) {
        if self.spares.has_full_size() {
            spares.take_from(&mut self.spares);
        }
        self.spares.drop_full_size();
    }

    /// [`poll_event`](Self::poll_event) or [`violation`](Self::violation) has something to tell.
    pub(crate) fn has_news(&self) -> bool {
        self.pending.is_any() || self.failed.is_some() || !self.events.is_empty()
    }

    fn give_back_idle_memory(&mut self) {
        if self.ready.is_empty() {
            self.spares.drop_all();
        }
        for ring in [&mut self.accept_queue, &mut self.events, &mut self.control] {
            ring.shrink();
        }
        self.ready.shrink();
    }
}

#[cfg(test)]
const _: fn() = || {
    fn send<T: Send>() {}
    send::<Session>();
};
