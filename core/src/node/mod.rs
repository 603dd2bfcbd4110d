//! Many peers: whom to reach and when, whom to let in, which connection to keep.
//!
//! A [`Node`] touches no bytes. It is told what becomes of dials and connections, and answers with [`Action`]s; each
//! connection runs elsewhere, made of the [`Link`](crate::Link) that the node hands out, and talks to the node through a
//! [`Mailbox`](crate::link::Mailbox) each way.

mod action;
mod backoff;
mod ban_record;
mod banning;
mod bans;
pub mod book;
mod commands;
mod config;
mod connections;
mod dial;
mod dialing;
mod duplicates;
mod event_kind;
mod inspection;
mod intent;
mod invalid_value;
mod limits;
mod pace;
mod peer;
mod prefix;
mod prefix_count;
mod rate_limit;
mod score;
mod snapshot;
mod stats;
#[cfg(test)]
mod tests;
#[cfg(feature = "serde")]
mod text;
mod token_bucket;
mod transition;
mod trimming;
mod wall;

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    vec::Vec,
};

pub use action::{Action, DialError, DialFailure, Event, FailedAttempt};
pub use backoff::{Backoff, SetBackoffError};
pub use ban_record::{Ban, BanPhase, BanReason, BanRecord, BanSubject};
pub use bans::{BanConfig, BansFull};
pub use book::{Book, BookError, BookLimits, Restored};
pub use config::Config;
pub use event_kind::EventKind;
pub use inspection::{BanInfo, ConnectionInfo, ConnectionPhase, DebugSnapshot, PeerInfo};
pub use intent::Intent;
pub use invalid_value::{InvalidValue, InvalidValues};
pub use limits::{LimitName, LimitNear};
pub use prefix::{InvalidPrefix, Prefix, leading_ip};
pub use prefix_count::PrefixFull;
pub use rate_limit::{Limited, RateLimits};
pub use score::{MAX_SCORE, Misbehaviour, ScoreConfig, Threshold};
pub use snapshot::{KnownAddr, KnownPeer, Provenance, Snapshot};
pub use stats::{Counters, NodeStats, Refusals};
pub use token_bucket::{MAX_FILL_TIME, Rate};
pub use wall::WallTime;

use crate::{ConnectionId, Instant, Multiaddr, PeerId, ProtocolSet, Seed, SeedStream, room::GiveBack};
use banning::Scores;
use bans::Bans;
use connections::Entry;
use peer::Peer;
use prefix_count::PrefixCounts;
use rate_limit::RateLimiter;
use transition::{Cell, Effect, Effort, Input, Presence, Refusal};

/// Events that wait for the application at most, besides the latest state of each peer, which is never lost. Beyond it
/// the oldest is dropped and [counted](Node::lost_events).
pub const MAX_EVENTS: usize = 4096;

/// Names one effort to reach a peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DialId(u64);

/// Names one address that is being tried. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AttemptId(u64);

/// Where a connection begins and ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoints {
    /// This end.
    pub local: Multiaddr,
    /// The other end.
    pub remote: Multiaddr,
}

/// What a peer is to this node now. Derived, never stored: see the table of [`Node`].
///
/// Of several that apply the first counts: established, connected, connecting, draining, and then what the effort says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum PeerState {
    /// No connection, and none is being made.
    Disconnected,
    /// A connection is being made, by either side.
    Connecting,
    /// A connection is open, but the application's handshake is not done.
    Connected,
    /// The peer can be talked to.
    Established,
    /// The next effort begins later.
    Backoff,
    /// The application's handshake failed; there is no connection for a while.
    Cooldown,
    /// The connections are being closed.
    Draining,
}

