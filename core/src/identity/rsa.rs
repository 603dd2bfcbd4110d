//! RSA public keys: RSASSA-PKCS1-v1_5 over SHA-256.

use alloc::boxed::Box;

use rsa::{
    BoxedUint, RsaPublicKey,
    pkcs1v15::{Signature, VerifyingKey},
    signature::Verifier,
};
use sha2::Sha256;

use super::{BadSignature, Error, RSA_MAX_BITS, RSA_MIN_BITS};

/// A key that was checked, in the one DER encoding that it has.
///
/// The numbers are read again for each verification: those of 8192 bits with their tables would take four
/// times as much memory for as long as the connection lives.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct RsaKey(Box<[u8]>);

impl RsaKey {
    /// Reads a SubjectPublicKeyInfo. The size is judged before anything is copied or computed.
    pub(super) fn from_der(der: &[u8]) -> Result<Self, Error> {
        Numbers::read(der)?;
        Ok(Self(der.into()))
    }

    pub(super) fn as_der(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let numbers = Numbers::read(&self.0).map_err(|_| BadSignature)?;
        let modulus_bits = u32::try_from(numbers.modulus.len().saturating_mul(8)).map_err(|_| BadSignature)?;
        let modulus = BoxedUint::from_be_slice(numbers.modulus, modulus_bits).map_err(|_| BadSignature)?;
        let exponent = BoxedUint::from(u64::from(numbers.exponent));
        let sizes = RSA_MIN_BITS..=RSA_MAX_BITS;
        let key = RsaPublicKey::new_with_size_limits(modulus, exponent, sizes).map_err(|_| BadSignature)?;
        let signature = Signature::try_from(signature).map_err(|_| BadSignature)?;
        VerifyingKey::<Sha256>::new(key).verify(message, &signature).map_err(|_| BadSignature)
    }
}

/// What an RSA public key consists of.
struct Numbers<'k> {
    /// Big-endian, without leading zeros.
    modulus: &'k [u8],
    exponent: u32,
}

impl<'k> Numbers<'k> {
    fn read(der: &'k [u8]) -> Result<Self, Error> {
        let (modulus, exponent) = integers(der).ok_or(Error::NotDer)?;
        let bits = bit_length(modulus);
        if !(RSA_MIN_BITS..=RSA_MAX_BITS).contains(&bits) {
            return Err(Error::RsaSize { bits });
        }
        let is_odd = modulus.last().is_some_and(|byte| byte & 1 == 1);
        let exponent =
            exponent.iter().try_fold(0_u32, |value, byte| value.checked_mul(256).map(|value| value | u32::from(*byte)));
        match exponent {
            Some(exponent) if is_odd && exponent & 1 == 1 && (3..=MAX_EXPONENT).contains(&exponent) => {
                Ok(Self { modulus, exponent })
            }
            _ => Err(Error::RsaNumbers),
        }
    }
}

/// Go's bound. Stops a key whose exponent is as long as its modulus, which would make each verification
/// hundreds of times slower.
const MAX_EXPONENT: u32 = 0x7fff_ffff;

/// Modulus and exponent of a SubjectPublicKeyInfo (RFC 3279, section 2.3.1). Only its DER encoding is taken,
/// so that a key has one peer id.
fn integers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let info = only(der, SEQUENCE)?;
    let bits = only(info.strip_prefix(RSA_ENCRYPTION)?, BIT_STRING)?;
    let key = only(bits.strip_prefix(&[0])?, SEQUENCE)?;
    let (modulus, rest) = element(key, INTEGER)?;
    let exponent = only(rest, INTEGER)?;
    Some((positive(modulus)?, positive(exponent)?))
}

/// The content of an element with this tag that is all of `der`.
fn only(der: &[u8], tag: u8) -> Option<&[u8]> {
    element(der, tag).filter(|(_, rest)| rest.is_empty()).map(|(content, _)| content)
}

/// The content of the element in front, and what follows. Lengths must be as short as possible (X.690,
/// section 10.1); none here exceeds 16 bits.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (len, rest) = match der.strip_prefix(&[tag])? {
        [len @ 0..=0x7f, rest @ ..] => (usize::from(*len), rest),
        [0x81, len @ 0x80..=0xff, rest @ ..] => (usize::from(*len), rest),
        [0x82, high @ 1..=0xff, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        _ => return None,
    };
    rest.split_at_checked(len)
}

/// The bytes of a positive INTEGER without the zero that keeps the sign (X.690, section 8.3).
fn positive(content: &[u8]) -> Option<&[u8]> {
    match content {
        [0, rest @ ..] if rest.first().is_some_and(|byte| byte & 0x80 != 0) => Some(rest),
        [1..=0x7f, ..] => Some(content),
        _ => None,
    }
}

fn bit_length(magnitude: &[u8]) -> usize {
    let unused = magnitude.first().map_or(0, |byte| byte.leading_zeros());
    magnitude.len().saturating_mul(8).saturating_sub(usize::try_from(unused).unwrap_or(0))
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
/// The AlgorithmIdentifier `rsaEncryption` with its NULL.
const RSA_ENCRYPTION: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
