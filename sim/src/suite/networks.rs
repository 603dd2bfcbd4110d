//! Scenarios in which nodes keep connections to each other while one kind of trouble reigns.

use std::{sync::Arc, time::Duration};

use septa_core::{
    connection::TRANSMIT_BUFFER,
    yamux::{KeepAlive, MemoryLimits, MemoryPool},
};

use super::{
    bans,
    party::{Options, Party},
    setup, sights,
};
use crate::{
    Failed, LinkOptions, Menu, Run, Scenario,
    plan::{
        DialFault, Fault,
        FaultKind::{self, *},
        Timed,
    },
};

/// Longer than any run.
const FOR_EVER: Duration = Duration::from_secs(24 * 60 * 60);
/// How often whoever is impatient asks for a sign of life.
const PING_EVERY: Duration = Duration::from_secs(2);
/// Less than the windows of some streams would like to grow by. What they promise at first fits.
const LITTLE_MEMORY: MemoryLimits = MemoryLimits { window_loans: 512 * 1024, hard_cap: 32 * 1024 * 1024 };

/// Where nothing else is said.
const USUAL: Network = Network {
    name: "",
    nodes: 3,
    shape: Shape::Full,
    faults: &[],
    most: 0,
    length: Duration::from_secs(40),
    adapt: |_, _| {},
    sights: &[],
    behind_chaos: |_| Ok(()),
    at_rest: |_| Ok(()),
};

const NETWORKS: [Network; 8] = [
    Network {
        name: "mesh-churn",
        nodes: 50,
        shape: Shape::Ring { chords: 1 },
        faults: &[Crash, Reset, Fin, Stall, Partition, DialRefused, DialUnreachable, BacklogFull],
        most: 12,
        length: Duration::from_secs(30),
        adapt: |options, _| {
            options.exchange_every = Duration::from_secs(2);
            options.exchange_bytes = 20_000;
            // Four are wanted, two of them by others, who come at once.
            let config = &mut options.config;
            (config.max_connections, config.max_inbound, config.max_pending_inbound) = (5, 3, 1);
            (config.high_watermark, config.low_watermark) = (5, 5);
        },
        sights: &[sights::LIMIT],
        ..USUAL
    },
    Network {
        name: "partition-heal",
        nodes: 6,
        faults: &[Partition, Stall],
        most: 8,
        // Some fill a window more than once.
        adapt: |options, run| {
            options.exchange_every = Duration::from_secs(2);
            options.exchange_bytes = 600_000;
            Arc::make_mut(&mut options.connection.yamux).memory = MemoryPool::new(LITTLE_MEMORY);
            lose_patience(options, run.plan.link);
        },
        sights: &[sights::SILENT],
        ..USUAL
    },
    Network {
        name: "simultaneous-dial",
        nodes: 4,
        faults: &[Reset, Fin, Stall, DialHanging],
        most: 16,
        adapt: |options, run| {
            options.exchange_every = Duration::from_millis(100);
            options.exchange_bytes = 10_000;
            leave_little_room(options, run);
        },
        sights: &[sights::SUPPLANTED, sights::LIMIT],
        ..USUAL
    },
    Network {
        name: "slow-readers",
        faults: &[Stall, Flip, Truncate, Duplicate, Insert],
        most: 3,
        adapt: |options, _| {
            options.pause = Duration::from_millis(40);
            options.exchange_bytes = 500_000;
            Arc::make_mut(&mut options.connection.yamux).memory = MemoryPool::new(LITTLE_MEMORY);
        },
        sights: &[sights::UNREAD],
        ..USUAL
    },
    Network {
        name: "restart",
        nodes: 4,
        faults: &[Crash, DialRefused],
        most: 8,
        adapt: leave_little_room,
        sights: &[sights::SAME, sights::OTHER, sights::LIMIT],
        ..USUAL
    },
    Network { name: "nat", nodes: 4, faults: &[Nat, Reset], most: 4, behind_chaos: meet_behind_nat, ..USUAL },
    Network {
        name: "clock-trouble",
        faults: &[ClockPause, CalendarJump, ClockDrift, LateTimers, SpuriousWakes, Crash],
        most: 5,
        adapt: |options, _| bans::begin(options),
        sights: &[sights::UNBANNED],
        at_rest: bans::are_over,
        ..USUAL
    },
    Network {
        name: "torn-storage",
        // Nobody else dials whom a node has forgotten.
        shape: Shape::Ring { chords: 0 },
        faults: &[TornStore, Crash],
        most: 4,
        ..USUAL
    },
];

