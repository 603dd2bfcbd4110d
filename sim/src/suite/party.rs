//! Nodes that keep connections to each other and exchange bytes, whatever happens to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use septa_core::{
    Multiaddr, PeerId, SeedStream,
    connection::{self, HandshakeMode},
    node::{Event, PeerState},
};
use septa_driver::{
    Node,
    node::{Backoff, Config, InboundStream, Intent, PeerInfo},
};

use super::{
    events,
    exchange::{self, EXCHANGE},
    waiting::{sleep, within},
};
use crate::{
    Boot, Failed, Referee, Run,
    plan::{Fault, FaultKind},
};

pub(super) const PORT: u16 = 4001;
/// How long a node may take to shut down.
const SHUTDOWN: Duration = Duration::from_secs(10);
/// Exchanges that one node has under way at once.
const MAX_EXCHANGES: u64 = 4;
/// Longer than any exchange may take: whoever loses patience has seen a stream that hangs.
const PATIENCE: Duration = Duration::from_secs(600);
/// Every link carries so many bytes a second.
const LEAST_BANDWIDTH: u64 = 100_000;
/// Pings have gone both ways on each connection, and those that got no answer are over.
const PINGED: Duration = Duration::from_secs(40);
/// Bytes that are exchanged with nothing beside them, less than half a window, and how long that may take.
const ALONE: u64 = 60_000;
const ALONE_TAKES: Duration = Duration::from_secs(5);
/// How long everything rests in the end.
const REST: Duration = Duration::from_secs(60);
/// Bytes that a node writes just before it shuts down: some records.
const LAST_WORDS: usize = 40_000;

const ENDS_WELL: &str = "an exchange that begins when all is well ends well";

/// How the nodes of a party are made, and what they do.
#[derive(Clone)]
pub(super) struct Manners {
    /// Who wants a connection to whom, by place: kept up as long as both live.
    pub(super) wishes: Vec<(usize, usize)>,
    pub(super) config: Config,
    pub(super) connection: connection::Config,
    /// An exchange begins so often on each node, with a peer that it wants.
    pub(super) exchange_every: Duration,
    /// The most bytes that one exchange carries.
    pub(super) exchange_bytes: u64,
    /// How long a receiver pauses behind each piece.
    pub(super) pause: Duration,
    /// What each life of a node does besides.
    pub(super) pastime: Pastime,
    /// Sees each stream for exchanges that comes in.
    pub(super) on_stream: OnStream,
    /// Sees what each node says.
    pub(super) on_event: OnEvent,
    /// Streams to one peer that stay open when all is quiet.
    pub(super) lasting_streams: usize,
}

/// Begins what one life of a node does.
pub(super) type Pastime = Arc<dyn Fn(Member) + Send + Sync>;

pub(super) type OnEvent = Arc<dyn Fn(&Member, &Event) + Send + Sync>;

pub(super) type OnStream = Arc<dyn Fn(&Member, &InboundStream) + Send + Sync>;

impl Manners {
    /// Exchanges of up to 50 kB, two a second, and efforts at least every 4 s.
    pub(super) fn new(wishes: Vec<(usize, usize)>) -> Self {
        let backoff = Backoff { max: Duration::from_secs(4), ..Backoff::default() };
        Self {
            wishes,
            config: Config { backoff, ..Config::default() },
            connection: connection::Config::default(),
            exchange_every: Duration::from_millis(500),
            exchange_bytes: 50_000,
            pause: Duration::ZERO,
            pastime: Arc::new(|_| {}),
            on_stream: Arc::new(|_, _| {}),
            on_event: Arc::new(|_, _| {}),
            lasting_streams: 0,
        }
    }

    /// How long an exchange may take when all is well and others go on beside it.
    fn longest_exchange(&self, length: u64) -> Duration {
        if !self.pause.is_zero() {
            return PATIENCE;
        }
        let under_way = Duration::from_secs(8);
        under_way + Duration::from_secs(2 * MAX_EXCHANGES * length / LEAST_BANDWIDTH)
    }

