//! The encodings of the yamux spec, byte for byte.

use crate::yamux::{
    StreamId, Violation,
    header::{Flags, Header, Kind},
};

fn bytes(hex: &str) -> [u8; 12] {
    hex::decode(hex.replace(' ', "")).unwrap().try_into().unwrap()
}

fn id(n: u32) -> StreamId {
    StreamId::new(n).unwrap()
}

#[test]
fn every_frame_that_we_send_has_its_documented_bytes() {
    let one = id(1);
    for (header, expected) in [
        (Header::window_update(one, Flags::SYN, 0), "00 01 0001 00000001 00000000"),
        (Header::window_update(one, Flags::ACK, 0), "00 01 0002 00000001 00000000"),
        (Header::data(one, Flags::SYN, 5), "00 00 0001 00000001 00000005"),
        (Header::window_update(one, Flags::NONE, 262_144), "00 01 0000 00000001 00040000"),
        (Header::window_update(one, Flags::FIN, 0), "00 01 0004 00000001 00000000"),
        (Header::data(one, Flags::FIN, 0), "00 00 0004 00000001 00000000"),
        (Header::reset(one, 0), "00 01 0008 00000001 00000000"),
        (Header::reset(one, 0x1001), "00 01 0008 00000001 00001001"),
        (Header::ping(7), "00 02 0001 00000000 00000007"),
        (Header::pong(7), "00 02 0002 00000000 00000007"),
        (Header::go_away(0), "00 03 0000 00000000 00000000"),
        (Header::go_away(1), "00 03 0000 00000000 00000001"),
        (Header::go_away(2), "00 03 0000 00000000 00000002"),
        (Header::data(id(u32::MAX), Flags::NONE, u32::MAX), "00 00 0000 ffffffff ffffffff"),
    ] {
        assert_eq!(header.encode(), bytes(expected), "{header:?}");
        assert_eq!(Header::decode(bytes(expected)), Ok(header));
    }
}

#[test]
fn unknown_flag_bits_are_ignored() {
    let header = Header::decode(bytes("00 00 fff3 00000001 00000000")).unwrap();
    assert_eq!((header.kind, header.flags), (Kind::Data, Flags::SYN.with(Flags::ACK)));
}

#[test]
fn every_other_version_and_type_is_refused() {
    for version in 1..=255 {
        let mut frame = bytes("00 00 0000 00000001 00000000");
        frame[0] = version;
        assert_eq!(Header::decode(frame), Err(Violation::UnknownVersion));
    }
    for kind in 4..=255 {
        let mut frame = bytes("00 00 0000 00000001 00000000");
        frame[1] = kind;
        assert_eq!(Header::decode(frame), Err(Violation::UnknownFrameType));
    }
}
