//! A node that everything may happen to, in any order.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    format,
    vec::Vec,
};
use core::time::Duration;

use super::Input;
use crate::{
    ConnectionId, Instant, Multiaddr, PeerId, Role, Seed,
    connection::{CloseReason, ProtocolError},
    link::{ConnectionMessage, Mailbox, NodeMessage, Query, Report, SLOTS, ToConnection, ToNode},
    node::{
        Action, AttemptId, Backoff, BanPhase, BanReason, BanRecord, BanSubject, Config, DialFailure, Endpoints, Event,
        Intent, KnownAddr, KnownPeer, MAX_EVENTS, Node, PeerState, Provenance, Snapshot, WallTime,
    },
    yamux::Violation,
};

/// Input: limits, a snapshot that may make no sense, then a list of operations: commands, results of dials, what
/// connections tell, each also when it is late or about nothing, and time that runs forwards and backwards.
///
/// Asserts that limits hold; that what is aborted, sent and told is about something that exists; that each connection
/// is closed exactly once, and was opened if it is said so; that the state that is told is the state; that no deadline
/// is left that has passed; that what was restored is remembered; and that in the end nothing is waited for.
pub fn node_operations(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    while !input.is_empty() {
        let op = input.byte();
        world.step(op & 0x7f, &mut input);
        // Sometimes the driver is busy.
        if op & 0x80 == 0 {
            world.drain();
        }
    }
    world.wind_up();
}

const PEERS: u8 = 12;
/// The node itself, and those that are on the allow-list if there is one.
const MYSELF: u8 = 5;
const MAX_WAKES: usize = 2000;

fn id_of(number: u8) -> PeerId {
    let mut bytes = [number.wrapping_mul(37); 34];
    (bytes[0], bytes[1]) = (0x12, 32);
    PeerId::from_bytes(&bytes).expect("a SHA-256 multihash")
}

fn pick_peer(input: &mut Input<'_>) -> PeerId {
    id_of(input.byte() % PEERS)
}

fn pick_addr(input: &mut Input<'_>) -> Multiaddr {
    let [kind, host] = input.array();
    let text = match kind % 8 {
        0..4 => format!("/ip4/10.0.{}.{host}/tcp/1", kind % 4),
        4 => format!("/ip6/fd00::{host:x}/tcp/1"),
        5 => format!("/dns4/host{host}.example/tcp/1"),
        6 => format!("/ip4/10.0.0.{host}/tcp/1/p2p/{}", id_of(host % PEERS)),
        _ => format!("/p2p/{}", id_of(host % PEERS)),
    };
    text.parse().expect("an address")
}

fn pick_intent(input: &mut Input<'_>) -> Intent {
    [Intent::Transient, Intent::Persistent, Intent::Dormant][input.below(3)]
}

fn pick_subject(input: &mut Input<'_>) -> BanSubject {
    match input.below(4) {
        0 => BanSubject::Prefix(format!("10.0.{}.0/24", input.below(4)).parse().expect("a network")),
        1 => BanSubject::Prefix("fd00::/16".parse().expect("a network")),
        _ => pick_peer(input).into(),
    }
}

/// Short ones and such as no clock reaches.
fn pick_time(input: &mut Input<'_>) -> Duration {
    match input.below(8) {
        0 => Duration::from_nanos(input.u64()),
        1 => Duration::from_secs(input.u16().into()),
        _ => Duration::from_millis(u64::from(input.u16()) / 8),
    }
}

fn pick_wall(input: &mut Input<'_>) -> WallTime {
    WallTime::from_secs(if input.bool() { input.u64().cast_signed() } else { input.u16().into() })
}

fn pick_known(input: &mut Input<'_>) -> KnownPeer {
    let addrs = (0..input.below(4)).map(|_| KnownAddr {
        addr: pick_addr(input),
        provenance: [Provenance::Inbound, Provenance::Identify, Provenance::PeerRecord, Provenance::Manual]
            [input.below(4)],
        last_success: input.bool().then(|| pick_wall(input)),
        failures: input.byte().into(),
    });
    KnownPeer {
        addrs: addrs.collect(),
        peer: pick_peer(input),
        metadata: (0..input.below(3)).map(|key| (format!("{key}"), input.bytes(8).into())).collect(),
        protected: input.bool(),
        intent: pick_intent(input),
        last_seen: pick_wall(input),
    }
}

