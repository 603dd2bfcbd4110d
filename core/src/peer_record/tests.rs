use alloc::{format, string::String, vec, vec::Vec};

use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::crypto::RustCrypto;

/// The record as the protobuf compiler would have it.
#[derive(Clone, PartialEq, prost::Message)]
struct Oracle {
    #[prost(bytes = "vec", tag = "1")]
    peer_id: Vec<u8>,
    #[prost(uint64, tag = "2")]
    seq: u64,
    #[prost(message, repeated, tag = "3")]
    addresses: Vec<OracleAddress>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OracleAddress {
    #[prost(bytes = "vec", tag = "1")]
    multiaddr: Vec<u8>,
}

fn identity(seed: u8) -> Identity {
    Identity::from_ed25519_seed([seed; 32])
}

fn addr(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

fn seal(format: Format, seq: u64, addrs: &[Multiaddr]) -> SignedPeerRecord {
    SignedPeerRecord::seal(&identity(1), &RustCrypto, format, seq, addrs).unwrap()
}

/// Any bytes at all, validly signed as a record by identity 1.
fn envelope_around(payload: &[u8]) -> Vec<u8> {
    let (domain, payload_type) = Format::Common.names();
    signed_envelope::seal(&identity(1), &RustCrypto, domain, payload_type, payload).unwrap()
}

fn open_oracle(oracle: &Oracle) -> Result<SignedPeerRecord, Error> {
    SignedPeerRecord::open(&envelope_around(&oracle.encode_to_vec()))
}

fn example() -> Oracle {
    let multiaddr = addr("/ip4/192.0.2.1/tcp/4001").as_bytes().to_vec();
    let addresses = vec![OracleAddress { multiaddr }];
    Oracle { peer_id: identity(1).peer_id().as_bytes().to_vec(), seq: 1, addresses }
}

#[test]
fn the_common_format_is_written_byte_for_byte() {
    let key = hex::encode(identity(1).public_key().to_protobuf());
    let record = format!("0a260024{key}10011a0a0a0804c0000201060fa1");
    let signature = "4cdb9d68ce2cd004e5a58e24fa7673bfa50b447d4150bde91747ce01cb21b4de\
                     c522f0345b1017e697324e322fe2fa0cea4b2b526b825a041cf8f27fbae64508";
    let expected = format!("0a24{key}120203011a36{record}2a40{signature}");
    let sealed = seal(Format::Common, 1, &[addr("/ip4/192.0.2.1/tcp/4001")]);
    assert_eq!(hex::encode(sealed.envelope()), expected);
    assert_eq!(SignedPeerRecord::open(&hex::decode(expected).unwrap()), Ok(sealed));
}

#[test]
fn both_formats_are_read_and_a_signature_for_one_is_none_for_the_other() {
    let addrs = [addr("/ip4/192.0.2.1/tcp/4001"), addr("/dns4/example.com/tcp/443/tls/ws")];
    for format in [Format::Common, Format::Rfc] {
        let sealed = seal(format, 7, &addrs);
        let opened = SignedPeerRecord::open(sealed.envelope()).unwrap();
        assert_eq!(opened, sealed);
        assert_eq!((opened.peer_id(), opened.seq(), opened.addrs()), (identity(1).peer_id(), 7, &addrs[..]));
        assert_eq!(opened.public_key(), identity(1).public_key());
    }
    let record = example().encode_to_vec();
    let [(common, common_type), (rfc, rfc_type)] = [Format::Common, Format::Rfc].map(Format::names);
    for (domain, payload_type) in [(common, rfc_type), (rfc, common_type), ("libp2p-relay-rsvp", common_type)] {
        let mixed = signed_envelope::seal(&identity(1), &RustCrypto, domain, payload_type, &record).unwrap();
        assert_eq!(SignedPeerRecord::open(&mixed), Err(signed_envelope::Error::BadSignature.into()));
    }
    let voucher = signed_envelope::seal(&identity(1), &RustCrypto, common, &[3, 2], &record).unwrap();
    assert_eq!(SignedPeerRecord::open(&voucher), Err(signed_envelope::Error::PayloadType.into()));
}

#[test]
fn nobody_can_sign_for_another_peer() {
    let victim = identity(2).peer_id();
    let forged = Oracle { peer_id: victim.as_bytes().to_vec(), ..example() };
    let signer = identity(1).peer_id();
    assert_eq!(open_oracle(&forged), Err(Error::OtherPeer { claimed: victim, signer }));
    let anonymous = Oracle { peer_id: vec![], ..example() };
    assert_eq!(open_oracle(&anonymous), Err(Error::Peer(InvalidPeerId::Multihash)));
}

#[test]
fn no_bit_of_a_record_can_be_changed() {
    let sealed = seal(Format::Common, 1, &[addr("/ip4/192.0.2.1/tcp/4001")]);
    for bit in 0..sealed.envelope().len() * 8 {
        let mut forged = sealed.envelope().to_vec();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(SignedPeerRecord::open(&forged).is_err(), "bit {bit}");
    }
}

#[test]
fn a_record_cut_anywhere_is_refused_or_says_less() {
    let record = example().encode_to_vec();
    for end in 0..=record.len() {
        let opened = SignedPeerRecord::open(&envelope_around(&record[..end]));
        match end {
            0 => assert_eq!(opened, Err(Error::Peer(InvalidPeerId::Multihash))),
            40 => assert_eq!(opened.map(|record| (record.seq(), record.addrs().len())), Ok((0, 0))),
            42 => assert_eq!(opened.map(|record| (record.seq(), record.addrs().len())), Ok((1, 0))),
            54 => assert_eq!(opened.map(|record| (record.seq(), record.addrs().len())), Ok((1, 1))),
            _ => assert_eq!(opened, Err(Error::Protobuf(protobuf::Error::Truncated)), "{end}"),
        }
    }
}

#[test]
fn addresses_that_cannot_be_used_are_left_out_one_by_one() {
    let good = addr("/ip4/192.0.2.1/tcp/1");
    let own = good.with_peer(identity(1).peer_id()).unwrap();
    let other = good.with_peer(identity(2).peer_id()).unwrap();
    let bytes = |addr: &Multiaddr| addr.as_bytes().to_vec();
    let long = [&[0x36, 0xfb, 0x07][..], &[b'a'; 1019]].concat();
    let multiaddrs = [bytes(&good), vec![], vec![4, 1, 2], bytes(&other), bytes(&own), long];
    let addresses = multiaddrs.into_iter().map(|multiaddr| OracleAddress { multiaddr }).collect();
    let opened = open_oracle(&Oracle { addresses, ..example() }).unwrap();
    assert_eq!((opened.addrs(), opened.dropped()), (&[good, own][..], 4));
}

#[test]
fn addresses_are_kept_up_to_their_bound_and_more_are_not_sealed() {
    let good = addr("/ip4/192.0.2.1/tcp/1");
    for (count, dropped) in [(MAX_ADDRS, 0), (MAX_ADDRS + 1, 1)] {
        let addresses = vec![OracleAddress { multiaddr: good.as_bytes().to_vec() }; count];
        let opened = open_oracle(&Oracle { addresses, ..example() }).unwrap();
        assert_eq!((opened.addrs().len(), opened.dropped()), (MAX_ADDRS, dropped));
    }
    let seal = |addrs: &[Multiaddr]| SignedPeerRecord::seal(&identity(1), &RustCrypto, Format::Common, 1, addrs);
    assert_eq!(seal(&vec![good.clone(); MAX_ADDRS]).unwrap().addrs().len(), MAX_ADDRS);
    assert_eq!(seal(&vec![good; MAX_ADDRS + 1]), Err(SealError::TooManyAddrs { count: MAX_ADDRS + 1 }));
    let long = addr(&format!("/dns4/{}/tcp/1", "a".repeat(200)));
    assert!(matches!(seal(&vec![long; 64]), Err(SealError::Envelope(signed_envelope::SealError::TooLong { .. }))));
}

#[test]
fn an_envelope_over_its_limit_is_not_read() {
    let record = seal(Format::Common, 1, &[]);
    let padding = |len: usize| [record.envelope(), &[0x20, 0].repeat(len)].concat()[..len].to_vec();
    let even = signed_envelope::MAX_LEN - (signed_envelope::MAX_LEN - record.envelope().len()) % 2;
    assert!(SignedPeerRecord::open(&padding(even)).is_ok());
    let over = SignedPeerRecord::open(&padding(signed_envelope::MAX_LEN + 1));
    assert_eq!(over, Err(signed_envelope::Error::TooLong.into()));
}

#[test]
fn only_a_greater_number_of_the_same_peer_is_newer() {
    let [old, same, new, last] = [1, 1, 2, u64::MAX].map(|seq| seal(Format::Common, seq, &[]));
    assert!(new.is_newer_than(&old) && last.is_newer_than(&new));
    assert!(!same.is_newer_than(&old) && !old.is_newer_than(&new) && !last.is_newer_than(&last.clone()));
    let stranger = SignedPeerRecord::seal(&identity(2), &RustCrypto, Format::Common, 9, &[]).unwrap();
    assert!(!stranger.is_newer_than(&old));
}

#[test]
fn fields_must_have_their_type_and_unknown_ones_are_passed_over() {
    let record = example().encode_to_vec();
    let wrong: [&[u8]; 4] = [&[0x08, 1], &[0x12, 0], &[0x18, 1], &[0x1a, 2, 0x08, 1]];
    for wrong in wrong {
        let opened = SignedPeerRecord::open(&envelope_around(&[&record[..], wrong].concat()));
        assert_eq!(opened, Err(Error::Protobuf(protobuf::Error::WrongType)), "{wrong:?}");
    }
    let unknown = [&[0x7a, 1, 0x41][..], &record, &[0x79, 1, 2, 3, 4, 5, 6, 7, 8]].concat();
    assert_eq!(SignedPeerRecord::open(&envelope_around(&unknown)).unwrap().addrs().len(), 1);
}

#[test]
fn errors_are_for_people() {
    let victim = Oracle { peer_id: identity(2).peer_id().as_bytes().to_vec(), ..example() };
    let text: String = format!("{}", open_oracle(&victim).unwrap_err());
    assert!(text.starts_with("the peer record is about 12D3KooW"), "{text}");
}

proptest! {
    #[test]
    fn it_is_encoded_as_the_protobuf_compiler_would(
        seq in 1..=u64::MAX, addrs in prop::collection::vec((any::<[u8; 4]>(), any::<u16>()), 0..20)
    ) {
        let addrs: Vec<Multiaddr> = addrs.into_iter().map(|addr| Multiaddr::from_socket_addr(addr.into())).collect();
        let record = encode(&identity(1).peer_id(), seq, &addrs);
        let oracle = Oracle::decode(&record[..]).unwrap();
        prop_assert_eq!(oracle.encode_to_vec(), record);
        prop_assert_eq!((PeerId::from_bytes(&oracle.peer_id), oracle.seq), (Ok(identity(1).peer_id()), seq));
        prop_assert_eq!(open_oracle(&oracle).unwrap(), seal(Format::Common, seq, &addrs));
    }

    #[test]
    fn random_signed_bytes_never_panic(payload in prop::collection::vec(prop_oneof![any::<u8>(), 0..0x40_u8], 0..300)) {
        let _ = SignedPeerRecord::open(&envelope_around(&payload));
    }
}
