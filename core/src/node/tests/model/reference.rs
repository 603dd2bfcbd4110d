//! What a node must do, said in the plainest way: no indexes, no queues of work, one thing after the other.
//!
//! Nothing of it is left open but one: how long a backoff is, of which only the interval is known. Time is told to
//! the node where no backoff is in its interval, so that all that follows is certain.

mod connections;
mod efforts;

use core::time::Duration;
use std::{collections::BTreeMap, string::String, sync::LazyLock, vec::Vec};

use super::super::driver::peer as peer_id;
use crate::{
    Instant, PeerId,
    connection::DenyReason,
    node::{Config, DialError, Intent, PeerState, Rate, RateLimits},
};

pub(super) use connections::{Connection, Phase, Reason};
pub(super) use efforts::{Addr, Effort, Step, Window};

/// Few, so that limits are met and peers meet again.
pub(super) const PEERS: usize = 5;
/// The node itself, where a peer is asked for.
pub(super) const MYSELF: usize = PEERS;

/// The ids of all peers, in order, and that of the node, which is larger than the first two.
static IDS: LazyLock<([PeerId; PEERS], PeerId)> = LazyLock::new(|| {
    let mut ids: Vec<PeerId> = (20..=20 + PEERS as u8).map(peer_id).collect();
    ids.sort_unstable();
    let myself = ids.remove(2);
    (ids.try_into().unwrap(), myself)
});

pub(super) fn id_of(peer: usize) -> PeerId {
    IDS.0.get(peer).copied().unwrap_or(IDS.1)
}

pub(super) fn number_of(id: PeerId) -> usize {
    (0..PEERS).find(|peer| id_of(*peer) == id).unwrap_or(MYSELF)
}

/// Low, so that each limit is met.
pub(super) fn config() -> Config {
    let mut config = Config {
        max_connections: 8,
        max_inbound: 6,
        max_pending_inbound: 4,
        max_per_prefix: 3,
        max_per_peer: 3,
        max_dials: 3,
        max_dials_per_peer: 2,
        transient_attempts: 3,
        high_watermark: 6,
        low_watermark: 4,
        // These have tests of their own, and here they never refuse.
        connect_rates: unlimited(),
        handshake_rates: unlimited(),
        ..Config::default()
    };
    config.backoff.max = Duration::from_secs(6);
    config.backoff.reset_after = Duration::from_secs(20);
    // A score never decays, and each ban for it is as long as the first one.
    config.score.half_life = Duration::MAX;
    config.bans.memory = Duration::ZERO;
    config
}

fn unlimited() -> RateLimits {
    let rate = Rate { burst: 100_000, interval: Duration::from_nanos(1) };
    RateLimits { prefix: rate, overall: rate, max_prefixes: 4096 }
}

/// All that a peer is.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// What the book says that is wanted of it, if it is in the book.
    book: Option<Intent>,
    has_addrs: bool,
    /// When its ban ends, if there is one, running or over; [`Instant::NEVER`] if it does not.
    ban: Option<Instant>,
    score: u32,
    /// What is wanted of it now. `None` if nothing about it needs to be remembered.
    intent: Option<Intent>,
    pub(super) effort: Effort,
    pub(super) failures: u32,
    was_denied: bool,
    /// That its last good connection is gone was noted.
    is_lost: bool,
    /// No dial follows the cooldown.
    is_called_off: bool,
    settling: Option<Settling>,
}

/// A peer with more than one open connection.
#[derive(Clone, Copy, Debug)]
struct Settling {
    deadline: Instant,
    /// The connection that is asked whether it is alive; nobody if the peer decides.
    asked: Option<usize>,
}

/// What a command or an input returns.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Answer {
    Nothing,
    Dial(Result<(), DialError>),
    Incoming(Result<(), DenyReason>),
    /// Whether somebody wants the transport.
    Transport(bool),
    /// Whether there was a ban to lift.
    Lifted(bool),
}

/// What the application is told, besides states, which are compared all the time.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Told {
    Opened { connection: usize, peer: usize },
    Closed { connection: usize, peer: Option<usize> },
    Denied { peer: Option<usize>, reason: String },
    DialFailed { peer: usize, failures: u32, retries: bool },
    Banned,
    Unbanned,
}

