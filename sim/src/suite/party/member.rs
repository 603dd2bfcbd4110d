//! One life of one node, and what it does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use septa_core::{
    Instant, PeerId,
    node::{DialError, KnownPeer},
    yamux::INITIAL_WINDOW,
};
use septa_driver::{Node, node::Intent, runtime::Runtime};

use super::{Shared, addr, deaf_addr, disk::Disk, draw, draw_length, lock, other_end};
use crate::{
    Boot, Referee,
    suite::{
        events,
        exchange::{self, EXCHANGE},
        setup, sights,
        waiting::{sleep, within},
    },
};

/// Exchanges that one node has under way at once.
pub(super) const MAX_EXCHANGES: u64 = 4;

const ONCE: &str = "what is sent once arrives once";
const ENDS_WELL: &str = "an exchange that begins when all is well ends well";

/// One life of a node of a party.
#[derive(Clone)]
pub(in crate::suite) struct Member {
    pub(in crate::suite) place: usize,
    /// Counted from 0 on.
    pub(in crate::suite) life: u32,
    pub(in crate::suite) node: Node,
    pub(super) shared: Arc<Shared>,
}

impl Member {
    /// A task of its host.
    pub(in crate::suite) fn spawn(&self, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        self.node.runtime().spawn(name, Box::pin(task));
    }

    /// Who wants a connection to it, and to whom it wants one: each once, by place.
    pub(in crate::suite) fn partners(&self) -> BTreeSet<usize> {
        self.wishes().collect()
    }

    /// The other end of each wish that concerns it.
    fn wishes(&self) -> impl Iterator<Item = usize> {
        let place = self.place;
        self.shared.options.wishes.iter().filter_map(move |pair| other_end(*pair, place))
    }

    /// Who lives at a place, or did last.
    pub(in crate::suite) fn peer_at(&self, place: usize) -> Option<PeerId> {
        lock(&self.shared.members[place]).as_ref().map(Node::peer_id)
    }

    /// All who want each other have one connection, and nobody is to lose it.
    pub(in crate::suite) fn is_well(&self) -> bool {
        self.shared.is_well.load(Ordering::Relaxed)
    }

    /// The peer lives in the party.
    pub(in crate::suite) fn is_there(&self, peer: &PeerId) -> bool {
        (0..self.shared.members.len()).any(|place| self.peer_at(place).as_ref() == Some(peer))
    }

    /// The peer lives in the party, or has.
    pub(in crate::suite) fn knows(&self, peer: &PeerId) -> bool {
        lock(&self.shared.known).contains(peer)
    }

    /// Bytes are changed on their way.
    pub(in crate::suite) fn is_tampered(&self) -> bool {
        self.shared.is_tampered
    }

    /// Nothing is held up, and every clock goes.
    pub(in crate::suite) fn is_punctual(&self) -> bool {
        self.shared.is_punctual
    }

    /// Half of the time after which a side closes what the other side should have closed.
    pub(in crate::suite) fn half_of_settling(&self) -> Duration {
        self.shared.options.config.settle_timeout / 2
    }

    /// Nothing goes wrong any more.
    pub(in crate::suite) fn is_healed(&self) -> bool {
        self.shared.is_healed.load(Ordering::Relaxed)
    }

    /// It is to begin nothing more.
    pub(in crate::suite) fn is_quiet(&self) -> bool {
        self.shared.is_quiet.load(Ordering::Relaxed) || self.node.live_tasks() == 0
    }

    pub(in crate::suite) fn referee(&self) -> &Referee {
        &self.shared.referee
    }

    /// A ban runs until then.
    pub(in crate::suite) fn tell_ban(&self, ends: Instant) {
        let now = self.node.runtime().now();
        lock(&self.shared.kept).entry(self.node.peer_id()).or_default().tell_ban(now, ends);
    }

    /// All who live in the party, or have.
    pub(in crate::suite) fn everybody(&self) -> Vec<PeerId> {
        lock(&self.shared.known).iter().copied().collect()
    }

