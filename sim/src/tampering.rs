//! What a plan does to the bytes of one direction on their way.

use crate::{
    draws::Draws,
    fired::FiredBetween,
    plan::{FaultKind, Tamper},
};

/// Changes that are to come, by how many bytes came before.
#[derive(Default)]
pub(crate) struct Tampering {
    due: Vec<(u64, Tamper)>,
    /// Bytes that are still to be swallowed.
    swallows: u64,
}

impl Tampering {
    pub(crate) fn add(&mut self, position: u64, how: Tamper) {
        self.due.push((position, how));
        // Stable: those for one place come in the order in which they were asked for.
        self.due.sort_by_key(|(position, _)| *position);
    }

    /// Nothing happens to what comes from now on.
    pub(crate) fn call_off(&mut self) {
        self.due.clear();
        self.swallows = 0;
    }

    /// Something happens to what is written before this place.
    pub(crate) fn strikes(&self, end: u64) -> bool {
        self.swallows > 0 || self.due.first().is_some_and(|(position, _)| *position < end)
    }

    /// What goes on its way of bytes that are written at this place.
    pub(crate) fn apply(&mut self, begin: u64, written: &[u8], luck: &mut Draws, fired: &FiredBetween<'_>) -> Vec<u8> {
        let end = begin + written.len() as u64;
        let due = self.due.partition_point(|(position, _)| *position < end);
        let due: Vec<(u64, Tamper)> = self.due.drain(..due).collect();
        let mut due = due.into_iter().peekable();
        let mut sent = Vec::with_capacity(written.len());
        for (offset, original) in (begin..end).zip(written.iter().copied()) {
            let (mut byte, mut flips) = (original, 0);
            while let Some((_, how)) = due.next_if(|(position, _)| *position <= offset) {
                let rest = &written[usize::try_from(offset - begin).unwrap_or(0)..];
                let has_changed = match how {
                    Tamper::Flip => {
                        byte ^= 1 << (luck.next_u64() % 8);
                        // It counts when the byte goes on its way.
                        flips += 1;
                        false
                    }
                    Tamper::Truncate(len) => {
                        self.swallows += u64::from(len);
                        len > 0
                    }
                    Tamper::Duplicate(len) => {
                        sent.extend(rest.iter().take(len.into()));
                        len > 0
                    }
                    Tamper::Insert(len) => {
                        sent.extend((0..len).map(|_| luck.next_u64().to_be_bytes()[0]));
                        len > 0
                    }
                };
                if has_changed {
                    fired.add(how.kind());
                }
            }
            if self.swallows > 0 {
                self.swallows -= 1;
            } else {
                sent.push(byte);
                // Two of the same bit take back each other.
                let flips = if byte == original { 0 } else { flips };
                (0..flips).for_each(|_| fired.add(FaultKind::Flip));
            }
        }
        sent
    }
}
