//! noise-libp2p: `Noise_XX_25519_ChaChaPoly_SHA256`, libp2p identities and early muxer negotiation.
//!
//! Build [`Credentials`] once per node. Make a [`Handshake`] per connection and move bytes with
//! [`handle_recv`](Handshake::handle_recv) and [`poll_transmit`](Handshake::poll_transmit) until
//! [`finish`](Handshake::finish) gives [`Finished`]: who the peer is, a [`Sealer`] for what is sent and
//! an [`Opener`] for what is received.
//!
//! ```
//! # use std::sync::Arc;
//! # use septa_core::{ExpectedPeer, Identity, Seed, crypto::RustCrypto, noise::{Credentials, Handshake}};
//! # let credentials = |byte| {
//! #     let identity = Identity::generate(Seed::from_bytes([byte; 32]));
//! #     Arc::new(Credentials::new(&identity, Arc::new(RustCrypto), Seed::from_bytes([byte; 32])))
//! # };
//! let (ours, theirs) = (credentials(1), credentials(2));
//! let server = theirs.peer_id();
//! let expected = ExpectedPeer::Exactly(server);
//! let mut initiator = Handshake::initiator(ours, expected, &[], Seed::from_bytes([3; 32]));
//! let mut responder = Handshake::responder(theirs, ExpectedPeer::Any, &[], Seed::from_bytes([4; 32]));
//!
//! let mut wire = [0; 1024];
//! while initiator.wants_transmit() || responder.wants_transmit() {
//!     let sent = initiator.poll_transmit(&mut wire);
//!     responder.handle_recv(&wire[..sent])?;
//!     let sent = responder.poll_transmit(&mut wire);
//!     initiator.handle_recv(&wire[..sent])?;
//! }
//! let mut client = initiator.finish().expect("the handshake is complete");
//! let mut server = responder.finish().expect("the handshake is complete");
//!
//! wire[2..7].copy_from_slice(b"hello");
//! let sent = client.sealer.seal_in_place(&mut wire, 5).expect("it fits");
//! assert_eq!(server.opener.open_in_place(&mut wire[..sent])?, b"hello");
//! # Ok::<(), septa_core::noise::Error>(())
//! ```
//!
//! What it guards, beyond the Noise specification: the responder's identity is verified before the
//! initiator shows its own, an all-zero Diffie-Hellman result is refused, and no more than one
//! handshake message is ever buffered.

mod cipher_state;
mod credentials;
mod handshake;
mod key_log;
mod keys;
mod payload;
mod record;
#[cfg(feature = "testing")]
pub(crate) mod scripted;
mod symmetric_state;
mod xx;

// Every test runs with every provider. `Tested` is the one that it runs with.
#[cfg(test)]
#[path = "."]
mod with_rust_crypto {
    use crate::crypto::RustCrypto as Tested;

    #[path = "tests/mod.rs"]
    mod tests;
}
#[cfg(test)]
#[cfg(feature = "aws-lc-rs")]
#[path = "."]
mod with_aws_lc {
    use crate::crypto::AwsLc as Tested;

    #[path = "tests/mod.rs"]
    #[expect(clippy::duplicate_mod, reason = "the same tests with another provider")]
    mod tests;
}

use zeroize::ZeroizeOnDrop;

pub use credentials::{Credentials, STATIC_KEY_SIGNING_LEN, StaticKey};
pub use handshake::{Finished, Handshake};
pub use key_log::{InvalidKeyLogLine, KeyLog, TransportKeys};
pub use payload::{MAX_MUXERS_RECEIVED, MAX_MUXERS_SENT, MAX_PAYLOAD_LEN};
pub(crate) use record::body_len_bytes;
pub use record::{MAX_RECORD_LEN, MAX_RECORD_PLAINTEXT, Opener, RECORD_HEADER_LEN, RECORD_OVERHEAD, SealError, Sealer};

