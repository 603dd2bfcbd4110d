//! Peers that break every rule behind a proper handshake, or in it, beside nodes that go on with their work.

mod attack;
mod crowd;
mod floods;
mod frames;
mod inbox;
mod rules;
mod siege;
mod strike;
mod tricks;
mod wire;

#[cfg(test)]
mod tests;

use std::{
    future::poll_fn,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use septa_core::{
    Identity, Multiaddr, Role,
    connection::{CloseReason, DenyReason},
    node::{Event, Intent},
    yamux::{MemoryLimits, MemoryPool},
};
use septa_driver::runtime::Runtime;

use self::{
    frames::UNREAD,
    siege::{Siege, Tally, Victim},
    strike::{LAST_WORD, PATIENCE, Strike},
};
use super::{
    party::{Member, Options, PORT, Party, draw, lock},
    setup, sights,
    waiting::{sleep, within},
};
use crate::{
    Boot, Failed, Menu, Run, Scenario,
    network::ip_of,
    plan::FaultKind::{Crash, Reset, Stall},
};

const UNHARMED: &str = "honest peers are not blamed for hostile ones";

/// Small enough for one attacker to use it all up, and more than all honest exchanges together take.
const MEMORY: MemoryLimits = MemoryLimits { window_loans: 256 * 1024, hard_cap: 512 * 1024 };
/// How long a victim holds a stream that it does not read.
const HOLDS: Duration = Duration::from_secs(10);
/// Attackers that dial each victim, beside each other.
const DIALERS: usize = 2;
/// How long an attacker that dials waits for its victim.
const CONNECTING: Duration = Duration::from_secs(5);
/// The longest attack that has just begun: it connects, is upgraded, strikes, and waits for the last word.
const LONGEST: Duration = CONNECTING.saturating_add(PATIENCE).saturating_add(PATIENCE).saturating_add(LAST_WORD);

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

    fn sights(&self) -> &'static [&'static str] {
        &[sights::CROWD]
    }

    fn play(&self, run: &Run<'_>) -> Result<(), Failed> {
        let tally = besiege(run)?;
        match tally.attacks.values().map(|count| count.met).sum::<u64>() {
            0 => Err(Failed::Unmet { wish: "attacks meet their fate".to_owned(), why: format!("{tally:?}") }),
            _ => Ok(()),
        }
    }
}

fn besiege(run: &Run<'_>) -> Result<Tally, Failed> {
    let nodes = run.nodes as usize;
    let mut seed = run.simulation.draw_seed("attacker");
    let identity = Arc::new(Identity::from_ed25519_seed(seed.child("identity").secret_stream().next_key()));
    let mut luck = seed.public_stream();
    let turns = [0, 1].map(|_| draw(&mut luck, u64::from(u32::MAX)) as usize);
    let is_calm = run.plan.faults.is_empty();
    let siege = Siege::new(run.nodes + 1, identity.peer_id(), nodes, (is_calm, turns), run.simulation.referee());
    let siege = Arc::new(siege);
    let pool = MemoryPool::new(MEMORY);
    let options = options(run.nodes, &siege, pool.clone());
    add_invariants(run, &siege, &pool, options.connection.yamux.max_streams);
    run.simulation.set_max_steps(100_000_000);
    let party = Party::start(run, options);
    let besieged = siege.clone();
    run.simulation.boot("attacker", move |boot| attack(besieged.clone(), nodes, identity.clone(), boot));
    run.chaos()?;
    siege.is_over.store(true, Ordering::Relaxed);
    run.comes("every attack comes to its end", LONGEST, || match siege.strikes() {
        0 => Ok(()),
        strikes => Err(format!("{strikes} go on")),
    })?;
    party.come_together()?;
    party.come_to_rest()?;
    party.shut_down()?;
    let tally = lock(&siege.tally).clone();
    Ok(tally)
}

fn add_invariants(run: &Run<'_>, siege: &Arc<Siege>, pool: &MemoryPool, max_streams: usize) {
    let (used, seen) = (pool.clone(), siege.clone());
    // That it is within its limits the party looks at.
    run.simulation.add_invariant("it is written down how much memory is used", 20, move |_| {
        let mut tally = lock(&seen.tally);
        (tally.used, tally.lent) = (tally.used.max(used.used()), tally.lent.max(used.lent()));
        Ok(())
    });
    let victims = siege.clone();
    run.simulation.add_invariant("streams keep within their limit", 200, move |_| {
        victims.victims.iter().filter_map(|victim| lock(victim).clone()).try_for_each(|node| {
            // Most attackers are strangers.
            let snapshot = node.debug_snapshot();
            let of_peers = snapshot.peers.iter().flat_map(|peer| &peer.connections);
            let streams = of_peers.chain(&snapshot.others).map(|connection| connection.stats.streams).max();
            match streams {
                Some(streams) if streams > max_streams => Err(format!("{} has {streams}", node.peer_id())),
                _ => Ok(()),
            }
        })
    });
}

