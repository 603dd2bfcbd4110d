//! Damage, truncation and keys of small order: a handshake fails, and says why.

use alloc::{boxed::Box, format, vec::Vec};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::*;
use crate::crypto::{AeadKey, OpenFailed, X25519Key};

/// Feeds what an attacker made of a message, then zeros for whatever length it claims.
fn fails(mut handshake: Handshake, damaged: &[u8]) -> Error {
    let received = handshake.handle_recv(damaged).and_then(|_| handshake.handle_recv(&[0; 0x1_0000]));
    let error = received.expect_err("a damaged message was accepted");
    assert_eq!(outcome(handshake, Err(error.clone())), Err(error.clone()));
    error
}

fn flips(message: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..message.len()).flat_map(move |byte| {
        [0x01, 0x80].map(|bit| {
            let mut flipped = message.to_vec();
            flipped[byte] ^= bit;
            flipped
        })
    })
}

/// All shorter versions of a message, with a length that fits.
fn truncations(message: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let body = &message[2..];
    (0..body.len()).map(move |len| framed(&body[..len]))
}

fn waiting_for_message_2() -> Handshake {
    let mut initiator = initiator(&[YAMUX]);
    drain(&mut initiator);
    initiator
}

fn waiting_for_message_3() -> Handshake {
    let mut responder = responder(&[YAMUX]);
    responder.handle_recv(&drain(&mut initiator(&[YAMUX]))).unwrap();
    drain(&mut responder);
    responder
}

#[test]
fn a_bit_flipped_anywhere_in_message_1_fails_the_handshake() {
    let ([message_1, ..], ..) = honest_run(&[YAMUX]);
    for flipped in flips(&message_1) {
        let mut responder = responder(&[YAMUX]);
        if flipped[..2] != message_1[..2] {
            fails(responder, &flipped);
            continue;
        }
        // Nothing protects message 1 by itself; the initiator notices from the answer.
        responder.handle_recv(&flipped).unwrap();
        let answer = drain(&mut responder);
        assert_eq!(fails(waiting_for_message_2(), &answer), Error::Decrypt);
    }
}

#[test]
fn a_bit_flipped_anywhere_in_message_2_fails_the_handshake() {
    let ([_, message_2, _], ..) = honest_run(&[YAMUX]);
    for flipped in flips(&message_2) {
        let error = fails(waiting_for_message_2(), &flipped);
        let in_length = flipped[..2] != message_2[..2];
        assert!(error == Error::Decrypt || in_length, "{error}");
    }
}

#[test]
fn a_bit_flipped_anywhere_in_message_3_fails_the_handshake() {
    let ([_, _, message_3], ..) = honest_run(&[YAMUX]);
    for flipped in flips(&message_3) {
        let error = fails(waiting_for_message_3(), &flipped);
        let in_length = flipped[..2] != message_3[..2];
        assert!(error == Error::Decrypt || in_length, "{error}");
    }
}

#[test]
fn a_message_cut_short_anywhere_fails_the_handshake() {
    let ([message_1, message_2, message_3], ..) = honest_run(&[YAMUX]);
    for truncated in truncations(&message_1) {
        assert_eq!(fails(responder(&[YAMUX]), &truncated), Error::MessageTooShort);
    }
    for truncated in truncations(&message_2) {
        let expected = if truncated.len() < 2 + 96 { Error::MessageTooShort } else { Error::Decrypt };
        assert_eq!(fails(waiting_for_message_2(), &truncated), expected);
    }
    for truncated in truncations(&message_3) {
        let expected = if truncated.len() < 2 + 64 { Error::MessageTooShort } else { Error::Decrypt };
        assert_eq!(fails(waiting_for_message_3(), &truncated), expected);
    }
}

#[test]
fn a_peer_that_stops_in_the_middle_leaves_the_handshake_unfinished() {
    let ([_, message_2, message_3], ..) = honest_run(&[YAMUX]);
    for (mut handshake, message) in [(waiting_for_message_2(), message_2), (waiting_for_message_3(), message_3)] {
        handshake.handle_recv(&message[..message.len() - 1]).unwrap();
        assert!(!handshake.is_finished() && !handshake.wants_transmit());
        assert!(handshake.finish().is_err());
    }
}

