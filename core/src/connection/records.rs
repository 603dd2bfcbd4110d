//! The record side of a secured connection: Noise transport messages in and out.

use alloc::vec::Vec;

use crate::noise::{MAX_RECORD_LEN, Opener, RECORD_HEADER_LEN, Sealer};

/// Seals and opens records, and keeps the one record that arrived in part.
pub(super) struct Records {
    pub(super) sealer: Sealer,
    pub(super) opener: Opener,
    /// At most one record (65,537 bytes), grown as its bytes arrive, freed when it is complete.
    partial: Vec<u8>,
}

impl Records {
    pub(super) fn new(sealer: Sealer, opener: Opener) -> Self {
        Self { sealer, opener, partial: Vec::new() }
    }

    /// The next whole record and what follows it, or `None` if the rest was kept as a partial record.
    ///
    /// A record inside `data` is returned in place. The second half of one that began in an earlier
    /// call comes back as [`Next::Kept`].
    pub(super) fn next<'d>(&mut self, data: &'d mut [u8]) -> Option<Next<'d>> {
        if self.partial.is_empty() {
            return match record_len(data).filter(|len| *len <= data.len()) {
                Some(len) => data.split_at_mut_checked(len).map(|(record, rest)| Next::InPlace { record, rest }),
                None => {
                    self.partial.extend_from_slice(data);
                    None
                }
            };
        }
        let mut rest = data;
        loop {
            let wanted = record_len(&self.partial).unwrap_or(RECORD_HEADER_LEN).saturating_sub(self.partial.len());
            let (head, tail) = rest.split_at_mut(wanted.min(rest.len()));
            self.partial.extend_from_slice(head);
            if head.len() < wanted {
                return None;
            }
            rest = tail;
            if record_len(&self.partial).is_some_and(|len| len == self.partial.len()) {
                return Some(Next::Kept { record: core::mem::take(&mut self.partial), rest });
            }
        }
    }

    /// True if the transport must not end here: a record arrived in part.
    pub(super) fn is_inside_record(&self) -> bool {
        !self.partial.is_empty()
    }

    pub(super) fn partial_len(&self) -> usize {
        self.partial.len()
    }

    pub(super) fn memory_used(&self) -> usize {
        self.partial.capacity()
    }
}

/// One whole record, still sealed.
pub(super) enum Next<'d> {
    InPlace { record: &'d mut [u8], rest: &'d mut [u8] },
    Kept { record: Vec<u8>, rest: &'d mut [u8] },
}

fn record_len(data: &[u8]) -> Option<usize> {
    let header = data.first_chunk::<RECORD_HEADER_LEN>()?;
    Some(usize::from(u16::from_be_bytes(*header)).saturating_add(RECORD_HEADER_LEN))
}

const _: () = assert!(MAX_RECORD_LEN == 65_537);
