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

/// Words and characters of a gist.
const GIST: (usize, usize) = (12, 100);

/// The first words of what somebody says, without its digits: the same for the same thing at another time, or with
/// other numbers.
pub(crate) fn gist(text: &str) -> String {
    let (words, characters) = GIST;
    let without_digits = |word: &str| word.chars().filter(|letter| !letter.is_ascii_digit()).collect::<String>();
    let words: Vec<String> = text.split_whitespace().take(words).map(without_digits).collect();
    words.join(" ").chars().take(characters).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gist_tells_things_apart_but_not_their_numbers() {
        let said = |index: u32| gist(&format!("index out of bounds: the len is 3 but the index is {index}"));
        assert_eq!(said(7), "index out of bounds: the len is  but the index is");
        assert_eq!(said(7), said(12_345));
        assert_ne!(said(7), gist("index out of luck"));
    }

    #[test]
    fn a_gist_is_short_whatever_was_said() {
        assert_eq!(gist(&"word ".repeat(100)).split(' ').count(), GIST.0);
        assert_eq!(gist(&"x".repeat(1000)).len(), GIST.1);
        assert_eq!(gist(&"\u{e9}".repeat(1000)).chars().count(), GIST.1);
        assert_eq!(gist(""), "");
    }
}