#[test]
fn a_payload_in_message_1_is_refused_before_it_is_stored() {
    let mut responder = responder(&[]);
    assert_eq!(responder.handle_recv(&[0, 33]), Err(Error::UnexpectedPayload));
    assert_eq!(outcome(responder, Err(Error::UnexpectedPayload)), Err(Error::UnexpectedPayload));
}

#[test]
fn messages_of_another_handshake_do_not_fit() {
    let ([_, message_2, message_3], ..) = honest_run(&[YAMUX]);
    let fresh = crate::Seed::from_bytes([77; 32]);
    let mut initiator = Handshake::initiator(initiator_credentials(), ExpectedPeer::Any, &[YAMUX], fresh);
    let message_1 = drain(&mut initiator);
    assert_eq!(fails(initiator, &message_2), Error::Decrypt);

    let fresh = crate::Seed::from_bytes([78; 32]);
    let mut responder = Handshake::responder(responder_credentials(), ExpectedPeer::Any, &[YAMUX], fresh);
    responder.handle_recv(&message_1).unwrap();
    drain(&mut responder);
    assert_eq!(fails(responder, &message_3), Error::Decrypt);
}

#[test]
fn ephemeral_keys_of_small_order_are_refused_by_both_ends() {
    for point in small_order_points() {
        let mut responder = responder(&[]);
        assert_eq!(responder.handle_recv(&framed(&point)), Err(Error::ZeroDh), "{}", hex::encode(point));
        assert_eq!(outcome(responder, Err(Error::ZeroDh)), Err(Error::ZeroDh));

        let ([_, mut message_2, _], ..) = honest_run(&[]);
        message_2[2..34].copy_from_slice(&point);
        let mut initiator = initiator(&[]);
        drain(&mut initiator);
        assert_eq!(initiator.handle_recv(&message_2), Err(Error::ZeroDh), "{}", hex::encode(point));
        assert_eq!(outcome(initiator, Err(Error::ZeroDh)), Err(Error::ZeroDh));
    }
}

#[test]
fn static_keys_of_small_order_are_refused_by_both_ends() {
    for point in small_order_points() {
        let claimed = || mismatched([8; 32], point);
        let mut caller = initiator_expecting(ExpectedPeer::Any, &[]);
        let answered = answer_initiator(&mut caller, &claimed(), &[]);
        assert_eq!(outcome(caller, answered), Err(Error::ZeroDh), "{}", hex::encode(point));

        let mut called = responder(&[]);
        let received = call_responder(&mut called, &claimed(), &[]);
        assert_eq!(outcome(called, received), Err(Error::ZeroDh), "{}", hex::encode(point));
    }
}

#[test]
fn a_static_key_that_the_peer_does_not_own_is_refused() {
    let stolen = *key_pair([8; 32]).public();
    let claimed = || mismatched([9; 32], stolen);
    let payload = honest_payload(1, [8; 32]);

    let mut caller = initiator_expecting(ExpectedPeer::Any, &[]);
    let answered = answer_initiator(&mut caller, &claimed(), &payload);
    assert_eq!(outcome(caller, answered), Err(Error::Decrypt));
    let mut called = responder(&[]);
    let received = call_responder(&mut called, &claimed(), &payload);
    assert_eq!(outcome(called, received), Err(Error::Decrypt));
}

#[test]
fn nothing_keeps_a_key_after_a_failure() {
    let live = Arc::new(LiveKeys::default());
    let credentials = || {
        let static_key = StaticKey::from_secret_dangerous(live.clone(), RESPONDER_STATIC);
        Arc::new(Credentials::sign(static_key, &identity(RESPONDER_IDENTITY)))
    };
    let ([message_1, _, message_3], mut client, _) = honest_run(&[]);
    let answering = || {
        let ephemeral = key_pair(RESPONDER_EPHEMERAL);
        let mut responder = Handshake::responder_with(credentials(), ExpectedPeer::Any, &[], ephemeral);
        responder.handle_recv(&message_1).unwrap();
        drain(&mut responder);
        responder
    };
    let mut failed = answering();
    assert_eq!(live.count(), 1, "between messages there is one handshake key");
    failed.handle_recv(&framed(&[0; 64])).unwrap_err();
    assert_eq!(live.count(), 0);

    let mut responder = answering();
    responder.handle_recv(&message_3).unwrap();
    let mut finished = responder.finish().unwrap();
    assert_eq!(live.count(), 0, "a key is expanded when it is needed");
    let mut record = [0; 18];
    finished.sealer.seal_in_place(&mut record, 0).unwrap();
    client.sealer.seal_in_place(&mut record, 0).unwrap();
    finished.opener.open_in_place(&mut record).unwrap();
    assert_eq!(live.count(), 2, "one key for each direction");
    finished.opener.open_in_place(&mut framed(&[0; 16])).unwrap_err();
    assert_eq!(live.count(), 1, "a refused record wipes the receiving key");
    drop(finished);
    assert_eq!(live.count(), 0);
}

