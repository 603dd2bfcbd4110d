//! Which ciphers a simulation uses.

use std::sync::Arc;

use septa_core::crypto::{Provider, RustCrypto};

/// Whether ciphers are real.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crypto {
    /// Fast ones that protect nothing.
    Fast,
    /// Those of the core, in pure Rust.
    Real,
}

impl Crypto {
    /// The cryptography that is meant.
    pub fn provider(self) -> Arc<dyn Provider> {
        match self {
            Self::Fast => Arc::new(crate::FastCrypto),
            Self::Real => Arc::new(RustCrypto),
        }
    }
}
