use super::*;
use alloc::{string::String, vec};
use proptest::prelude::*;
use prost::Message;

fn read(message: &[u8]) -> Result<Vec<(u32, Value<'_>)>, Error> {
    Reader::new(message).collect()
}

#[derive(Clone, PartialEq, Message)]
struct Inner {
    #[prost(uint64, optional, tag = "1")]
    number: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(bytes = "vec", optional, tag = "1")]
    bytes: Option<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    repeated: Vec<Vec<u8>>,
    #[prost(string, optional, tag = "3")]
    string: Option<String>,
    #[prost(uint64, optional, tag = "4")]
    uint64: Option<u64>,
    #[prost(fixed64, optional, tag = "5")]
    fixed64: Option<u64>,
    #[prost(fixed32, optional, tag = "536870911")]
    fixed32: Option<u32>,
    #[prost(message, optional, tag = "16")]
    inner: Option<Inner>,
}

fn sample() -> impl Strategy<Value = Sample> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
    (
        proptest::option::of(bytes()),
        proptest::collection::vec(bytes(), 0..4),
        proptest::option::of("\\PC{0,40}"),
        any::<Option<u64>>(),
        any::<Option<u64>>(),
        any::<Option<u32>>(),
        any::<Option<Option<u64>>>(),
    )
        .prop_map(|(bytes, repeated, string, uint64, fixed64, fixed32, inner)| Sample {
            bytes,
            repeated,
            string,
            uint64,
            fixed64,
            fixed32,
            inner: inner.map(|number| Inner { number }),
        })
}

/// How a caller reads: a match over field numbers, last one wins.
fn ours(message: &[u8]) -> Result<Sample, Error> {
    let mut sample = Sample::default();
    for field in Reader::new(message) {
        match field? {
            (1, value) => sample.bytes = Some(value.bytes()?.to_vec()),
            (2, value) => sample.repeated.push(value.bytes()?.to_vec()),
            (3, value) => sample.string = Some(value.string()?.into()),
            (4, value) => sample.uint64 = Some(value.uint64()?),
            (5, Value::Fixed64(value)) => sample.fixed64 = Some(value),
            (536_870_911, Value::Fixed32(value)) => sample.fixed32 = Some(value),
            (16, value) => {
                let inner = sample.inner.get_or_insert_default();
                for field in Reader::new(value.bytes()?) {
                    if let (1, value) = field? {
                        inner.number = Some(value.uint64()?);
                    }
                }
            }
            (5 | 536_870_911, _) => return Err(Error::WrongType),
            _ => {}
        }
    }
    Ok(sample)
}