#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub(super) config: Config,
    pub(super) now: Instant,
    pub(super) peers: Vec<Peer>,
    /// By number: the first that there was is 0.
    pub(super) connections: BTreeMap<usize, Connection>,
    pub(super) connections_made: usize,
    attempts_made: usize,
    /// Peers that wait for a place to dial, the first one first.
    pub(super) queue: Vec<usize>,
    /// Somebody was queued since this was set to false.
    has_queued: bool,
    network_ban: Option<Instant>,
    /// When it is worth to look again which connections are too many.
    trim_at: Option<Instant>,
    pub(super) answer: Answer,
    pub(super) told: Vec<Told>,
}

impl Reference {
    pub(super) fn new() -> Self {
        let peer = Peer {
            book: None,
            has_addrs: false,
            ban: None,
            score: 0,
            intent: None,
            effort: Effort::Idle,
            failures: 0,
            was_denied: false,
            is_lost: false,
            is_called_off: false,
            settling: None,
        };
        Self {
            config: config(),
            now: Instant::from_nanos(1_000_000_000),
            peers: std::vec![peer; PEERS],
            connections: BTreeMap::new(),
            connections_made: 0,
            attempts_made: 0,
            queue: Vec::new(),
            has_queued: false,
            network_ban: None,
            trim_at: None,
            answer: Answer::Nothing,
            told: Vec::new(),
        }
    }

    pub(super) fn state(&self, peer: usize) -> PeerState {
        let of_peer = |phase: fn(&Connection) -> bool| self.of_peer(peer).any(phase);
        if of_peer(|connection| matches!(connection.phase, Phase::Open { is_ready: true, .. })) {
            return PeerState::Established;
        }
        if of_peer(Connection::is_open) {
            return PeerState::Connected;
        }
        let is_arriving = of_peer(|connection| matches!(connection.phase, Phase::Upgrading | Phase::Admitted));
        match self.peers[peer].effort {
            Effort::Dialing(_) => PeerState::Connecting,
            _ if is_arriving => PeerState::Connecting,
            _ if of_peer(|_| true) => PeerState::Draining,
            Effort::Waiting(_) => PeerState::Backoff,
            Effort::Cooldown(_) => PeerState::Cooldown,
            Effort::Idle => PeerState::Disconnected,
        }
    }

    fn check(&self, peer: usize) -> Result<(), DialError> {
        match peer {
            MYSELF => Err(DialError::SelfDial),
            _ if self.is_banned(peer) => Err(DialError::Banned),
            _ => Ok(()),
        }
    }

    pub(super) fn add(&mut self, peer: usize, intent: Intent, with_addrs: bool) {
        self.answer = Answer::Dial(self.check(peer));
        if self.answer != Answer::Dial(Ok(())) {
            return;
        }
        let known = &mut self.peers[peer];
        let has_new_addr = with_addrs && !known.has_addrs;
        known.book = Some(intent);
        known.has_addrs |= with_addrs;
        if intent != Intent::Dormant || known.intent.is_some() {
            known.intent = Some(intent);
        }
        if intent == Intent::Persistent {
            if has_new_addr && matches!(self.peers[peer].effort, Effort::Waiting(_)) && !self.is_present(peer) {
                self.begin_dial(peer);
            }
            self.keep(peer);
        }
        self.trim_anew(peer);
    }

    pub(super) fn connect(&mut self, peer: usize) {
        self.answer = Answer::Dial(self.check(peer).and_then(|()| self.try_connect(peer)));
    }

    fn try_connect(&mut self, peer: usize) -> Result<(), DialError> {
        if !self.peers[peer].has_addrs || addrs(peer).iter().all(|addr| self.is_banned_addr(*addr)) {
            return Err(DialError::NoAddresses);
        }
        self.remember(peer);
        match self.peers[peer].effort {
            Effort::Cooldown(until) => Err(DialError::Cooldown { left: until.saturating_duration_since(self.now) }),
            Effort::Dialing(_) => Ok(()),
            Effort::Idle | Effort::Waiting(_) if self.is_present(peer) => Err(DialError::AlreadyConnected),
            Effort::Idle | Effort::Waiting(_) => {
                self.begin_dial(peer);
                Ok(())
            }
        }
    }

    /// A persistent peer is dialed, if it is not there and nothing is done about it.
    fn keep(&mut self, peer: usize) {
        self.peers[peer].is_called_off = false;
        if matches!(self.peers[peer].effort, Effort::Idle) && !self.is_present(peer) {
            self.begin_dial(peer);
        }
    }

