//! The XX pattern: each end learns the other's static key (Noise specification, interactive patterns).
//!
//! ```text
//! -> e
//! <- e, ee, s, es
//! -> s, se
//! ```
//!
//! Each step consumes its state and returns the next, so that no step can be skipped or repeated
//! and a failure leaves nothing behind. Messages carry no framing here; payload and prologue are
//! whatever the caller wants.

use alloc::{sync::Arc, vec::Vec};

use zeroize::ZeroizeOnDrop;

use super::{Error, TransportKeys, keys::KeyPair, symmetric_state::SymmetricState};
use crate::crypto::{Provider, TAG_LEN};

/// Bytes of message 1 around its payload: the ephemeral key.
pub(super) const MESSAGE_1_OVERHEAD: usize = 32;
/// Bytes of message 2 around its payload: the ephemeral key, the sealed static key, a tag.
pub(super) const MESSAGE_2_OVERHEAD: usize = 32 + MESSAGE_3_OVERHEAD;
/// Bytes of message 3 around its payload: the sealed static key, a tag.
pub(super) const MESSAGE_3_OVERHEAD: usize = 32 + TAG_LEN + TAG_LEN;

/// The initiator before message 1.
#[derive(Debug)]
pub(super) struct InitiatorStart(Secrets);

/// The initiator between message 1 and message 2.
#[derive(Debug)]
pub(super) struct InitiatorWaiting(Secrets);

/// The initiator that has read message 2 and may verify it before it answers.
#[derive(Debug)]
pub(super) struct InitiatorVerifying {
    symmetric: SymmetricState,
    remote_ephemeral: [u8; 32],
}

/// The responder before message 1.
#[derive(Debug)]
pub(super) struct ResponderStart(Secrets);

/// The responder that has read message 1.
#[derive(Debug)]
pub(super) struct ResponderAnswering {
    secrets: Secrets,
    remote_ephemeral: [u8; 32],
}

/// The responder between message 2 and message 3.
#[derive(Debug)]
pub(super) struct ResponderWaiting(Secrets);

/// What message 2 or 3 says about its sender. Reading on succeeds only if it owns the static key.
#[derive(Debug)]
pub(super) struct Remote<'m> {
    pub(super) static_key: [u8; 32],
    pub(super) payload: &'m [u8],
}

impl InitiatorStart {
    pub(super) fn new(provider: Arc<dyn Provider>, prologue: &[u8], ephemeral: KeyPair) -> Self {
        Self(Secrets { symmetric: SymmetricState::new(provider, prologue), ephemeral })
    }

    pub(super) fn write_message_1(self, payload: &[u8], out: &mut Vec<u8>) -> Result<InitiatorWaiting, Error> {
        let Self(mut secrets) = self;
        secrets.write_ephemeral(out);
        secrets.symmetric.encrypt_and_hash(payload, out)?;
        Ok(InitiatorWaiting(secrets))
    }
}

impl InitiatorWaiting {
    /// Decrypts `message` in place.
    pub(super) fn read_message_2(self, message: &mut [u8]) -> Result<(InitiatorVerifying, Remote<'_>), Error> {
        let Self(Secrets { mut symmetric, ephemeral }) = self;
        let (remote_ephemeral, rest) = split_key(message)?;
        symmetric.mix_hash(&remote_ephemeral);
        mix_dh(&mut symmetric, &ephemeral, &remote_ephemeral)?;
        let (static_key, rest) = read_static_key(&mut symmetric, rest)?;
        mix_dh(&mut symmetric, &ephemeral, &static_key)?;
        let payload = symmetric.decrypt_and_hash(rest)?;
        Ok((InitiatorVerifying { symmetric, remote_ephemeral }, Remote { static_key, payload }))
    }
}

impl InitiatorVerifying {
    pub(super) fn write_message_3(
        self,
        static_key: &KeyPair,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<TransportKeys, Error> {
        let Self { mut symmetric, remote_ephemeral } = self;
        symmetric.encrypt_and_hash(static_key.public(), out)?;
        mix_dh(&mut symmetric, static_key, &remote_ephemeral)?;
        symmetric.encrypt_and_hash(payload, out)?;
        Ok(symmetric.split())
    }
}

impl ResponderStart {
    pub(super) fn new(provider: Arc<dyn Provider>, prologue: &[u8], ephemeral: KeyPair) -> Self {
        Self(Secrets { symmetric: SymmetricState::new(provider, prologue), ephemeral })
    }

