//! Records: sizes, counters, damage.

use alloc::{sync::Arc, vec, vec::Vec};

use super::*;
use crate::noise::{
    MAX_RECORD_LEN, MAX_RECORD_PLAINTEXT, Opener, RECORD_OVERHEAD, SealError, Sealer,
    cipher_state::{CipherState, DecryptError, Exhausted},
};

fn pair() -> (Sealer, Opener) {
    let cipher = || CipherState::new(Arc::new(Tested), &[9; 32]);
    (Sealer::new(cipher()), Opener::new(cipher()))
}

fn seal(sealer: &mut Sealer, plaintext: &[u8]) -> Vec<u8> {
    let mut record = vec![0xa5; plaintext.len() + RECORD_OVERHEAD + 7];
    record[2..2 + plaintext.len()].copy_from_slice(plaintext);
    let len = sealer.seal_in_place(&mut record, plaintext.len()).unwrap();
    assert_eq!(len, plaintext.len() + RECORD_OVERHEAD);
    assert!(record[len..].iter().all(|byte| *byte == 0xa5), "sealing wrote past the record");
    record.truncate(len);
    record
}

#[test]
fn records_of_every_length_up_to_the_largest_come_through() {
    let (mut sealer, mut opener) = pair();
    for len in (0..300).chain([16_383, 16_384, 16_396, 64_511, MAX_RECORD_PLAINTEXT - 1, MAX_RECORD_PLAINTEXT]) {
        let plaintext: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let mut record = seal(&mut sealer, &plaintext);
        assert_eq!(usize::from(u16::from_be_bytes([record[0], record[1]])), len + 16);
        assert_eq!(opener.open_in_place(&mut record).unwrap(), plaintext);
    }
}

#[test]
fn the_largest_record_has_65535_bytes_behind_its_length() {
    let (mut sealer, mut opener) = pair();
    let mut record = seal(&mut sealer, &vec![7; MAX_RECORD_PLAINTEXT]);
    assert_eq!((record.len(), &record[..2]), (MAX_RECORD_LEN, [0xff, 0xff].as_slice()));
    assert_eq!(MAX_RECORD_LEN, 2 + 65_535);
    assert_eq!(opener.open_in_place(&mut record).unwrap().len(), MAX_RECORD_PLAINTEXT);
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let (mut sealer, mut opener) = pair();
    let mut record = vec![1; MAX_RECORD_LEN + 100];
    let untouched = record.clone();
    let len = MAX_RECORD_PLAINTEXT + 1;
    assert_eq!(sealer.seal_in_place(&mut record, len), Err(SealError::PlaintextTooLong { len }));
    let len = usize::MAX;
    assert_eq!(sealer.seal_in_place(&mut record, len), Err(SealError::PlaintextTooLong { len }));
    for short in 0..5 + RECORD_OVERHEAD {
        let expected = Err(SealError::BufferTooShort { needed: 5 + RECORD_OVERHEAD });
        assert_eq!(sealer.seal_in_place(&mut record[..short], 5), expected);
    }
    assert_eq!(record, untouched);
    assert_eq!(opener.open_in_place(&mut seal(&mut sealer, b"first")).unwrap(), b"first");
}

