//! The record side of a secured connection: Noise transport messages in and out.
//!
//! It knows nothing of frames, so it can be used beside the connection: see
//! [`Connection::detach_records`](super::Connection::detach_records).

use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use crate::{
    crypto::TAG_LEN,
    noise::{self, MAX_RECORD_LEN, Opener, RECORD_HEADER_LEN, RECORD_OVERHEAD, SealError, Sealer},
};

/// Where the record side is.
pub(super) enum Records {
    /// Noise is not done.
    None,
    Attached(Box<(RecordSealer, RecordOpener)>),
    /// The driver has it. `inside_record` is what it last reported.
    Detached {
        inside_record: bool,
    },
}

impl Records {
    pub(super) fn new(sealer: Sealer, opener: Opener) -> Self {
        Self::Attached(Box::new((RecordSealer(sealer), RecordOpener { opener, partial: Vec::new() })))
    }

    /// True if the transport must not end here: a record arrived in part.
    pub(super) fn is_inside_record(&self) -> bool {
        match self {
            Self::None => false,
            Self::Attached(sides) => sides.1.partial_len() > 0,
            Self::Detached { inside_record } => *inside_record,
        }
    }

    pub(super) fn partial_len(&self) -> usize {
        if let Self::Attached(sides) = self { sides.1.partial_len() } else { 0 }
    }

    pub(super) fn memory_used(&self) -> usize {
        if let Self::Attached(sides) = self { sides.1.memory_used() } else { 0 }
    }
}

/// Seals what a connection framed, outside of it.
#[derive(Debug)]
pub struct RecordSealer(Sealer);

/// Records in their final layout whose bodies are still plaintext. As long as it lives only a
/// [`RecordSealer`] can get at the bytes, so that nothing leaves unsealed by mistake.
#[derive(Default)]
pub struct Framed<'o>(pub(super) &'o mut [u8]);

impl Framed<'_> {
    /// Bytes that will be sent; 0 means nothing to send.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// There is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Without the content: that is plaintext.
impl fmt::Debug for Framed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Framed").field("len", &self.len()).finish()
    }
}

impl RecordSealer {
    /// Frees what can be made again, for an idle connection; see [`Sealer::rest`].
    pub fn rest(&mut self) {
        self.0.rest();
    }

    /// Seals all records of `framed` in place and returns the bytes to send. Calls must be in the order
    /// in which the connection framed.
    ///
    /// # Errors
    /// [`SealError::NonceExhausted`]: nothing of `framed` may be sent and the transport is to be given
    /// up as failed. Others do not happen with what a connection framed.
    pub fn seal<'o>(&mut self, framed: Framed<'o>) -> Result<&'o [u8], SealError> {
        let mut rest = &mut *framed.0;
        while let Some(len) = record_len(rest) {
            let body = len.saturating_sub(RECORD_OVERHEAD);
            let sealed = self.0.seal_in_place(rest, body)?;
            rest = rest.get_mut(sealed..).unwrap_or_default();
        }
        Ok(framed.0)
    }
}

/// Opens records outside of their connection, and keeps the one that arrived in part: at most 65,537
/// bytes, which may occupy twice as much, grown as they arrive, freed when it is complete.
#[derive(Debug)]
pub struct RecordOpener {
    opener: Opener,
    partial: Vec<u8>,
}

/// What a [`RecordOpener`] made of some input, for
/// [`Connection::handle_opened`](super::Connection::handle_opened).
#[derive(Default)]
pub struct Opened<'d> {
    /// A record that began in earlier input, opened.
    kept: Vec<u8>,
    /// Whole records, opened in place, one behind the other.
    in_place: &'d [u8],
    pub(super) received: usize,
    pub(super) inside_record: bool,
    /// Boxed: it is long and there is none.
    pub(super) error: Option<Box<noise::Error>>,
}

