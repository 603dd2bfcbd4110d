use core::time::Duration;
use std::{format, string::String, vec, vec::Vec};

use proptest::prelude::*;
use prost::Message as _;

use crate::protocol::identify::*;
use crate::{Identity, Instant, Multiaddr, ProtocolId, PublicKey, protobuf};

const START: Instant = Instant::EPOCH;

/// The message as the protobuf compiler would have it.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Oracle {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub(super) public_key: Option<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(super) listen_addrs: Vec<Vec<u8>>,
    #[prost(string, repeated, tag = "3")]
    pub(super) protocols: Vec<String>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub(super) observed_addr: Option<Vec<u8>>,
    #[prost(string, optional, tag = "5")]
    pub(super) protocol_version: Option<String>,
    #[prost(string, optional, tag = "6")]
    pub(super) agent_version: Option<String>,
    #[prost(bytes = "vec", optional, tag = "8")]
    pub(super) signed_peer_record: Option<Vec<u8>>,
}

pub(super) fn key(seed: u8) -> PublicKey {
    Identity::from_ed25519_seed([seed; 32]).public_key().clone()
}

pub(super) fn addr(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

pub(super) fn protocol(name: &str) -> ProtocolId {
    ProtocolId::new(name).unwrap()
}

pub(super) fn example() -> Info {
    Info {
        public_key: Some(key(1)),
        listen_addrs: vec![addr("/ip4/192.0.2.1/tcp/4001")],
        protocols: vec![protocol("/ipfs/ping/1.0.0")],
        observed_addr: Some(addr("/ip4/192.0.2.1/tcp/4001")),
        protocol_version: Some("ipfs/0.1.0".into()),
        agent_version: Some("example/0.1.0".into()),
        signed_peer_record: None,
    }
}

pub(super) fn prefixed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    crate::varint::encode_to(message.len() as u64, &mut out);
    out.extend_from_slice(message);
    out
}

fn dialer() -> Dialer {
    Dialer::new(key(1), START)
}

/// What a dialer makes of a whole stream that ends.
pub(super) fn receive(stream: &[u8]) -> Result<Received, Error> {
    let mut dialer = dialer();
    let early = dialer.handle_recv(stream)?;
    let late = dialer.handle_eof()?;
    assert!(dialer.is_finished());
    assert!(early.is_some() != late.is_some(), "the result comes once");
    Ok(early.or(late).unwrap())
}

pub(super) fn receive_message(oracle: &Oracle) -> Received {
    receive(&prefixed(&oracle.encode_to_vec())).unwrap()
}

#[test]
fn the_example_is_encoded_byte_for_byte() {
    let expected = String::from("670a24")
        + &hex::encode(key(1).to_protobuf())
        + "120804c0000201060fa11a102f697066732f70696e672f312e302e30220804c0000201060fa1"
        + "2a0a697066732f302e312e30320d6578616d706c652f302e312e30";
    assert_eq!(hex::encode(example().encode().unwrap()), expected);
    let received = receive(&hex::decode(expected).unwrap()).unwrap();
    assert_eq!(
        received,
        Received { info: example(), claimed_key: ClaimedKey::Same, peer_record: ClaimedRecord::Absent, dropped: 0 }
    );
}

#[test]
fn the_listener_writes_one_message_in_pieces_and_is_finished() {
    let message = example().encode().unwrap();
    for size in 1..message.len() + 2 {
        let mut listener = Listener::new(&example()).unwrap();
        let mut sent = Vec::new();
        while listener.wants_transmit() {
            assert!(!listener.is_finished());
            assert_eq!(listener.poll_transmit(&mut []), 0);
            let mut out = vec![0; size];
            let count = listener.poll_transmit(&mut out);
            sent.extend_from_slice(&out[..count]);
        }
        assert_eq!(sent, message);
        assert!(listener.is_finished());
        assert_eq!(listener.poll_transmit(&mut [0; 8]), 0);
    }
}