    /// No fault of the plan strikes between this node and the one at a place, at any time.
    pub(in crate::suite) fn is_undisturbed(&self, other: usize) -> bool {
        let ends = [setup::number(self.place), setup::number(other)];
        !self.shared.faults.iter().any(|fault| fault.hosts().all(|host| ends.contains(&host)))
    }

    /// The run has met what its scenario is about.
    pub(in crate::suite) fn saw(&self, sight: &'static str) {
        self.shared.sights.note(sight);
    }

    pub(in crate::suite) async fn sleep(&self, duration: Duration) {
        sleep(&**self.node.runtime(), duration).await;
    }
}

/// An exchange, until it ends or its host does.
struct UnderWay(Arc<AtomicU64>);

impl UnderWay {
    fn new(count: &Arc<AtomicU64>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One life of one node.
pub(super) async fn live(shared: Arc<Shared>, place: usize, boot: Boot) {
    let Boot { runtime, identity, storage, journal, restarts, .. } = boot;
    let disk = Arc::new(Disk::new(storage, identity.peer_id(), &shared));
    let builder = Node::builder(identity)
        .config(shared.options.config.clone())
        .connection_config(shared.options.connection.clone())
        .storage(disk.clone());
    let node = match builder.build(runtime.clone()) {
        Ok(node) => node,
        Err(error) => return shared.referee.blame("a node can be made", error.to_string()),
    };
    let remembered = disk.check(&node);
    let addr = addr(place);
    if let Err(error) = node.listen(&addr).await {
        return shared.referee.blame("a node can listen", format!("{addr}: {error}"));
    }
    let Ok(mut incoming) = node.accept(EXCHANGE) else { return };
    let before = lock(&shared.members[place]).replace(node.clone());
    if let Some(before) = before {
        shared.sights.note(if before.peer_id() == node.peer_id() { sights::SAME } else { sights::OTHER });
    }
    lock(&shared.known).insert(node.peer_id());

    let member = Member { place, life: restarts, node: node.clone(), shared: shared.clone() };
    let (watching, events, on_event) = (member.clone(), node.events(), shared.options.on_event.clone());
    let watch = async move { events::watch(&watching, events, &journal, &*on_event).await };
    member.spawn("events", watch);
    member.spawn("wishes", wish(shared.clone(), place, node, remembered));
    member.spawn("exchanges", begin_exchanges(member.clone()));
    (shared.options.pastime)(member.clone());
    while let Some(inbound) = incoming.next().await {
        (shared.options.on_stream)(&member, &inbound);
        let (mut stream, is_known) = (inbound.stream, member.knows(&inbound.peer));
        let (shared, runtime) = (shared.clone(), runtime.clone());
        member.spawn("receiver", async move {
            let pause = || shared.pause(&*runtime);
            let received = exchange::receive(&mut stream, pause, &shared.referee).await;
            if let Ok(received) = received {
                // Others send what they like.
                if is_known && !lock(&shared.arrived).insert(received.key) {
                    shared.referee.blame(ONCE, format!("key {:x} has come again to node {}", received.key, place + 1));
                }
                let _ = exchange::answer(&mut stream, &received).await;
            }
        });
    }
}

impl Shared {
    /// Behind each piece that a receiver takes.
    async fn pause(&self, runtime: &dyn Runtime) {
        let pause = self.options.pause;
        if !pause.is_zero() {
            if self.options.connection.yamux.memory.used() > INITIAL_WINDOW as usize {
                self.sights.note(sights::UNREAD);
            }
            sleep(runtime, pause).await;
        }
    }
}

/// Finds out who its peers are now, again and again, as a discovery service would tell. Of those that the node remembers
/// nothing is told: it must find them by itself.
async fn wish(shared: Arc<Shared>, place: usize, node: Node, remembered: Vec<KnownPeer>) {
    let runtime = node.runtime().clone();
    let is_at = |known: &KnownPeer, other| known.addrs.iter().any(|known| known.addr == addr(other));
    let mut known: BTreeMap<usize, PeerId> = BTreeMap::new();
    for (other, found) in wanted(&shared, place).flat_map(|other| remembered.iter().map(move |found| (other, found))) {
        if is_at(found, other) {
            // Of two who have lived there one at least is gone.
            let is_second = known.insert(other, found.peer).is_some_and(|first| node.remove_peer(first).is_err());
            if is_second {
                return;
            }
        }
    }
    loop {
        for other in wanted(&shared, place) {
            let Some(peer) = lock(&shared.members[other]).as_ref().map(Node::peer_id) else { continue };
            if known.get(&other) == Some(&peer) {
                continue;
            }
            if known.remove(&other).is_some_and(|before| node.remove_peer(before).is_err()) {
                return;
            }
            match node.add_peer(peer, &[addr(other), deaf_addr(other)], Intent::Persistent) {
                Ok(()) => drop(known.insert(other, peer)),
                // For handshakes that failed, and not for long.
                Err(DialError::Banned) => {}
                Err(_) => return,
            }
        }
        let told = known.values().copied();
        lock(&shared.kept).entry(node.peer_id()).or_default().tell_peers(told, runtime.now());
        if shared.is_quiet.load(Ordering::Relaxed) {
            return;
        }
        sleep(&*runtime, Duration::from_millis(500)).await;
    }
}

fn wanted(shared: &Shared, place: usize) -> impl Iterator<Item = usize> {
    shared.options.wishes.iter().filter(move |(one, _)| *one == place).map(|(_, other)| *other)
}

/// Both who wants and who is wanted sends, to each in turn.
async fn begin_exchanges(member: Member) {
    let shared = &member.shared;
    let mut luck = member.node.runtime().seed().public_stream();
    let partners: Vec<usize> = member.wishes().collect();
    let under_way = Arc::new(AtomicU64::new(0));
    let mut turn = draw(&mut luck, partners.len() as u64) as usize;
    loop {
        member.sleep(shared.options.exchange_every).await;
        if member.is_quiet() || partners.is_empty() {
            return;
        }
        if under_way.load(Ordering::Relaxed) >= MAX_EXCHANGES {
            continue;
        }
        turn = (turn + 1) % partners.len();
        let Some(peer) = member.peer_at(partners[turn]) else { continue };
        // Less than the keys of other kinds.
        let (key, length) = (luck.next_u64() >> 2, draw_length(&mut luck, shared.options.exchange_bytes));
        let exchange = Exchange { to: partners[turn], peer, key, length, is_well: member.is_well() };
        let (sender, places) = (member.clone(), (UnderWay::new(&shared.under_way), UnderWay::new(&under_way)));
        member.spawn("sender", async move {
            exchange.run(&sender).await;
            drop(places);
        });
    }
}

struct Exchange {
    to: usize,
    peer: PeerId,
    key: u64,
    length: u64,
    /// It has no reason to fail.
    is_well: bool,
}

impl Exchange {
    async fn run(&self, member: &Member) {
        let Self { to, peer, key, length, is_well } = *self;
        let (node, shared) = (&member.node, &member.shared);
        let exchange = async {
            let mut stream = node.open_stream(&peer, &[EXCHANGE]).await?;
            exchange::send(&mut stream, key, length, &shared.referee).await
        };
        let patience = shared.options.longest_exchange(length);
        let outcome = match is_well {
            true => within(&**node.runtime(), patience, exchange).await,
            // That it ends is asked when all come to rest.
            false => Some(exchange.await),
        };
        let why = match outcome {
            Some(Ok(())) => {
                *lock(&shared.finished).entry((member.place, to)).or_default() += 1;
                return;
            }
            Some(Err(_)) if !is_well => return,
            Some(Err(error)) => error.to_string(),
            None => format!("it takes longer than {patience:?}"),
        };
        shared.referee.blame(ENDS_WELL, format!("{length} bytes from {} to {peer}: {why}", node.peer_id()));
    }
}