    pub(super) fn cancel(&mut self, peer: usize) {
        match self.peers[peer].effort {
            Effort::Waiting(_) | Effort::Dialing(_) => self.abort(peer),
            Effort::Cooldown(_) => self.peers[peer].is_called_off = true,
            Effort::Idle => {}
        }
    }

    pub(super) fn disconnect(&mut self, peer: usize) {
        let known = &mut self.peers[peer];
        known.intent = known.intent.and(Some(Intent::Dormant));
        known.book = known.book.and(Some(Intent::Dormant));
        if !matches!(self.peers[peer].effort, Effort::Cooldown(_)) {
            self.cancel(peer);
        }
        self.drain(peer);
    }

    pub(super) fn remove(&mut self, peer: usize) {
        (self.peers[peer].book, self.peers[peer].has_addrs) = (None, false);
        self.expel(peer);
    }

    /// Nothing is wanted of a peer any more.
    fn expel(&mut self, peer: usize) {
        let known = &mut self.peers[peer];
        known.intent = known.intent.and(Some(Intent::Dormant));
        self.abort(peer);
        self.drain(peer);
    }

    pub(super) fn ban(&mut self, peer: usize, length: Option<Duration>) {
        self.peers[peer].ban = Some(length.map_or(Instant::NEVER, |length| self.now.saturating_add(length)));
        self.told.push(Told::Banned);
        self.turn_out(peer);
    }

    /// Nothing is wanted of a peer for a while. A cooldown goes on.
    fn turn_out(&mut self, peer: usize) {
        let known = &mut self.peers[peer];
        known.intent = known.intent.and(Some(Intent::Dormant));
        if !matches!(self.peers[peer].effort, Effort::Cooldown(_)) {
            self.abort(peer);
        }
        self.drain(peer);
    }

    pub(super) fn unban(&mut self, peer: usize) {
        self.expire_bans();
        let is_banned = self.is_banned(peer);
        self.answer = Answer::Lifted(is_banned);
        if is_banned {
            self.ban_is_over(peer);
        }
    }

    fn ban_is_over(&mut self, peer: usize) {
        self.peers[peer].ban = None;
        self.told.push(Told::Unbanned);
        if self.peers[peer].book == Some(Intent::Persistent) {
            self.peers[peer].intent = Some(Intent::Persistent);
            self.keep(peer);
        }
    }

    pub(super) fn ban_network(&mut self, length: Duration) {
        self.network_ban = Some(self.now.saturating_add(length));
        self.told.push(Told::Banned);
        let within: Vec<usize> = self.connections.keys().copied().collect();
        for connection in within {
            if self.connections[&connection].remote == Addr::Inside {
                self.close(connection);
            }
        }
    }

    /// The peer has misbehaved.
    fn misbehaved(&mut self, peer: usize, penalty: u32) {
        self.peers[peer].score += penalty;
        if self.peers[peer].score < self.config.score.ban {
            return;
        }
        self.peers[peer].score = 0;
        if self.is_banned(peer) {
            self.told.push(Told::Banned);
            self.turn_out(peer);
        } else {
            self.ban(peer, Some(self.config.bans.base));
        }
    }

    pub(super) fn is_banned(&self, peer: usize) -> bool {
        self.peers[peer].ban.is_some_and(|ends| ends > self.now)
    }

    /// There is a ban, or one whose end was not noticed yet.
    pub(super) fn has_ban(&self, peer: usize) -> bool {
        self.peers[peer].ban.is_some()
    }

    fn is_banned_addr(&self, addr: Addr) -> bool {
        addr == Addr::Inside && self.network_ban.is_some_and(|ends| ends > self.now)
    }

    /// The node is told the time.
    pub(super) fn wake(&mut self) {
        self.expire_bans();
        while let Some(peer) = self.next_due() {
            self.expire(peer);
        }
        self.trim();
    }

    fn expire_bans(&mut self) {
        let now = self.now;
        let is_over = |ban: &Option<Instant>| ban.is_some_and(|ends| ends <= now && ends != Instant::NEVER);
        while let Some(peer) =
            (0..PEERS).filter(|peer| is_over(&self.peers[*peer].ban)).min_by_key(|peer| self.peers[*peer].ban)
        {
            self.ban_is_over(peer);
        }
        if is_over(&self.network_ban) {
            self.network_ban = None;
            self.told.push(Told::Unbanned);
        }
    }