#[test]
fn a_stream_gives_the_same_however_it_is_cut_and_only_at_its_end() {
    let stream = example().encode().unwrap();
    for cut in 0..=stream.len() {
        let mut dialer = dialer();
        assert_eq!(dialer.handle_recv(&stream[..cut]), Ok(None));
        assert_eq!(dialer.handle_recv(&stream[cut..]), Ok(None));
        assert_eq!(dialer.handle_eof().unwrap().unwrap().info, example());
        assert_eq!(dialer.handle_eof(), Ok(None), "the result comes once");
    }
    let mut bytewise = dialer();
    for byte in stream.chunks(1) {
        assert_eq!(bytewise.handle_recv(byte), Ok(None));
    }
    assert_eq!(bytewise.handle_eof().unwrap().unwrap().info, example());
}

#[test]
fn an_end_inside_a_message_or_before_it_is_an_error() {
    let stream = [example().encode().unwrap(), example().encode().unwrap()].concat();
    for end in 0..stream.len() {
        let whole = end == stream.len() / 2;
        let result = receive(&stream[..end]);
        assert_eq!(result.is_ok(), whole, "after {end} bytes");
        assert!(whole || result == Err(Error::UnexpectedEof));
    }
}

#[test]
fn a_message_that_ends_inside_a_field_is_malformed() {
    let message = &example().encode().unwrap()[1..];
    let boundaries = [0, 38, 48, 66, 76, 88, 103];
    for end in 0..=message.len() {
        let result = receive(&prefixed(&message[..end]));
        if boundaries.contains(&end) {
            assert!(result.is_ok(), "{end}");
        } else {
            assert_eq!(result, Err(Error::Malformed(protobuf::Error::Truncated)), "{end}");
        }
    }
}

#[test]
fn messages_are_merged_lists_grow_and_the_last_single_value_wins() {
    let first = Oracle {
        public_key: Some(key(1).to_protobuf()),
        listen_addrs: vec![addr("/ip4/192.0.2.1/tcp/1").as_bytes().into()],
        protocols: vec!["/a".into()],
        agent_version: Some("old".into()),
        protocol_version: Some("kept".into()),
        ..Oracle::default()
    };
    let second = Oracle {
        listen_addrs: vec![addr("/ip4/192.0.2.1/tcp/2").as_bytes().into()],
        protocols: vec!["/b".into(), "/a".into()],
        agent_version: Some("new".into()),
        signed_peer_record: Some(vec![1, 2, 3]),
        ..Oracle::default()
    };
    let stream = [prefixed(&first.encode_to_vec()), prefixed(&second.encode_to_vec())].concat();
    let received = receive(&stream).unwrap();
    assert!(matches!(received.peer_record, ClaimedRecord::Unusable(_)), "one was seen");
    let info = received.info;
    assert_eq!(info.public_key, Some(key(1)));
    assert_eq!(info.listen_addrs, [addr("/ip4/192.0.2.1/tcp/1"), addr("/ip4/192.0.2.1/tcp/2")]);
    assert_eq!(info.protocols, [protocol("/a"), protocol("/b"), protocol("/a")]);
    assert_eq!(info.agent_version.as_deref(), Some("new"));
    assert_eq!(info.protocol_version.as_deref(), Some("kept"));

    let twice = [first.encode_to_vec(), second.encode_to_vec()].concat();
    assert_eq!(receive(&prefixed(&twice)).unwrap().info, info, "the same within one message");
}

#[test]
fn the_tenth_message_ends_it_and_what_follows_is_ignored() {
    let message =
        |n: usize| prefixed(&Oracle { protocols: vec![format!("/{n}")], ..Oracle::default() }.encode_to_vec());
    let nine: Vec<u8> = (1..10).flat_map(message).collect();
    let mut dialer = dialer();
    assert_eq!(dialer.handle_recv(&nine), Ok(None));
    assert!(!dialer.is_finished());
    let tenth = [message(10), message(11), vec![0xff; 40]].concat();
    let received = dialer.handle_recv(&tenth).unwrap().unwrap();
    assert_eq!(received.info.protocols.len(), MAX_MESSAGES);
    assert!(dialer.is_finished());
    assert_eq!(dialer.poll_timeout(), None);
    assert_eq!(dialer.handle_recv(&[0xff; 40]), Ok(None));
    assert_eq!(dialer.handle_timeout(START.saturating_add(TIMEOUT)), Ok(None));
    assert_eq!(dialer.handle_eof(), Ok(None));

    let empty = receive(&[0; 10]).unwrap();
    assert_eq!((empty.info, empty.claimed_key), (Info::default(), ClaimedKey::Absent), "empty messages count");
}