    /// How long after everything is well again a pair that wants each other may take to talk: an effort that has just
    /// begun in vain ends, the longest backoff passes, and another one ends well.
    pub(super) fn reconnect_bound(&self) -> Duration {
        let effort = self.config.dial_timeout + self.connection.upgrade_timeout;
        let silent = self.connection.write_stall_timeout;
        let handshake = match self.connection.handshake {
            HandshakeMode::Application { timeout } => timeout + self.config.cooldown,
            HandshakeMode::Automatic => Duration::ZERO,
        };
        silent + 2 * (effort + handshake) + self.config.backoff.max + self.config.settle_timeout
    }
}

/// All of them.
pub(super) struct Party<'r> {
    run: &'r Run<'r>,
    shared: Arc<Shared>,
    hosts: Vec<NonZeroU32>,
}

struct Shared {
    manners: Manners,
    members: Vec<Mutex<Option<Node>>>,
    /// Bytes are changed on their way.
    is_tampered: bool,
    /// Nothing is held up, and every clock goes.
    is_punctual: bool,
    /// Nothing goes wrong any more.
    is_healed: AtomicBool,
    /// All who want each other have one connection, and nobody is to lose it.
    is_well: AtomicBool,
    /// The scenario wants to see whether everything comes to rest.
    is_quiet: AtomicBool,
    /// Exchanges, by those who began them.
    under_way: AtomicU64,
    finished: AtomicU64,
    /// The keys of what came whole.
    arrived: Mutex<BTreeSet<u64>>,
    /// All who have lived here.
    known: Mutex<BTreeSet<PeerId>>,
    referee: Referee,
}

/// An exchange, until it ends or its host does.
struct UnderWay(Arc<Shared>);

