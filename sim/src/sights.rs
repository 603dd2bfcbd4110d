//! What was met on the way.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// How often the tasks of a run have met what its scenario is about: that it came to that, and how often. Clones are the
/// same. Nothing in a run sees what is noted here, and so the hash of its trace does not depend on it.
#[derive(Clone, Default, Debug)]
pub struct Sights(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Sights {
    /// None of these was met yet.
    pub(crate) fn of(declared: &[&'static str]) -> Self {
        Self(Arc::new(Mutex::new(declared.iter().map(|sight| (*sight, 0)).collect())))
    }

    /// One was met.
    pub fn note(&self, sight: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(sight).or_default() += 1;
    }

    /// How often each was met until now. Those that are declared are there in any case.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