#[test]
fn a_message_of_8192_bytes_is_read_and_a_longer_one_refused_from_its_length() {
    let oracle = |len| Oracle { signed_peer_record: Some(vec![7; len]), ..Oracle::default() };
    let longest = oracle(MAX_MESSAGE_LEN - 3).encode_to_vec();
    assert_eq!(longest.len(), MAX_MESSAGE_LEN);
    let received = receive(&prefixed(&longest)).unwrap();
    assert!(matches!(received.peer_record, ClaimedRecord::Unusable(_)), "it was read whole");

    assert_eq!(dialer().handle_recv(&[0x81, 0x40]), Err(Error::MessageTooLong), "8193");
    assert_eq!(dialer().handle_recv(&[0xff; 20]), Err(Error::MessageTooLong));
    assert_eq!(dialer().handle_recv(&[0x80, 0x00]), Err(Error::LengthNotMinimal));
    let mut failed = dialer();
    assert_eq!(failed.handle_recv(&[0x81, 0x40]), Err(Error::MessageTooLong));
    assert_eq!(failed.handle_recv(&example().encode().unwrap()), Err(Error::MessageTooLong), "an error is final");
    assert_eq!(failed.handle_eof(), Err(Error::MessageTooLong));
    assert_eq!(failed.handle_timeout(Instant::NEVER), Err(Error::MessageTooLong));
}

#[test]
fn a_message_to_send_has_at_most_4096_bytes_and_the_key() {
    let with_record = |len| Info { signed_peer_record: Some(vec![7; len]), ..example() };
    let free = MAX_SENT_MESSAGE_LEN - 103 - 3;
    assert_eq!(with_record(free).encode().unwrap().len(), 2 + MAX_SENT_MESSAGE_LEN);
    assert_eq!(with_record(free + 1).encode(), Err(EncodeError::TooLong { len: 4097 }));
    assert_eq!(Listener::new(&with_record(free + 1)).err(), Some(EncodeError::TooLong { len: 4097 }));
    assert_eq!(Info { public_key: None, ..example() }.encode(), Err(EncodeError::NoPublicKey));
}

#[test]
fn the_deadline_ends_the_wait_with_what_is_complete() {
    let deadline = START.saturating_add(TIMEOUT);
    let early = START.saturating_add(Duration::from_millis(9_999));

    let mut silent = dialer();
    assert_eq!(silent.poll_timeout(), Some(deadline));
    assert_eq!(silent.handle_timeout(early), Ok(None));
    assert_eq!(silent.handle_timeout(deadline), Err(Error::Timeout));
    assert_eq!(silent.poll_timeout(), None);

    let mut slow = dialer();
    slow.handle_recv(&example().encode().unwrap()[..50]).unwrap();
    assert_eq!(slow.handle_timeout(deadline), Err(Error::Timeout));

    let mut left_open = dialer();
    left_open.handle_recv(&[example().encode().unwrap(), vec![50, 1]].concat()).unwrap();
    assert_eq!(left_open.handle_timeout(early), Ok(None));
    assert_eq!(left_open.handle_timeout(deadline).unwrap().unwrap().info, example());
    assert_eq!(left_open.handle_timeout(deadline), Ok(None));
}

#[test]
fn a_key_that_is_not_the_authenticated_one_is_ignored_and_reported() {
    let cases = [
        (Some(key(1).to_protobuf()), ClaimedKey::Same, Some(key(1)), 0),
        (Some(key(2).to_protobuf()), ClaimedKey::Different, None, 0),
        (Some(vec![0x08, 0x00, 0x12, 0x01, 0x00]), ClaimedKey::Unusable, None, 1),
        (Some(vec![]), ClaimedKey::Unusable, None, 1),
        (None, ClaimedKey::Absent, None, 0),
    ];
    for (public_key, claimed_key, kept, dropped) in cases {
        let oracle = Oracle { public_key, protocols: vec!["/a".into()], ..Oracle::default() };
        let received = receive_message(&oracle);
        assert_eq!((received.claimed_key, received.info.public_key, received.dropped), (claimed_key, kept, dropped));
        assert_eq!(received.info.protocols, [protocol("/a")], "the rest is kept");
    }
    let good = Oracle { public_key: Some(key(1).to_protobuf()), ..Oracle::default() }.encode_to_vec();
    let bad = Oracle { public_key: Some(key(2).to_protobuf()), ..Oracle::default() }.encode_to_vec();
    for (stream, expected) in [([&good, &bad], ClaimedKey::Different), ([&bad, &good], ClaimedKey::Same)] {
        let stream: Vec<u8> = stream.into_iter().flat_map(|message| prefixed(message)).collect();
        assert_eq!(receive(&stream).unwrap().claimed_key, expected, "the last key counts");
    }
}