impl UnderWay {
    fn new(shared: Arc<Shared>) -> Self {
        shared.under_way.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<'r> Party<'r> {
    pub(super) fn start(run: &'r Run<'r>, manners: Manners) -> Self {
        let members = (0..run.nodes).map(|_| Mutex::default()).collect();
        let referee = run.simulation.referee();
        let shared = Arc::new(Shared {
            manners,
            members,
            is_punctual: run.plan.faults.iter().all(|timed| !delays(timed.fault.kind())),
            is_tampered: run.plan.faults.iter().any(|timed| matches!(timed.fault, Fault::Tamper { .. })),
            is_healed: AtomicBool::new(false),
            is_well: AtomicBool::new(false),
            is_quiet: AtomicBool::new(false),
            under_way: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            arrived: Mutex::default(),
            known: Mutex::default(),
            referee,
        });
        let hosts = (0..run.nodes).map(|place| {
            let shared = shared.clone();
            run.simulation.boot(&format!("node {}", place + 1), move |boot| live(shared.clone(), place as usize, boot))
        });
        let party = Self { run, shared: shared.clone(), hosts: hosts.collect() };
        let limits = shared.manners.config.clone();
        run.simulation.add_invariant("limits are never exceeded", 500, move |_| {
            shared
                .members
                .iter()
                .filter_map(|member| lock(member).clone())
                .try_for_each(|node| within_limits(&node, &limits))
        });
        party
    }

    pub(super) fn node(&self, place: usize) -> Option<Node> {
        lock(&self.shared.members[place]).clone()
    }

    /// Liveness: everything that [`come_together`](Self::come_together), [`come_to_rest`](Self::come_to_rest) and
    /// [`shut_down`](Self::shut_down) ask for.
    pub(super) fn settle(&self) -> Result<(), Failed> {
        self.come_together()?;
        self.come_to_rest()?;
        self.shut_down()
    }

    /// Those that want each other come to have one connection, and exchanges over it end well.
    pub(super) fn come_together(&self) -> Result<(), Failed> {
        self.shared.is_healed.store(true, Ordering::Relaxed);
        let bound = self.shared.manners.reconnect_bound();
        self.run.comes("one connection to each wanted peer", bound, || {
            self.pairs().try_for_each(|pair| self.is_settled(pair))
        })?;
        // What was on its way when the last fault ended has come.
        self.exchanges_end_well(bound)?;
        if self.shared.is_tampered {
            // What was changed and has not been looked at is found when the next ping comes.
            self.run.simulation.run_for(PINGED)?;
        }
        self.shared.is_well.store(true, Ordering::Relaxed);
        self.exchanges_end_well(bound)
    }

    fn exchanges_end_well(&self, bound: Duration) -> Result<(), Failed> {
        let before = self.shared.finished.load(Ordering::Relaxed);
        self.run.comes("exchanges end well", bound, || match self.shared.finished.load(Ordering::Relaxed) - before {
            done if done > self.hosts.len() as u64 => Ok(()),
            done => Err(format!("{done} have")),
        })
    }

    /// Nobody begins anything any more, and what is under way ends.
    pub(super) fn come_to_rest(&self) -> Result<(), Failed> {
        self.shared.is_quiet.store(true, Ordering::Relaxed);
        self.run.comes("all exchanges end", Duration::from_secs(60), || {
            match self.shared.under_way.load(Ordering::Relaxed) {
                0 => Ok(()),
                count => Err(format!("{count} are under way")),
            }
        })?;
        self.run.comes("all streams end", Duration::from_secs(60), || self.streams_are_over())?;
        // Long enough for a forgotten timer to strike.
        self.run.simulation.run_for(REST)?;
        self.exchange_alone()
    }

    /// With nothing else that could wake anybody, exchanges take no longer than the links ask for.
    fn exchange_alone(&self) -> Result<(), Failed> {
        let wish = "an exchange with nothing beside it is quick";
        if !self.shared.manners.pause.is_zero() {
            return Ok(());
        }
        for place in 0..self.hosts.len() {
            let Some((_, other)) = self.pairs().find(|(one, _)| *one == place) else { continue };
            let (Some(node), Some(peer)) = (self.node(place), self.node(other).map(|node| node.peer_id())) else {
                continue;
            };
            let exchange = async {
                let mut stream = node.open_stream(&peer, &[EXCHANGE]).await?;
                // The answer to the proposal would wake somebody, too.
                stream.negotiated().await?;
                sleep(&**node.runtime(), Duration::from_secs(1)).await;
                exchange::send(&mut stream, place as u64, ALONE, &self.shared.referee).await
            };
            let outcome = self.run.simulation.block_on(within(&**node.runtime(), ALONE_TAKES, exchange))?;
            let why = match outcome {
                Some(Ok(())) => continue,
                Some(Err(error)) => error.to_string(),
                None => format!("it takes longer than {ALONE_TAKES:?}"),
            };
            let why = format!("{ALONE} bytes from {} to {peer}: {why}", node.peer_id());
            return Err(Failed::Unmet { wish: wish.to_owned(), why });
        }
        Ok(())
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        self.shared.manners.wishes.iter().copied()
    }

    /// Both ends have one connection, and it is the same.
    fn is_settled(&self, (one, other): (usize, usize)) -> Result<(), String> {
        let names = format!("nodes {} and {}", one + 1, other + 1);
        let (Some(a), Some(b)) = (self.node(one), self.node(other)) else {
            return Err(format!("{names}: one is down"));
        };
        let ends = [(&a, b.peer_id()), (&b, a.peer_id())].map(|(node, peer)| {
            let info = node.peer_info(&peer).ok_or_else(|| format!("{names}: unknown"))?;
            match info {
                PeerInfo { state: PeerState::Established, ref connections, .. } if connections.len() == 1 => Ok(info),
                PeerInfo { state, connections, .. } => {
                    Err(format!("{names}: {state:?}, {} connections", connections.len()))
                }
            }
        });
        let [a, b] = ends;
        let (a, b) = (a?, b?);
        let (a, b) = (&a.connections[0], &b.connections[0]);
        if (&a.local, &a.remote) == (&b.remote, &b.local) { Ok(()) } else { Err(format!("{names}: two connections")) }
    }

    fn streams_are_over(&self) -> Result<(), String> {
        for node in (0..self.hosts.len()).filter_map(|place| self.node(place)) {
            for peer in node.known_peers() {
                let streams = node.connection(&peer).map_or(0, |connection| connection.stats().streams);
                // Ping keeps one open now and then, identify another.
                if streams > 2 + self.shared.manners.lasting_streams {
                    return Err(format!("{} has {streams} streams to {peer}", node.peer_id()));
                }
            }
        }
        Ok(())
    }

    /// All shut down and nothing is left.
    pub(super) fn shut_down(&self) -> Result<(), Failed> {
        self.shared.is_well.store(false, Ordering::Relaxed);
        let nodes: Vec<Node> = (0..self.hosts.len()).filter_map(|place| self.node(place)).collect();
        for (place, node) in nodes.iter().enumerate() {
            let listener = self.pairs().find(|(one, other)| *one == place && *other > place);
            match listener.and_then(|(_, other)| self.node(other)) {
                Some(listener) => self.shut_down_speaking(node, &listener.peer_id(), place as u64)?,
                None => self.shut_down_in_time(node)?,
            }
        }
        let tasks = || self.hosts.iter().map(|host| self.run.simulation.tasks_of(*host)).sum::<usize>();
        self.run.comes("no task outlives its node", Duration::from_secs(60), || match tasks() {
            0 => Ok(()),
            _ => Err(self.run.simulation.live_tasks().join(", ")),
        })?;
        for node in &nodes {
            let stats = node.stats();
            let places = [stats.connections, stats.inbound, stats.pending_inbound, stats.dialing, stats.queued];
            if node.live_tasks() != 0 || places != [0; 5] {
                let why = format!("{} has {stats:?}", node.peer_id());
                return Err(Failed::Unmet { wish: "a node that was shut down holds nothing".to_owned(), why });
            }
        }
        Ok(())
    }
}

impl Party<'_> {
    fn shut_down_in_time(&self, node: &Node) -> Result<(), Failed> {
        let shutdown = within(&**node.runtime(), 2 * SHUTDOWN, node.shutdown(SHUTDOWN));
        match self.run.simulation.block_on(shutdown)? {
            Some(()) => Ok(()),
            None => {
                let why = format!("{} has {:?}", node.peer_id(), node.stats());
                Err(Failed::Unmet { wish: "a shutdown ends in time".to_owned(), why })
            }
        }
    }

    /// Shuts a node down that has just written something, which arrives nevertheless.
    fn shut_down_speaking(&self, node: &Node, listener: &PeerId, key: u64) -> Result<(), Failed> {
        let speak = async {
            let mut stream = node.open_stream(listener, &[EXCHANGE]).await.ok()?;
            stream.negotiated().await.ok()?;
            // Before the task of the connection has its turn.
            exchange::write(&mut stream, key, LAST_WORDS).await.ok()?;
            within(&**node.runtime(), 2 * SHUTDOWN, node.shutdown(SHUTDOWN)).await
        };
        let wish = "what is written before a shutdown arrives";
        if self.run.simulation.block_on(speak)?.is_none() {
            let why = format!("{} could not write to {listener} and shut down", node.peer_id());
            return Err(Failed::Unmet { wish: wish.to_owned(), why });
        }
        self.run.comes(wish, Duration::from_secs(10), || match lock(&self.shared.arrived).contains(&key) {
            true => Ok(()),
            false => Err(format!("{listener} has not heard all of {}", node.peer_id())),
        })
    }
}

/// One life of one node.
async fn live(shared: Arc<Shared>, place: usize, boot: Boot) {
    let Boot { runtime, identity, storage, journal, restarts, .. } = boot;
    let builder = Node::builder(identity)
        .config(shared.manners.config.clone())
        .connection_config(shared.manners.connection.clone())
        .storage(storage);
    let node = match builder.build(runtime.clone()) {
        Ok(node) => node,
        Err(error) => return shared.referee.blame("a node can be made", error.to_string()),
    };
    let addr = addr(place);
    if let Err(error) = node.listen(&addr).await {
        return shared.referee.blame("a node can listen", format!("{addr}: {error}"));
    }
    let Ok(mut incoming) = node.accept(EXCHANGE) else { return };
    *lock(&shared.members[place]) = Some(node.clone());
    lock(&shared.known).insert(node.peer_id());

    let member = Member { place, life: restarts, node: node.clone(), shared: shared.clone() };
    let (watching, events, on_event) = (member.clone(), node.events(), shared.manners.on_event.clone());
    let watch = async move { events::watch(&watching, events, &journal, &*on_event).await };
    member.spawn("events", watch);
    member.spawn("wishes", wish(shared.clone(), place, node));
    member.spawn("exchanges", begin_exchanges(member.clone()));
    (shared.manners.pastime)(member.clone());
    while let Some(inbound) = incoming.next().await {
        (shared.manners.on_stream)(&member, &inbound);
        let mut stream = inbound.stream;
        let (shared, runtime) = (shared.clone(), runtime.clone());
        member.spawn("receiver", async move {
            let received = exchange::receive(&mut stream, &*runtime, shared.manners.pause, &shared.referee).await;
            if let Ok(received) = received {
                lock(&shared.arrived).insert(received.key);
                let _ = exchange::answer(&mut stream, &received).await;
            }
        });
    }
}

/// One life of a node of a party.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) place: usize,
    /// Counted from 0 on.
    pub(super) life: u32,
    pub(super) node: Node,
    shared: Arc<Shared>,
}

