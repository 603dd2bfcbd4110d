//! The parsers that have no state.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::str::FromStr;

use super::Input;
use crate::{
    Multiaddr, PeerId, PublicKey,
    multiaddr::{MAX_LEN, Protocol},
    protobuf::{Error, Reader, Value, Writer},
    varint,
};

/// Input: a choice of the greatest value, then the bytes to decode.
///
/// Asserts that a varint is decoded exactly if a plain reading of the multiformats profile allows it, that
/// the bytes read are those that [`varint::encode`] writes, that a verdict does not change when more bytes
/// follow, and that values above the maximum are written as the maximum.
pub fn varint(data: &[u8]) {
    let mut input = Input::new(data);
    let max = match input.byte() {
        0 => input.u64(),
        bits => (1_u64 << (bits % 64)) - 1,
    };
    let data = input.rest();
    let outcome = varint::decode(data, max);
    assert_eq!(outcome.ok().flatten(), plain_varint(data).filter(|(value, _)| *value <= max));
    if let Ok(Some((value, len))) = outcome {
        assert_eq!(varint::encode(value, &mut [0; varint::MAX_LEN]), &data[..len]);
        assert_eq!(varint::len(value), len);
    }
    let verdict = (0..=data.len()).map(|len| varint::decode(&data[..len], max)).find(|verdict| *verdict != Ok(None));
    assert_eq!(verdict.unwrap_or(Ok(None)), outcome, "more bytes change the verdict");

    let value = u64::from_le_bytes(Input::new(data).array());
    let mut buffer = [0; varint::MAX_LEN];
    let encoded = varint::encode(value, &mut buffer);
    let stored = value.min(varint::MAX_VALUE);
    assert_eq!(varint::decode(encoded, u64::MAX), Ok(Some((stored, encoded.len()))));
}

/// The value and length of a minimal varint of at most nine bytes at the front of `data`.
fn plain_varint(data: &[u8]) -> Option<(u64, usize)> {
    let len = data.iter().position(|byte| *byte < 0x80)? + 1;
    let minimal = len == 1 || data[len - 1] != 0;
    let value = data[..len.min(9)].iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f));
    (len <= 9 && minimal).then_some((value, len))
}

/// Input: where to cut, then a message.
///
/// Asserts that reading ends, that nothing comes after an error, that the fields written again are read as
/// the same, and that a message that is cut off gives the fields before the cut and then, unless the cut is
/// between two fields, an error.
pub fn protobuf(data: &[u8]) {
    let mut input = Input::new(data);
    let cut = usize::from(input.u16());
    let message = input.rest();
    let (fields, error) = read_fields(message);
    assert!(fields.len() <= message.len() / 2, "a field has at least two bytes");

    let mut again = Vec::new();
    for (number, value) in &fields {
        write_field(&mut again, *number, *value);
    }
    assert_eq!(read_fields(&again), (fields.clone(), None), "the fields written again are not the same");
    assert!(error.is_some() || again.len() <= message.len(), "the shortest encoding is longer");

    let (before, cut_error) = read_fields(&message[..cut.min(message.len())]);
    assert_eq!(before, fields[..before.len().min(fields.len())]);
    match cut_error {
        None | Some(Error::Truncated) => {}
        error_too => assert_eq!((error_too, before.len()), (error, fields.len()), "the cut makes another error"),
    }

    for (_, value) in fields {
        let text = value.bytes().ok().and_then(|bytes| core::str::from_utf8(bytes).ok());
        assert_eq!(value.string().ok(), text);
        assert_eq!(value.uint64().is_ok(), matches!(value, Value::Varint(_)));
    }
}