/// The peers of a node, the efforts to reach them and the connections to them.
///
/// # Driving it
///
/// * **Inputs**: [`handle_resolved`](Self::handle_resolved), [`handle_dialed`](Self::handle_dialed),
///   [`handle_dial_failed`](Self::handle_dial_failed), [`handle_incoming`](Self::handle_incoming),
///   [`handle_connection`](Self::handle_connection), [`handle_connection_lost`](Self::handle_connection_lost),
///   [`handle_timeout`](Self::handle_timeout).
/// * **Commands**: [`add_peer`](Self::add_peer), [`connect`](Self::connect),
///   [`cancel_reconnect`](Self::cancel_reconnect), [`disconnect`](Self::disconnect),
///   [`remove_peer`](Self::remove_peer), [`shutdown`](Self::shutdown).
/// * **Outputs**: after any of these ask for [`poll_action`](Self::poll_action), [`poll_event`](Self::poll_event) and
///   [`poll_timeout`](Self::poll_timeout).
///
/// Inputs that are late, doubled or about something that is over change nothing.
///
/// # A peer
///
/// Its state has three parts: what the application wants ([`Intent`]), where the effort to reach it stands, and what
/// connections there are. [`PeerState`] is derived from them. One function decides what each input does; a test
/// enumerates its table.
///
#[doc = include_str!("transition.md")]
///
/// # Two connections to one peer
///
/// Both sides may dial at once. Only the side with the larger peer id chooses; the other closes what is too much only
/// after [`Config::settle_timeout`]. The loser is drained, never cut.
#[derive(Debug)]
pub struct Node {
    local: PeerId,
    config: Arc<Config>,
    /// The latest `now` seen.
    now: Instant,
    random: SeedStream,
    seeds: Seed,
    last_id: u64,
    book: Book,
    peers: BTreeMap<PeerId, Peer>,
    /// The peers that have a deadline.
    timers: BTreeSet<(Instant, PeerId)>,
    /// The peers of which only a cooldown is known, at most [`Config::max_cooling`].
    cooling: BTreeSet<(Instant, PeerId)>,
    attempts: BTreeMap<AttemptId, PeerId>,
    /// Peers with an address that waits for a place among [`Config::max_dials`] or for its turn, in the order in which
    /// they came.
    hungry: BTreeMap<u64, PeerId>,
    /// When the last address was begun.
    last_begin: Option<Instant>,
    connections: BTreeMap<ConnectionId, Box<Entry>>,
    inbound: usize,
    pending_inbound: usize,
    /// Connections that are open and not being drained.
    open: usize,
    /// When there may be more to [trim](Self::trim), if there are too many connections still.
    trim_at: Option<Instant>,
    /// Of inbound connections.
    prefixes: PrefixCounts,
    bans: Bans,
    scores: Scores,
    connects: RateLimiter,
    handshakes: RateLimiter,
    actions: VecDeque<Action>,
    /// Connections with messages to be sent.
    letters: BTreeSet<ConnectionId>,
    events: VecDeque<Event>,
    /// Peers whose state has changed since the application was told.
    changed: BTreeSet<PeerId>,
    counters: Counters,
    limits_reached: BTreeSet<LimitName>,
    /// What inbound streams may negotiate, once the application has said so.
    served: Option<ProtocolSet>,
    shutting_down: bool,
}

impl Node {
    /// A node that is `local`, with no peers.
    ///
    /// # Errors
    /// The configuration cannot work.
    pub fn new(config: Config, local: PeerId, now: Instant, mut seed: Seed) -> Result<Self, InvalidValues> {
        config.validate()?;
        Ok(Self {
            local,
            now,
            random: seed.child("node delays").public_stream(),
            seeds: seed.child("connections"),
            last_id: 0,
            book: Book::new(config.book),
            connects: RateLimiter::new(config.connect_rates),
            handshakes: RateLimiter::new(config.handshake_rates),
            bans: Bans::new(config.bans),
            scores: Scores::default(),
            prefixes: PrefixCounts::default(),
            config: Arc::new(config),
            peers: BTreeMap::new(),
            timers: BTreeSet::new(),
            cooling: BTreeSet::new(),
            attempts: BTreeMap::new(),
            hungry: BTreeMap::new(),
            last_begin: None,
            connections: BTreeMap::new(),
            inbound: 0,
            pending_inbound: 0,
            open: 0,
            trim_at: None,
            actions: VecDeque::new(),
            letters: BTreeSet::new(),
            events: VecDeque::new(),
            changed: BTreeSet::new(),
            counters: Counters::default(),
            limits_reached: BTreeSet::new(),
            served: None,
            shutting_down: false,
        })
    }

    /// A node that remembers what another one knew at its [`snapshot`](Self::snapshot), `wall` being now, and how much
    /// of it could be used. Persistent peers are dialed at once, or spread over [`Config::dial_spread`].
    ///
    /// # Errors
    /// The configuration cannot work.
    pub fn restored(
        config: Config,
        local: PeerId,
        now: Instant,
        seed: Seed,
        snapshot: Snapshot,
        wall: WallTime,
    ) -> Result<(Self, Restored), InvalidValues> {
        let mut node = Self::new(config, local, now, seed)?;
        let (book, restored) = Book::restore(node.config.book, snapshot.peers, now, wall);
        node.book = book;
        for record in &snapshot.bans {
            // Where there is no room, the bans that came first stay.
            let _ = node.bans.restore(now, wall, record);
        }
        let persistent: Vec<PeerId> =
            node.book.peers().filter(|peer| node.book.intent(peer) == Some(Intent::Persistent)).copied().collect();
        persistent.into_iter().for_each(|peer| node.resume(peer));
        Ok((node, restored))
    }

