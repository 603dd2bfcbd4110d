//! Nodes that keep connections to each other and exchange bytes, whatever happens to them.

mod disk;
mod limits;
mod liveness;
mod member;
mod options;
mod shutdown;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64},
    },
};

use septa_core::{Multiaddr, PeerId, SeedStream};
use septa_driver::Node;

use self::disk::Kept;
pub(super) use self::{member::Member, options::Options};
use super::setup;
use crate::{
    Referee, Run, Sights,
    network::ip_of,
    plan::{DialFault, Fault},
};

pub(super) const PORT: u16 = 4001;
/// Where the keys begin of exchanges with nothing beside them, and of what is written before a shutdown. Those that are
/// drawn are less.
const ALONE_KEYS: u64 = 1 << 62;
const LAST_KEYS: u64 = 1 << 63;

/// All of them.
pub(super) struct Party<'r> {
    run: &'r Run<'r>,
    shared: Arc<Shared>,
    hosts: Vec<NonZeroU32>,
}

struct Shared {
    options: Options,
    members: Vec<Mutex<Option<Node>>>,
    /// What the plan does.
    faults: Vec<Fault>,
    /// Bytes are changed on their way.
    is_tampered: bool,
    /// Nothing is held up, and every clock goes.
    is_punctual: bool,
    /// One end of a connection may not hear of its end before a write has stalled for too long.
    hides_ends: bool,
    /// A dial or an upgrade may find nobody who answers.
    hangs: bool,
    /// Nothing goes wrong any more.
    is_healed: AtomicBool,
    /// All who want each other have one connection, and nobody is to lose it.
    is_well: AtomicBool,
    /// The scenario wants to see whether everything comes to rest.
    is_quiet: AtomicBool,
    /// Exchanges, by those who began them.
    under_way: Arc<AtomicU64>,
    /// How many have ended well, by the places of both ends, that of who began them first.
    finished: Mutex<BTreeMap<(usize, usize), u64>>,
    /// The keys of what came whole.
    arrived: Mutex<BTreeSet<u64>>,
    /// What is on the disks.
    kept: Mutex<BTreeMap<PeerId, Kept>>,
    /// All who have lived here.
    known: Mutex<BTreeSet<PeerId>>,
    sights: Sights,
    referee: Referee,
}

impl<'r> Party<'r> {
    pub(super) fn start(run: &'r Run<'r>, options: Options) -> Self {
        let members = (0..run.nodes).map(|_| Mutex::default()).collect();
        let referee = run.simulation.referee();
        let has = |is_meant: &dyn Fn(&Fault) -> bool| run.plan.faults.iter().any(|timed| is_meant(&timed.fault));
        let shared = Arc::new(Shared {
            options,
            members,
            faults: run.plan.faults.iter().map(|timed| timed.fault).collect(),
            is_punctual: !has(&delays),
            is_tampered: has(&tampers),
            hides_ends: has(&|fault| delays(fault) || tampers(fault) || matches!(fault, Fault::Fin { .. })),
            hangs: has(&|fault| delays(fault) || tampers(fault) || hides(fault)),
            is_healed: AtomicBool::new(false),
            is_well: AtomicBool::new(false),
            is_quiet: AtomicBool::new(false),
            under_way: Arc::default(),
            finished: Mutex::default(),
            arrived: Mutex::default(),
            kept: Mutex::default(),
            known: Mutex::default(),
            sights: run.sights.clone(),
            referee,
        });
        let hosts = (0..run.nodes).map(|place| {
            let shared = shared.clone();
            run.simulation
                .boot(&format!("node {}", place + 1), move |boot| member::live(shared.clone(), place as usize, boot))
        });
        limits::watch(run, &shared);
        Self { run, shared: shared.clone(), hosts: hosts.collect() }
    }

    /// The latest life of each node that has had one.
    pub(super) fn nodes(&self) -> impl Iterator<Item = Node> {
        self.shared.nodes()
    }

    /// One who lives elsewhere keeps the rules, too.
    pub(super) fn trust(&self, peer: PeerId) {
        lock(&self.shared.known).insert(peer);
    }

    pub(super) fn node(&self, place: usize) -> Option<Node> {
        lock(&self.shared.members[place]).clone()
    }
}

/// The other end of a wish that concerns the node at a place.
fn other_end((one, other): (usize, usize), place: usize) -> Option<usize> {
    match place {
        _ if one == place => Some(other),
        _ if other == place => Some(one),
        _ => None,
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
    let host = setup::number(place).get();
    Multiaddr::from_socket_addr((ip_of(host, false), PORT).into())
}

/// Where it could be and does not listen, so that more than one address may be dialed.
fn deaf_addr(place: usize) -> Multiaddr {
    let host = setup::number(place).get();
    Multiaddr::from_socket_addr((ip_of(host, true), PORT).into())
}

/// Something is held up, or a clock does not go as it should.
fn delays(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Stall { .. }
            | Fault::Partition { .. }
            | Fault::ClockPause { .. }
            | Fault::ClockDrift { .. }
            | Fault::LateTimers { .. }
    )
}

/// Dials get no answer.
fn hides(fault: &Fault) -> bool {
    matches!(fault, Fault::Dial { how: DialFault::Hanging | DialFault::Nat, .. })
}

fn tampers(fault: &Fault) -> bool {
    matches!(fault, Fault::Tamper { .. })
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