fn read_fields(message: &[u8]) -> (Vec<(u32, Value<'_>)>, Option<Error>) {
    let mut reader = Reader::new(message);
    let mut fields = Vec::new();
    loop {
        match reader.next() {
            None => return (fields, None),
            Some(Ok(field)) => fields.push(field),
            Some(Err(error)) => {
                assert_eq!(reader.next(), None, "something comes after an error");
                return (fields, Some(error));
            }
        }
    }
}

fn write_field(out: &mut Vec<u8>, number: u32, value: Value<'_>) {
    match value {
        Value::Varint(value) => drop(Writer::new(out).uint64(number, value)),
        Value::Bytes(bytes) => drop(Writer::new(out).bytes(number, bytes)),
        Value::Fixed64(value) => write_fixed(out, number, 1, &value.to_le_bytes()),
        Value::Fixed32(value) => write_fixed(out, number, 5, &value.to_le_bytes()),
    }
}

/// The writer has no fixed fields, because no libp2p message has. Its `uint64` makes the key.
fn write_fixed(out: &mut Vec<u8>, number: u32, wire_type: u8, bytes: &[u8]) {
    let start = out.len();
    Writer::new(out).uint64(number, 0);
    out.pop();
    out[start] |= wire_type;
    out.extend_from_slice(bytes);
}

/// Input: an address, in binary or as text.
///
/// Asserts that binary form, components and text lead back to the same address, that text which is read is
/// an address in binary too, and that a peer put at its end is found and taken off again.
pub fn multiaddr(data: &[u8]) {
    if let Ok(address) = Multiaddr::from_bytes(data) {
        assert_eq!(address.as_bytes(), data);
        check_address(&address);
    }
    if let Some(address) = core::str::from_utf8(data).ok().and_then(|text| Multiaddr::from_str(text).ok()) {
        assert_eq!(Multiaddr::from_bytes(address.as_bytes()), Ok(address.clone()));
        check_address(&address);
    }
}

fn check_address(address: &Multiaddr) {
    assert!((1..=MAX_LEN).contains(&address.as_bytes().len()));
    assert_eq!(Multiaddr::from_protocols(address.protocols()).as_ref(), Ok(address));
    let text = address.to_string();
    assert_eq!(Multiaddr::from_str(&text).as_ref(), Ok(address), "{text}");
    let last = address.protocols().last();
    let last_peer = match last {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    };
    assert_eq!(address.peer_id(), last_peer);
    if let Some(socket) = address.socket_addr() {
        assert_eq!(address.without_peer(), Some(Multiaddr::from_socket_addr(socket)));
    }

    let peer = crate::testing::identity(1).peer_id();
    let Ok(with_peer) = address.with_peer(peer) else { return };
    assert_eq!(with_peer.peer_id(), Some(peer));
    assert_eq!(with_peer.with_peer(peer).as_ref(), Ok(&with_peer));
    assert_eq!(with_peer.without_peer(), address.without_peer());
}

/// Input: a peer id, a public key, or the text of a peer id.
///
/// Asserts that an id comes back from its bytes and from both of its texts, that an id that contains a key
/// is the id of that key, and that a key has one encoding and one id however it was encoded.
pub fn peer_id(data: &[u8]) {
    if let Ok(id) = PeerId::from_bytes(data) {
        assert_eq!(id.as_bytes(), data);
        check_peer_id(id);
    }
    if let Some(id) = core::str::from_utf8(data).ok().and_then(|text| PeerId::from_str(text).ok()) {
        check_peer_id(id);
    }
    if let Ok(key) = PublicKey::from_protobuf(data) {
        let canonical = key.to_protobuf();
        assert_eq!(PublicKey::from_protobuf(&canonical).as_ref(), Ok(&key));
        let id = key.peer_id();
        assert_eq!(id.public_key().is_some(), canonical.len() <= 42);
        assert!(id.public_key().is_none_or(|contained| contained == key));
        check_peer_id(id);
    }
}

fn check_peer_id(id: PeerId) {
    assert_eq!(PeerId::from_bytes(id.as_bytes()), Ok(id));
    assert_eq!(PeerId::from_str(&id.to_string()), Ok(id));
    assert_eq!(PeerId::from_str(&cid_text(id.as_bytes())), Ok(id));
    if let Some(key) = id.public_key() {
        assert_eq!(key.peer_id(), id);
    }
}

/// CIDv1 of a libp2p key in base32.
fn cid_text(multihash: &[u8]) -> String {
    let mut text = String::from("b");
    let (mut bits, mut count) = (0_u32, 0);
    for byte in [0x01, 0x72].iter().chain(multihash) {
        bits = (bits << 8 | u32::from(*byte)) & 0xfff;
        count += 8;
        while count >= 5 {
            count -= 5;
            text.push(base32_digit(bits >> count));
        }
    }
    if count > 0 {
        text.push(base32_digit(bits << (5 - count)));
    }
    text
}

fn base32_digit(bits: u32) -> char {
    char::from(b"abcdefghijklmnopqrstuvwxyz234567"[bits as usize & 31])
}
