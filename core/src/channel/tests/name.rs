//! Names, and the protocols that they stand for.

use alloc::string::{String, ToString};

use crate::{
    ProtocolId,
    channel::{ChannelName, InvalidChannelName, MAX_NAME_LEN, Variant},
};

#[test]
fn a_name_has_1_to_64_ascii_letters_digits_underscores_and_hyphens() {
    let longest = "x".repeat(MAX_NAME_LEN);
    for good in ["a", "Z", "0", "_", "-", "chat", "block-sync_2", &longest] {
        assert_eq!(ChannelName::new(good).unwrap().as_str(), good);
        assert_eq!(good.parse::<ChannelName>().unwrap().to_string(), good);
    }
    let too_long = "x".repeat(MAX_NAME_LEN + 1);
    // 33 letters of two bytes each: bytes count.
    let too_many_bytes = "\u{e9}".repeat(33);
    for bad in ["", " ", "a b", "a/b", "a.b", "caf\u{e9}", "\u{430}", "a\n", "a\0", &too_long, &too_many_bytes] {
        assert_eq!(ChannelName::new(bad), Err(InvalidChannelName), "{bad:?}");
    }
}

#[test]
fn every_byte_is_allowed_or_refused_as_the_rule_says() {
    for byte in 0..=127_u8 {
        let allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-".contains(char::from(byte));
        assert_eq!(ChannelName::new(&String::from(char::from(byte))).is_ok(), allowed, "{byte}");
    }
}

#[test]
fn a_name_and_its_protocols_lead_to_each_other() {
    let table = [
        (Variant::Messages, "/septa/channel/chat/1.0.0"),
        (Variant::CompressedMessages, "/septa/channel/chat/1.0.0/zstd"),
        (Variant::Requests, "/septa/rpc/chat/1.0.0"),
    ];
    let name = ChannelName::new("chat").unwrap();
    for (variant, protocol) in table {
        assert_eq!(name.protocol(variant).as_str(), protocol);
        let protocol = ProtocolId::new(protocol).unwrap();
        assert_eq!(ChannelName::from_protocol(&protocol), Some((name.clone(), variant)));
    }
    let longest = ChannelName::new(&"x".repeat(MAX_NAME_LEN)).unwrap();
    let protocol = longest.protocol(Variant::CompressedMessages);
    assert_eq!(ProtocolId::new(protocol.as_str()), Ok(protocol));
}

#[test]
fn other_protocols_have_no_name() {
    for other in [
        "/septa/channel/1.0.0",
        "/septa/channel//1.0.0",
        "/septa/channel/a/b/1.0.0",
        "/septa/channel/chat/1.0.1",
        "/septa/channel/chat/1.0.0/",
        "/septa/channel/chat/1.0.0/gzip",
        "/septa/channel/chat/1.0.0/zstd/zstd",
        "/septa/rpc/chat/1.0.0/zstd",
        "/septa/rpc/caf\u{e9}/1.0.0",
        "/septa/handshake/1.0.0",
        "/ipfs/ping/1.0.0",
    ] {
        assert_eq!(ChannelName::from_protocol(&ProtocolId::new(other).unwrap()), None, "{other}");
    }
}
