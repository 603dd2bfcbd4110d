//! How much has happened.

use std::{
    ops::AddAssign,
    sync::atomic::{AtomicU64, Ordering},
};

/// What a simulation has done until now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Tasks that ran and alarms that went off.
    pub steps: u64,
    /// Times at which at least one byte was handed to whoever reads a socket.
    pub deliveries: u64,
    /// Bytes that were handed over so.
    pub bytes: u64,
    /// Timers of hosts that fired.
    pub timers: u64,
    /// Connections that were made, faults or not.
    pub connections: u64,
}

impl Stats {
    /// Deliveries and timers: what a protocol has to react to.
    pub fn events(&self) -> u64 {
        self.deliveries.saturating_add(self.timers)
    }
}

impl AddAssign for Stats {
    fn add_assign(&mut self, more: Self) {
        self.steps += more.steps;
        self.deliveries += more.deliveries;
        self.bytes += more.bytes;
        self.timers += more.timers;
        self.connections += more.connections;
    }
}

/// Counts while the world runs. One thread at a time adds to it.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    steps: AtomicU64,
    deliveries: AtomicU64,
    bytes: AtomicU64,
    timers: AtomicU64,
    connections: AtomicU64,
}

impl Counters {
    pub(crate) fn add_step(&self) -> u64 {
        add(&self.steps, 1)
    }

    pub(crate) fn add_delivery(&self, bytes: usize) {
        add(&self.deliveries, 1);
        add(&self.bytes, bytes as u64);
    }

    pub(crate) fn add_timer(&self) {
        add(&self.timers, 1);
    }

    pub(crate) fn add_connection(&self) {
        add(&self.connections, 1);
    }

    pub(crate) fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            steps: read(&self.steps),
            deliveries: read(&self.deliveries),
            bytes: read(&self.bytes),
            timers: read(&self.timers),
            connections: read(&self.connections),
        }
    }
}

/// Returns the new value.
fn add(counter: &AtomicU64, count: u64) -> u64 {
    counter.fetch_add(count, Ordering::Relaxed).wrapping_add(count)
}
