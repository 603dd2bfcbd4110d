//! Randomness as an input: [`Seed`] and the [`SeedStream`] it expands to.

use core::fmt;

use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// 32 secret bytes from which a state machine draws all its randomness.
///
/// Not `Clone`: a seed used twice would repeat a Noise ephemeral key. A driver takes one from the
/// operating system for each connection; a simulator derives them from its root.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Seed {
    bytes: [u8; 32],
    children: u64,
}

impl Seed {
    /// A seed made of `bytes`, which must be unpredictable outside tests and simulations.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self { bytes, children: 0 }
    }

    /// Derives an independent seed.
    ///
    /// The child depends on this seed, on `name` and on how many children were taken before, so that
    /// no two children are equal even where a name is used twice.
    pub fn child(&mut self, name: &str) -> Seed {
        self.children = self.children.saturating_add(1);
        Self::from_bytes(self.derive(b"child", self.children, name.as_bytes()))
    }

    /// The stream for values that nobody may learn, such as private keys.
    pub fn secret_stream(&mut self) -> SeedStream {
        self.stream(b"secret")
    }

    /// The stream for values that are seen on the wire or in timing, such as ping payloads and
    /// jitter. Kept apart, so that a weak consumer of it reveals nothing about a key.
    pub fn public_stream(&mut self) -> SeedStream {
        self.stream(b"public")
    }

    fn stream(&mut self, domain: &[u8]) -> SeedStream {
        self.children = self.children.saturating_add(1);
        SeedStream(ChaCha20Rng::from_seed(self.derive(domain, self.children, b"")))
    }

    fn derive(&self, domain: &[u8], index: u64, name: &[u8]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"septa seed v1");
        hash.update(self.bytes);
        hash.update(index.to_be_bytes());
        hash.update([u8::try_from(domain.len()).unwrap_or(u8::MAX)]);
        hash.update(domain);
        hash.update(name);
        hash.finalize().into()
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// An endless stream of pseudo-random bytes (ChaCha20), wiped when dropped.
pub struct SeedStream(ChaCha20Rng);

// The generator wipes its own state and buffer; the wrapper has nothing else to wipe.
impl ZeroizeOnDrop for SeedStream where ChaCha20Rng: ZeroizeOnDrop {}

impl SeedStream {
    /// Fills `out`.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }

    /// The next 32 bytes, the size of every key here.
    pub fn next_key(&mut self) -> [u8; 32] {
        let mut key = [0; 32];
        self.fill(&mut key);
        key
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}

impl fmt::Debug for SeedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeedStream(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn the_same_seed_gives_the_same_tree() {
        let draw = || {
            let mut root = Seed::from_bytes([7; 32]);
            let mut left = root.child("left");
            let mut right = root.child("right");
            [left.secret_stream().next_key(), right.secret_stream().next_key(), root.public_stream().next_key()]
        };
        assert_eq!(draw(), draw());
    }

    #[test]
    fn no_two_children_or_streams_agree() {
        let mut root = Seed::from_bytes([7; 32]);
        let keys = [
            root.child("a").secret_stream().next_key(),
            root.child("a").secret_stream().next_key(),
            root.child("b").secret_stream().next_key(),
            root.child("a").public_stream().next_key(),
            root.secret_stream().next_key(),
            root.secret_stream().next_key(),
            root.public_stream().next_key(),
        ];
        for (i, key) in keys.iter().enumerate() {
            assert!(!keys[..i].contains(key), "key {i} repeats");
        }
    }

    #[test]
    fn seeds_and_their_streams_are_wiped_when_dropped() {
        fn wiped<T: ZeroizeOnDrop>() {}
        wiped::<Seed>();
        wiped::<SeedStream>();
    }

    #[test]
    fn debug_output_shows_no_secret() {
        assert_eq!(format!("{:?}", Seed::from_bytes([7; 32])), "Seed(..)");
        assert_eq!(format!("{:?}", Seed::from_bytes([7; 32]).secret_stream()), "SeedStream(..)");
    }
}
