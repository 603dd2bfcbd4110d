//! When what takes time on a stream must be over.

use alloc::collections::BTreeSet;

use crate::{Instant, room::GiveBack, yamux::StreamId};

/// Streams in the order of their deadlines. Bounded by the session's stream limit.
///
/// Most of the time no stream has one, and then it takes no room.
#[derive(Debug, Default)]
pub(super) struct Deadlines(BTreeSet<(Instant, StreamId)>);

impl Deadlines {
    pub(super) fn insert(&mut self, deadline: Instant, id: StreamId) {
        self.0.insert((deadline, id));
    }

    pub(super) fn remove(&mut self, deadline: Instant, id: StreamId) {
        if self.0.remove(&(deadline, id)) {
            self.0.give_back_if_empty();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(deadline, _)| *deadline)
    }

    /// Takes out a stream whose deadline has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<StreamId> {
        let (deadline, id) = self.0.first().copied().filter(|(deadline, _)| *deadline <= now)?;
        self.remove(deadline, id);
        Some(id)
    }

    pub(super) fn memory_used(&self) -> usize {
        self.0.len().saturating_mul(size_of::<(Instant, StreamId)>())
    }
}
