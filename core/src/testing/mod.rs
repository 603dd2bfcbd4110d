//! Helpers for tests, simulations and fuzzers. Behind the feature `testing`, which may add but never
//! weaken: everything here uses the same code as a release build.
#![allow(clippy::panic, reason = "a test helper reports a broken expectation by panicking")]

#[cfg(feature = "testing")]
pub mod fuzz;
mod pair;
mod raw_peer;
#[cfg(feature = "testing")]
pub mod to_node;

use alloc::{sync::Arc, vec::Vec};

pub use pair::{Cuts, End, Pair, PairConfig, Side};
pub use raw_peer::RawPeer;

#[cfg(feature = "aws-lc-rs")]
use crate::crypto::AwsLc;
use crate::{
    Identity, Seed,
    crypto::{Provider, RustCrypto},
    noise::Credentials,
};

/// The identity whose private key is 32 times `number`.
pub fn identity(number: u8) -> Identity {
    Identity::from_ed25519_seed([number; 32])
}

/// Every provider that is compiled in, [`RustCrypto`] first.
pub fn providers() -> Vec<Arc<dyn Provider>> {
    let rust_crypto: Arc<dyn Provider> = Arc::new(RustCrypto);
    Vec::from([
        rust_crypto,
        #[cfg(feature = "aws-lc-rs")]
        Arc::new(AwsLc),
    ])
}

/// Credentials of [`identity`]`(number)` with a static key that depends on `number` only.
pub fn credentials(number: u8) -> Arc<Credentials> {
    credentials_with(number, Arc::new(RustCrypto))
}

/// [`credentials`] that use this provider: the same keys, whichever it is.
pub fn credentials_with(number: u8, provider: Arc<dyn Provider>) -> Arc<Credentials> {
    let seed = Seed::from_bytes([number; 32]);
    Arc::new(Credentials::new(&identity(number), provider, seed))
}
