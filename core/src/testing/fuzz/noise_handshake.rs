//! The Noise handshake: bytes of anybody, an attacker between two honest ends, and a peer that holds its
//! keys and lies.

use alloc::vec::Vec;

use super::Input;
use crate::{
    ExpectedPeer, ProtocolId, Role, Seed,
    noise::{
        Error, Finished, Handshake, RECORD_HEADER_LEN,
        scripted::{ScriptedInitiator, answer_message_1, honest_payload},
    },
    protobuf::Writer,
    testing::credentials,
};

/// Input: a choice of one of three attacks, role and expectation of this end, the muxers of both ends, then what the attack needs.
///
/// * Bytes as they are, whole and cut: both give the same.
/// * A handshake of two honest ends, cut anywhere, with one message changed. Unchanged it must succeed at
///   both ends with one hash, one muxer and keys that fit; changed, who receives the message must not.
/// * A true message 2 or 3 whose payload the input makes. It succeeds only with the identity that signed
///   the static key, and agrees on nothing that this end does not offer.
///
/// Always: a failure is final and takes its output with it, and nothing behind the handshake is consumed.
pub fn noise_handshake(data: &[u8]) {
    let mut input = Input::new(data);
    let attack = input.below(3);
    let choice = input.byte();
    let role = if choice & 1 == 1 { Role::Dialer } else { Role::Listener };
    let expected = if choice & 2 == 2 { ExpectedPeer::Any } else { ExpectedPeer::Exactly(credentials(PEER).peer_id()) };
    let (ours, theirs) = (muxers(&mut input), muxers(&mut input));
    match attack {
        0 => strange_bytes(role, expected, &ours, &mut input),
        1 => attacker_between(expected, &ours, &theirs, &mut input),
        _ => lying_peer(role, expected, &ours, &theirs, &mut input),
    }
}

/// Ours in every handshake; the peer is 2.
const US: u8 = 1;
const PEER: u8 = 2;

fn muxers(input: &mut Input<'_>) -> Vec<ProtocolId> {
    const POOL: [ProtocolId; 3] = [
        ProtocolId::from_static("/yamux/1.0.0"),
        ProtocolId::from_static("/mplex/6.7.0"),
        ProtocolId::from_static("/m"),
    ];
    let choice = input.byte();
    // Up to three, from any of them on.
    POOL.into_iter().cycle().skip(usize::from(choice >> 2)).take((choice & 3).into()).collect()
}

fn handshake(role: Role, number: u8, expected: ExpectedPeer, muxers: &[ProtocolId]) -> Handshake {
    let seed = Seed::from_bytes([number; 32]);
    match role {
        Role::Dialer => Handshake::initiator(credentials(number), expected, muxers, seed),
        Role::Listener => Handshake::responder(credentials(number), expected, muxers, seed),
    }
}

fn drain(handshake: &mut Handshake, room: usize) -> Vec<u8> {
    let (mut sent, mut out) = (Vec::new(), alloc::vec![0; room]);
    while handshake.wants_transmit() {
        let len = handshake.poll_transmit(&mut out);
        assert!(len > 0, "a handshake that wants to transmit does");
        sent.extend_from_slice(&out[..len]);
    }
    assert_eq!(handshake.poll_transmit(&mut out), 0);
    sent
}

/// Feeds `data` in pieces and returns what was not consumed.
fn feed(handshake: &mut Handshake, data: &[u8], cuts: &mut Input<'_>) -> Result<Vec<u8>, Error> {
    let (mut outcome, mut rest) = (Ok(()), Vec::new());
    cuts.cut(data, |piece| match handshake.handle_recv(piece) {
        Ok(taken) => {
            assert!(rest.is_empty() || taken == 0, "bytes behind the handshake are consumed");
            rest.extend_from_slice(&piece[taken..]);
        }
        Err(error) => outcome = Err(error),
    });
    if let Err(error) = &outcome {
        assert_eq!(handshake.handle_recv(data).as_ref(), Err(error), "a failure is final");
        assert!(!handshake.wants_transmit() && !handshake.is_finished());
    }
    outcome.map(|()| rest)
}

fn strange_bytes(role: Role, expected: ExpectedPeer, ours: &[ProtocolId], input: &mut Input<'_>) {
    let cuts_len = input.byte().into();
    let mut cuts = Input::new(input.bytes(cuts_len));
    let (mut whole, mut split) = (handshake(role, US, expected, ours), handshake(role, US, expected, ours));
    let first = drain(&mut whole, 7);
    assert_eq!(drain(&mut split, 1024), first);
    let data = input.rest();
    let outcome = feed(&mut whole, data, &mut Input::new(&[]));
    assert_eq!(feed(&mut split, data, &mut cuts), outcome);
    assert_eq!(drain(&mut whole, 7), drain(&mut split, 1024));
    assert!(whole.finish().is_err(), "nobody has proved anything");
    assert!(split.finish().is_err(), "nobody has proved anything");
}

