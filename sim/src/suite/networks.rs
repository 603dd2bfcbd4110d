//! Scenarios in which nodes keep connections to each other while one kind of trouble reigns.

use std::time::Duration;

use super::{
    party::{Options, Party},
    setup,
};
use crate::{
    Failed, Menu, Run, Scenario,
    plan::FaultKind::{self, *},
};

const NETWORKS: [Network; 8] = [
    Network {
        name: "mesh-churn",
        nodes: 50,
        shape: Shape::Ring { chords: 1 },
        faults: &[Crash, Reset, Fin, Stall, Partition, DialRefused, DialUnreachable, BacklogFull],
        most: 12,
        length: Duration::from_secs(30),
        adapt: |options| {
            options.exchange_every = Duration::from_secs(2);
            options.exchange_bytes = 20_000;
        },
    },
    Network {
        name: "partition-heal",
        nodes: 6,
        shape: Shape::Full,
        faults: &[Partition, Stall],
        most: 8,
        length: Duration::from_secs(40),
        // Some fill a window more than once.
        adapt: |options| {
            options.exchange_every = Duration::from_secs(2);
            options.exchange_bytes = 600_000;
        },
    },
    Network {
        name: "simultaneous-dial",
        nodes: 4,
        shape: Shape::Full,
        faults: &[Reset, Fin, Stall, DialHanging],
        most: 16,
        length: Duration::from_secs(40),
        adapt: |options| options.exchange_every = Duration::from_millis(100),
    },
    Network {
        name: "slow-readers",
        nodes: 3,
        shape: Shape::Full,
        faults: &[Stall, Flip, Truncate, Duplicate, Insert],
        most: 3,
        length: Duration::from_secs(40),
        adapt: |options| {
            options.pause = Duration::from_millis(40);
            options.exchange_bytes = 500_000;
        },
    },
    Network {
        name: "restart",
        nodes: 4,
        shape: Shape::Full,
        faults: &[Crash, DialRefused],
        most: 8,
        length: Duration::from_secs(40),
        adapt: |_| {},
    },
    Network {
        name: "nat",
        nodes: 4,
        shape: Shape::Full,
        faults: &[Nat, Reset],
        most: 4,
        length: Duration::from_secs(40),
        adapt: |_| {},
    },
    Network {
        name: "clock-trouble",
        nodes: 3,
        shape: Shape::Full,
        faults: &[ClockPause, CalendarJump, ClockDrift, LateTimers, SpuriousWakes],
        most: 5,
        length: Duration::from_secs(40),
        adapt: |_| {},
    },
    Network {
        name: "torn-storage",
        nodes: 3,
        shape: Shape::Full,
        faults: &[TornStore, Crash],
        most: 4,
        length: Duration::from_secs(40),
        adapt: |_| {},
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
    adapt: fn(&mut Options),
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

    fn play(&self, run: &Run<'_>) -> Result<(), Failed> {
        let mut options = Options::new(self.shape.wishes(run.nodes));
        (self.adapt)(&mut options);
        run.simulation.set_max_steps(20_000_000);
        let party = Party::start(run, options);
        run.chaos()?;
        party.settle()
    }
}
