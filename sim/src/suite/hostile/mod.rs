//! Peers that break every rule behind a proper handshake, or in it, beside nodes that go on with their work.

mod attack;
mod wire;

use std::{
    collections::BTreeMap,
    future::poll_fn,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use septa_core::{
    Identity, Multiaddr, PeerId, Role, SeedStream,
    connection::CloseReason,
    node::{Event, Intent},
    yamux::{MemoryLimits, MemoryPool},
};
use septa_driver::{
    Node,
    runtime::{Runtime, Socket},
};

use self::{
    attack::{ATTACKS, Attack},
    wire::Wire,
};
use super::{
    party::{Member, Options, PORT, Party, draw, lock},
    setup,
    waiting::{sleep, within},
};
use crate::{
    Boot, Failed, Menu, Referee, Run, Scenario,
    network::ip_of,
    plan::FaultKind::{Crash, Reset, Stall},
};

const ENDED: &str = "who breaks the rules is ended in time, and for that";
const UNHARMED: &str = "honest peers are not blamed for hostile ones";

/// How long whoever breaks a rule of a protocol may stay: until the slowest link has brought it.
const AT_ONCE: Duration = Duration::from_secs(15);
/// How long anybody else may whom nothing good comes of: as long as a write may take, and a while.
const PATIENCE: Duration = Duration::from_secs(60);
/// Blocks that sessions may have in hand beyond the bound.
const SLACK: usize = 256 * 1024;
const MEMORY: MemoryLimits = MemoryLimits { window_loans: 1024 * 1024, hard_cap: 4 * 1024 * 1024 };

pub(super) struct Hostile;

impl Scenario for Hostile {
    fn name(&self) -> &str {
        "hostile"
    }

    fn nodes(&self) -> u32 {
        3
    }

    fn menu(&self, nodes: u32) -> Menu {
        setup::menu(nodes, setup::once_each(nodes), &[Stall, Reset, Crash], 4, Duration::from_secs(40))
    }

    fn play(&self, run: &Run<'_>) -> Result<(), Failed> {
        let nodes = run.nodes as usize;
        let identity =
            Arc::new(Identity::from_ed25519_seed(run.simulation.draw_seed("attacker").secret_stream().next_key()));
        let siege = Arc::new(Siege {
            host: run.nodes + 1,
            listener: identity.peer_id(),
            is_over: AtomicBool::new(false),
            strikes: AtomicU64::new(0),
            victims: (0..nodes).map(|_| Mutex::default()).collect(),
            reasons: Mutex::default(),
            referee: run.simulation.referee(),
        });
        let pool = MemoryPool::new(MEMORY);
        let manners = manners(nodes, &siege, pool.clone(), run.plan.faults.is_empty());
        let used = pool.clone();
        run.simulation.add_invariant("received bytes keep within their budget", 50, move |_| {
            match (used.used(), used.lent()) {
                (used, lent) if used <= MEMORY.hard_cap + SLACK && lent <= MEMORY.window_loans => Ok(()),
                (used, lent) => Err(format!("{used} bytes used, {lent} lent")),
            }
        });
        let (victims, max_streams) = (siege.clone(), manners.connection.yamux.max_streams);
        run.simulation.add_invariant("streams keep within their limit", 200, move |_| {
            victims.victims.iter().filter_map(|victim| lock(victim).clone()).try_for_each(|node| {
                let peers = node.known_peers().into_iter();
                let streams = peers.filter_map(|peer| Some(node.connection(&peer)?.stats().streams)).max();
                match streams {
                    Some(streams) if streams > max_streams => Err(format!("{} has {streams}", node.peer_id())),
                    _ => Ok(()),
                }
            })
        });
        run.simulation.set_max_steps(100_000_000);
        let party = Party::start(run, manners);
        let besieged = siege.clone();
        run.simulation.boot("attacker", move |boot| attack(besieged.clone(), nodes, identity.clone(), boot));
        run.chaos()?;
        siege.is_over.store(true, Ordering::Relaxed);
        party.come_together()?;
        run.comes("every attack comes to its end", 2 * PATIENCE, || match siege.strikes.load(Ordering::Relaxed) {
            0 => Ok(()),
            strikes => Err(format!("{strikes} go on")),
        })?;
        run.comes("nothing of the attack is left", PATIENCE, || {
            (0..nodes).filter_map(|place| party.node(place)).try_for_each(|node| {
                let (stats, wanted) = (node.stats(), nodes - 1);
                if (stats.connections, stats.pending_inbound, stats.dialing) == (wanted, 0, 0) {
                    return Ok(());
                }
                Err(format!("{} has {} connections of {wanted}: {stats:?}", node.peer_id(), stats.connections))
            })
        })?;
        party.come_to_rest()?;
        party.shut_down()?;
        run.comes("all memory is given back", Duration::from_secs(1), || match (pool.used(), pool.lent()) {
            (0, 0) => Ok(()),
            (used, lent) => Err(format!("{used} bytes used, {lent} lent")),
        })
    }
}

/// What the attackers and those who see their victims know.
struct Siege {
    /// The number of their host.
    host: u32,
    /// Who listens there.
    listener: PeerId,
    is_over: AtomicBool,
    /// Attacks that go on.
    strikes: AtomicU64,
    /// The latest lives of the nodes.
    victims: Vec<Mutex<Option<Node>>>,
    /// Why a victim, by place, has closed connections to somebody.
    reasons: Mutex<BTreeMap<(usize, PeerId), Vec<CloseReason>>>,
    referee: Referee,
}

fn manners(nodes: usize, siege: &Arc<Siege>, pool: MemoryPool, is_calm: bool) -> Options {
    let mut manners = Options::new(setup::all_pairs(nodes as u32).collect());
    manners.exchange_every = Duration::from_secs(1);
    manners.pause = Duration::from_millis(5);
    let yamux = &mut manners.connection.yamux;
    yamux.memory = pool;
    // So that floods need not be long.
    (yamux.max_streams, yamux.accept_backlog) = (48, 16);
    (yamux.max_pending_resets, yamux.max_unaccepted_resets, yamux.max_empty_frames) = (64, 64, 1000);
    let besieged = siege.clone();
    manners.pastime = Arc::new(move |member| {
        *lock(&besieged.victims[member.place]) = Some(member.node.clone());
        let visit = visit(besieged.clone(), member.clone());
        member.spawn("visit", visit);
    });
    let seen = siege.clone();
    manners.on_event = Arc::new(move |member, event| {
        let Event::Closed { peer: Some(peer), reason, .. } = event else { return };
        let is_honest = member.partners().into_iter().any(|place| member.peer_at(place) == Some(*peer));
        if !is_honest {
            lock(&seen.reasons).entry((member.place, *peer)).or_default().push(reason.clone());
        } else if matches!(reason, CloseReason::Protocol(_)) || (is_calm && !is_in_good_order(reason)) {
            seen.referee.blame(UNHARMED, format!("node {} and {peer}: {reason}", member.place + 1));
        }
    });
    manners
}

/// As when one of two connections to a peer is given up, or a node shuts down.
fn is_in_good_order(reason: &CloseReason) -> bool {
    use CloseReason::{Denied, DeniedByRemote, DrainTimeout, Eof, Local, Remote};
    matches!(reason, Local | Remote { .. } | Eof | DrainTimeout | Denied(_) | DeniedByRemote)
}

/// A victim wants a connection to an attacker, until all is over.
async fn visit(siege: Arc<Siege>, member: Member) {
    let addr = Multiaddr::from_socket_addr(SocketAddr::new(ip_of(siege.host, false), PORT));
    if member.node.add_peer(siege.listener, &[addr], Intent::Persistent).is_err() {
        return;
    }
    while !siege.is_over.load(Ordering::Relaxed) && !member.is_quiet() {
        member.sleep(Duration::from_millis(100)).await;
    }
    let _ = member.node.remove_peer(siege.listener);
}

/// The attackers' program.
async fn attack(siege: Arc<Siege>, nodes: usize, identity: Arc<Identity>, boot: Boot) {
    let Boot { runtime, ip, journal, .. } = boot;
    let journal: Arc<dyn Fn(&str) + Send + Sync> = Arc::new(move |text: &str| journal.note(text));
    for place in 0..nodes {
        let (siege, own, journal) = (siege.clone(), runtime.clone(), journal.clone());
        runtime.spawn("dialing attacker", Box::pin(async move { dial(siege, place, &own, &*journal).await }));
    }
    let Ok(mut acceptor) = runtime.listen(SocketAddr::new(ip, PORT)).await else { return };
    let mut luck = runtime.seed().public_stream();
    while !siege.is_over.load(Ordering::Relaxed) {
        let accepted = within(&*runtime, Duration::from_millis(200), poll_fn(|cx| acceptor.poll_accept(cx))).await;
        let Some(Ok(socket)) = accepted else { continue };
        let Some(place) = (0..nodes).find(|place| ip_of(*place as u32 + 1, false) == socket.remote.ip()) else {
            continue;
        };
        let attack = choose(&mut luck);
        let (siege, own, identity, journal) = (siege.clone(), runtime.clone(), identity.clone(), journal.clone());
        let strike = async move {
            let strike = Strike { siege: &siege, place, runtime: &*own, identity: &identity, attack };
            strike.run(socket, Role::Listener, &*journal).await;
        };
        runtime.spawn("listening attacker", Box::pin(strike));
    }
}

fn choose(luck: &mut SeedStream) -> Attack {
    ATTACKS[draw(luck, ATTACKS.len() as u64) as usize]
}

/// Attacks one victim again and again, as somebody else each time.
async fn dial(siege: Arc<Siege>, place: usize, runtime: &Arc<dyn Runtime>, note: &(dyn Fn(&str) + Send + Sync)) {
    let mut luck = runtime.seed().public_stream();
    let victim = SocketAddr::new(ip_of(place as u32 + 1, false), PORT);
    while !siege.is_over.load(Ordering::Relaxed) {
        sleep(&**runtime, Duration::from_millis(200 + draw(&mut luck, 3000))).await;
        let Some(Ok(socket)) = within(&**runtime, Duration::from_secs(5), runtime.connect(victim)).await else {
            continue;
        };
        let identity = Identity::from_ed25519_seed(runtime.seed().secret_stream().next_key());
        let attack = choose(&mut luck);
        let strike = Strike { siege: &siege, place, runtime: &**runtime, identity: &identity, attack };
        strike.run(socket, Role::Dialer, note).await;
    }
}

/// One attack on one victim.
struct Strike<'a> {
    siege: &'a Siege,
    place: usize,
    runtime: &'a dyn Runtime,
    identity: &'a Identity,
    attack: Attack,
}

