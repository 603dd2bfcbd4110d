//! What must always be so.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use septa_core::Instant;

use crate::world::World;

/// An invariant was seen broken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("broken: {invariant}: {why} (step {step}, at {at:?})")]
pub struct Broken {
    /// Which.
    pub invariant: String,
    /// What is wrong, for people.
    pub why: String,
    /// The step behind which it was seen.
    pub step: u64,
    /// When, in true time.
    pub at: Instant,
}

type Holds = Box<dyn FnMut(Instant) -> Result<(), String> + Send>;

pub(crate) struct Invariant {
    name: String,
    every: u64,
    holds: Holds,
}

impl Invariant {
    pub(crate) fn new(
        name: &str,
        every: u64,
        holds: impl FnMut(Instant) -> Result<(), String> + Send + 'static,
    ) -> Self {
        Self { name: name.to_owned(), every: every.max(1), holds: Box::new(holds) }
    }

    pub(crate) fn is_due(&self, step: u64) -> bool {
        step.is_multiple_of(self.every)
    }

    /// Its name, and what is wrong.
    pub(crate) fn check(&mut self, now: Instant) -> Option<(String, String)> {
        let why = (self.holds)(now).err()?;
        Some((self.name.clone(), why))
    }
}

/// Says from within a task that an invariant is broken: the run ends behind this step.
#[derive(Clone)]
pub struct Referee(Weak<World>);

impl Referee {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        Self(Arc::downgrade(world))
    }

    /// Something is so that must never be. The first who says so ends the run.
    pub fn blame(&self, invariant: &str, why: impl Into<String>) {
        if let Some(world) = self.0.upgrade() {
            world.break_invariant(invariant, why.into());
        }
    }
}

impl fmt::Debug for Referee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Referee")
    }
}
