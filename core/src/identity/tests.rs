use super::*;
use crate::crypto::RustCrypto;

#[test]
fn what_an_identity_signs_its_public_key_verifies() {
    let identity = Identity::generate(Seed::from_bytes([7; 32]));
    let signature = identity.sign(&RustCrypto, b"message");
    assert_eq!(identity.public_key().verify(b"message", &signature), Ok(()));
    assert_eq!(identity.public_key().verify(b"massage", &signature), Err(BadSignature));
}