fn pick_ban(input: &mut Input<'_>) -> BanRecord {
    let rest = pick_time(input);
    let phase = match input.below(3) {
        0 => BanPhase::ForEver,
        1 => BanPhase::Running { rest },
        _ => BanPhase::Over { remembered: rest },
    };
    let reason = if input.bool() { BanReason::Manual } else { BanReason::Score };
    let (subject, offences) = (pick_subject(input), input.byte().into());
    BanRecord { subject, reason, offences, saved: pick_wall(input), phase }
}

fn pick_config(input: &mut Input<'_>) -> Config {
    let choice = input.byte();
    let mut config = Config {
        max_connections: 8,
        max_inbound: 6,
        max_pending_inbound: 4,
        max_per_prefix: 3,
        max_dials: 3,
        max_dials_per_peer: 2,
        max_prefixes: 2,
        max_cooling: 2,
        transient_attempts: 3,
        high_watermark: 6,
        low_watermark: 4,
        ..Config::default()
    };
    config.book.max_peers = 8;
    config.book.max_addrs = 3;
    config.book.max_metadata_bytes = 64;
    config.book.max_metadata_keys = 2;
    config.bans.max_entries = 4;
    if choice & 1 == 1 {
        config.allow_list = Some((0..PEERS / 2).map(id_of).collect());
    }
    if choice & 2 == 2 {
        config.connect_rates.prefix.burst = 2;
        config.handshake_rates.overall.burst = 3;
    }
    if choice & 4 == 4 {
        config.trim_grace = Duration::ZERO;
    }
    config
}

/// What the driver knows of a connection.
struct Task {
    role: Role,
    to_connection: Mailbox<ToConnection>,
    /// The node has told that it opened.
    was_opened: bool,
    probe: u32,
}

