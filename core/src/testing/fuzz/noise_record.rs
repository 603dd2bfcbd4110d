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
/// and that a mistake of the caller changes nothing.
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
                let (fill, len) = (record.fill, record.bytes.len());
                match opener.open_in_place(&mut record.bytes) {
                    Ok(plaintext) => {
                        assert!(genuine, "record {} is taken for record {opened}", record.number);
                        assert!(plaintext.len() == len - RECORD_OVERHEAD && plaintext.iter().all(|byte| *byte == fill));
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
                let mut bytes = input.bytes(len).to_vec();
                let whole =
                    bytes.len() >= 2 && usize::from(u16::from_be_bytes([bytes[0], bytes[1]])) + 2 == bytes.len();
                let error = opener.open_in_place(&mut bytes).map(|_| ()).expect_err("an invented record");
                match &failed {
                    Some(first) => assert_eq!(&error, first, "a failure is final"),
                    None if whole => failed = Some(error),
                    None => assert_eq!(error, Error::RecordIncomplete),
                }
            }
        }
    }
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