pub(super) fn all() -> Vec<Box<dyn Scenario>> {
    NETWORKS.iter().map(|network| Box::new(*network) as Box<dyn Scenario>).collect()
}

/// Who wants connections to whom.
#[derive(Clone, Copy)]
enum Shape {
    /// Each to each, so that two dial each other.
    Full,
    /// Each to the next, and to so many that are farther away.
    Ring { chords: usize },
}

impl Shape {
    fn wishes(self, nodes: u32) -> Vec<(usize, usize)> {
        let places = nodes as usize;
        setup::all_pairs(nodes).filter(|(one, other)| self.has((other + places - one) % places, places)).collect()
    }

    /// Whether one wants another that is so many places farther.
    fn has(self, distance: usize, nodes: usize) -> bool {
        match self {
            Self::Full => true,
            Self::Ring { chords } => (0..=chords).any(|chord| distance == 1 + chord * nodes / (chords + 2)),
        }
    }
}

#[derive(Clone, Copy)]
struct Network {
    name: &'static str,
    nodes: u32,
    shape: Shape,
    faults: &'static [FaultKind],
    most: u32,
    length: Duration,
    /// Changes the options for a run.
    adapt: fn(&mut Options, &Run<'_>),
    sights: &'static [&'static str],
    /// Strikes once more, when everything must come right.
    behind_chaos: fn(&Run<'_>) -> Result<(), Failed>,
    /// What else must be so when everything rests.
    at_rest: fn(&Party<'_>) -> Result<(), Failed>,
}

impl Scenario for Network {
    fn name(&self) -> &str {
        self.name
    }

    fn nodes(&self) -> u32 {
        self.nodes
    }

    fn menu(&self, nodes: u32) -> Menu {
        setup::menu(nodes, self.shape.wishes(nodes), self.faults, self.most, self.length)
    }

    fn sights(&self) -> &'static [&'static str] {
        self.sights
    }

    fn play(&self, run: &Run<'_>) -> Result<(), Failed> {
        let mut options = Options::new(self.shape.wishes(run.nodes));
        (self.adapt)(&mut options, run);
        run.simulation.set_max_steps(100_000_000);
        let party = Party::start(run, options);
        run.chaos()?;
        (self.behind_chaos)(run)?;
        party.come_together()?;
        party.come_to_rest()?;
        (self.at_rest)(&party)?;
        party.shut_down()
    }
}

/// Whoever is silent for longer than the link explains is given up: the longest faults outlast that.
fn lose_patience(options: &mut Options, link: LinkOptions) {
    let timeout = Duration::from_secs(2) + 3 * longest_way(link);
    Arc::make_mut(&mut options.connection.yamux).keep_alive = Some(KeepAlive { interval: PING_EVERY, timeout });
    options.connection.write_stall_timeout = timeout;
}

/// How long what is said now takes to arrive at most: behind all that the link and its writer hold.
fn longest_way(link: LinkOptions) -> Duration {
    let held = link.capacity.saturating_add(TRANSMIT_BUFFER) as f64;
    let line = link.bandwidth.map_or(0.0, |bandwidth| held / bandwidth as f64);
    // One capacity for each latency.
    let latency = link.latency + link.jitter;
    latency.mul_f64(1.0 + TRANSMIT_BUFFER as f64 / link.capacity as f64) + Duration::from_secs_f64(line)
}

/// Hardly more connections and dials than are wanted.
fn leave_little_room(options: &mut Options, run: &Run<'_>) {
    let (config, nodes) = (&mut options.config, run.nodes as usize);
    (config.max_connections, config.high_watermark, config.low_watermark) = (nodes, nodes, nodes);
    (config.max_inbound, config.max_pending_inbound) = (nodes - 1, 2);
    (config.max_dials, config.max_dials_per_peer, config.max_per_peer) = (2, 1, 2);
}

/// Whoever is behind a NAT finds its way by itself: it stays there, and all connections are lost.
fn meet_behind_nat(run: &Run<'_>) -> Result<(), Failed> {
    let of_plan = run.plan.faults.iter().map(|timed| timed.fault);
    let is_nat = |fault: &Fault| matches!(fault, Fault::Dial { how: DialFault::Nat, .. });
    let fault = of_plan.into_iter().find(is_nat).unwrap_or(Fault::Dial { to: setup::number(0), how: DialFault::Nat });
    run.simulation.play(&[Timed { at: Duration::ZERO, length: FOR_EVER, fault }])?;
    // Faults begin, and ends are seen, when time goes on.
    let moment = Duration::from_millis(1);
    run.simulation.run_for(moment)?;
    run.simulation.reset_connections();
    Ok(run.simulation.run_for(moment)?)
}
