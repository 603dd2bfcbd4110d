//! Both levels in one world: nodes with a driver, and one that is driven directly.

mod exchanger;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use septa_core::{
    Identity, Multiaddr, PeerId,
    node::{Intent, PeerState},
};

use self::exchanger::{Board, Exchanger};
use super::{
    exchange::{self, EXCHANGE},
    party::{Member, Options, PORT, Party, draw, draw_length, lock},
    setup,
};
use crate::{
    Failed, Menu, Run, Scenario,
    direct::{Direct, Setup},
    network::ip_of,
    plan::{
        Fault,
        FaultKind::{Crash, DialRefused, Fin, Flip, Partition, Reset, Stall},
    },
};

/// Nodes of a driver, and behind them one more host with a node that is driven directly. Each wants a connection to
/// each, and all exchange with all.
pub(super) struct BothLevels;

impl Scenario for BothLevels {
    fn name(&self) -> &str {
        "both-levels"
    }

    fn nodes(&self) -> u32 {
        2
    }

    fn menu(&self, nodes: u32) -> Menu {
        // What strikes between two may strike between levels; only nodes with a driver come back from a crash.
        let pairs = setup::once_each(nodes + 1);
        let faults = [Crash, Reset, Fin, Flip, Stall, Partition, DialRefused];
        setup::menu(nodes, pairs, &faults, 4, Duration::from_secs(25))
    }

    fn play(&self, run: &Run<'_>) -> Result<(), Failed> {
        let mut seed = run.simulation.draw_seed("exchanger");
        let identity = Identity::from_ed25519_seed(seed.child("identity").secret_stream().next_key());
        let peer = identity.peer_id();
        let (board, host) = (Arc::new(Board::default()), run.nodes + 1);
        let addr = SocketAddr::new(ip_of(host, false), PORT);
        let options = options(run.nodes, &board, (peer, addr));
        let (bound, referee) = (options.reconnect_bound(true, true), run.simulation.referee());
        let direct = Direct::checked();
        let blames = referee.clone();
        direct.on_violation(move |violation| {
            blames.blame(&violation.cause(), violation.to_string());
        });
        let mut setup = Setup {
            provider: run.simulation.readable(run.plan.crypto.provider()),
            listen: vec![addr],
            ..Setup::serving(identity, &[EXCHANGE])
        };
        setup.node.backoff.max = Duration::from_secs(4);
        let exchanger = Exchanger {
            board: board.clone(),
            referee,
            luck: seed.public_stream(),
            known: BTreeMap::new(),
            streams: BTreeMap::new(),
            is_tampered: run.plan.faults.iter().any(|timed| matches!(timed.fault, Fault::Tamper { .. })),
        };
        let party = Party::start(run, options);
        party.trust(peer);
        run.simulation.set_max_steps(100_000_000);
        let machine = run.simulation.host("driven directly");
        let started = direct.start(&machine, setup, exchanger);
        started.map_err(|error| Failed::Unmet { wish: "the node can be made".to_owned(), why: error.to_string() })?;
        run.chaos()?;
        party.come_together()?;
        run.comes("one connection between levels", bound, || are_settled(&party, &board, &peer))?;
        let count = || (0..run.nodes as usize).map(|place| board.finished(place)).collect::<Vec<_>>();
        let before = count();
        run.comes("exchanges between levels end well", bound, || {
            let now = count();
            let moves_on = |(before, now): (&[u64; 2], &[u64; 2])| (0..2).all(|way| now[way] > before[way] + 2);
            if before.iter().zip(&now).all(moves_on) { Ok(()) } else { Err(format!("{before:?}, {now:?}")) }
        })?;
        board.is_quiet.store(true, Ordering::Relaxed);
        party.come_to_rest()?;
        are_settled(&party, &board, &peer).map_err(|why| {
            let wish = "one connection between levels after settling".to_owned();
            Failed::Unmet { wish, why }
        })?;
        board.is_over.store(true, Ordering::Relaxed);
        let number = setup::number(run.nodes as usize);
        run.comes("no task outlives its node", Duration::from_secs(60), || match run.simulation.tasks_of(number) {
            0 => Ok(()),
            _ => Err(run.simulation.live_tasks().join(", ")),
        })?;
        party.shut_down()
    }
}

/// Both levels have one connection for each node with a driver, and it is the same.
fn are_settled(party: &Party<'_>, board: &Board, peer: &PeerId) -> Result<(), String> {
    party.nodes().try_for_each(|node| {
        let (own, name) = (node.peer_id(), format!("{} and the other level", node.peer_id()));
        let info = node.peer_info(peer).ok_or_else(|| format!("{name}: it is not known"))?;
        let ([connection], PeerState::Established) = (&info.connections[..], info.state) else {
            return Err(format!("{name}: {:?}, {} connections", info.state, info.connections.len()));
        };
        match board.connections(&own) {
            (other, peers) if other == [(connection.remote.clone(), connection.local.clone())] => match peers {
                peers if peers == party.nodes().count() => Ok(()),
                peers => Err(format!("the other level has connections to {peers}")),
            },
            (other, _) => Err(format!("{name}: {info:?} and {other:?}")),
        }
    })
}

fn options(nodes: u32, board: &Arc<Board>, (peer, addr): (PeerId, SocketAddr)) -> Options {
    let mut options = Options::new(setup::all_pairs(nodes).collect());
    // The other level.
    options.guests = 1;
    let board = board.clone();
    options.pastime = Arc::new(move |member| {
        lock(&board.members).insert(member.place, member.node.peer_id());
        let exchanges = exchanges(member.clone(), peer, Multiaddr::from_socket_addr(addr));
        member.spawn("exchanges between levels", exchanges);
    });
    options
}

/// A node with a driver exchanges with the one that has none.
async fn exchanges(member: Member, peer: PeerId, addr: Multiaddr) {
    if member.node.add_peer(peer, &[addr], Intent::Persistent).is_err() {
        return;
    }
    let mut luck = member.node.runtime().seed().public_stream();
    while !member.is_quiet() {
        member.sleep(Duration::from_millis(200 + draw(&mut luck, 500))).await;
        let (key, length) = (luck.next_u64(), draw_length(&mut luck, 50_000));
        if let Ok(mut stream) = member.node.open_stream(&peer, &[EXCHANGE]).await {
            let _ = exchange::send(&mut stream, key, length, member.referee()).await;
        }
    }
}