use crate::{PeerId, ProtocolId, identity, protobuf};

/// The protocol's name in multistream-select.
pub const PROTOCOL: ProtocolId = ProtocolId::from_static("/noise");

/// The handshake or a record was refused.
///
/// Each is the end of the connection, except [`RecordIncomplete`](Self::RecordIncomplete): secrets
/// are wiped, output that was still waiting is dropped, and every later call returns the same error.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A handshake message is too short for the keys and tags it must hold.
    #[error("a handshake message is too short")]
    MessageTooShort,
    /// A handshake message announces a payload over [`MAX_PAYLOAD_LEN`]. Refused from its length, before any of it is stored.
    #[error("a handshake payload is larger than {MAX_PAYLOAD_LEN} bytes")]
    PayloadTooLarge,
    /// The first message carries a payload, which nothing would protect.
    #[error("the first handshake message carries a payload")]
    UnexpectedPayload,
    /// A message or record is not authentic: it was altered, or the peer does not hold its keys.
    #[error("a message is not authentic")]
    Decrypt,
    /// A key of the peer is a point of small order, so that the shared secret would be known to all.
    #[error("the peer's Diffie-Hellman key is of small order")]
    ZeroDh,
    /// The handshake payload is not the protobuf message it must be.
    #[error("the handshake payload is malformed: {0}")]
    MalformedPayload(protobuf::Error),
    /// The handshake payload has no identity key.
    #[error("the handshake payload has no identity key")]
    MissingIdentityKey,
    /// The handshake payload has no signature.
    #[error("the handshake payload has no signature")]
    MissingSignature,
    /// The identity key is of an unknown type, or is not a valid key of its type.
    #[error("the identity key cannot be used: {0}")]
    IdentityKey(identity::Error),
    /// The identity key did not sign the static key of this handshake.
    #[error("the identity's signature of the static key is not valid")]
    BadSignature,
    /// The peer has proved an identity, but not the one that was asked for.
    #[error("expected peer {expected}, found {found}")]
    WrongPeer {
        /// Whom this end wanted.
        expected: PeerId,
        /// Who answered.
        found: PeerId,
    },
    /// The peer lists more than [`MAX_MUXERS_RECEIVED`] muxers.
    #[error("the peer lists more than {MAX_MUXERS_RECEIVED} muxers")]
    TooManyMuxers,
    /// Both ends list muxers and share none.
    #[error("no muxer in common")]
    NoMuxerInCommon,
    /// A record is shorter than its tag.
    #[error("a record is shorter than its tag")]
    RecordTooShort,
    /// All 2^64 - 1 nonces of the receiving key are used.
    #[error("the receiving key has no nonce left")]
    NonceExhausted,
    /// The caller passed something else than exactly one whole record. Nothing has changed.
    #[error("the buffer is not exactly one record")]
    RecordIncomplete,
}

// Whatever holds a secret wipes it; a type that stops doing so does not compile.
const _: () = {
    const fn wipes<T: ZeroizeOnDrop + ?Sized>() {}
    wipes::<dyn crate::crypto::AeadKey>();
    wipes::<dyn crate::crypto::X25519Key>();
    wipes::<cipher_state::CipherState>();
    wipes::<symmetric_state::SymmetricState>();
    wipes::<TransportKeys>();
    wipes::<keys::KeyPair>();
    wipes::<keys::SharedSecret>();
    wipes::<xx::Secrets>();
    wipes::<xx::InitiatorStart>();
    wipes::<xx::InitiatorWaiting>();
    wipes::<xx::InitiatorVerifying>();
    wipes::<xx::ResponderStart>();
    wipes::<xx::ResponderAnswering>();
    wipes::<xx::ResponderWaiting>();
    wipes::<StaticKey>();
    wipes::<Credentials>();
    wipes::<Handshake>();
    wipes::<Finished>();
    wipes::<Sealer>();
    wipes::<Opener>();
};
