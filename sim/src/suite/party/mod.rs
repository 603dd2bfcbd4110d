//! Nodes that keep connections to each other and exchange bytes, whatever happens to them.

mod liveness;
mod member;
mod options;
mod shutdown;

use std::{
    collections::BTreeSet,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64},
    },
};

use septa_core::{Multiaddr, PeerId, SeedStream};
use septa_driver::{Node, node::Config};

pub(super) use self::{member::Member, options::Options};
use crate::{
    Referee, Run,
    plan::{Fault, FaultKind},
};

pub(super) const PORT: u16 = 4001;

/// All of them.
pub(super) struct Party<'r> {
    run: &'r Run<'r>,
    shared: Arc<Shared>,
    hosts: Vec<NonZeroU32>,
}

struct Shared {
    options: Options,
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

impl<'r> Party<'r> {
    pub(super) fn start(run: &'r Run<'r>, options: Options) -> Self {
        let members = (0..run.nodes).map(|_| Mutex::default()).collect();
        let referee = run.simulation.referee();
        let shared = Arc::new(Shared {
            options,
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
            run.simulation
                .boot(&format!("node {}", place + 1), move |boot| member::live(shared.clone(), place as usize, boot))
        });
        let party = Self { run, shared: shared.clone(), hosts: hosts.collect() };
        let limits = shared.options.config.clone();
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