fn attacker_between(expected: ExpectedPeer, ours: &[ProtocolId], theirs: &[ProtocolId], input: &mut Input<'_>) {
    let target = input.below(4);
    let change = Change::read(input);
    let (mut initiator, mut responder) =
        (handshake(Role::Dialer, US, expected, ours), handshake(Role::Listener, PEER, ExpectedPeer::Any, theirs));
    let mut changed = false;
    let mut outcomes = [Ok(Vec::new()), Ok(Vec::new()), Ok(Vec::new())];
    for (index, outcome) in outcomes.iter_mut().enumerate() {
        let (from, to) = if index == 1 { (&mut responder, &mut initiator) } else { (&mut initiator, &mut responder) };
        let honest = drain(from, 1 + input.below(256));
        let mut message = honest.clone();
        if index == target {
            change.apply(&mut message);
        }
        changed |= message != honest;
        *outcome = feed(to, &message, input);
    }
    let [_, second, third] = outcomes;
    let (initiator, responder) = (initiator.finish(), responder.finish());
    let common = ours.is_empty() || theirs.is_empty() || ours.iter().any(|muxer| theirs.contains(muxer));
    if !changed && common {
        let (ours, theirs) = (initiator.expect("an honest handshake"), responder.expect("an honest handshake"));
        assert_eq!((second, third), (Ok(Vec::new()), Ok(Vec::new())));
        check_ends(ours, theirs);
    } else if !changed {
        assert_eq!(second, Err(Error::NoMuxerInCommon));
        assert!(initiator.is_err() && responder.is_err());
    } else {
        // More bytes behind a whole message are no change of it, but of what follows.
        let only_longer = matches!(change, Change::Append(_));
        assert!(only_longer || responder.is_err(), "the responder takes a changed handshake for good");
        assert!(target == 2 || only_longer || initiator.is_err(), "the initiator takes a changed answer for good");
    }
}

/// What the attacker does to one message.
enum Change {
    Nothing,
    Xor(usize, u8),
    Cut(usize),
    Append(Vec<u8>),
    Replace(usize, Vec<u8>),
}

impl Change {
    fn read(input: &mut Input<'_>) -> Self {
        let kind = input.below(5);
        let at = input.u16().into();
        let len = input.byte().into();
        match kind {
            0 => Self::Nothing,
            1 => Self::Xor(at, input.byte()),
            2 => Self::Cut(at),
            3 => Self::Append(input.bytes(len).to_vec()),
            _ => Self::Replace(at, input.bytes(len).to_vec()),
        }
    }

    fn apply(&self, message: &mut Vec<u8>) {
        match self {
            Self::Nothing => {}
            Self::Xor(at, bits) => {
                let len = message.len().max(1);
                message.get_mut(at % len).into_iter().for_each(|byte| *byte ^= bits);
            }
            Self::Cut(at) => message.truncate(*at),
            Self::Append(bytes) => message.extend_from_slice(bytes),
            Self::Replace(at, bytes) => {
                message.iter_mut().skip(*at).zip(bytes).for_each(|(to, from)| *to = *from);
            }
        }
    }
}

fn check_ends(mut ours: Finished, mut theirs: Finished) {
    assert_eq!((ours.peer, theirs.peer), (credentials(PEER).peer_id(), credentials(US).peer_id()));
    assert_eq!(ours.handshake_hash, theirs.handshake_hash);
    assert_eq!(ours.muxer, theirs.muxer);
    for (sealer, opener) in [(&mut ours.sealer, &mut theirs.opener), (&mut theirs.sealer, &mut ours.opener)] {
        let mut record = *b"..secret................";
        let len = sealer.seal_in_place(&mut record, 6).expect("it fits");
        assert_eq!(opener.open_in_place(&mut record[..len]).map(|plaintext| &*plaintext), Ok(&b"secret"[..]));
    }
}

fn lying_peer(role: Role, expected: ExpectedPeer, ours: &[ProtocolId], theirs: &[ProtocolId], input: &mut Input<'_>) {
    let peer = credentials(PEER);
    let honest = honest_payload(&peer, theirs);
    let (with_honest, padding) = (!input.bool(), input.u16().into());
    let mut payload = if with_honest { honest.clone() } else { Vec::new() };
    payload.extend_from_slice(input.rest());
    if padding > 0 {
        Writer::new(&mut payload).bytes(99, &alloc::vec![0; padding]);
    }
    if payload.len() > usize::from(u16::MAX) - 256 {
        return;
    }

    let seed = Seed::from_bytes([PEER; 32]);
    let mut victim = handshake(role, US, expected, ours);
    let last = match role {
        Role::Dialer => answer_message_1(&peer, seed, &drain(&mut victim, 64), &payload),
        Role::Listener => ScriptedInitiator::new(&peer, seed).and_then(|(initiator, message_1)| {
            assert_eq!(victim.handle_recv(&message_1), Ok(message_1.len()));
            initiator.answer(&peer, &drain(&mut victim, 64), &payload)
        }),
    };
    let last = last.expect("the peer follows the pattern");
    assert!(last.len() > RECORD_HEADER_LEN);
    let outcome = feed(&mut victim, &last, &mut Input::new(&[]));
    assert!(payload.len() <= crate::noise::MAX_PAYLOAD_LEN || outcome == Err(Error::PayloadTooLarge));
    drain(&mut victim, 64);
    match victim.finish() {
        Ok(finished) => {
            assert_eq!(finished.peer, peer.peer_id(), "a static key without its identity's signature");
            assert_eq!(&finished.public_key, peer.public_key());
            assert!(finished.muxer.is_none_or(|muxer| ours.contains(&muxer)), "a muxer that was not offered");
        }
        Err(_) => assert!(outcome.is_err(), "a whole message decides"),
    }
    let common = ours.is_empty() || theirs.is_empty() || ours.iter().any(|muxer| theirs.contains(muxer));
    assert!(payload != honest || outcome.is_ok() == common, "{outcome:?}");
}
