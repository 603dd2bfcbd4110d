//! X25519 key pairs.

use alloc::boxed::Box;
use core::fmt;

use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::Error;
use crate::{
    Seed,
    crypto::{Provider, X25519Key},
};

/// What X25519 gives: an input of the key derivation, never a key itself.
pub(super) type SharedSecret = Zeroizing<[u8; 32]>;

/// An X25519 secret, static or ephemeral, with its public key.
pub(super) struct KeyPair(Box<dyn X25519Key>);

impl ZeroizeOnDrop for KeyPair where dyn X25519Key: ZeroizeOnDrop {}

impl KeyPair {
    pub(super) fn generate(provider: &dyn Provider, mut seed: Seed) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        seed.secret_stream().fill(&mut *secret);
        Self::from_secret(provider, &secret)
    }

    pub(super) fn from_secret(provider: &dyn Provider, secret: &[u8; 32]) -> Self {
        Self(provider.x25519_key(secret))
    }

    #[cfg(test)]
    pub(super) fn from_key_dangerous(key: Box<dyn X25519Key>) -> Self {
        Self(key)
    }

    pub(super) fn public(&self) -> &[u8; 32] {
        self.0.public_key()
    }

    /// The shared secret with the owner of `remote`.
    ///
    /// An all-zero result means that `remote` is a point of small order, for which the secret does
    /// not depend on our key (RFC 7748, section 6.1).
    pub(super) fn agree(&self, remote: &[u8; 32]) -> Result<SharedSecret, Error> {
        let shared = self.0.agree(remote);
        // Looks at every byte, so that the time taken says nothing about a good secret.
        if shared.iter().fold(0, |all, byte| all | byte) == 0 { Err(Error::ZeroDh) } else { Ok(shared) }
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(..)")
    }
}