    /// Returns the payload too, which nothing protects: it is plaintext and anybody may have written it.
    pub(super) fn read_message_1(self, message: &mut [u8]) -> Result<(ResponderAnswering, &[u8]), Error> {
        let Self(mut secrets) = self;
        let (remote_ephemeral, rest) = split_key(message)?;
        secrets.symmetric.mix_hash(&remote_ephemeral);
        let payload = secrets.symmetric.decrypt_and_hash(rest)?;
        Ok((ResponderAnswering { secrets, remote_ephemeral }, payload))
    }
}

impl ResponderAnswering {
    pub(super) fn write_message_2(
        self,
        static_key: &KeyPair,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<ResponderWaiting, Error> {
        let Self { mut secrets, remote_ephemeral } = self;
        secrets.write_ephemeral(out);
        mix_dh(&mut secrets.symmetric, &secrets.ephemeral, &remote_ephemeral)?;
        secrets.symmetric.encrypt_and_hash(static_key.public(), out)?;
        mix_dh(&mut secrets.symmetric, static_key, &remote_ephemeral)?;
        secrets.symmetric.encrypt_and_hash(payload, out)?;
        Ok(ResponderWaiting(secrets))
    }
}

impl ResponderWaiting {
    /// Decrypts `message` in place.
    pub(super) fn read_message_3(self, message: &mut [u8]) -> Result<(TransportKeys, Remote<'_>), Error> {
        let Self(Secrets { mut symmetric, ephemeral }) = self;
        let (static_key, rest) = read_static_key(&mut symmetric, message)?;
        mix_dh(&mut symmetric, &ephemeral, &static_key)?;
        let payload = symmetric.decrypt_and_hash(rest)?;
        Ok((symmetric.split(), Remote { static_key, payload }))
    }
}

/// What one end holds for the length of a handshake.
#[derive(Debug)]
pub(super) struct Secrets {
    symmetric: SymmetricState,
    ephemeral: KeyPair,
}

impl Secrets {
    fn write_ephemeral(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.ephemeral.public());
        self.symmetric.mix_hash(self.ephemeral.public());
    }
}

// The states own nothing secret but these two, and a `Drop` of their own would forbid taking them apart.
impl ZeroizeOnDrop for Secrets
where
    SymmetricState: ZeroizeOnDrop,
    KeyPair: ZeroizeOnDrop,
{
}
impl ZeroizeOnDrop for InitiatorStart where Secrets: ZeroizeOnDrop {}
impl ZeroizeOnDrop for InitiatorWaiting where Secrets: ZeroizeOnDrop {}
impl ZeroizeOnDrop for InitiatorVerifying where SymmetricState: ZeroizeOnDrop {}
impl ZeroizeOnDrop for ResponderStart where Secrets: ZeroizeOnDrop {}
impl ZeroizeOnDrop for ResponderAnswering where Secrets: ZeroizeOnDrop {}
impl ZeroizeOnDrop for ResponderWaiting where Secrets: ZeroizeOnDrop {}

fn mix_dh(symmetric: &mut SymmetricState, ours: &KeyPair, theirs: &[u8; 32]) -> Result<(), Error> {
    let shared = ours.agree(theirs)?;
    symmetric.mix_key(&shared);
    Ok(())
}

fn split_key(message: &mut [u8]) -> Result<([u8; 32], &mut [u8]), Error> {
    let (key, rest) = message.split_first_chunk_mut().ok_or(Error::MessageTooShort)?;
    Ok((*key, rest))
}

fn read_static_key<'m>(
    symmetric: &mut SymmetricState,
    message: &'m mut [u8],
) -> Result<([u8; 32], &'m mut [u8]), Error> {
    let (sealed, rest) = message.split_at_mut_checked(32 + TAG_LEN).ok_or(Error::MessageTooShort)?;
    let key = symmetric.decrypt_and_hash(sealed)?;
    Ok((*key.first_chunk().ok_or(Error::MessageTooShort)?, rest))
}