fn options(nodes: u32, siege: &Arc<Siege>, pool: MemoryPool) -> Options {
    let mut options = Options::new(setup::all_pairs(nodes).collect());
    options.exchange_every = Duration::from_secs(1);
    // So that those of all nodes together fit into the budget.
    options.exchange_bytes = 20_000;
    options.pause = Duration::from_millis(5);
    // Otherwise an attacker that listens would be dialed no more when two of its attacks are over.
    (options.config.bans.base, options.config.bans.max) = (Duration::from_secs(1), Duration::from_secs(1));
    options.config.max_per_peer = crowd::MAX_PER_PEER;
    // For all who want it, but only just for a crowd; where each attack must meet its fate, none may be turned away.
    if !siege.is_calm {
        options.config.max_inbound = nodes as usize - 1 + DIALERS + crowd::MAX_PER_PEER;
    }
    let yamux = Arc::make_mut(&mut options.connection.yamux);
    yamux.memory = pool;
    // So that floods need not be long.
    (yamux.max_streams, yamux.accept_backlog) = (48, 16);
    (yamux.max_pending_resets, yamux.max_unaccepted_resets, yamux.max_empty_frames) = (64, 64, 1000);
    let besieged = siege.clone();
    options.pastime = Arc::new(move |member| {
        *lock(&besieged.victims[member.place]) = Some(member.node.clone());
        member.spawn("visit", visit(besieged.clone(), member.clone()));
        member.spawn("unread", leave_unread(member.clone()));
    });
    let seen = siege.clone();
    options.on_event = Arc::new(move |member, event| {
        let (peer, reason) = match event {
            Event::Closed { peer, reason, .. } => (peer, reason),
            Event::Denied { peer: Some(_), reason: DenyReason::Limit, .. } => return member.saw(sights::CROWD),
            _ => return,
        };
        let is_partner = |place| member.peer_at(place) == *peer;
        if peer.is_none() || !member.partners().into_iter().any(is_partner) {
            seen.add_reason(member.place, *peer, reason.clone());
        } else if matches!(reason, CloseReason::Protocol(_)) || (seen.is_calm && !is_in_good_order(reason)) {
            seen.referee.blame(UNHARMED, format!("node {} and {peer:?}: {reason}", member.place + 1));
        }
    });
    options
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
    while !siege.is_over() && !member.is_quiet() {
        member.sleep(Duration::from_millis(100)).await;
    }
    let _ = member.node.remove_peer(siege.listener);
}

/// A victim accepts streams and reads nothing of them.
async fn leave_unread(member: Member) {
    let Ok(mut incoming) = member.node.accept(UNREAD) else { return };
    while let Some(inbound) = incoming.next().await {
        let holder = member.clone();
        member.spawn("holder", async move {
            holder.sleep(HOLDS).await;
            drop(inbound);
        });
    }
}

/// The attackers' program.
async fn attack(siege: Arc<Siege>, nodes: usize, identity: Arc<Identity>, boot: Boot) {
    let Boot { runtime, ip, journal, .. } = boot;
    let journal: Arc<dyn Fn(&str) + Send + Sync> = Arc::new(move |text: &str| journal.note(text));
    for place in (0..nodes).flat_map(|place| [place; DIALERS]) {
        let (siege, own, journal) = (siege.clone(), runtime.clone(), journal.clone());
        runtime.spawn("dialing attacker", Box::pin(async move { dial(siege, place, &own, &*journal).await }));
    }
    for place in 0..nodes {
        let (siege, own) = (siege.clone(), runtime.clone());
        runtime.spawn("crowd", Box::pin(async move { crowd::come(siege, place, &own).await }));
    }
    let Ok(mut acceptor) = runtime.listen(SocketAddr::new(ip, PORT)).await else { return };
    while !siege.is_over() {
        let accepted = within(&*runtime, Duration::from_millis(200), poll_fn(|cx| acceptor.poll_accept(cx))).await;
        let Some(Ok(socket)) = accepted else { continue };
        let Some(place) = (0..nodes).find(|place| ip_of(*place as u32 + 1, false) == socket.remote.ip()) else {
            continue;
        };
        let (siege, own, identity, journal) = (siege.clone(), runtime.clone(), identity.clone(), journal.clone());
        let strike = async move {
            let _going_on = siege.begin();
            // One at a time: a victim says of a peer why it has closed a connection, but not which.
            while siege.is_busy[place].swap(true, Ordering::Relaxed) {
                if siege.is_over() {
                    return;
                }
                sleep(&*own, Duration::from_millis(10)).await;
            }
            let victim = Victim { place, role: Role::Dialer };
            let attack = siege.next(victim.role);
            let strike = Strike { siege: &siege, victim, runtime: &*own, identity: &identity, attack };
            strike.run(socket, &*journal).await;
            siege.is_busy[place].store(false, Ordering::Relaxed);
        };
        runtime.spawn("listening attacker", Box::pin(strike));
    }
}

/// Attacks one victim again and again, as somebody else each time.
async fn dial(siege: Arc<Siege>, place: usize, runtime: &Arc<dyn Runtime>, note: &(dyn Fn(&str) + Send + Sync)) {
    let mut luck = runtime.seed().public_stream();
    let addr = SocketAddr::new(ip_of(place as u32 + 1, false), PORT);
    let _going_on = siege.begin();
    while !siege.is_over() {
        sleep(&**runtime, Duration::from_millis(200 + draw(&mut luck, 1500))).await;
        if siege.is_over() {
            return;
        }
        let connected = within(&**runtime, CONNECTING, runtime.connect(addr)).await;
        let Some(Ok(socket)) = connected.filter(|_| !siege.is_over()) else { continue };
        let identity = Identity::from_ed25519_seed(runtime.seed().secret_stream().next_key());
        let victim = Victim { place, role: Role::Listener };
        let attack = siege.next(victim.role);
        let strike = Strike { siege: &siege, victim, runtime: &**runtime, identity: &identity, attack };
        strike.run(socket, note).await;
    }
}