impl Member {
    /// A task of its host.
    pub(super) fn spawn(&self, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        self.node.runtime().spawn(name, Box::pin(task));
    }

    /// Who wants a connection to it, and to whom it wants one: each once, by place.
    pub(super) fn partners(&self) -> BTreeSet<usize> {
        self.wishes().collect()
    }

    /// The other end of each wish that concerns it.
    fn wishes(&self) -> impl Iterator<Item = usize> {
        let place = self.place;
        self.shared.manners.wishes.iter().filter_map(move |(one, other)| match place {
            _ if *one == place => Some(*other),
            _ if *other == place => Some(*one),
            _ => None,
        })
    }

    /// Who lives at a place, or did last.
    pub(super) fn peer_at(&self, place: usize) -> Option<PeerId> {
        lock(&self.shared.members[place]).as_ref().map(Node::peer_id)
    }

    /// All who want each other have one connection, and nobody is to lose it.
    pub(super) fn is_well(&self) -> bool {
        self.shared.is_well.load(Ordering::Relaxed)
    }

    /// The peer lives in the party.
    pub(super) fn is_there(&self, peer: &PeerId) -> bool {
        (0..self.shared.members.len()).any(|place| self.peer_at(place).as_ref() == Some(peer))
    }

    /// The peer lives in the party, or has.
    pub(super) fn knows(&self, peer: &PeerId) -> bool {
        lock(&self.shared.known).contains(peer)
    }