#[test]
fn entries_that_cannot_be_used_are_dropped_one_by_one() {
    let good = addr("/ip4/192.0.2.1/tcp/1");
    let oracle = Oracle {
        listen_addrs: vec![vec![], good.as_bytes().into(), vec![4, 1, 2], good.as_bytes().into()],
        protocols: vec!["".into(), "/a".into(), "no-slash".into(), format!("/{}", "x".repeat(255)), "/\n".into()],
        observed_addr: Some(vec![0xff]),
        ..Oracle::default()
    };
    let received = receive_message(&oracle);
    assert_eq!(received.info.listen_addrs, [good.clone(), good]);
    assert_eq!(received.info.protocols, [protocol("/a")]);
    assert_eq!(received.info.observed_addr, None);
    assert_eq!(received.dropped, 2 + 4 + 1);

    // Not UTF-8, which the oracle cannot write: a protocol, a protocol version, an agent version.
    let received = receive(&prefixed(&[0x1a, 2, b'/', 0xff, 0x2a, 1, 0xff, 0x32, 1, 0xff])).unwrap();
    assert_eq!((received.info, received.dropped), (Info::default(), 3));
}

#[test]
fn unknown_fields_are_passed_over_and_known_ones_must_have_their_type() {
    let unknown = [0x38, 0x05, 0x7a, 0x01, 0x41, 0x79, 1, 2, 3, 4, 5, 6, 7, 8, 0x7d, 1, 2, 3, 4];
    assert_eq!(receive(&prefixed(&unknown)).unwrap().dropped, 0);
    for field in [1_u8, 2, 3, 4, 5, 6, 8] {
        let wrong = receive(&prefixed(&[field << 3, 1]));
        assert_eq!(wrong, Err(Error::Malformed(protobuf::Error::WrongType)), "field {field}");
    }
    assert_eq!(receive(&prefixed(&[0x0b])), Err(Error::Malformed(protobuf::Error::WireType(3))));
}

#[test]
fn protocols_and_addresses_are_kept_up_to_their_bounds() {
    let stream = |protocols: usize, addrs: usize| -> Vec<u8> {
        let part =
            |n: usize| prefixed(&Oracle { protocols: vec!["/a".into(); n], ..Oracle::default() }.encode_to_vec());
        let bytes = addr("/ip4/192.0.2.1/tcp/1").as_bytes().to_vec();
        let addrs = Oracle { listen_addrs: vec![bytes; addrs], ..Oracle::default() };
        [part(512), part(protocols - 512), prefixed(&addrs.encode_to_vec())].concat()
    };
    let full = receive(&stream(1024, 500)).unwrap();
    assert_eq!((full.info.protocols.len(), full.info.listen_addrs.len(), full.dropped), (1024, 500, 0));
    let over = receive(&stream(1025, 501)).unwrap();
    assert_eq!((over.info.protocols.len(), over.info.listen_addrs.len(), over.dropped), (1024, 500, 2));
}

#[test]
fn texts_are_cut_between_characters_and_cannot_drive_a_terminal() {
    let text = |agent: &str| {
        let oracle =
            Oracle { agent_version: Some(agent.into()), protocol_version: Some(agent.into()), ..Oracle::default() };
        let info = receive_message(&oracle).info;
        assert_eq!(info.agent_version, info.protocol_version);
        info.agent_version.unwrap()
    };
    assert_eq!(text(&"x".repeat(256)), "x".repeat(256));
    assert_eq!(text(&"x".repeat(257)), "x".repeat(256));
    assert_eq!(text(&("x".repeat(255) + "\u{e9}")), "x".repeat(255), "half a character is left out");
    assert_eq!(text(&("x".repeat(254) + "\u{e9}")), "x".repeat(254) + "\u{e9}");
    assert_eq!(text("\u{1b}[31mred\r\n\u{9b}2J"), "\u{fffd}[31mred\u{fffd}\u{fffd}\u{fffd}2J");
    assert_eq!(text("a\u{202e}b\u{2066}c\u{200b}d\u{feff}"), "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}");
    assert_eq!(text("\0").len(), 3);
    assert_eq!(text(&"\0".repeat(300)), "\u{fffd}".repeat(85));
    assert_eq!(text("kubo/0.30.0 \u{e9}\u{4e16}"), "kubo/0.30.0 \u{e9}\u{4e16}");
}

