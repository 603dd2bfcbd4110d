use super::*;
use proptest::prelude::*;

fn encoded(value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    encode_to(value, &mut out);
    out
}

#[test]
fn known_values_have_their_known_bytes() {
    let table: [(u64, &str); 9] = [
        (0, "00"),
        (1, "01"),
        (127, "7f"),
        (128, "8001"),
        (255, "ff01"),
        (300, "ac02"),
        (16_383, "ff7f"),
        (16_384, "808001"),
        (MAX_VALUE, "ffffffffffffffff7f"),
    ];
    for (value, text) in table {
        assert_eq!(hex::encode(encoded(value)), text);
        assert_eq!(len(value), text.len() / 2);
        assert_eq!(decode(&hex::decode(text).unwrap(), u64::MAX), Ok(Some((value, text.len() / 2))));
    }
}

#[test]
fn a_longer_form_of_the_same_value_is_refused() {
    for bytes in [
        &[0x80, 0x00][..],
        &[0x81, 0x00],
        &[0xff, 0x80, 0x00],
        &[0x80; 8].iter().chain(&[0]).copied().collect::<Vec<u8>>(),
    ] {
        assert_eq!(decode(bytes, u64::MAX), Err(Error::NotMinimal), "{bytes:x?}");
    }
}

#[test]
fn nine_bytes_are_read_and_a_tenth_is_never_waited_for() {
    let mut bytes = [0xff; 10];
    bytes[8] = 0x7f;
    assert_eq!(decode(&bytes, u64::MAX), Ok(Some((MAX_VALUE, 9))));
    assert_eq!(decode(&bytes, MAX_VALUE), Ok(Some((MAX_VALUE, 9))));
    assert_eq!(decode(&[0xff; 8], u64::MAX), Ok(None));
    assert_eq!(decode(&[0xff; 9], MAX_VALUE), Err(Error::TooLong));
    assert_eq!(decode(&[0xff; 9], u64::MAX), Err(Error::TooLong));
    assert_eq!(decode(&[0xff; 10], u64::MAX), Err(Error::TooLong));
}

#[test]
fn a_value_at_the_limit_passes_and_one_more_does_not() {
    for max in [0, 1, 127, 128, 1024, 16_383, 16_384, u64::from(u32::MAX), MAX_VALUE - 1] {
        assert_eq!(decode(&encoded(max), max), Ok(Some((max, len(max)))));
        assert_eq!(decode(&encoded(max + 1), max), Err(Error::TooLarge { max }));
    }
}

#[test]
fn a_length_that_must_exceed_the_limit_is_refused_before_its_last_byte() {
    assert_eq!(decode(&[0x80], 127), Err(Error::TooLarge { max: 127 }));
    assert_eq!(decode(&[0x80], 128), Ok(None));
    assert_eq!(decode(&[0x81], 128), Err(Error::TooLarge { max: 128 }));
    // 1024 needs two bytes; a third can only be too much.
    assert_eq!(decode(&[0x80, 0x80], 1024), Err(Error::TooLarge { max: 1024 }));
}

#[test]
fn a_value_without_an_encoding_is_clamped() {
    assert_eq!(encoded(u64::MAX), encoded(MAX_VALUE));
    assert_eq!(len(u64::MAX), MAX_LEN);
}

/// What a decoder would do that waits for the last byte.
fn patient(data: &[u8], max: u64) -> Option<(u64, usize)> {
    let len = data.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let value = data[..len].iter().rev().fold(0_u128, |value, byte| (value << 7) | u128::from(byte & 0x7f));
    let minimal = len == 1 || data[len - 1] != 0;
    (len <= MAX_LEN && minimal && value <= u128::from(max)).then(|| (u64::try_from(value).unwrap(), len))
}

proptest! {
    #[test]
    fn every_value_survives_a_round_trip(shift in 0_u32..63, bits: u64, tail: Vec<u8>) {
        let value = (bits >> 1) >> shift;
        let mut bytes = encoded(value);
        let used = bytes.len();
        prop_assert_eq!(used, len(value));
        for cut in 0..used {
            prop_assert_eq!(decode(&bytes[..cut], u64::MAX), Ok(None));
        }
        bytes.extend(tail);
        prop_assert_eq!(decode(&bytes, u64::MAX), Ok(Some((value, used))));
    }

    #[test]
    fn any_bytes_are_judged_as_a_patient_decoder_would(data in proptest::collection::vec(prop_oneof![Just(0_u8), Just(0x80), Just(0xff), any::<u8>()], 0..12), shift in 0_u32..64, bits: u64) {
        let max = bits >> shift;
        match decode(&data, max) {
            Ok(Some(found)) => prop_assert_eq!(patient(&data, max), Some(found)),
            Ok(None) => prop_assert!(data.iter().all(|byte| byte & 0x80 != 0)),
            // Refused for good: no continuation may turn it into something acceptable.
            Err(error) => {
                prop_assert_eq!(patient(&data, max), None);
                for last in 0..=0x7f {
                    let longer: Vec<u8> = data.iter().copied().chain([last]).collect();
                    prop_assert_eq!(decode(&longer, max), Err(error));
                    prop_assert_eq!(patient(&longer, max), None);
                }
            }
        }
    }
}
