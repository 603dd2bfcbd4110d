//! ECDSA public keys on P-256, over SHA-256.

use p256::ecdsa::{Signature, VerifyingKey, signature::Verifier};

use super::{BadSignature, Error};

/// A key that was checked, as DER: everything but the point is fixed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct EcdsaKey([u8; DER_LEN]);

impl EcdsaKey {
    /// Reads a SubjectPublicKeyInfo with an uncompressed point of P-256 (RFC 5480).
    pub(super) fn from_der(der: &[u8]) -> Result<Self, Error> {
        let key: &[u8; DER_LEN] = der.try_into().map_err(|_| Error::NotDer)?;
        if !key.starts_with(PREFIX) {
            return Err(Error::NotDer);
        }
        let key = Self(*key);
        if key.point().is_some() { Ok(key) } else { Err(Error::InvalidPoint) }
    }

    pub(super) fn as_der(&self) -> &[u8] {
        &self.0
    }

    /// Takes any S: go and rust do, and a signature names no peer, so that a second one harms nobody.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let point = self.point().ok_or(BadSignature)?;
        let signature = Signature::from_der(signature).map_err(|_| BadSignature)?;
        point.verify(message, &signature).map_err(|_| BadSignature)
    }

    /// `None` if x and y are not on the curve.
    fn point(&self) -> Option<VerifyingKey> {
        VerifyingKey::from_sec1_bytes(self.0.get(POINT_AT..)?).ok()
    }
}

const DER_LEN: usize = 91;
/// All of the structure before x and y: `id-ecPublicKey`, `prime256v1`, a bit string, and that the point is
/// not compressed.
const PREFIX: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
/// The point begins with the last byte of the prefix.
const POINT_AT: usize = PREFIX.len() - 1;
