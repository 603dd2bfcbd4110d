//! How the bytes are cut, and where a handshake stops taking them.

use alloc::{vec, vec::Vec};

use super::*;

/// Feeds `data` to `handshake` in pieces of `piece` bytes and returns how many were taken.
fn feed(handshake: &mut Handshake, data: &[u8], piece: usize) -> usize {
    let mut taken = 0;
    for part in data.chunks(piece) {
        let len = handshake.handle_recv(part).unwrap();
        taken += len;
        if len < part.len() {
            break;
        }
    }
    taken
}

#[test]
fn every_cut_of_the_input_gives_the_same_result() {
    let ([message_1, message_2, message_3], client, server) = honest_run(&[YAMUX]);
    let behind = b"bytes of the first record";
    let to_initiator = [message_2.as_slice(), behind].concat();
    let to_responder = [message_3.as_slice(), behind].concat();

    let longest = to_initiator.len().max(to_responder.len());
    for piece in (1..40).chain([64, 100, message_3.len(), message_2.len(), message_2.len() + 1, longest]) {
        let (mut initiator, mut responder) = (initiator(&[YAMUX]), responder(&[YAMUX]));
        assert_eq!(drain(&mut initiator), message_1);
        assert_eq!(feed(&mut responder, &message_1, piece), message_1.len());
        assert_eq!(drain(&mut responder), message_2);
        assert_eq!(feed(&mut initiator, &to_initiator, piece), message_2.len());
        assert_eq!(drain(&mut initiator), message_3);
        assert_eq!(feed(&mut responder, &to_responder, piece), message_3.len());
        let hashes = [initiator.finish().unwrap().handshake_hash, responder.finish().unwrap().handshake_hash];
        assert_eq!(hashes, [client.handshake_hash, server.handshake_hash]);
    }
}

#[test]
fn every_cut_in_two_gives_the_same_result() {
    let ([message_1, message_2, message_3], ..) = honest_run(&[YAMUX]);
    for cut in 0..=message_1.len() {
        let mut responder = responder(&[YAMUX]);
        assert_eq!(responder.handle_recv(&message_1[..cut]), Ok(cut));
        assert_eq!(responder.wants_transmit(), cut == message_1.len());
        assert_eq!(responder.handle_recv(&message_1[cut..]), Ok(message_1.len() - cut));
        assert_eq!(drain(&mut responder), message_2);
    }
    for cut in 0..=message_2.len() {
        let mut initiator = initiator(&[YAMUX]);
        drain(&mut initiator);
        assert_eq!(initiator.handle_recv(&message_2[..cut]), Ok(cut));
        assert_eq!(initiator.wants_transmit(), cut == message_2.len());
        assert_eq!(initiator.handle_recv(&message_2[cut..]), Ok(message_2.len() - cut));
        assert_eq!(drain(&mut initiator), message_3);
    }
    for cut in 0..=message_3.len() {
        let mut responder = responder(&[YAMUX]);
        responder.handle_recv(&message_1).unwrap();
        drain(&mut responder);
        assert_eq!(responder.handle_recv(&message_3[..cut]), Ok(cut));
        assert_eq!(responder.is_finished(), cut == message_3.len());
        assert_eq!(responder.handle_recv(&message_3[cut..]), Ok(message_3.len() - cut));
        assert!(responder.is_finished());
    }
}

#[test]
fn output_may_be_fetched_a_byte_at_a_time() {
    let ([message_1, message_2, message_3], ..) = honest_run(&[]);
    let (mut initiator, mut responder) = (initiator(&[]), responder(&[]));
    let fetch = |handshake: &mut Handshake, room: usize| {
        let mut fetched = Vec::new();
        while handshake.wants_transmit() {
            assert_eq!(handshake.poll_transmit(&mut []), 0);
            let mut out = vec![0xa5; room];
            let len = handshake.poll_transmit(&mut out);
            assert!(len > 0 && out[len..].iter().all(|byte| *byte == 0xa5));
            fetched.extend_from_slice(&out[..len]);
        }
        fetched
    };
    assert_eq!(fetch(&mut initiator, 1), message_1);
    responder.handle_recv(&message_1).unwrap();
    assert_eq!(fetch(&mut responder, 7), message_2);
    initiator.handle_recv(&message_2).unwrap();
    assert_eq!(fetch(&mut initiator, message_3.len() - 1), message_3);
}

#[test]
fn an_initiator_is_finished_only_when_its_last_message_is_out() {
    let ([_, message_2, message_3], ..) = honest_run(&[]);
    let mut initiator = initiator(&[]);
    initiator.handle_recv(&message_2).unwrap();
    assert!(!initiator.is_finished(), "messages 1 and 3 wait");
    let mut initiator = initiator.finish().unwrap_err();

    let sent = drain(&mut initiator);
    assert!(sent.ends_with(&message_3), "finish() must not lose output");
    assert!(initiator.is_finished());
    assert_eq!(initiator.handle_recv(b"records"), Ok(0), "a finished handshake takes nothing");
    assert!(initiator.finish().is_ok());
}

#[test]
fn an_unfinished_handshake_is_handed_back_whole() {
    let ([message_1, message_2, message_3], ..) = honest_run(&[]);
    let mut responder = responder(&[]).finish().unwrap_err();
    responder.handle_recv(&message_1[..20]).unwrap();
    let mut responder = responder.finish().unwrap_err();
    responder.handle_recv(&message_1[20..]).unwrap();
    let mut responder = responder.finish().unwrap_err();
    assert_eq!(drain(&mut responder), message_2);
    let mut responder = responder.finish().unwrap_err();
    responder.handle_recv(&message_3).unwrap();
    assert!(responder.finish().is_ok());
}

#[test]
fn nothing_is_reserved_for_bytes_that_have_not_come() {
    let mut responder = responder(&[]);
    assert_eq!(call_responder_with_announced(&mut responder, 16 * 1024), Ok(2));
    assert!(responder.buffer_capacity() <= 16, "a length alone reserved {}", responder.buffer_capacity());
    responder.handle_recv(&[0; 1000]).unwrap();
    assert!(responder.buffer_capacity() <= 2048);
}

/// Message 1, and of message 3 only the length, for a payload of `payload_len`.
fn call_responder_with_announced(responder: &mut Handshake, payload_len: usize) -> Result<usize, Error> {
    let ([message_1, ..], ..) = honest_run(&[]);
    responder.handle_recv(&message_1).unwrap();
    drain(responder);
    responder.handle_recv(&u16::try_from(payload_len + 64).unwrap().to_be_bytes())
}

#[test]
fn too_large_a_payload_is_refused_by_its_length() {
    assert_eq!(call_responder_with_announced(&mut responder(&[]), 16 * 1024 + 1), Err(Error::PayloadTooLarge));
    let mut initiator = initiator(&[]);
    assert_eq!(initiator.handle_recv(&(96 + 16 * 1024_u16).to_be_bytes()), Ok(2));
    let mut initiator = super::initiator(&[]);
    assert_eq!(initiator.handle_recv(&(97 + 16 * 1024_u16).to_be_bytes()), Err(Error::PayloadTooLarge));
}

#[test]
fn a_payload_of_exactly_the_limit_is_accepted() {
    let mut payload = honest_payload(1, [8; 32]);
    // An unknown field of four bytes of key and length fills it up.
    let padding = 16 * 1024 - payload.len() - 4;
    crate::protobuf::Writer::new(&mut payload).bytes(100, &vec![0; padding]);
    assert_eq!(payload.len(), 16 * 1024);
    for result in show_to_both([8; 32], &payload) {
        assert_eq!(result, Ok(identity(1).peer_id()));
    }
}
