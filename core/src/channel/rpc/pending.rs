//! The requests that have no answer yet.

use alloc::collections::{BTreeMap, BTreeSet};

use super::RequestId;
use crate::Instant;

/// Requests without an answer and their deadlines, and those that were given up and may still get one.
///
/// | request | answer | its deadline passes, or it is cancelled |
/// |---|---|---|
/// | pending | taken | given up |
/// | given up | late | - |
/// | answered, or given up long ago | duplicate | - |
/// | never asked | unknown | - |
#[derive(Debug)]
pub(super) struct Pending {
    deadlines: BTreeMap<RequestId, Instant>,
    by_deadline: BTreeSet<(Instant, RequestId)>,
    /// At most `max` of those that were given up, the latest. A peer that never answers cannot make it grow.
    given_up: BTreeSet<RequestId>,
    next: RequestId,
    max: usize,
}

/// What an answer is to the request whose number it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Match {
    Pending,
    Late,
    Duplicate,
    Unknown,
}

impl Pending {
    pub(super) fn new(max: usize) -> Self {
        Self {
            deadlines: BTreeMap::new(),
            by_deadline: BTreeSet::new(),
            given_up: BTreeSet::new(),
            next: RequestId(0),
            max,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.deadlines.len()
    }

    pub(super) fn has_room(&self) -> bool {
        self.deadlines.len() < self.max
    }

    /// Adds a request and returns its number.
    pub(super) fn add(&mut self, deadline: Instant) -> RequestId {
        let id = self.next;
        self.next = RequestId(id.0.saturating_add(1));
        self.deadlines.insert(id, deadline);
        self.by_deadline.insert((deadline, id));
        id
    }

    /// An answer has come.
    pub(super) fn answer(&mut self, id: RequestId) -> Match {
        if self.remove(id) {
            Match::Pending
        } else if self.given_up.remove(&id) {
            Match::Late
        } else if id < self.next {
            Match::Duplicate
        } else {
            Match::Unknown
        }
    }

    /// Nobody waits for the answer any more. False if it is not pending.
    pub(super) fn give_up(&mut self, id: RequestId) -> bool {
        if !self.remove(id) {
            return false;
        }
        self.given_up.insert(id);
        #[cfg(septa_mutant = "request-place-lost")]
        self.deadlines.insert(id, Instant::NEVER);
        if self.given_up.len() > self.max {
            self.given_up.pop_first();
        }
        true
    }

    /// The earliest deadline; `None` if there is none that will come.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.by_deadline.first().map(|(deadline, _)| *deadline).filter(|deadline| *deadline != Instant::NEVER)
    }

    /// A request whose deadline is not after `now`, if there is one; it is given up.
    pub(super) fn expire(&mut self, now: Instant) -> Option<RequestId> {
        let (deadline, id) = *self.by_deadline.first()?;
        (deadline <= now && deadline != Instant::NEVER && self.give_up(id)).then_some(id)
    }

    /// Takes out the oldest: no answer will come to any.
    pub(super) fn lose_first(&mut self) -> Option<RequestId> {
        let id = *self.deadlines.first_key_value()?.0;
        self.remove(id);
        Some(id)
    }

    fn remove(&mut self, id: RequestId) -> bool {
        let Some(deadline) = self.deadlines.remove(&id) else { return false };
        self.by_deadline.remove(&(deadline, id))
    }
}