    /// Bytes are changed on their way.
    pub(super) fn is_tampered(&self) -> bool {
        self.shared.is_tampered
    }

    /// Nothing is held up, and every clock goes.
    pub(super) fn is_punctual(&self) -> bool {
        self.shared.is_punctual
    }

    /// Half of the time after which a side closes what the other side should have closed.
    pub(super) fn half_of_settling(&self) -> Duration {
        self.shared.manners.config.settle_timeout / 2
    }

    /// Nothing goes wrong any more.
    pub(super) fn is_healed(&self) -> bool {
        self.shared.is_healed.load(Ordering::Relaxed)
    }

    /// It is to begin nothing more.
    pub(super) fn is_quiet(&self) -> bool {
        self.shared.is_quiet.load(Ordering::Relaxed) || self.node.live_tasks() == 0
    }

    pub(super) fn referee(&self) -> &Referee {
        &self.shared.referee
    }

    pub(super) async fn sleep(&self, duration: Duration) {
        sleep(&**self.node.runtime(), duration).await;
    }
}

/// Finds out who its peers are now, again and again, as a discovery service would tell.
async fn wish(shared: Arc<Shared>, place: usize, node: Node) {
    let runtime = node.runtime().clone();
    let mut known: BTreeMap<usize, PeerId> = BTreeMap::new();
    loop {
        for other in wanted(&shared, place) {
            let Some(peer) = lock(&shared.members[other]).as_ref().map(Node::peer_id) else { continue };
            if known.get(&other) == Some(&peer) {
                continue;
            }
            let outdated = known.insert(other, peer).map(|before| node.remove_peer(before));
            let added = node.add_peer(peer, &[addr(other)], Intent::Persistent);
            if outdated.is_some_and(|outcome| outcome.is_err()) || added.is_err() {
                return;
            }
        }
        if shared.is_quiet.load(Ordering::Relaxed) {
            return;
        }
        sleep(&*runtime, Duration::from_millis(500)).await;
    }
}

