//! The bare pattern with payloads of the caller's choice: what a peer that holds its keys may still say.

use alloc::{sync::Arc, vec::Vec};

use super::{
    Credentials, Error, Opener, RECORD_HEADER_LEN, Sealer,
    cipher_state::CipherState,
    handshake::write_framed,
    keys::KeyPair,
    xx::{InitiatorStart, InitiatorWaiting, ResponderStart},
};
use crate::{ProtocolId, Seed, crypto::Provider};

/// An initiator that has sent message 1.
pub(crate) struct ScriptedInitiator(InitiatorWaiting);

impl ScriptedInitiator {
    /// Also returns message 1, with its length.
    pub(crate) fn new(credentials: &Credentials, seed: Seed) -> Result<(Self, Vec<u8>), Error> {
        let ephemeral = KeyPair::generate(&**credentials.provider(), seed);
        let start = InitiatorStart::new(credentials.provider().clone(), &[], ephemeral);
        let mut out = Vec::new();
        let waiting = write_framed(&mut out, |out| start.write_message_1(&[], out))?;
        Ok((Self(waiting), out))
    }

    /// Answers message 2, given with its length, by a message 3 with `payload`.
    pub(crate) fn answer(self, credentials: &Credentials, message_2: &[u8], payload: &[u8]) -> Result<Vec<u8>, Error> {
        let mut body = message_2.get(RECORD_HEADER_LEN..).unwrap_or_default().to_vec();
        let (verifying, _) = self.0.read_message_2(&mut body)?;
        let mut out = Vec::new();
        write_framed(&mut out, |out| verifying.write_message_3(credentials.key_pair(), payload, out))?;
        Ok(out)
    }
}

/// Answers message 1, given with its length, by a message 2 with `payload`.
pub(crate) fn answer_message_1(
    credentials: &Credentials,
    seed: Seed,
    message_1: &[u8],
    payload: &[u8],
) -> Result<Vec<u8>, Error> {
    let ephemeral = KeyPair::generate(&**credentials.provider(), seed);
    let mut body = message_1.get(RECORD_HEADER_LEN..).unwrap_or_default().to_vec();
    let start = ResponderStart::new(credentials.provider().clone(), &[], ephemeral);
    let (answering, _) = start.read_message_1(&mut body)?;
    let mut out = Vec::new();
    write_framed(&mut out, |out| answering.write_message_2(credentials.key_pair(), payload, out))?;
    Ok(out)
}

/// What these credentials honestly say of themselves.
pub(crate) fn honest_payload(credentials: &Credentials, muxers: &[ProtocolId]) -> Vec<u8> {
    credentials.payload(muxers)
}

/// The two ends of one direction, without a handshake.
pub(crate) fn record_ends(provider: Arc<dyn Provider>, key: &[u8; 32]) -> (Sealer, Opener) {
    (Sealer::new(CipherState::new(provider.clone(), key)), Opener::new(CipherState::new(provider, key)))
}
