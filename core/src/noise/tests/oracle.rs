//! `snow`, another implementation of Noise, at the other end.

use alloc::{vec, vec::Vec};

use proptest::{collection::vec as vec_of, prelude::*};
use snow::{Builder, HandshakeState, TransportState};

use super::*;
use crate::noise::{MAX_RECORD_PLAINTEXT, Opener, Sealer, cipher_state::CipherState};

fn snow(static_secret: &[u8; 32], prologue: &[u8], initiator: bool) -> HandshakeState {
    let params = "Noise_XX_25519_ChaChaPoly_SHA256".parse().unwrap();
    let builder = Builder::new(params).local_private_key(static_secret).unwrap().prologue(prologue).unwrap();
    if initiator { builder.build_initiator().unwrap() } else { builder.build_responder().unwrap() }
}

fn snow_writes(snow: &mut HandshakeState, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![0; 65_535];
    let len = snow.write_message(payload, &mut message).unwrap();
    message.truncate(len);
    message
}

fn snow_reads(snow: &mut HandshakeState, message: &[u8]) -> Vec<u8> {
    let mut payload = vec![0; 65_535];
    let len = snow.read_message(message, &mut payload).unwrap();
    payload.truncate(len);
    payload
}

/// Sends `payload` both ways, as one record each.
fn exchange(sealer: &mut Sealer, opener: &mut Opener, snow: &mut TransportState, payload: &[u8]) {
    let mut record = vec![0; payload.len() + 18];
    record[2..2 + payload.len()].copy_from_slice(payload);
    let sent = sealer.seal_in_place(&mut record, payload.len()).unwrap();
    let mut opened = vec![0; 65_535];
    let len = snow.read_message(&record[2..sent], &mut opened).unwrap();
    assert_eq!(&opened[..len], payload);

    let mut sealed = vec![0; 65_535];
    let len = snow.write_message(payload, &mut sealed).unwrap();
    assert_eq!(opener.open_in_place(&mut framed(&sealed[..len])).unwrap(), payload);
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec_of(any::<u8>(), 0..200), vec_of(any::<u8>(), 0..60_000)]
}

