//! Which faults have really changed something.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use crate::plan::FaultKind;

/// How often faults of each kind have changed something: a stall that held bytes back, a dial that failed for it. A fault
/// that struck where nothing was going on does not count.
#[derive(Debug, Default)]
pub(crate) struct Fired(Mutex<BTreeMap<FaultKind, u64>>);

impl Fired {
    pub(crate) fn add(&self, kind: FaultKind) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> BTreeMap<FaultKind, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