#[test]
fn the_last_nonce_is_two_to_the_64_minus_2() {
    let (mut sealer, mut opener) = pair();
    sealer.set_nonce_dangerous(u64::MAX - 1);
    opener.set_nonce_dangerous(u64::MAX - 1);

    let mut record = seal(&mut sealer, b"last");
    let mut independent = *b"last";
    let nonce = [0, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let tag = Tested.chacha20_poly1305(&[9; 32]).seal_in_place(&nonce, &[], &mut independent);
    assert_eq!(record[2..], [independent.as_slice(), tag.as_slice()].concat());
    let spare = record.clone();
    assert_eq!(opener.open_in_place(&mut record).unwrap(), b"last");

    let mut unsealed = vec![3; 40];
    for _ in 0..2 {
        assert_eq!(sealer.seal_in_place(&mut unsealed, 10), Err(SealError::NonceExhausted));
    }
    assert_eq!(unsealed, vec![3; 40]);
    for _ in 0..2 {
        assert_eq!(opener.open_in_place(&mut spare.clone()), Err(Error::NonceExhausted));
    }
}

#[test]
fn a_cipher_state_counts_successes_only() {
    let mut sender = CipherState::new(Arc::new(Tested), &[9; 32]);
    let mut receiver = CipherState::new(Arc::new(Tested), &[9; 32]);
    let mut genuine = *b"record";
    let tag = sender.encrypt(b"ad", &mut genuine).unwrap();
    assert_eq!((sender.nonce(), receiver.nonce()), (1, 0));

    for byte in 0..genuine.len() {
        let mut flipped = genuine;
        flipped[byte] ^= 1;
        assert_eq!(receiver.decrypt(b"ad", &mut flipped, &tag), Err(DecryptError::NotAuthentic));
    }
    for byte in 0..tag.len() {
        let mut flipped = tag;
        flipped[byte] ^= 0x80;
        assert_eq!(receiver.decrypt(b"ad", &mut genuine.clone(), &flipped), Err(DecryptError::NotAuthentic));
    }
    assert_eq!(receiver.decrypt(b"da", &mut genuine.clone(), &tag), Err(DecryptError::NotAuthentic));
    assert_eq!(receiver.nonce(), 0);
    receiver.decrypt(b"ad", &mut genuine, &tag).unwrap();
    assert_eq!((&genuine, receiver.nonce()), (b"record", 1));

    sender.set_nonce_dangerous(u64::MAX);
    assert_eq!(sender.encrypt(&[], &mut genuine), Err(Exhausted));
    assert_eq!(sender.nonce(), u64::MAX);
}

#[test]
fn a_bit_flipped_anywhere_in_a_record_ends_the_opener() {
    let len = seal(&mut pair().0, b"some plaintext").len();
    for byte in 2..len {
        for bit in [0x01, 0x80] {
            let (mut sealer, mut opener) = pair();
            let genuine = seal(&mut sealer, b"some plaintext");
            let mut flipped = genuine.clone();
            flipped[byte] ^= bit;
            assert_eq!(opener.open_in_place(&mut flipped), Err(Error::Decrypt));
            assert_eq!(opener.open_in_place(&mut genuine.clone()), Err(Error::Decrypt), "the error is not terminal");
        }
    }
}

#[test]
fn records_lost_repeated_or_swapped_are_refused() {
    let (mut sealer, _) = pair();
    let records = [seal(&mut sealer, b"0"), seal(&mut sealer, b"1")];
    let open_all = |order: &[usize]| {
        let mut opener = pair().1;
        order.iter().map(|i| opener.open_in_place(&mut records[*i].clone()).map(|_| ())).collect::<Result<Vec<_>, _>>()
    };
    assert!(open_all(&[0, 1]).is_ok());
    for bad in [[1, 0].as_slice(), &[0, 0], &[1]] {
        assert_eq!(open_all(bad), Err(Error::Decrypt));
    }
}

#[test]
fn a_record_shorter_than_its_tag_ends_the_opener() {
    for len in 0..16_u16 {
        let (mut sealer, mut opener) = pair();
        let mut record = len.to_be_bytes().to_vec();
        record.resize(2 + usize::from(len), 0);
        assert_eq!(opener.open_in_place(&mut record), Err(Error::RecordTooShort), "length {len}");
        assert_eq!(opener.open_in_place(&mut seal(&mut sealer, b"good")), Err(Error::RecordTooShort));
    }
    // A tag and nothing else is well formed, and must be the right one.
    let mut forged = framed(&[0; 16]);
    assert_eq!(pair().1.open_in_place(&mut forged), Err(Error::Decrypt));
    let (mut sealer, mut opener) = pair();
    assert_eq!(opener.open_in_place(&mut seal(&mut sealer, b"")).unwrap(), b"");
}

#[test]
fn a_buffer_that_is_not_one_record_is_the_callers_mistake() {
    let (mut sealer, mut opener) = pair();
    let record = seal(&mut sealer, b"whole");
    for len in 0..record.len() {
        assert_eq!(opener.open_in_place(&mut record[..len].to_vec()), Err(Error::RecordIncomplete));
    }
    let mut longer = record.clone();
    longer.push(0);
    assert_eq!(opener.open_in_place(&mut longer), Err(Error::RecordIncomplete));
    assert_eq!(opener.open_in_place(&mut record.clone()).unwrap(), b"whole");
}

#[test]
fn both_halves_may_live_on_other_threads() {
    fn send<T: Send + Sync + 'static>() {}
    send::<Sealer>();
    send::<Opener>();
    send::<Handshake>();
    send::<Finished>();
    send::<Credentials>();
    send::<StaticKey>();
}
