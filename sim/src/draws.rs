//! Luck that is mostly not needed.

use septa_core::{Seed, SeedStream};

/// A stream of drawn numbers that is begun at the first one: most of those who might draw never do, there are thousands
/// of them, and a stream is large.
pub(crate) struct Draws(State);

enum State {
    Unused(Seed),
    Begun(Box<SeedStream>),
}

impl Draws {
    pub(crate) fn new(seed: Seed) -> Self {
        Self(State::Unused(seed))
    }

    /// The next 64 bits.
    pub(crate) fn next_u64(&mut self) -> u64 {
        if let State::Unused(seed) = &mut self.0 {
            self.0 = State::Begun(Box::new(seed.public_stream()));
        }
        match &mut self.0 {
            State::Begun(stream) => stream.next_u64(),
            State::Unused(_) => unreachable!("it has just begun"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_late_is_what_would_have_been_drawn_at_once() {
        let mut draws = Draws::new(Seed::from_bytes([7; 32]));
        let mut stream = Seed::from_bytes([7; 32]).public_stream();
        for _ in 0..3 {
            assert_eq!(draws.next_u64(), stream.next_u64());
        }
    }
}