proptest! {
    #[test]
    fn what_prost_writes_is_read(sample in sample()) {
        prop_assert_eq!(ours(&sample.encode_to_vec()), Ok(sample));
    }

    #[test]
    fn what_is_written_prost_reads(mut sample in sample()) {
        // No libp2p message that we send has fixed-size fields.
        (sample.fixed64, sample.fixed32) = (None, None);
        let mut out = vec![];
        let mut writer = Writer::new(&mut out);
        sample.bytes.iter().for_each(|value| { writer.bytes(1, value); });
        sample.repeated.iter().for_each(|value| { writer.bytes(2, value); });
        sample.string.iter().for_each(|value| { writer.string(3, value); });
        sample.uint64.iter().for_each(|value| { writer.uint64(4, *value); });
        if let Some(inner) = &sample.inner {
            let mut nested = vec![];
            inner.number.iter().for_each(|value| { Writer::new(&mut nested).uint64(1, *value); });
            writer.bytes(16, &nested);
        }
        prop_assert_eq!(Sample::decode(&out[..]), Ok(sample.clone()));
        // Both write fields in order and numbers in their shortest form.
        prop_assert_eq!(out, sample.encode_to_vec());
    }

    #[test]
    fn a_message_cut_anywhere_gives_whole_fields_and_then_an_error(sample in sample()) {
        let message = sample.encode_to_vec();
        let whole = read(&message).unwrap();
        for cut in 0..message.len() {
            let mut fields: Vec<_> = Reader::new(&message[..cut]).collect();
            if let Some(Err(error)) = fields.last() {
                prop_assert_eq!(*error, Error::Truncated);
                fields.pop();
            }
            let fields: Vec<_> = fields.into_iter().collect::<Result<_, _>>().unwrap();
            prop_assert!(whole.starts_with(&fields));
            prop_assert!(fields.len() < whole.len());
        }
    }

    #[test]
    fn prost_agrees_on_which_bytes_are_a_message(
        message in proptest::collection::vec(prop_oneof![0_u8..0x30, Just(0x80), Just(0xff), any::<u8>()], 0..40),
    ) {
        // `()` is the message without fields: prost skips them all.
        match (read(&message), <()>::decode(&message[..])) {
            (Ok(_), theirs) => prop_assert!(theirs.is_ok()),
            (Err(Error::WireType(3)), _) => {}
            (Err(_), theirs) => prop_assert!(theirs.is_err()),
        }
    }

    #[test]
    fn prost_agrees_on_what_a_message_says(
        sample in sample(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut message = sample.encode_to_vec();
        for (index, byte) in changes {
            if !message.is_empty() {
                let index = index.index(message.len());
                message[index] = byte;
            }
        }
        match (ours(&message), Sample::decode(&message[..])) {
            (Ok(ours), theirs) => prop_assert_eq!(Ok(ours), theirs),
            (Err(Error::WireType(3)), _) => {}
            (Err(_), theirs) => prop_assert!(theirs.is_err()),
        }
    }
}

#[test]
fn fields_come_back_in_the_order_in_which_they_were_written() {
    let mut out = vec![];
    Writer::new(&mut out).uint64(1, 0).bytes(2, b"xyz").string(3, "").uint64(1, u64::MAX);
    let expected =
        vec![(1, Value::Varint(0)), (2, Value::Bytes(b"xyz")), (3, Value::Bytes(b"")), (1, Value::Varint(u64::MAX))];
    assert_eq!(read(&out), Ok(expected));
    assert_eq!(read(b""), Ok(vec![]));
}

#[test]
fn a_writer_appends_to_what_is_there() {
    let mut out = vec![0xaa];
    Writer::new(&mut out).uint64(1, 300);
    assert_eq!(out, [0xaa, 0x08, 0xac, 0x02]);
}

#[test]
fn groups_and_undefined_wire_types_are_refused() {
    for wire_type in [3, 4, 6, 7] {
        assert_eq!(read(&[0x08 | wire_type, 0x00]), Err(Error::WireType(wire_type)));
    }
}

#[test]
fn field_numbers_have_29_bits_and_are_not_zero() {
    assert_eq!(read(&[0x00, 0x00]), Err(Error::FieldNumber));
    assert_eq!(read(&[0x02, 0x00]), Err(Error::FieldNumber));
    assert_eq!(read(&[0xf8, 0xff, 0xff, 0xff, 0x0f, 0x01]), Ok(vec![((1 << 29) - 1, Value::Varint(1))]));
    assert_eq!(read(&[0x80, 0x80, 0x80, 0x80, 0x10, 0x01]), Err(Error::FieldNumber));
}

#[test]
fn varints_may_be_longer_than_needed_but_not_than_ten_bytes() {
    let varint = |bytes: &[u8]| {
        let message = [&[0x08], bytes].concat();
        read(&message).map(|fields| fields[0].1.uint64().unwrap())
    };
    assert_eq!(varint(&[0x80, 0x00]), Ok(0));
    assert_eq!(varint(&[&[0x81][..], &[0x80; 8], &[0x00]].concat()), Ok(1));
    assert_eq!(varint(&[&[0xff; 9][..], &[0x01]].concat()), Ok(u64::MAX));
    assert_eq!(varint(&[&[0xff; 9][..], &[0x02]].concat()), Err(Error::VarintTooLong));
    assert_eq!(varint(&[&[0x80; 10][..], &[0x00]].concat()), Err(Error::VarintTooLong));
    assert_eq!(varint(&[0x80; 9]), Err(Error::Truncated));
}

#[test]
fn a_length_beyond_the_message_is_truncation_however_great() {
    assert_eq!(read(&[0x0a, 0x02, 0x00]), Err(Error::Truncated));
    assert_eq!(read(&[&[0x0a][..], &[0xff; 9], &[0x01]].concat()), Err(Error::Truncated));
    assert_eq!(read(&[0x09, 0, 0, 0, 0, 0, 0, 0]), Err(Error::Truncated));
    assert_eq!(read(&[0x0d, 0, 0, 0]), Err(Error::Truncated));
}

#[test]
fn nothing_follows_an_error() {
    let mut reader = Reader::new(&[0x08, 0x01, 0x0b, 0x08, 0x01]);
    assert_eq!(reader.next(), Some(Ok((1, Value::Varint(1)))));
    assert_eq!(reader.next(), Some(Err(Error::WireType(3))));
    assert_eq!(reader.next(), None);
    assert_eq!(reader.next(), None);
}

#[test]
fn a_value_of_another_type_is_an_error_to_who_knows_the_field() {
    let text = Value::Bytes("\u{e9}".as_bytes());
    assert_eq!((text.bytes(), text.string()), (Ok(&[0xc3, 0xa9][..]), Ok("\u{e9}")));
    assert_eq!(text.uint64(), Err(Error::WrongType));
    assert_eq!(Value::Bytes(&[0xc3]).string(), Err(Error::NotUtf8));
    for number in [Value::Varint(1), Value::Fixed64(1), Value::Fixed32(1)] {
        assert_eq!((number.bytes(), number.string()), (Err(Error::WrongType), Err(Error::WrongType)));
    }
    assert_eq!(Value::Varint(1).uint64(), Ok(1));
    assert_eq!(Value::Fixed64(1).uint64(), Err(Error::WrongType));
}
