//! Scenarios in which nodes keep connections to each other while one kind of trouble reigns.

use std::{num::NonZeroU32, time::Duration};

use super::party::{Manners, Party};
use crate::{
    Failed, Menu, Run, Scenario,
    plan::FaultKind::{self, *},
};

pub(super) fn all() -> Vec<Box<dyn Scenario>> {
    vec![
        Box::new(Network {
            name: "mesh-churn",
            nodes: 50,
            shape: Shape::Ring { chords: 1 },
            faults: &[Crash, Reset, Fin, Stall, Partition, DialRefused, DialUnreachable, BacklogFull],
            most: 12,
            length: Duration::from_secs(30),
            adapt: |manners| {
                manners.exchange_every = Duration::from_secs(2);
                manners.exchange_bytes = 20_000;
            },
        }),
        Box::new(Network {
            name: "partition-heal",
            nodes: 6,
            shape: Shape::Full,
            faults: &[Partition, Stall],
            most: 8,
            length: Duration::from_secs(40),
            // Some fill a window more than once.
            adapt: |manners| {
                manners.exchange_every = Duration::from_secs(2);
                manners.exchange_bytes = 600_000;
            },
        }),
        Box::new(Network {
            name: "simultaneous-dial",
            nodes: 4,
            shape: Shape::Full,
            faults: &[Reset, Fin, Stall, DialHanging],
            most: 16,
            length: Duration::from_secs(40),
            adapt: |manners| manners.exchange_every = Duration::from_millis(100),
        }),
        Box::new(Network {
            name: "slow-readers",
            nodes: 3,
            shape: Shape::Full,
            faults: &[Stall, Flip, Truncate, Duplicate, Insert],
            most: 3,
            length: Duration::from_secs(40),
            adapt: |manners| {
                manners.pause = Duration::from_millis(40);
                manners.exchange_bytes = 500_000;
            },
        }),
        Box::new(Network {
            name: "restart",
            nodes: 4,
            shape: Shape::Full,
            faults: &[Crash, DialRefused],
            most: 8,
            length: Duration::from_secs(40),
            adapt: |_| {},
        }),
        Box::new(Network {
            name: "nat",
            nodes: 4,
            shape: Shape::Full,
            faults: &[Nat, Reset],
            most: 4,
            length: Duration::from_secs(40),
            adapt: |_| {},
        }),
        Box::new(Network {
            name: "clock-trouble",
            nodes: 3,
            shape: Shape::Full,
            faults: &[ClockPause, CalendarJump, ClockDrift, LateTimers, SpuriousWakes],
            most: 5,
            length: Duration::from_secs(40),
            adapt: |_| {},
        }),
        Box::new(Network {
            name: "torn-storage",
            nodes: 3,
            shape: Shape::Full,
            faults: &[TornStore, Crash],
            most: 4,
            length: Duration::from_secs(40),
            adapt: |_| {},
        }),
    ]
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
    fn wishes(self, nodes: usize) -> Vec<(usize, usize)> {
        let pairs = (0..nodes).flat_map(|one| (0..nodes).map(move |other| (one, other)));
        pairs.filter(|(one, other)| one != other && self.has((other + nodes - one) % nodes, nodes)).collect()
    }

    /// Whether one wants another that is so many places farther.
    fn has(self, distance: usize, nodes: usize) -> bool {
        match self {
            Self::Full => true,
            Self::Ring { chords } => (0..=chords).any(|chord| distance == 1 + chord * nodes / (chords + 2)),
        }
    }
}

struct Network {
    name: &'static str,
    nodes: u32,
    shape: Shape,
    faults: &'static [FaultKind],
    most: u32,
    length: Duration,
    adapt: fn(&mut Manners),
}

impl Scenario for Network {
    fn name(&self) -> &str {
        self.name
    }

    fn nodes(&self) -> u32 {
        self.nodes
    }

    fn menu(&self, nodes: u32) -> Menu {
        let number = |place: usize| NonZeroU32::MIN.saturating_add(u32::try_from(place).unwrap_or(0));
        let wishes = self.shape.wishes(nodes as usize);
        Menu {
            length: self.length,
            faults: self.faults.to_vec(),
            most: self.most,
            pairs: wishes.into_iter().map(|(one, other)| (number(one), number(other))).collect(),
            hosts: (0..nodes as usize).map(number).collect(),
            links: true,
        }
    }

    fn play(&self, run: &Run<'_>) -> Result<(), Failed> {
        let mut manners = Manners::new(self.shape.wishes(run.nodes as usize));
        (self.adapt)(&mut manners);
        run.simulation.set_max_steps(20_000_000);
        let party = Party::start(run, manners);
        run.chaos()?;
        party.settle()
    }
}
