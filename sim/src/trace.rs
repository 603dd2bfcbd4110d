//! One hash that stands for everything that happened.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use septa_core::Instant;
use sha2::{Digest, Sha256};

/// A hash over a run: equal for runs in which the same happened at the same times in the same order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceHash([u8; 32]);

impl TraceHash {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// In hexadecimal, as `septa sim --json` prints it.
impl fmt::Display for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A task runs.
    Run = 1,
    /// A socket sends. The bytes are those that go on the line.
    Send = 2,
    /// A socket ends its output, or is closed.
    End = 3,
    /// A host starts.
    Boot = 4,
    /// A host goes down.
    Crash = 5,
    /// A fault strikes.
    Fault = 6,
    /// It is over.
    FaultEnd = 7,
    /// Somebody says that something has happened.
    Note = 8,
    /// A dial was answered: with a connection, whose number it is, or with nothing.
    Dial = 9,
    /// A socket reads so many bytes.
    Read = 10,
    /// A socket learns while it reads (0) or writes (1) that the connection is over.
    Fail = 11,
}

/// SHA-256 over each entry in order. An entry tells its kind and its length, so that no two lists of entries hash the same
/// bytes.
pub(crate) struct Trace(Mutex<Sha256>);

impl Trace {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Sha256::new()))
    }

    pub(crate) fn value(&self) -> TraceHash {
        TraceHash(self.lock(|hash| hash.clone().finalize()).into())
    }

    pub(crate) fn record(&self, kind: Kind, now: Instant, subject: u64, bytes: &[u8]) {
        let head = head(kind, now, subject, bytes.len() as u64);
        self.lock(|hash| {
            hash.update(head);
            hash.update(bytes);
        });
    }

    /// An entry of a number and no bytes: cheap, as there are many. Its kind tells it from one with as many bytes.
    pub(crate) fn count(&self, kind: Kind, now: Instant, subject: u64, count: u64) {
        let head = head(kind, now, subject, count);
        self.lock(|hash| hash.update(head));
    }

    fn lock<T>(&self, f: impl FnOnce(&mut Sha256) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn head(kind: Kind, now: Instant, subject: u64, length: u64) -> [u8; 25] {
    let mut head = [0; 25];
    head[0] = kind as u8;
    for (place, value) in head[1..].chunks_exact_mut(8).zip([now.as_nanos(), subject, length]) {
        place.copy_from_slice(&value.to_be_bytes());
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(entries: &[(Kind, u64, u64, &[u8])]) -> TraceHash {
        let trace = Trace::new();
        for (kind, nanos, subject, bytes) in entries {
            trace.record(*kind, Instant::from_nanos(*nanos), *subject, bytes);
        }
        trace.value()
    }

    #[test]
    fn each_part_of_an_entry_and_their_order_matter() {
        let whole = trace(&[(Kind::Send, 7, 1, b"ab"), (Kind::Send, 7, 1, b"c")]);
        let others = [
            trace(&[]),
            trace(&[(Kind::Send, 7, 1, b"ab")]),
            trace(&[(Kind::Send, 7, 1, b"a"), (Kind::Send, 7, 1, b"bc")]),
            trace(&[(Kind::Send, 7, 1, b"c"), (Kind::Send, 7, 1, b"ab")]),
            trace(&[(Kind::Send, 8, 1, b"ab"), (Kind::Send, 7, 1, b"c")]),
            trace(&[(Kind::Send, 7, 2, b"ab"), (Kind::Send, 7, 1, b"c")]),
            trace(&[(Kind::End, 7, 1, b"ab"), (Kind::Send, 7, 1, b"c")]),
        ];
        assert!(others.iter().all(|other| *other != whole));
        assert_eq!(whole, trace(&[(Kind::Send, 7, 1, b"ab"), (Kind::Send, 7, 1, b"c")]));
    }

    /// SHA-256 of nothing: the chain is the plain hash, so that others can compute it.
    #[test]
    fn nothing_has_the_hash_of_nothing() {
        let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(trace(&[]).to_string(), nothing);
    }
}
