//! Early muxer negotiation: the table of noise-libp2p and what real peers send.

use alloc::{format, vec::Vec};

use super::*;
use crate::noise::{
    MAX_MUXERS_RECEIVED, MAX_MUXERS_SENT,
    payload::{self, Payload},
};

const OTHER: ProtocolId = ProtocolId::from_static("/other/1.0.0");

type Agreed = Result<Option<ProtocolId>, Error>;

/// What both ends of a whole handshake agree on.
fn negotiate(initiators: &[ProtocolId], responders: &[ProtocolId]) -> [Agreed; 2] {
    let (mut initiator, mut responder) = (initiator(initiators), responder(responders));
    responder.handle_recv(&drain(&mut initiator)).unwrap();
    if let Err(error) = initiator.handle_recv(&drain(&mut responder)) {
        assert!(!initiator.wants_transmit());
        return [Err(error.clone()), Err(error)];
    }
    let received = responder.handle_recv(&drain(&mut initiator));
    [Ok(initiator.finish().unwrap().muxer), received.map(|_| responder.finish().unwrap().muxer)]
}

/// What one end makes of a peer's list, without the rest of a handshake.
fn read(theirs: &[ProtocolId], choose: impl FnOnce(&payload::MuxerList<'_>) -> Agreed) -> Agreed {
    let message = payload::encode(b"key", b"signature", theirs);
    choose(&Payload::decode(&message).unwrap().muxers)
}

fn names(count: usize) -> Vec<ProtocolId> {
    (0..count).map(|i| ProtocolId::new(&format!("/muxer/{i}")).unwrap()).collect()
}

#[test]
fn the_first_entry_of_the_initiator_that_the_responder_has_is_chosen() {
    let cases: [(&[ProtocolId], &[ProtocolId], ProtocolId); 5] = [
        (&[YAMUX], &[YAMUX], YAMUX),
        (&[YAMUX, MPLEX], &[MPLEX, YAMUX], YAMUX),
        (&[MPLEX, YAMUX], &[YAMUX, MPLEX], MPLEX),
        (&[OTHER, MPLEX], &[YAMUX, MPLEX], MPLEX),
        (&[YAMUX], &[OTHER, MPLEX, YAMUX], YAMUX),
    ];
    for (initiators, responders, expected) in cases {
        let agreed = Ok(Some(expected));
        assert_eq!(negotiate(initiators, responders), [agreed.clone(), agreed.clone()]);
        // The same where the peer sends its whole list.
        assert_eq!(read(responders, |list| list.choose_as_initiator(initiators)), agreed);
        assert_eq!(read(initiators, |list| list.choose_as_responder(responders)), agreed);
    }
}

#[test]
fn without_a_list_on_either_side_nothing_is_agreed() {
    for (initiators, responders) in [([].as_slice(), [].as_slice()), (&[YAMUX], &[]), (&[], &[YAMUX])] {
        assert_eq!(negotiate(initiators, responders), [Ok(None), Ok(None)]);
    }
}

#[test]
fn lists_without_a_common_entry_fail_before_message_3() {
    let refused = Err(Error::NoMuxerInCommon);
    assert_eq!(negotiate(&[YAMUX], &[MPLEX, OTHER]), [refused.clone(), refused.clone()]);
    assert_eq!(read(&[MPLEX], |list| list.choose_as_responder(&[YAMUX])), refused);
}

#[test]
fn names_must_match_to_the_byte() {
    for near in ["/yamux/1.0.0 ", "/yamux/1.0", "/Yamux/1.0.0", "/yamux/1.0.0/"] {
        let near = [ProtocolId::new(near).unwrap()];
        assert_eq!(read(&near, |list| list.choose_as_initiator(&[YAMUX])), Err(Error::NoMuxerInCommon));
        assert_eq!(read(&near, |list| list.choose_as_responder(&[YAMUX])), Err(Error::NoMuxerInCommon));
    }
}

#[test]
fn an_initiator_that_has_chosen_lists_its_choice_alone() {
    let (mut initiator, mut responder) = (initiator(&[OTHER, YAMUX]), responder(&[YAMUX]));
    responder.handle_recv(&drain(&mut initiator)).unwrap();
    initiator.handle_recv(&drain(&mut responder)).unwrap();
    let message_3 = drain(&mut initiator);
    let alone = 2 + 64 + initiator_credentials().payload(&[YAMUX]).len();
    assert_eq!(message_3.len(), alone);
}

#[test]
fn a_list_of_100_entries_is_read_and_one_of_101_is_refused() {
    let ours = [YAMUX];
    for (filler, expected) in [
        (MAX_MUXERS_RECEIVED - 1, Ok(Some(YAMUX))),
        (MAX_MUXERS_RECEIVED, Err(Error::TooManyMuxers)),
        (MAX_MUXERS_RECEIVED + 1, Err(Error::TooManyMuxers)),
    ] {
        // The one we know stands last.
        let theirs = [names(filler).as_slice(), &[YAMUX]].concat();
        assert_eq!(read(&theirs, |list| list.choose_as_initiator(&ours)), expected);
        assert_eq!(read(&theirs, |list| list.choose_as_responder(&ours)), expected);
        // Standing first does not help.
        let theirs = [&[YAMUX], names(filler).as_slice()].concat();
        assert_eq!(read(&theirs, |list| list.choose_as_responder(&ours)), expected);
        // Whoever offers nothing does not look.
        assert_eq!(read(&theirs, |list| list.choose_as_responder(&[])), Ok(None));
    }
}

#[test]
fn a_list_of_101_entries_fails_a_whole_handshake() {
    let theirs = names(MAX_MUXERS_RECEIVED + 1);
    let payload = credentials(RESPONDER_IDENTITY, [8; 32]).payload(&theirs);
    let mut caller = initiator(&[YAMUX]);
    let answered = answer_initiator(&mut caller, &key_pair([8; 32]), &payload);
    assert_eq!(outcome(caller, answered), Err(Error::TooManyMuxers));
    let mut called = responder(&[YAMUX]);
    let received = call_responder(&mut called, &key_pair([8; 32]), &payload);
    assert_eq!(outcome(called, received), Err(Error::TooManyMuxers));
}

#[test]
fn of_our_own_list_only_the_first_32_are_sent() {
    let ours = names(MAX_MUXERS_SENT + 1);
    let sent = |muxers: &[ProtocolId]| {
        let mut responder = responder(muxers);
        responder.handle_recv(&drain(&mut initiator(&[]))).unwrap();
        drain(&mut responder)
    };
    assert_eq!(sent(&ours), sent(&ours[..MAX_MUXERS_SENT]));
    assert_ne!(sent(&ours), sent(&ours[..MAX_MUXERS_SENT - 1]));
}

#[test]
fn lists_in_repeated_extensions_are_joined() {
    let mut message = payload::encode(b"key", b"signature", &[OTHER]);
    message.extend_from_slice(&payload::encode(b"key", b"signature", &[YAMUX]));
    let payload = Payload::decode(&message).unwrap();
    assert_eq!(payload.muxers.choose_as_initiator(&[YAMUX]), Ok(Some(YAMUX)));
}

#[test]
fn muxers_of_an_unproven_peer_are_not_looked_at() {
    // No muxer in common and a bad signature: the signature is what counts.
    let payload = payload::encode(&identity(RESPONDER_IDENTITY).public_key().to_protobuf(), &[0; 64], &[MPLEX]);
    let mut caller = initiator(&[YAMUX]);
    let answered = answer_initiator(&mut caller, &key_pair([8; 32]), &payload);
    assert_eq!(outcome(caller, answered), Err(Error::BadSignature));
}
