//! Transport records between two honest ends, with an attacker between them.

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};

use super::Input;
use crate::{
    crypto::RustCrypto,
    noise::{Error, MAX_RECORD_PLAINTEXT, RECORD_OVERHEAD, SealError, Sealer, scripted::record_ends},
};

/// Input: a list of operations: seal, deliver, and change, drop, swap, repeat or invent a record.
///
/// Asserts that the opener gives exactly the plaintexts sealed, in order, as long as each record arrives
/// as it was sent; that the first one that does not is refused, and everything after it for the same reason;
/// and that a mistake of the caller changes nothing. A fuzzer watches the tags being compared, and has written a
/// right one: what is opened although nobody has sent it must be what the sealer would have made.
pub fn noise_record(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut sealer, mut opener) = record_ends(Arc::new(RustCrypto), &[7; 32]);
    let mut wire: VecDeque<Record> = VecDeque::new();
    let mut failed: Option<Error> = None;
    let (mut sealed, mut opened) = (0, 0);
    while !input.is_empty() {
        match input.below(10) {
            0..3 => {
                let len = input.size() % (MAX_RECORD_PLAINTEXT + 2);
                let fill = input.byte();
                if let Some(bytes) = seal(&mut sealer, len, fill) {
                    // Two long records on the way are enough; the bound of the target counts them.
                    if wire.len() > 1 {
                        wire.pop_front();
                    }
                    wire.push_back(Record { sealed: bytes.clone(), bytes, fill, number: sealed });
                    sealed += 1;
                }
            }
            3..6 => {
                let Some(mut record) = wire.pop_front() else { continue };
                let genuine = failed.is_none() && record.number == opened && record.bytes == record.sealed;
                let (fill, arrived) = (record.fill, record.bytes.clone());
                match opener.open_in_place(&mut record.bytes) {
                    Ok(plaintext) if genuine => {
                        let len = arrived.len() - RECORD_OVERHEAD;
                        assert!(plaintext.len() == len && plaintext.iter().all(|byte| *byte == fill));
                        opened += 1;
                    }
                    Ok(plaintext) => {
                        assert!(failed.is_none(), "a failure is final");
                        assert!(sealed_as(opened, plaintext) == arrived, "{} is taken for {opened}", record.number);
                        opened += 1;
                    }
                    Err(error) => {
                        assert!(!genuine, "a genuine record is refused");
                        assert_eq!(*failed.get_or_insert_with(|| error.clone()), error, "a failure is final");
                    }
                }
            }
            6 => {
                let (at, bits) = (usize::from(input.u16()), input.byte());
                let Some(record) = wire.front_mut() else { continue };
                let body = record.bytes.len() - 2;
                record.bytes[2 + at % body] ^= bits;
            }
            7 => drop(wire.pop_front()),
            8 => wire.rotate_left(wire.len().min(1)),
            _ => {
                let len = input.byte().into();
                let arrived = input.bytes(len).to_vec();
                let whole = arrived.len() >= 2
                    && usize::from(u16::from_be_bytes([arrived[0], arrived[1]])) + 2 == arrived.len();
                match (opener.open_in_place(&mut arrived.clone()), &failed) {
                    (Ok(_), Some(_)) => panic!("a failure is final"),
                    (Ok(plaintext), None) => {
                        assert!(sealed_as(opened, plaintext) == arrived, "an invented record is opened");
                        opened += 1;
                    }
                    (Err(error), Some(first)) => assert_eq!(&error, first, "a failure is final"),
                    (Err(error), None) if whole => failed = Some(error),
                    (Err(error), None) => assert_eq!(error, Error::RecordIncomplete),
                }
            }
        }
    }
}

/// What the sealer makes of `plaintext` as its record `number`.
fn sealed_as(number: usize, plaintext: &[u8]) -> Vec<u8> {
    let (mut sealer, _) = record_ends(Arc::new(RustCrypto), &[7; 32]);
    let mut record = alloc::vec![0; plaintext.len() + RECORD_OVERHEAD];
    for _ in 0..number {
        sealer.seal_in_place(&mut record, 0).expect("a number is left");
    }
    record[2..][..plaintext.len()].copy_from_slice(plaintext);
    sealer.seal_in_place(&mut record, plaintext.len()).expect("a number is left");
    record
}

struct Record {
    /// As it was sealed.
    sealed: Vec<u8>,
    /// As the attacker has left it.
    bytes: Vec<u8>,
    fill: u8,
    /// Its place in the order sealed.
    number: usize,
}

/// A record of `len` bytes, or nothing if that is too long, which must leave the sealer as it was.
fn seal(sealer: &mut Sealer, len: usize, fill: u8) -> Option<Vec<u8>> {
    let needed = len + RECORD_OVERHEAD;
    let mut bytes = alloc::vec![fill; needed];
    if len > MAX_RECORD_PLAINTEXT {
        assert_eq!(sealer.seal_in_place(&mut bytes, len), Err(SealError::PlaintextTooLong { len }));
        return None;
    }
    let short = &mut bytes[..needed - 1];
    assert_eq!(sealer.seal_in_place(short, len), Err(SealError::BufferTooShort { needed }));
    assert!(bytes.iter().all(|byte| *byte == fill), "a buffer that is too short is changed");
    assert_eq!(sealer.seal_in_place(&mut bytes, len), Ok(needed));
    Some(bytes)
}
