//! What no node of a party may ever exceed.

use std::sync::Arc;

use septa_driver::{Node, node::Config};

use super::{Shared, lock};
use crate::Run;

/// Steps between two looks at all nodes, and for each node between two looks at each of its peers.
const STEPS: u64 = 500;
const STEPS_BY_PEER: u64 = 200;
/// Steps between two looks at the memory, which many streams share.
const STEPS_BY_MEMORY: u64 = 20;

pub(super) fn watch(run: &Run<'_>, shared: &Arc<Shared>) {
    let (all, limits) = (shared.clone(), shared.options.config.clone());
    run.simulation.add_invariant("limits are never exceeded", STEPS, move |_| {
        all.nodes().try_for_each(|node| within_limits(&node, &limits))
    });
    let (all, limits) = (shared.clone(), shared.options.config.clone());
    run.simulation.add_invariant(
        "limits of one peer are never exceeded",
        STEPS_BY_PEER * u64::from(run.nodes),
        move |_| all.nodes().try_for_each(|node| within_limits_of_peers(&node, &limits)),
    );
    let pool = shared.options.connection.yamux.memory.clone();
    run.simulation.add_invariant("received bytes keep within their budget", STEPS_BY_MEMORY, move |_| {
        let limits = pool.limits();
        match (pool.used(), pool.lent()) {
            (used, lent) if used <= limits.hard_cap && lent <= limits.window_loans => Ok(()),
            (used, lent) => Err(format!("{used} bytes used, {lent} lent, with {limits:?}")),
        }
    });
}

impl Shared {
    /// The latest life of each node that has had one.
    pub(super) fn nodes(&self) -> impl Iterator<Item = Node> {
        self.members.iter().filter_map(|member| lock(member).clone())
    }
}

fn within_limits(node: &Node, limits: &Config) -> Result<(), String> {
    let stats = node.stats();
    let counts = [
        ("connections", stats.connections, limits.max_connections),
        ("inbound connections", stats.inbound, limits.max_inbound),
        ("pending inbound connections", stats.pending_inbound, limits.max_pending_inbound),
        ("dials", stats.dialing, limits.max_dials),
        ("bans", stats.bans, limits.bans.max_entries),
    ];
    within(node, &counts)
}

fn within_limits_of_peers(node: &Node, limits: &Config) -> Result<(), String> {
    node.debug_snapshot().peers.iter().try_for_each(|peer| {
        let counts = [
            ("connections to one peer", peer.connections.len(), limits.max_per_peer),
            ("dials of one peer", peer.dialing.len(), limits.max_dials_per_peer),
        ];
        within(node, &counts)
    })
}

fn within(node: &Node, counts: &[(&str, usize, usize)]) -> Result<(), String> {
    match counts.iter().find(|(_, count, limit)| count > limit) {
        Some((what, count, limit)) => Err(format!("{} has {count} {what} of at most {limit}", node.peer_id())),
        None => Ok(()),
    }
}
