//! A provider that costs little, for runs that are about everything else.

#[cfg(test)]
mod tests;

use septa_core::crypto::{AeadKey, OpenFailed, Provider, RustCrypto, TAG_LEN, X25519Key};
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// Cryptography that **protects nothing** and lives only in the simulator.
///
/// Whoever sees a public key can compute its private key, and forge any record. But it notices every accident: a record
/// opens only with the key, the nonce, the associated data and every single byte with which it was sealed. So damage on
/// the way, a nonce that is out of step and a key that was mixed up end a connection as they do with a real cipher, at a
/// small part of its cost.
///
/// Hashes and signatures are the real ones of [`RustCrypto`]: identities prove themselves as ever. Every platform gives
/// the same bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct FastCrypto;

impl Provider for FastCrypto {
    fn chacha20_poly1305(&self, key: &[u8; 32]) -> Box<dyn AeadKey> {
        Box::new(Checksum { key: words(key) })
    }

    fn x25519_key(&self, secret: &[u8; 32]) -> Box<dyn X25519Key> {
        Box::new(Product::new(secret))
    }

    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        RustCrypto.sha256(parts)
    }

    fn ed25519_sign(&self, seed: &[u8; 32], message: &[u8]) -> [u8; 64] {
        RustCrypto.ed25519_sign(seed, message)
    }
}

/// Words that are worked on side by side, so that the processor need not wait for one product before the next.
const LANES: usize = 4;
/// What all lanes take at once, in bytes.
const BLOCK: usize = LANES * 8;
/// Odd, so that a product with it can be undone: two that differ before it differ behind it.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// Brings the high bits, which a product mixes best, to where the next one spreads them.
const TURN: u32 = 29;

/// A key of the cipher: a mask over the data, and a checksum over all of it.
struct Checksum {
    key: [u64; LANES],
}

// Nothing here is secret.
impl ZeroizeOnDrop for Checksum {}

#[derive(Clone, Copy)]
enum Direction {
    Seal,
    Open,
}

impl Checksum {
    /// Seals or opens `data` in place, in one pass, and returns the tag of the sealed side of it.
    #[inline]
    fn pass(&self, direction: Direction, nonce: &[u8; 12], associated: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        let mut sum = Sum::new(self.key);
        // The lengths, so that the zeros which fill a last block up differ from data.
        let [nonce_low, nonce_high, ..] = words(&padded(nonce));
        sum.add([nonce_low, nonce_high, associated.len() as u64, data.len() as u64]);
        let (blocks, rest) = associated.as_chunks::<BLOCK>();
        blocks.iter().chain([&padded(rest)]).for_each(|block| sum.add(words(block)));
        sum.stir();
        let mask = sum.0;
        // Or the first block, being masked with it, would take what the key and the nonce have done out of the sum again.
        sum.stir();
        let (blocks, rest) = data.as_chunks_mut::<BLOCK>();
        for block in blocks {
            sum.pass(direction, mask, block);
        }
        // The bytes behind the rest are masked zeros on the sealed side, on both ends.
        let mut last = [0; BLOCK];
        if let Direction::Open = direction {
            put(&mut last, mask);
        }
        last[..rest.len()].copy_from_slice(rest);
        sum.pass(direction, mask, &mut last);
        rest.copy_from_slice(&last[..rest.len()]);
        sum.stir();
        sum.tag()
    }
}

impl AeadKey for Checksum {
    fn seal_in_place(&self, nonce: &[u8; 12], associated: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        self.pass(Direction::Seal, nonce, associated, data)
    }

    fn open_in_place(
        &self,
        nonce: &[u8; 12],
        associated: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), OpenFailed> {
        if self.pass(Direction::Open, nonce, associated, data) == *tag { Ok(()) } else { Err(OpenFailed) }
    }
}

/// A checksum in the making. Each step can be undone by whoever knows what went in, so a difference never vanishes.
struct Sum([u64; LANES]);

impl Sum {
    fn new(key: [u64; LANES]) -> Self {
        Self(key)
    }

    #[inline]
    fn add(&mut self, block: [u64; LANES]) {
        for (lane, word) in self.0.iter_mut().zip(block) {
            *lane = (*lane ^ word).wrapping_mul(FACTOR).rotate_left(TURN);
        }
    }

    /// Masks a block, or takes its mask off, and adds its masked side.
    #[inline]
    fn pass(&mut self, direction: Direction, mask: [u64; LANES], block: &mut [u8; BLOCK]) {
        let before = words(block);
        let mut after = before;
        for (word, mask) in after.iter_mut().zip(mask) {
            *word ^= mask;
        }
        self.add(match direction {
            Direction::Seal => after,
            Direction::Open => before,
        });
        put(block, after);
    }

    /// Lets every lane depend on every other.
    fn stir(&mut self) {
        for _ in 0..2 {
            let mut last = self.0[LANES - 1];
            for lane in &mut self.0 {
                *lane = (*lane ^ last).wrapping_mul(FACTOR).rotate_left(TURN);
                last = *lane;
            }
        }
    }

    fn tag(&self) -> [u8; TAG_LEN] {
        let mut tag = [0; TAG_LEN];
        for (place, lane) in tag.as_chunks_mut::<8>().0.iter_mut().zip(&self.0[LANES - 2..]) {
            *place = lane.to_le_bytes();
        }
        tag
    }
}

/// An agreement by multiplication: four of 64 bits, side by side. The public key is the private one times [`FACTOR`].
struct Product {
    secret: [u64; LANES],
    public: [u8; 32],
}

// Nothing here is secret.
impl ZeroizeOnDrop for Product {}

impl Product {
    fn new(secret: &[u8; 32]) -> Self {
        // Odd, as X25519 clamps its keys too: an even factor would lose a bit of the other.
        let secret = words(secret).map(|word| word | 1);
        let mut public = [0; BLOCK];
        put(&mut public, secret.map(|word| word.wrapping_mul(FACTOR)));
        Self { secret, public }
    }
}

impl X25519Key for Product {
    fn public_key(&self) -> &[u8; 32] {
        &self.public
    }

    /// All zero for a public key of zeros, as the trait demands of a point of small order.
    fn agree(&self, public: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        let mut shared = words(public);
        for (word, secret) in shared.iter_mut().zip(self.secret) {
            *word = word.wrapping_mul(secret);
        }
        let mut bytes = Zeroizing::new([0; BLOCK]);
        put(&mut bytes, shared);
        bytes
    }
}

#[inline]
fn words(block: &[u8; BLOCK]) -> [u64; LANES] {
    let mut words = [0; LANES];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

#[inline]
fn put(block: &mut [u8; BLOCK], words: [u64; LANES]) {
    for (bytes, word) in block.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
}

/// Less than a block, with zeros behind it.
fn padded(bytes: &[u8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..bytes.len()].copy_from_slice(bytes);
    block
}
