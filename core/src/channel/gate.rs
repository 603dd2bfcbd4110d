//! Who may send now: the watermarks, and the line of those who wait.

use alloc::collections::BTreeSet;

use super::Watermarks;

/// Whether there is room, with hysteresis.
///
/// | state | level at or above a high mark | level at or below both low marks | otherwise |
/// |---|---|---|---|
/// | open | blocked | open | open |
/// | blocked | blocked | open | blocked |
#[derive(Debug)]
pub(super) struct Gate {
    watermarks: Watermarks,
    is_blocked: bool,
    times_blocked: u64,
}

impl Gate {
    pub(super) fn new(watermarks: Watermarks) -> Self {
        Self { watermarks, is_blocked: false, times_blocked: 0 }
    }

    /// The level has changed.
    pub(super) fn update(&mut self, messages: usize, bytes: usize) {
        let Watermarks { low_messages, low_bytes, .. } = self.watermarks;
        if self.is_reached(messages, bytes) {
            self.times_blocked = self.times_blocked.saturating_add(u64::from(!self.is_blocked));
            self.is_blocked = true;
        } else if messages <= low_messages && bytes <= low_bytes {
            self.is_blocked = false;
        }
    }

    pub(super) fn is_open(&self) -> bool {
        !self.is_blocked
    }

    /// Whether a level is at or above a high mark.
    pub(super) fn is_reached(&self, messages: usize, bytes: usize) -> bool {
        messages >= self.watermarks.high_messages || bytes >= self.watermarks.high_bytes
    }

    pub(super) fn times_blocked(&self) -> u64 {
        self.times_blocked
    }
}

/// The place of a sender in the line of those who wait. It is no permit: nothing is lost with it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(u64);

/// Those who wait, in the order in which they came.
///
/// Only the first may go on, and the next is woken when it has gone or has given up, so nobody overtakes and
/// no place is lost with one who gives up.
#[derive(Debug)]
pub(super) struct Line {
    waiting: BTreeSet<Ticket>,
    next: u64,
    /// The first, once it was told that it may go on.
    woken: Option<Ticket>,
    max: usize,
}

/// As many wait as may.
#[derive(Debug)]
pub(super) struct TooManyWaiting;

impl Line {
    pub(super) fn new(max: usize) -> Self {
        Self { waiting: BTreeSet::new(), next: 0, woken: None, max }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits in front of the holder of `ticket`, or of one who has none.
    pub(super) fn is_first(&self, ticket: Option<Ticket>) -> bool {
        self.waiting.first().is_none_or(|first| ticket == Some(*first))
    }

    /// Has the caller wait in the place that it has, or in the last one if it has none.
    pub(super) fn wait(&mut self, ticket: &mut Option<Ticket>) -> Result<(), TooManyWaiting> {
        if let Some(held) = *ticket
            && self.waiting.contains(&held)
        {
            // It has come in vain and is to be woken again.
            self.woken = self.woken.filter(|woken| *woken != held);
            return Ok(());
        }
        if self.waiting.len() >= self.max {
            *ticket = None;
            return Err(TooManyWaiting);
        }
        let last = Ticket(self.next);
        self.next = self.next.saturating_add(1);
        self.waiting.insert(last);
        *ticket = Some(last);
        Ok(())
    }

    /// The holder of `ticket` goes on or gives up.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
    }

    /// The first in the line, once: the gate is open.
    pub(super) fn wake_first(&mut self) -> Option<Ticket> {
        let first = self.waiting.first().copied();
        if first == self.woken {
            return None;
        }
        self.woken = first;
        first
    }

    /// Sends the first in the line away: nobody will be let in any more.
    pub(super) fn dismiss_first(&mut self) -> Option<Ticket> {
        self.waiting.pop_first()
    }
}
