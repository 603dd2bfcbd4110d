//! Signed envelopes and peer records: of a stranger, of a peer that lies, and our own.

use alloc::vec::Vec;

use super::Input;
use crate::{
    Multiaddr, SignedPeerRecord,
    crypto::RustCrypto,
    peer_record::{Format, MAX_ADDRS},
    protobuf::{Reader, Value},
    signed_envelope::{self, SignedEnvelope},
    testing::identity,
};

/// Input: a choice, then one of an envelope, a payload that identity 1 signs as a record, and addresses with
/// a change of the envelope around them.
///
/// Asserts that a record is read only if its signer signed it for itself, that nothing in it is past its
/// limit or names another peer, that it is kept as it came, that what was read can be sealed and read
/// again, and that an envelope with any byte changed or cut off is refused.
pub fn signed_record(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(3) {
        0 => {
            let envelope = input.rest();
            let payload_type_too = SignedEnvelope::decode(envelope).is_ok_and(|decoded| {
                [Format::Common, Format::Rfc].iter().any(|format| names(*format).1 == decoded.payload_type())
            });
            let opened = SignedPeerRecord::open(envelope);
            assert!(opened.is_err() || payload_type_too);
            opened.iter().for_each(|record| check_record(record, envelope));
        }
        1 => {
            let (domain, payload_type) = names(format(&mut input));
            let payload = input.rest();
            let sealed = signed_envelope::seal(&identity(1), &RustCrypto, domain, payload_type, payload);
            let envelope = sealed.expect("the input is shorter than an envelope may be");
            let Ok(record) = SignedPeerRecord::open(&envelope) else { return };
            assert_eq!(record.public_key(), identity(1).public_key());
            let claimed = Reader::new(payload).flatten().filter(|(number, _)| *number == PEER_ID).last();
            let own = identity(1).peer_id();
            assert_eq!(claimed, Some((PEER_ID, Value::Bytes(own.as_bytes()))), "a record about another peer");
            check_record(&record, &envelope);
        }
        _ => changed_record(&mut input),
    }
}

/// The field of a record that says whose it is (RFC 0003).
const PEER_ID: u32 = 1;

fn format(input: &mut Input<'_>) -> Format {
    if input.bool() { Format::Rfc } else { Format::Common }
}

/// Domain and payload type (RFC 0003, and what implementations do instead).
fn names(format: Format) -> (&'static str, &'static [u8]) {
    match format {
        Format::Rfc => ("libp2p-routing-state", b"/libp2p/routing-state-record"),
        _ => ("libp2p-peer-record", &[0x03, 0x01]),
    }
}

fn check_record(record: &SignedPeerRecord, envelope: &[u8]) {
    assert_eq!(record.envelope(), envelope);
    assert!(record.addrs().len() <= MAX_ADDRS);
    let own = record.peer_id();
    assert_eq!(record.public_key().peer_id(), own);
    assert!(record.addrs().iter().all(|addr| addr.peer_id().is_none_or(|peer| peer == own)));
    assert!(!record.is_newer_than(record));
    // Nobody but identity 1 signs here; a stranger's record cannot be made again.
    if own == identity(1).peer_id() {
        let Ok(again) = seal(Format::Common, record.seq(), record.addrs()) else { return };
        assert_eq!((again.seq(), again.addrs()), (record.seq(), record.addrs()));
    }
}

/// Seals a record and reads it back.
fn seal(format: Format, seq: u64, addrs: &[Multiaddr]) -> Result<SignedPeerRecord, crate::peer_record::SealError> {
    let sealed = SignedPeerRecord::seal(&identity(1), &RustCrypto, format, seq, addrs)?;
    assert_eq!(SignedPeerRecord::open(sealed.envelope()).as_ref(), Ok(&sealed));
    Ok(sealed)
}

fn changed_record(input: &mut Input<'_>) {
    let (format, seq) = (format(input), input.u64());
    let (at, bits, cut) = (usize::from(input.u16()), input.byte(), input.bool());
    let mut addrs = Vec::new();
    while !input.is_empty() {
        let len = input.byte().into();
        // Those of another peer are left out when the record is read.
        let foreign = |addr: &Multiaddr| addr.peer_id().is_some_and(|peer| peer != identity(1).peer_id());
        addrs.extend(Multiaddr::from_bytes(input.bytes(len)).ok().filter(|addr| !foreign(addr)));
    }
    let Ok(sealed) = seal(format, seq, &addrs) else { return };
    let mut envelope = sealed.envelope().to_vec();
    let at = at % envelope.len();
    if cut {
        envelope.truncate(at);
    } else {
        envelope[at] ^= bits;
    }
    let opened = SignedPeerRecord::open(&envelope);
    assert!(opened.is_err() || envelope == sealed.envelope(), "a changed envelope is taken for good");
}
