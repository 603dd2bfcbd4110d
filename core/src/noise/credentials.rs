//! What a node shows in every handshake: a static key and its identity's signature over it.

use alloc::{sync::Arc, vec::Vec};
use core::fmt;

use zeroize::ZeroizeOnDrop;

use super::{Error, KeyLog, keys::KeyPair, payload};
use crate::{Identity, PeerId, ProtocolId, PublicKey, Seed, crypto::Provider};

/// Bytes that an identity signs to claim a static key.
pub const STATIC_KEY_SIGNING_LEN: usize = 56;

/// An X25519 key that lasts as long as its [`Credentials`]. Make a new one with each process; never store it.
pub struct StaticKey {
    pair: KeyPair,
    provider: Arc<dyn Provider>,
}

impl StaticKey {
    /// A new key. The same seed gives the same key.
    pub fn generate(provider: Arc<dyn Provider>, seed: Seed) -> Self {
        Self { pair: KeyPair::generate(&*provider, seed), provider }
    }

    /// What the node's identity must sign: `noise-libp2p-static-key:` and the public key.
    pub fn signing_input(&self) -> [u8; STATIC_KEY_SIGNING_LEN] {
        signing_input(self.pair.public())
    }

    #[cfg(test)]
    pub(super) fn from_secret_dangerous(provider: Arc<dyn Provider>, secret: [u8; 32]) -> Self {
        Self { pair: KeyPair::from_secret(&*provider, &secret), provider }
    }
}

/// A static key and the proof of whose it is. Built once per node and shared by its connections.
///
/// Debug output shows the peer id and nothing else.
pub struct Credentials {
    static_key: StaticKey,
    public_key: PublicKey,
    peer_id: PeerId,
    signature: Vec<u8>,
    key_log: Option<Arc<dyn KeyLog>>,
}

impl Credentials {
    /// Makes a static key from `seed` and signs it with `identity`.
    pub fn new(identity: &Identity, provider: Arc<dyn Provider>, seed: Seed) -> Self {
        Self::sign(StaticKey::generate(provider, seed), identity)
    }

    /// Takes a signature that was made elsewhere, such as in a hardware key, over
    /// [`StaticKey::signing_input`].
    ///
    /// # Errors
    /// [`Error::BadSignature`] if `public_key` did not sign this static key, which is then lost.
    pub fn from_signature(static_key: StaticKey, public_key: PublicKey, signature: &[u8]) -> Result<Self, Error> {
        public_key.verify(&static_key.signing_input(), signature).map_err(|_| Error::BadSignature)?;
        let peer_id = public_key.peer_id();
        Ok(Self { static_key, public_key, peer_id, signature: signature.to_vec(), key_log: None })
    }

    /// Tells `log` the keys of every connection made with these credentials.
    ///
    /// Dangerous: whoever reads the log can read everything that these connections have carried, and nothing
    /// shows the peer that it is kept. For debugging a protocol on the wire, and for nothing else. Without
    /// this call no key leaves the library.
    #[must_use]
    pub fn dangerous_key_log(mut self, log: Arc<dyn KeyLog>) -> Self {
        self.key_log = Some(log);
        self
    }

    /// The peer id that handshakes with these credentials prove.
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// The identity's public key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The cryptography that handshakes with these credentials use.
    pub fn provider(&self) -> &Arc<dyn Provider> {
        &self.static_key.provider
    }

    pub(super) fn sign(static_key: StaticKey, identity: &Identity) -> Self {
        let signature = identity.sign(&*static_key.provider, &static_key.signing_input()).to_vec();
        let public_key = identity.public_key().clone();
        Self { static_key, public_key, peer_id: identity.peer_id(), signature, key_log: None }
    }

    pub(super) fn key_log(&self) -> Option<&dyn KeyLog> {
        self.key_log.as_deref()
    }

    pub(super) fn key_pair(&self) -> &KeyPair {
        &self.static_key.pair
    }

    /// The payload of our handshake message.
    pub(super) fn payload<'m>(&self, muxers: impl IntoIterator<Item = &'m ProtocolId>) -> Vec<u8> {
        payload::encode(&self.public_key.to_protobuf(), &self.signature, muxers)
    }
}

// Their only secret is the key pair.
impl ZeroizeOnDrop for StaticKey where KeyPair: ZeroizeOnDrop {}
impl ZeroizeOnDrop for Credentials where StaticKey: ZeroizeOnDrop {}

impl fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StaticKey(..)")
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.peer_id)
    }
}

/// What an identity signs to claim `static_key` (noise-libp2p, static key authentication).
pub(super) fn signing_input(static_key: &[u8; 32]) -> [u8; STATIC_KEY_SIGNING_LEN] {
    let mut input = [0; STATIC_KEY_SIGNING_LEN];
    for (to, from) in input.iter_mut().zip(SIGNING_PREFIX.iter().chain(static_key)) {
        *to = *from;
    }
    input
}

const SIGNING_PREFIX: &[u8; 24] = b"noise-libp2p-static-key:";
