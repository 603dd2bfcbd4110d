//! Helpers for tests, simulations and fuzzers. Behind the feature `testing`, which may add but never
//! weaken: everything here uses the same code as a release build.
#![allow(clippy::panic, reason = "a test helper reports a broken expectation by panicking")]

mod pair;
mod raw_peer;

use alloc::sync::Arc;

pub use pair::{Cuts, End, Pair, PairConfig, Side};
pub use raw_peer::RawPeer;

use crate::{Identity, Seed, crypto::RustCrypto, noise::Credentials};

/// The identity whose private key is 32 times `number`.
pub fn identity(number: u8) -> Identity {
    Identity::from_ed25519_seed([number; 32])
}

/// Credentials of [`identity`]`(number)` with a static key that depends on `number` only.
pub fn credentials(number: u8) -> Arc<Credentials> {
    let seed = Seed::from_bytes([number; 32]);
    Arc::new(Credentials::new(&identity(number), Arc::new(RustCrypto), seed))
}