fn records() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec_of(prop_oneof![vec_of(any::<u8>(), 0..40), vec_of(any::<u8>(), 0..=MAX_RECORD_PLAINTEXT)], 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn our_initiator_talks_to_snow(
        keys in any::<[[u8; 32]; 3]>(),
        prologue in vec_of(any::<u8>(), 0..100),
        payloads in [payload(), payload(), payload()],
        records in records(),
    ) {
        let [our_static, ephemeral, their_static] = keys;
        let mut snow = snow(&their_static, &prologue, false);
        let ours = InitiatorStart::new(provider(), &prologue, key_pair(ephemeral));

        let mut message = Vec::new();
        let ours = ours.write_message_1(&payloads[0], &mut message).unwrap();
        prop_assert_eq!(snow_reads(&mut snow, &message), &*payloads[0]);
        let mut message = snow_writes(&mut snow, &payloads[1]);
        let (ours, remote) = ours.read_message_2(&mut message).unwrap();
        prop_assert_eq!(remote.static_key, *key_pair(their_static).public());
        prop_assert_eq!(remote.payload, &*payloads[1]);
        let mut message = Vec::new();
        let keys = ours.write_message_3(&key_pair(our_static), &payloads[2], &mut message).unwrap();
        prop_assert_eq!(snow_reads(&mut snow, &message), &*payloads[2]);
        prop_assert!(snow.get_remote_static() == Some(key_pair(our_static).public().as_slice()));
        prop_assert_eq!(snow.get_handshake_hash(), keys.handshake_hash);

        let mut snow = snow.into_transport_mode().unwrap();
        let mut sealer = Sealer::new(CipherState::new(provider(), &keys.initiator_to_responder));
        let mut opener = Opener::new(CipherState::new(provider(), &keys.responder_to_initiator));
        for record in &records {
            exchange(&mut sealer, &mut opener, &mut snow, record);
        }
    }

    #[test]
    fn our_responder_talks_to_snow(
        keys in any::<[[u8; 32]; 3]>(),
        prologue in vec_of(any::<u8>(), 0..100),
        payloads in [payload(), payload(), payload()],
        records in records(),
    ) {
        let [our_static, ephemeral, their_static] = keys;
        let mut snow = snow(&their_static, &prologue, true);
        let ours = ResponderStart::new(provider(), &prologue, key_pair(ephemeral));

        let mut message = snow_writes(&mut snow, &payloads[0]);
        let (ours, received) = ours.read_message_1(&mut message).unwrap();
        prop_assert_eq!(received, &*payloads[0]);
        let mut message = Vec::new();
        let ours = ours.write_message_2(&key_pair(our_static), &payloads[1], &mut message).unwrap();
        prop_assert_eq!(snow_reads(&mut snow, &message), &*payloads[1]);
        prop_assert!(snow.get_remote_static() == Some(key_pair(our_static).public().as_slice()));
        let mut message = snow_writes(&mut snow, &payloads[2]);
        let (keys, remote) = ours.read_message_3(&mut message).unwrap();
        prop_assert_eq!(remote.static_key, *key_pair(their_static).public());
        prop_assert_eq!(remote.payload, &*payloads[2]);
        prop_assert_eq!(snow.get_handshake_hash(), keys.handshake_hash);

        let mut snow = snow.into_transport_mode().unwrap();
        let mut sealer = Sealer::new(CipherState::new(provider(), &keys.responder_to_initiator));
        let mut opener = Opener::new(CipherState::new(provider(), &keys.initiator_to_responder));
        for record in &records {
            exchange(&mut sealer, &mut opener, &mut snow, record);
        }
    }
}

#[test]
fn records_of_every_small_size_and_the_largest_are_understood() {
    let mut snow = snow(&RESPONDER_STATIC, &[], false);
    let mut initiator = initiator(&[YAMUX]);
    snow_reads(&mut snow, &drain(&mut initiator)[2..]);
    let payload = responder_credentials().payload(&[YAMUX]);
    let message_2 = framed(&snow_writes(&mut snow, &payload));
    initiator.handle_recv(&message_2).unwrap();
    let shown = snow_reads(&mut snow, &drain(&mut initiator)[2..]);
    assert_eq!(shown, initiator_credentials().payload(&[YAMUX]));

    let mut finished = initiator.finish().unwrap();
    assert_eq!(finished.handshake_hash, snow.get_handshake_hash());
    assert_eq!((finished.peer, finished.muxer), (responder_credentials().peer_id(), Some(YAMUX)));
    let mut snow = snow.into_transport_mode().unwrap();
    for len in (0..=130).chain([16_384, 64_511, MAX_RECORD_PLAINTEXT]) {
        exchange(&mut finished.sealer, &mut finished.opener, &mut snow, &vec![len as u8; len]);
    }
}

#[test]
fn a_snow_initiator_is_known_by_its_identity() {
    let mut snow = snow(&INITIATOR_STATIC, &[], true);
    let mut responder = responder(&[]);
    responder.handle_recv(&framed(&snow_writes(&mut snow, &[]))).unwrap();
    let shown = snow_reads(&mut snow, &drain(&mut responder)[2..]);
    assert_eq!(shown, responder_credentials().payload(&[]));
    let payload = initiator_credentials().payload(&[]);
    responder.handle_recv(&framed(&snow_writes(&mut snow, &payload))).unwrap();

    let mut finished = responder.finish().unwrap();
    assert_eq!(finished.peer, initiator_credentials().peer_id());
    let mut snow = snow.into_transport_mode().unwrap();
    exchange(&mut finished.sealer, &mut finished.opener, &mut snow, b"hello");
}
