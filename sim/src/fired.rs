//! Which faults have really changed something.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    network::HostId,
    observer::{Event, Observer},
    plan::FaultKind,
};

/// How often faults of each kind have changed something: a stall that held bytes back, a dial that failed for it. A fault
/// that struck where nothing was going on does not count.
pub(crate) struct Fired {
    counts: Mutex<BTreeMap<FaultKind, u64>>,
    observer: Arc<Observer>,
}

impl Fired {
    pub(crate) fn new(observer: Arc<Observer>) -> Self {
        Self { counts: Mutex::default(), observer }
    }

    /// One has changed something on a host.
    pub(crate) fn add(&self, kind: FaultKind, host: HostId) {
        self.add_between(kind, host, host);
    }

    /// One has changed something on the way from one host to another.
    pub(crate) fn add_between(&self, kind: FaultKind, from: HostId, to: HostId) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
        self.observer.tell(Event::Fired { kind, from, to });
    }

    pub(crate) fn counts(&self) -> BTreeMap<FaultKind, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The faults that change something on the way from one host to another.
pub(crate) struct FiredBetween<'f> {
    pub(crate) fired: &'f Fired,
    pub(crate) from: HostId,
    pub(crate) to: HostId,
}

impl FiredBetween<'_> {
    pub(crate) fn add(&self, kind: FaultKind) {
        self.fired.add_between(kind, self.from, self.to);
    }
}