#[test]
fn debug_output_shows_no_secret() {
    let (_, client, _) = honest_run(&[]);
    let static_key = StaticKey::generate(provider(), crate::Seed::from_bytes([3; 32]));
    assert_eq!(format!("{static_key:?}"), "StaticKey(..)");
    let credentials = initiator_credentials();
    assert_eq!(format!("{credentials:?}"), format!("Credentials({})", credentials.peer_id()));
    assert_eq!(format!("{:?}", client.sealer), "Sealer(CipherState { nonce: 0, .. })");
    let shown = format!("{:?}", initiator(&[]));
    assert!(shown.contains("SymmetricState(..)") && shown.contains("KeyPair(..)"), "{shown}");
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_finish_a_handshake(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400),
        plausible_length in proptest::prelude::any::<bool>(),
    ) {
        let input = if plausible_length { framed(&bytes) } else { bytes };
        for mut handshake in [waiting_for_message_2(), waiting_for_message_3(), responder(&[YAMUX])] {
            let _ = handshake.handle_recv(&input);
            assert!(!handshake.is_finished());
        }
    }
}

/// A pair whose halves do not belong together, as only an attacker has.
struct Mismatched {
    secret: Box<dyn X25519Key>,
    public: [u8; 32],
}

fn mismatched(secret: [u8; 32], public: [u8; 32]) -> KeyPair {
    KeyPair::from_key_dangerous(Box::new(Mismatched { secret: Tested.x25519_key(&secret), public }))
}

impl X25519Key for Mismatched {
    fn public_key(&self) -> &[u8; 32] {
        &self.public
    }
    fn agree(&self, public: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        self.secret.agree(public)
    }
}
impl ZeroizeOnDrop for Mismatched {}

/// Counts the AEAD keys that exist.
#[derive(Default, Debug)]
struct LiveKeys(Arc<AtomicUsize>);

struct LiveKey {
    key: Box<dyn AeadKey>,
    live: Arc<AtomicUsize>,
}

impl LiveKeys {
    fn count(&self) -> usize {
        self.0.load(Relaxed)
    }
}

impl Provider for LiveKeys {
    fn chacha20_poly1305(&self, key: &[u8; 32]) -> Box<dyn AeadKey> {
        self.0.fetch_add(1, Relaxed);
        Box::new(LiveKey { key: Tested.chacha20_poly1305(key), live: self.0.clone() })
    }
    fn x25519_key(&self, secret: &[u8; 32]) -> Box<dyn X25519Key> {
        Tested.x25519_key(secret)
    }
    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        Tested.sha256(parts)
    }
    fn ed25519_sign(&self, seed: &[u8; 32], message: &[u8]) -> [u8; 64] {
        Tested.ed25519_sign(seed, message)
    }
}

impl AeadKey for LiveKey {
    fn seal_in_place(&self, nonce: &[u8; 12], associated: &[u8], data: &mut [u8]) -> [u8; 16] {
        self.key.seal_in_place(nonce, associated, data)
    }
    fn open_in_place(
        &self,
        nonce: &[u8; 12],
        associated: &[u8],
        data: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), OpenFailed> {
        self.key.open_in_place(nonce, associated, data, tag)
    }
}

impl Drop for LiveKey {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Relaxed);
    }
}
impl ZeroizeOnDrop for LiveKey {}

/// Points of order 1, 2, 4 and 8 on the curve and its twist, and their encodings that are not canonical.
fn small_order_points() -> [[u8; 32]; 7] {
    [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ]
    .map(|point| hex::decode(point).unwrap().try_into().unwrap())
}