fn wanted(shared: &Shared, place: usize) -> impl Iterator<Item = usize> {
    shared.manners.wishes.iter().filter(move |(one, _)| *one == place).map(|(_, other)| *other)
}

/// Both who wants and who is wanted sends.
async fn begin_exchanges(member: Member) {
    let (node, shared) = (&member.node, &member.shared);
    let mut luck = node.runtime().seed().public_stream();
    let partners: Vec<usize> = member.wishes().collect();
    let under_way = Arc::new(AtomicU64::new(0));
    loop {
        member.sleep(shared.manners.exchange_every).await;
        if member.is_quiet() {
            return;
        }
        let Some(partner) = partners.get(draw(&mut luck, partners.len() as u64) as usize) else { return };
        let Some(peer) = member.peer_at(*partner) else { continue };
        if under_way.fetch_add(1, Ordering::Relaxed) >= MAX_EXCHANGES {
            under_way.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (key, length) = (luck.next_u64(), draw_length(&mut luck, shared.manners.exchange_bytes));
        let (shared, node, under_way) = (shared.clone(), node.clone(), under_way.clone());
        let of_all = UnderWay::new(shared.clone());
        let is_well = member.is_well();
        member.spawn("sender", async move {
            let exchange = async {
                let mut stream = node.open_stream(&peer, &[EXCHANGE]).await?;
                exchange::send(&mut stream, key, length, &shared.referee).await
            };
            let patience = if is_well { shared.manners.longest_exchange(length) } else { PATIENCE };
            let why = match within(&**node.runtime(), patience, exchange).await {
                Some(Ok(())) => {
                    shared.finished.fetch_add(1, Ordering::Relaxed);
                    None
                }
                Some(Err(error)) => Some(error.to_string()),
                None => Some(format!("it takes longer than {patience:?}")),
            };
            if let Some(why) = why.filter(|_| is_well) {
                shared.referee.blame(ENDS_WELL, format!("{length} bytes from {} to {peer}: {why}", node.peer_id()));
            }
            drop(of_all);
            under_way.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Less than `below`, or 0.
pub(super) fn draw(luck: &mut SeedStream, below: u64) -> u64 {
    luck.next_u64() % below.max(1)
}

/// Most are short.
pub(super) fn draw_length(luck: &mut SeedStream, most: u64) -> u64 {
    let bound = most >> draw(luck, 8);
    draw(luck, bound.saturating_add(1))
}

/// Where the node at a place listens.
pub(super) fn addr(place: usize) -> Multiaddr {
    let host = u32::try_from(place).unwrap_or(u32::MAX).saturating_add(1);
    Multiaddr::from_socket_addr((crate::network::ip_of(host, false), PORT).into())
}

fn delays(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::Stall | FaultKind::Partition | FaultKind::ClockPause | FaultKind::ClockDrift | FaultKind::LateTimers
    )
}

fn within_limits(node: &Node, limits: &Config) -> Result<(), String> {
    let stats = node.stats();
    let counts = [
        ("connections", stats.connections, limits.max_connections),
        ("inbound connections", stats.inbound, limits.max_inbound),
        ("pending inbound connections", stats.pending_inbound, limits.max_pending_inbound),
        ("dials", stats.dialing, limits.max_dials),
    ];
    match counts.iter().find(|(_, count, limit)| count > limit) {
        Some((what, count, limit)) => Err(format!("{} has {count} {what} of at most {limit}", node.peer_id())),
        None => Ok(()),
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