    fn next_due(&self) -> Option<usize> {
        let due = |peer: &usize| Some((self.deadline(*peer)?.to, *peer)).filter(|(deadline, _)| *deadline <= self.now);
        (0..PEERS).filter_map(|peer| due(&peer)).min().map(|(_, peer)| peer)
    }

    fn expire(&mut self, peer: usize) {
        let now = self.now;
        match self.peers[peer].effort {
            Effort::Waiting(window) if window.to <= now && self.is_present(peer) => {
                self.peers[peer].effort = Effort::Idle
            }
            Effort::Waiting(window) if window.to <= now => self.begin_dial(peer),
            Effort::Cooldown(until) if until <= now => {
                self.peers[peer].effort = Effort::Idle;
                if self.retries(peer) && !self.is_present(peer) && !self.peers[peer].is_called_off {
                    self.begin_dial(peer);
                }
            }
            _ => {}
        }
        self.expire_attempts(peer);
        self.expire_settling(peer);
    }

    /// When there is next something to do for a peer: between these two.
    pub(super) fn deadline(&self, peer: usize) -> Option<Window> {
        let known = &self.peers[peer];
        let settling = known.settling.map(|settling| Window::at(settling.deadline));
        [self.effort_deadline(peer), settling].into_iter().flatten().reduce(Window::earliest)
    }

    /// When there is next something to do at all.
    pub(super) fn next_deadline(&self) -> Option<Window> {
        self.deadlines().into_iter().reduce(Window::earliest)
    }

    pub(super) fn deadlines(&self) -> Vec<Window> {
        let bans = self.peers.iter().filter_map(|peer| peer.ban).chain(self.network_ban);
        let bans = bans.filter(|ends| *ends != Instant::NEVER).map(Window::at);
        let trim = self.next_trim().map(Window::at);
        (0..PEERS).filter_map(|peer| self.deadline(peer)).chain(bans).chain(trim).collect()
    }

    /// What the node does when it is told the time is certain: no backoff may be over or not, and if several things
    /// are due, one of them a backoff, it makes no difference which comes first.
    pub(super) fn is_certain(&self) -> bool {
        let windows = self.peers.iter().filter_map(|peer| match peer.effort {
            Effort::Waiting(window) => Some(window),
            _ => None,
        });
        let windows: Vec<Window> = windows.collect();
        if windows.iter().any(|window| window.from <= self.now && self.now < window.to) {
            return false;
        }
        let backoffs = windows.iter().filter(|window| window.to <= self.now).count();
        let due = (0..PEERS).filter_map(|peer| self.deadline(peer)).filter(|window| window.to <= self.now).count();
        if backoffs == 0 || due < 2 {
            return true;
        }
        let mut then = self.clone();
        then.has_queued = !then.queue.is_empty();
        then.wake();
        !then.has_queued
    }

    /// There is something to do about a peer from now on.
    fn remember(&mut self, peer: usize) {
        let known = &mut self.peers[peer];
        known.intent = known.intent.or(known.book).or(Some(Intent::Dormant));
    }

    /// After each step: nothing is remembered of a peer about which there is nothing to do.
    pub(super) fn forget(&mut self) {
        for peer in 0..PEERS {
            let is_idle = matches!(self.peers[peer].effort, Effort::Idle) && self.of_peer(peer).next().is_none();
            let known = &mut self.peers[peer];
            if is_idle && known.intent != Some(Intent::Persistent) {
                (known.intent, known.failures, known.settling) = (None, 0, None);
                (known.was_denied, known.is_lost) = (false, false);
            }
        }
    }

    pub(super) fn is_remembered(&self, peer: usize) -> bool {
        self.peers[peer].intent.is_some()
    }
}

/// Where a peer is said to be. All of them on one side of the border of the network that is banned, so that it makes no
/// difference which comes first.
pub(super) fn addrs(peer: usize) -> &'static [Addr] {
    match peer {
        0 => &[Addr::Inside, Addr::Inside],
        1 => &[Addr::Outside, Addr::Outside, Addr::Outside],
        2 => &[Addr::Name],
        3 => &[Addr::Outside],
        _ => &[Addr::Outside, Addr::Outside],
    }
}