#[test]
fn an_info_is_decoded_without_its_length_and_whoever_it_claims_to_be() {
    let message = Oracle { public_key: Some(key(9).to_protobuf()), ..Oracle::default() }.encode_to_vec();
    assert_eq!(Info::decode(&message).unwrap().public_key, Some(key(9)));
    assert_eq!(Info::decode(&[0x0a]), Err(protobuf::Error::Truncated));
}

fn infos() -> impl Strategy<Value = Info> {
    let addrs = (any::<[u8; 4]>(), any::<u16>())
        .prop_map(|(ip, port)| Multiaddr::from_socket_addr(core::net::SocketAddr::from((ip, port))));
    let protocols = "/[a-z0-9./]{0,30}".prop_map(|name| protocol(&name));
    let text = || prop::option::of("[ -~]{0,64}");
    (
        any::<u8>(),
        prop::collection::vec(addrs.clone(), 0..20),
        prop::collection::vec(protocols, 0..20),
        prop::option::of(addrs),
        (text(), text()),
        prop::option::of(prop::collection::vec(any::<u8>(), 0..200)),
    )
        .prop_map(|(seed, listen_addrs, protocols, observed_addr, texts, signed_peer_record)| Info {
            public_key: Some(key(seed)),
            listen_addrs,
            protocols,
            observed_addr,
            protocol_version: texts.0,
            agent_version: texts.1,
            signed_peer_record,
        })
}

proptest! {
    #[test]
    fn what_one_end_says_the_other_hears_and_so_does_prost(info in infos(), cuts in prop::collection::vec(1..100_usize, 1..10)) {
        let mut listener = Listener::new(&info).unwrap();
        let mut dialer = Dialer::new(info.public_key.clone().unwrap(), START);
        let mut stream = Vec::new();
        for cut in cuts.iter().cycle() {
            let mut out = vec![0; *cut];
            let count = listener.poll_transmit(&mut out);
            stream.extend_from_slice(&out[..count]);
            prop_assert_eq!(dialer.handle_recv(&out[..count]), Ok(None));
            if listener.is_finished() {
                break;
            }
        }
        let received = dialer.handle_eof().unwrap().unwrap();
        let unopened = Info { signed_peer_record: None, ..info.clone() };
        prop_assert_eq!(&received.info, &unopened);
        prop_assert_eq!((received.claimed_key, received.dropped), (ClaimedKey::Same, 0));
        prop_assert_eq!(received.peer_record == ClaimedRecord::Absent, info.signed_peer_record.is_none());

        let oracle = Oracle::decode_length_delimited(&stream[..]).unwrap();
        prop_assert_eq!(oracle.encode_length_delimited_to_vec(), stream);
        prop_assert_eq!(oracle.protocols.len(), info.protocols.len());
        prop_assert_eq!(oracle.agent_version, info.agent_version);
        prop_assert_eq!(oracle.signed_peer_record, info.signed_peer_record);
        prop_assert_eq!(oracle.public_key, info.public_key.map(|key| key.to_protobuf()));
    }

    #[test]
    fn random_bytes_end_the_same_way_however_they_are_cut(
        data in prop::collection::vec(prop_oneof![any::<u8>(), 0..0x40_u8], 0..200), cut in 0..200_usize
    ) {
        let (front, back) = data.split_at(cut.min(data.len()));
        let mut dialer = dialer();
        let parts = dialer.handle_recv(front).and_then(|first| Ok((first, dialer.handle_recv(back)?)));
        let parts = parts.and_then(|(first, second)| Ok(first.or(second).or(dialer.handle_eof()?)));
        prop_assert_eq!(parts.map(Option::unwrap), receive(&data));
    }
}