impl Opened<'_> {
    /// The plaintexts in the order in which they came, in two parts.
    pub(super) fn plaintexts(&self) -> [Plaintexts<'_>; 2] {
        [Plaintexts(&self.kept), Plaintexts(self.in_place)]
    }
}

/// Without the content: that is plaintext.
impl fmt::Debug for Opened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("received", &self.received)
            .field("inside_record", &self.inside_record)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl RecordOpener {
    /// Frees what can be made again, for an idle connection; see [`Opener::rest`].
    pub fn rest(&mut self) {
        self.opener.rest();
    }

    /// Opens all whole records of `data` in place.
    ///
    /// A record that is refused is reported behind those before it, and ends the stream of records: the
    /// connection closes when it hears of it, and later calls yield the same error.
    pub fn open<'d>(&mut self, data: &'d mut [u8]) -> Opened<'d> {
        let mut opened = Opened { received: data.len(), ..Opened::default() };
        let rest = self.complete_partial(data, &mut opened);
        let mut whole = 0_usize;
        while opened.error.is_none()
            && let Some(record) = rest.get_mut(whole..).and_then(first_record)
        {
            match self.opener.open_in_place(record) {
                Ok(plaintext) => whole = whole.saturating_add(plaintext.len()).saturating_add(RECORD_OVERHEAD),
                Err(error) => opened.error = Some(Box::new(error)),
            }
        }
        if let Some((records, tail)) = rest.split_at_mut_checked(whole) {
            if opened.error.is_none() {
                self.partial.extend_from_slice(tail);
            }
            opened.in_place = records;
        }
        opened.inside_record = !self.partial.is_empty();
        opened
    }

    /// Bytes kept of a record that arrived in part.
    pub fn partial_len(&self) -> usize {
        self.partial.len()
    }

    /// The same by capacity.
    pub fn memory_used(&self) -> usize {
        self.partial.capacity()
    }

    /// Takes what the kept record still lacks off the front of `data`, and opens it once it is whole.
    fn complete_partial<'d>(&mut self, data: &'d mut [u8], opened: &mut Opened<'_>) -> &'d mut [u8] {
        let mut rest = data;
        while !self.partial.is_empty() {
            let wanted = record_len(&self.partial).unwrap_or(RECORD_HEADER_LEN).saturating_sub(self.partial.len());
            let (head, tail) = rest.split_at_mut(wanted.min(rest.len()));
            self.partial.extend_from_slice(head);
            rest = tail;
            if head.len() < wanted {
                break;
            }
            if record_len(&self.partial).is_some_and(|len| len == self.partial.len()) {
                let mut record = core::mem::take(&mut self.partial);
                match self.opener.open_in_place(&mut record) {
                    Ok(_) => opened.kept = record,
                    Err(error) => opened.error = Some(Box::new(error)),
                }
            }
        }
        rest
    }
}

/// Walks opened records. Their headers are untouched.
pub(super) struct Plaintexts<'o>(&'o [u8]);

impl<'o> Iterator for Plaintexts<'o> {
    type Item = &'o [u8];

    fn next(&mut self) -> Option<&'o [u8]> {
        let (record, rest) = self.0.split_at_checked(record_len(self.0)?)?;
        self.0 = rest;
        record.get(RECORD_HEADER_LEN..record.len().saturating_sub(TAG_LEN))
    }
}

/// The first record of `data`, if all of it is there.
fn first_record(data: &mut [u8]) -> Option<&mut [u8]> {
    let len = record_len(data)?;
    data.get_mut(..len)
}

/// Length of the record at the front of `data` with its header, once that is there.
fn record_len(data: &[u8]) -> Option<usize> {
    let header = data.first_chunk::<RECORD_HEADER_LEN>()?;
    Some(usize::from(u16::from_be_bytes(*header)).saturating_add(RECORD_HEADER_LEN))
}

const _: () = assert!(MAX_RECORD_LEN == 65_537);