struct World {
    node: Node,
    config: Config,
    now: Instant,
    wall: WallTime,
    dials: BTreeSet<AttemptId>,
    resolves: BTreeSet<AttemptId>,
    /// All that there were, for results that come late.
    attempts: Vec<AttemptId>,
    tasks: BTreeMap<ConnectionId, Task>,
    /// Connections that are over, but not told to be.
    ending: BTreeMap<ConnectionId, bool>,
    /// Connections that are over and told to be.
    over: Vec<ConnectionId>,
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let (config, now, wall) = (pick_config(input), Instant::from_nanos(input.u64()), pick_wall(input));
        let peers = (0..input.below(6)).map(|_| pick_known(input)).collect();
        let bans = (0..input.below(6)).map(|_| pick_ban(input)).collect();
        let node = restored(&config, now, Snapshot { peers, bans }, wall);
        let mut world = Self {
            node,
            config,
            now,
            wall,
            dials: BTreeSet::new(),
            resolves: BTreeSet::new(),
            attempts: Vec::new(),
            tasks: BTreeMap::new(),
            ending: BTreeMap::new(),
            over: Vec::new(),
        };
        world.drain();
        world
    }

    fn step(&mut self, op: u8, input: &mut Input<'_>) {
        let now = self.clock(input);
        match op {
            0..12 => {
                let (peer, intent) = (pick_peer(input), pick_intent(input));
                let addrs: Vec<Multiaddr> = (0..input.below(4)).map(|_| pick_addr(input)).collect();
                let _ = self.node.add_peer(now, peer, &addrs, intent);
            }
            12..20 => {
                let peer = pick_peer(input);
                if self.node.connect(now, peer).is_ok() {
                    // Unless it has failed at once.
                    let state = self.node.state(&peer);
                    assert!(!matches!(state, PeerState::Established | PeerState::Cooldown), "{state:?}");
                }
            }
            20..23 => self.node.cancel_reconnect(now, pick_peer(input)),
            23..26 => self.node.disconnect(now, pick_peer(input)),
            26..29 => {
                let peer = pick_peer(input);
                self.node.remove_peer(now, peer);
                assert!(!self.node.book().contains(&peer));
            }
            29..33 => {
                let (subject, length) = (pick_subject(input), input.bool().then(|| pick_time(input)));
                let _ = self.node.ban(now, subject, length);
            }
            33..36 => drop(self.node.unban(now, pick_subject(input))),
            36..38 => drop(self.node.protect(now, pick_peer(input), input.bool())),
            38..40 => {
                let (peer, key) = (pick_peer(input), format!("{}", input.below(4)));
                let len = input.below(80);
                let _ = self.node.set_metadata(now, peer, &key, input.bytes(len));
            }
            40..42 => {
                let (peer, addr) = (pick_peer(input), pick_addr(input));
                let _ = self.node.add_addr(now, peer, &addr, Provenance::Identify);
            }
            42..44 => {
                let (initial, max, reset_after) = (pick_time(input), pick_time(input), pick_time(input));
                let _ = self.node.set_backoff(now, pick_peer(input), Some(Backoff { initial, max, reset_after }));
            }
            44..60 => self.dialed(now, input),
            60..70 => {
                let Some(id) = self.pick_attempt(input) else { return };
                self.dials.remove(&id);
                self.resolves.remove(&id);
                self.node.handle_dial_failed(now, id, DialFailure::Refused);
            }
            70..75 => {
                let Some(id) = self.pick_attempt(input) else { return };
                let found: Vec<Multiaddr> = (0..input.below(40)).map(|_| pick_addr(input)).collect();
                self.resolves.remove(&id);
                self.node.handle_resolved(now, id, &found);
            }
            75..83 => {
                let (local, remote) = (pick_addr(input), pick_addr(input));
                if let Ok(link) = self.node.handle_incoming(now, Endpoints { local, remote }) {
                    self.begin(link.id(), Role::Listener);
                }
            }
            83..93 => self.tell(now, input, |input, _| NodeMessage::Secured { peer: pick_peer(input) }),
            93..102 => self.tell(now, input, |input, _| NodeMessage::Opened { is_ready: input.bool() }),
            102..106 => self.tell(now, input, |input, probe| {
                let rtt = input.bool().then(|| pick_time(input));
                NodeMessage::Report(Box::new(Report { probe, rtt, ..Report::default() }))
            }),
            106..111 => self.close(now, input),
            111..113 => {
                let Some(id) = self.pick_connection(input) else { return };
                self.end(id);
                self.node.handle_connection_lost(now, id);
            }
            113 => self.restart(),
            114..120 => {
                if let Some(deadline) = self.node.poll_timeout() {
                    self.now = self.now.max(deadline);
                }
                self.wake();
            }
            _ => {
                self.now = self.now.saturating_add(pick_time(input));
                self.wake();
            }
        }
    }

    /// Mostly now; sometimes a time that is over.
    fn clock(&self, input: &mut Input<'_>) -> Instant {
        if input.below(16) == 0 { Instant::from_nanos(input.u16().into()) } else { self.now }
    }

    fn wake(&mut self) {
        self.node.handle_timeout(self.now);
        let due = self.node.poll_timeout();
        assert!(due.is_none_or(|due| due > self.now), "a timer in the past: {due:?}, and it is {:?}", self.now);
    }

    /// An attempt that is under way, or one that there was once.
    fn pick_attempt(&self, input: &mut Input<'_>) -> Option<AttemptId> {
        let live: Vec<AttemptId> = self.dials.iter().chain(&self.resolves).copied().collect();
        let place = input.below(256);
        if place.is_multiple_of(4) || live.is_empty() {
            let recent = &self.attempts[self.attempts.len().saturating_sub(32)..];
            return recent.get(place % recent.len().max(1)).copied();
        }
        live.get(place % live.len()).copied()
    }

    /// A connection that there is, or one that there was once.
    fn pick_connection(&self, input: &mut Input<'_>) -> Option<ConnectionId> {
        let place = input.below(256);
        if place.is_multiple_of(8) {
            return self.over.get(place % self.over.len().max(1)).copied();
        }
        self.tasks.keys().nth(place % self.tasks.len().max(1)).copied()
    }

    fn dialed(&mut self, now: Instant, input: &mut Input<'_>) {
        let Some(id) = self.pick_attempt(input) else { return };
        let was_dialed = self.dials.contains(&id);
        let endpoints = Endpoints { local: pick_addr(input), remote: pick_addr(input) };
        let link = self.node.handle_dialed(now, id, endpoints);
        assert!(was_dialed || link.is_none(), "an attempt that is over, or not yet there, yields a connection");
        self.dials.remove(&id);
        if let Some(link) = link {
            self.begin(link.id(), Role::Dialer);
        }
    }

    fn begin(&mut self, id: Option<ConnectionId>, role: Role) {
        let id = id.expect("it is of a node");
        let task = Task { role, to_connection: Mailbox::default(), was_opened: false, probe: 0 };
        assert!(self.tasks.insert(id, task).is_none() && !self.over.contains(&id), "an id is used twice");
    }

    fn tell(&mut self, now: Instant, input: &mut Input<'_>, message: fn(&mut Input<'_>, u32) -> NodeMessage) {
        let Some(id) = self.pick_connection(input) else { return };
        let task = self.tasks.get_mut(&id);
        let probe = task.map_or(0, |task| {
            while let Some(message) = task.to_connection.take() {
                if let ConnectionMessage::Query(Query::Probe(probe)) = message.0 {
                    task.probe = probe;
                }
            }
            task.probe
        });
        self.node.handle_connection(now, id, ToNode(message(input, probe)));
    }

    fn close(&mut self, now: Instant, input: &mut Input<'_>) {
        let Some(id) = self.pick_connection(input) else { return };
        let reasons = [
            CloseReason::Eof,
            CloseReason::Local,
            CloseReason::DeniedByRemote,
            CloseReason::HandshakeTimeout,
            CloseReason::UpgradeTimeout,
            CloseReason::Protocol(ProtocolError::Yamux(Violation::PingFlood)),
        ];
        let reason = reasons[input.below(reasons.len())].clone();
        self.end(id);
        self.node.handle_connection(now, id, ToNode(NodeMessage::Closed { reason, last: Box::default() }));
    }

    fn end(&mut self, id: ConnectionId) {
        if let Some(task) = self.tasks.remove(&id) {
            self.ending.insert(id, task.was_opened);
        }
    }

    /// The process ends and comes back with what it has stored.
    fn restart(&mut self) {
        let snapshot = self.node.snapshot(self.now, self.wall);
        let node = restored(&self.config, self.now, snapshot.clone(), self.wall);
        assert_eq!(node.snapshot(self.now, self.wall), snapshot, "something was forgotten");
        self.node = node;
        self.dials.clear();
        self.resolves.clear();
        self.attempts.clear();
        self.tasks.clear();
        self.ending.clear();
        self.over.clear();
    }

    /// Carries out what the node wants, and takes what it tells.
    fn drain(&mut self) {
        while let Some(action) = self.node.poll_action() {
            match action {
                Action::StartDial { id, .. } => {
                    self.attempts.push(id);
                    assert!(self.dials.insert(id), "an id is used twice");
                }
                Action::Resolve { id, .. } => {
                    self.attempts.push(id);
                    assert!(self.resolves.insert(id), "an id is used twice");
                }
                // A result may be on its way.
                Action::AbortDial { id } => {
                    assert!(self.attempts.contains(&id), "nobody knows what is aborted");
                    self.dials.remove(&id);
                    self.resolves.remove(&id);
                }
                Action::Send { to, message } => {
                    if let Some(task) = self.tasks.get_mut(&to) {
                        assert!(!message.is_last(), "the last message to a connection that lives");
                        task.to_connection.put(message);
                        assert!(task.to_connection.len() <= SLOTS);
                    } else {
                        assert!(message.is_last() || self.ending.contains_key(&to), "{message:?} to nobody");
                    }
                }
            }
        }
        self.take_events();
        assert!(self.ending.is_empty(), "a connection is over, and nobody is told");
        self.check();
    }

    fn take_events(&mut self) {
        let lost = self.node.lost_events();
        assert_eq!(lost, 0, "an input of this size makes fewer than {MAX_EVENTS} events");
        while let Some(event) = self.node.poll_event() {
            match event {
                Event::Opened { connection, role, .. } => {
                    let (ending, task) = (self.ending.get_mut(&connection), self.tasks.get_mut(&connection));
                    let expected = task.as_ref().map(|task| task.role);
                    assert!(expected.is_none_or(|expected| expected == role));
                    let opened = ending.or(task.map(|task| &mut task.was_opened)).expect("it exists");
                    assert!(!core::mem::replace(opened, true), "opened twice");
                }
                Event::Closed { connection, was_open, .. } => {
                    let was_opened = self.ending.remove(&connection).expect("it is over, and nobody was told");
                    assert_eq!(was_opened, was_open);
                    self.over.push(connection);
                }
                Event::State { peer, state } => assert_eq!(state, self.node.state(&peer)),
                Event::DialFailed { retry_at, attempts, .. } => {
                    assert!(attempts.len() <= 32 && retry_at.is_none_or(|at| at > Instant::EPOCH));
                }
                _ => {}
            }
        }
    }

    fn check(&self) {
        let (config, book) = (&self.config, self.node.book());
        assert!(self.dials.len() + self.resolves.len() <= config.max_dials);
        assert!(self.tasks.len() <= config.max_connections);
        let inbound = self.tasks.values().filter(|task| task.role == Role::Listener).count();
        assert!(inbound <= config.max_inbound);
        assert!(book.len() <= config.book.max_peers && book.bytes() <= config.book.max_bytes);
        assert!(self.node.bans().count() <= config.bans.max_entries);
        for number in 0..PEERS {
            let id = id_of(number);
            let carrier = self.node.connection_to(&id);
            assert!(carrier.is_none_or(|carrier| self.tasks.contains_key(&carrier)));
            let is_connected = matches!(self.node.state(&id), PeerState::Established | PeerState::Connected);
            assert_eq!(carrier.is_some(), is_connected);
        }
        let busy = !(self.dials.is_empty() && self.resolves.is_empty() && self.tasks.is_empty());
        assert_eq!(self.node.is_idle(), !busy);
    }

    /// Time passes without a peer that answers, then everything ends: nothing is left.
    fn wind_up(&mut self) {
        self.drain();
        self.wake();
        self.drain();
        for _ in 0..32 {
            for id in core::mem::take(&mut self.dials).into_iter().chain(core::mem::take(&mut self.resolves)) {
                self.node.handle_dial_failed(self.now, id, DialFailure::TimedOut);
            }
            self.drain();
            let Some(deadline) = self.node.poll_timeout() else { break };
            self.now = self.now.max(deadline);
            self.wake();
            self.drain();
        }
        self.node.shutdown(self.now);
        self.drain();
        assert!(self.dials.is_empty() && self.resolves.is_empty(), "a dial goes on");
        for id in self.tasks.keys().copied().collect::<Vec<_>>() {
            self.end(id);
            let message = NodeMessage::Closed { reason: CloseReason::Local, last: Box::default() };
            self.node.handle_connection(self.now, id, ToNode(message));
        }
        self.drain();
        for number in 0..PEERS {
            assert_eq!(self.node.state(&id_of(number)), PeerState::Disconnected);
            assert!(self.node.connect(self.now, id_of(number)).is_err());
        }
        let mut wakes = 0;
        while let Some(deadline) = self.node.poll_timeout() {
            wakes += 1;
            assert!(wakes < MAX_WAKES, "timers without end");
            self.now = self.now.max(deadline);
            self.wake();
            self.drain();
        }
        assert!(self.node.is_idle());
    }
}

fn restored(config: &Config, now: Instant, snapshot: Snapshot, wall: WallTime) -> Node {
    let seed = Seed::from_bytes([3; 32]);
    let (node, _) = Node::restored(config.clone(), id_of(MYSELF), now, seed, snapshot, wall).expect("limits that fit");
    node
}