    /// What is worth remembering: the book and the bans. `wall` is now.
    pub fn snapshot(&self, now: Instant, wall: WallTime) -> Snapshot {
        let now = now.max(self.now);
        Snapshot { peers: self.book.snapshot(now, wall), bans: self.bans.to_records(now, wall).collect() }
    }

    /// Changes whenever what [`snapshot`](Self::snapshot) would hold may have changed, apart from the time that has
    /// passed: store it when this differs from what it was at the last snapshot. It counts up and never goes back
    /// within one node; it says nothing about another one.
    pub fn revision(&self) -> u64 {
        self.book.revision().saturating_add(self.bans.revision())
    }

    /// The peers that are known, with their addresses and what the application noted about them.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// The next thing for the driver to do.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        while let Some(to) = self.letters.first().copied() {
            if let Some(message) = self.connections.get_mut(&to).and_then(|entry| entry.outbox.take()) {
                return Some(Action::Send { to, message });
            }
            self.letters.pop_first();
        }
        self.give_back_room();
        None
    }

    /// The next event for the application. Changes of state come last, one for each peer, with the state of now.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front().or_else(|| {
            let Some(peer) = self.changed.pop_first() else {
                self.events.give_back_if_empty();
                self.changed.give_back_if_empty();
                return None;
            };
            Some(Event::State { peer, state: self.state(&peer) })
        })
    }

    /// No action is left: what was needed for them goes back. What waits for the application does so in
    /// [`poll_event`](Self::poll_event).
    fn give_back_room(&mut self) {
        self.actions.give_back_if_empty();
        self.letters.give_back_if_empty();
        self.attempts.give_back_if_empty();
        self.hungry.give_back_if_empty();
        self.timers.give_back_if_empty();
        self.cooling.give_back_if_empty();
    }

    /// Events that were dropped because [`MAX_EVENTS`] waited.
    pub fn lost_events(&self) -> u64 {
        self.counters.lost_events
    }

    /// The earliest instant at which [`handle_timeout`](Self::handle_timeout) has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let peers = self.timers.first().map(|(deadline, _)| *deadline);
        peers.into_iter().chain(self.bans.next_expiry()).chain(self.next_trim()).chain(self.next_turn()).min()
    }

    /// Tells the time. Early, late and repeated calls are harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        self.feed();
        self.expire_bans();
        self.forget_rates();
        while let Some((_, peer)) = self.timers.first().copied().filter(|(deadline, _)| *deadline <= self.now) {
            self.expire(peer);
            // Whatever was due is done, so that the same deadline does not come again.
            self.settle_peer(peer);
        }
        self.trim();
    }

    /// When nobody is there, how often who has come is kept only as long as it counts.
    fn forget_rates(&mut self) {
        if self.connections.is_empty() {
            self.connects.drop_full(self.now);
            self.handshakes.drop_full(self.now);
        }
    }

    /// The peers with a wish, an effort, a connection or a cooldown, and what each is now. Looks at all of them.
    pub fn tracked(&self) -> impl Iterator<Item = (PeerId, PeerState)> {
        self.peers.iter().map(|(id, peer)| (*id, self.derive(peer)))
    }

    /// What a peer is to this node now.
    pub fn state(&self, peer: &PeerId) -> PeerState {
        self.peers.get(peer).map_or(PeerState::Disconnected, |entry| self.derive(entry))
    }

    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.rearm_limits();
    }

    fn new_id(&mut self) -> u64 {
        self.last_id = self.last_id.saturating_add(1);
        self.last_id
    }

    /// Does what is due for one peer.
    fn expire(&mut self, id: PeerId) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.until.is_some_and(|until| until <= now) {
            peer.until = None;
            let _ = self.step(id, Input::TimerExpired);
        }
        self.expire_dial(id);
        self.expire_settling(id);
    }

    /// Puts one input to the table and does what it says.
    fn step(&mut self, id: PeerId, input: Input) -> Result<(), Refusal> {
        let presence = self.presence(&id);
        let attempts = self.config.transient_attempts;
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        match transition::step(peer.state(presence, attempts), input) {
            Cell::Ignored => Ok(()),
            Cell::Refused(refusal) => Err(refusal),
            Cell::Next(effort, effects) => {
                peer.effort = effort;
                effects.iter().for_each(|effect| self.apply(id, *effect));
                Ok(())
            }
        }
    }

    fn apply(&mut self, id: PeerId, effect: Effect) {
        match effect {
            Effect::Dial => self.begin_dial(id),
            Effect::AbortAttempts => self.abort_dial(id),
            Effect::EndDial => drop(self.end_dial(id)),
            Effect::ArmBackoff => self.arm_backoff(id),
            Effect::ArmCooldown => {
                self.set_until(id, self.now.saturating_add(self.config.cooldown));
                self.set_called_off(id, false);
            }
            Effect::CallOff => self.set_called_off(id, true),
            Effect::CallOn => self.set_called_off(id, false),
            Effect::DisarmTimer => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.until = None;
                }
            }
            Effect::Drain => self.drain_peer(id),
        }
    }

    fn set_until(&mut self, id: PeerId, until: Instant) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.until = Some(until);
        }
    }

    fn set_called_off(&mut self, id: PeerId, called_off: bool) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.called_off = called_off;
        }
    }

    fn arm_backoff(&mut self, id: PeerId) {
        let random = self.random.next_u64();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let backoff = self.book.backoff(&id).unwrap_or(&self.config.backoff);
        // The failure that leads here is counted already.
        let earlier = if core::mem::take(&mut peer.was_denied) { u32::MAX } else { peer.failures.saturating_sub(1) };
        let delay = backoff.delay(earlier, random);
        let until = self.now.saturating_add(delay);
        peer.until = Some(until);
    }

    /// After anything that concerns a peer: its timer, its state for the application, and its end.
    fn settle_peer(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(&id) else { return };
        let deadline = peer.poll_timeout(self.config.max_dials_per_peer).filter(|deadline| *deadline != Instant::NEVER);
        let (state, cooling) = (self.derive(peer), self.cools_until(&id, peer));
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.armed != deadline {
            peer.armed.map(|armed| self.timers.remove(&(armed, id)));
            peer.armed = deadline;
            deadline.map(|deadline| self.timers.insert((deadline, id)));
        }
        if peer.cooling != cooling {
            peer.cooling.map(|until| self.cooling.remove(&(until, id)));
            peer.cooling = cooling;
            cooling.map(|until| self.cooling.insert((until, id)));
        }
        let changed = core::mem::replace(&mut peer.announced, state) != state;
        if peer.is_forgettable() {
            peer.armed.map(|armed| self.timers.remove(&(armed, id)));
            self.peers.remove(&id);
            self.book.unpin(&id);
        }
        if changed {
            self.changed.insert(id);
        }
        self.forget_cooldowns();
    }

    /// When the cooldown of a peer ends that nobody asked for. One that is banned is asked for again when the ban is over.
    fn cools_until(&self, id: &PeerId, peer: &Peer) -> Option<Instant> {
        peer.cools_until().filter(|_| self.book.intent(id) != Some(Intent::Persistent))
    }

    /// Cooldowns beyond their limit end early, the oldest first.
    fn forget_cooldowns(&mut self) {
        while self.cooling.len() > self.config.max_cooling
            && let Some((_, id)) = self.cooling.pop_first()
        {
            self.limit_reached(LimitName::Cooling);
            if let Some(peer) = self.peers.get_mut(&id) {
                (peer.cooling, peer.until) = (None, None);
            }
            let _ = self.step(id, Input::TimerExpired);
            self.settle_peer(id);
        }
    }

    fn tell(&mut self, event: Event) {
        self.counters.count(&event);
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
            stats::increase(&mut self.counters.lost_events);
        }
        self.events.push_back(event);
    }

    fn derive(&self, peer: &Peer) -> PeerState {
        let has = |wanted: fn(&Entry) -> bool| peer.connections.iter().filter_map(|id| self.connection(id)).any(wanted);
        match peer.effort {
            _ if has(Entry::is_ready) => PeerState::Established,
            _ if has(Entry::is_present) => PeerState::Connected,
            Effort::Dialing => PeerState::Connecting,
            _ if has(Entry::is_arriving) => PeerState::Connecting,
            _ if has(Entry::is_leaving) => PeerState::Draining,
            Effort::Waiting => PeerState::Backoff,
            Effort::Cooldown => PeerState::Cooldown,
            Effort::Idle => PeerState::Disconnected,
        }
    }

    fn connection(&self, id: &ConnectionId) -> Option<&Entry> {
        self.connections.get(id).map(|entry| &**entry)
    }

    fn presence(&self, id: &PeerId) -> Presence {
        let connections = self.peers.get(id).map(|peer| peer.connections.as_slice()).unwrap_or_default();
        let entries = || connections.iter().filter_map(|id| self.connection(id));
        if entries().any(Entry::is_present) {
            Presence::Present
        } else if entries().any(|entry| entry.is_leaving() && entry.since().is_some()) {
            Presence::Leaving
        } else {
            Presence::Absent
        }
    }
}