impl Strike<'_> {
    async fn run(self, socket: Socket, role: Role, note: &(dyn Fn(&str) + Send + Sync)) {
        let strikes = &self.siege.strikes;
        strikes.fetch_add(1, Ordering::Relaxed);
        self.strike(socket, role, note).await;
        strikes.fetch_sub(1, Ordering::Relaxed);
    }

    async fn strike(&self, socket: Socket, role: Role, note: &(dyn Fn(&str) + Send + Sync)) {
        let Self { siege, place, runtime, identity, attack } = *self;
        note(&format!("{attack:?} on node {} as {role:?}", place + 1));
        let of_victim = (place, identity.peer_id());
        lock(&siege.reasons).remove(&of_victim);
        let mut wire = Wire::new(socket, role, runtime.seed().public_stream());
        if !attack.is_early() {
            let upgraded = within(runtime, PATIENCE, wire.upgrade(runtime, identity)).await;
            // It may have been turned away, or its victim is down.
            let Some(Ok(())) = upgraded else { return };
        }
        let strike = async {
            // Whoever is ended in the middle of it was ended.
            let outcome = attack.run(&mut wire, runtime).await;
            if outcome.is_ok() && attack.fate().is_ended() {
                wire.ended().await;
            }
        };
        let patience = if attack.fate().is_at_once() { AT_ONCE } else { PATIENCE };
        let is_over = within(runtime, patience, strike).await.is_some();
        let victim = format!("{attack:?} on node {} as {role:?}", place + 1);
        if !is_over && attack.fate().is_ended() {
            siege.referee.blame(ENDED, format!("{victim} goes on"));
        }
        // What the victim says of it comes in the same instant, or has come.
        sleep(runtime, Duration::from_millis(1)).await;
        let reasons = lock(&siege.reasons).remove(&of_victim).unwrap_or_default();
        if !reasons.is_empty() && !reasons.iter().any(|reason| attack.fate().allows(reason)) {
            siege.referee.blame(ENDED, format!("{victim} was ended for {reasons:?}"));
        }
    }
}
