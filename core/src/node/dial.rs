//! One effort to reach a peer: its addresses, tried one after the other a moment apart (RFC 8305, happy eyeballs).

use alloc::{collections::VecDeque, vec::Vec};

use super::{AttemptId, DialFailure, DialId, FailedAttempt};
use crate::{ConnectionId, Instant, Multiaddr, connection::CloseReason};

/// The addresses of one effort and how far each has come.
///
/// Addresses wait in order of preference. One is begun at once and the next ones a stagger later each, or as soon as
/// the one before has failed. What an address resolves to takes its place at the front. The effort has failed when
/// no address waits and no attempt is under way.
#[derive(Debug)]
pub(crate) struct Dial {
    pub(crate) id: DialId,
    waiting: VecDeque<Candidate>,
    attempts: Vec<Attempt>,
    /// When the next address may begin.
    next: Instant,
    /// Addresses that were taken in, the resolved ones included.
    taken: usize,
    /// At most [`MAX_ADDRS`](Self::MAX_ADDRS).
    failed: Vec<FailedAttempt>,
}

/// An address to try.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Candidate {
    pub(crate) addr: Multiaddr,
    /// The name that the address was resolved from, as the book has it.
    pub(crate) origin: Multiaddr,
}

/// An address that is being tried.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) id: AttemptId,
    pub(crate) candidate: Candidate,
    pub(crate) step: Step,
    /// When it is given up.
    pub(crate) deadline: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Resolving,
    Connecting,
    /// The transport is there and the connection makes its handshake, under a deadline of its own.
    Upgrading(ConnectionId),
}

impl Dial {
    /// Most addresses of one effort, those that names resolve to included. Stops a name server, or a peer that
    /// announces names, from making us dial for ever.
    pub(crate) const MAX_ADDRS: usize = 32;

    pub(crate) fn new(id: DialId, now: Instant, addrs: impl IntoIterator<Item = Multiaddr>) -> Self {
        let candidates = addrs.into_iter().map(|addr| Candidate { origin: addr.clone(), addr });
        let waiting: VecDeque<Candidate> = candidates.take(Self::MAX_ADDRS).collect();
        let taken = waiting.len();
        Self { id, waiting, attempts: Vec::new(), next: now, taken, failed: Vec::new() }
    }

    /// Notes why an address was tried in vain. Each address is noted once, so there are no more than were taken.
    pub(crate) fn note_failure(&mut self, addr: Multiaddr, why: DialFailure) {
        if self.failed.len() < Self::MAX_ADDRS {
            self.failed.push(FailedAttempt { addr, why });
        }
    }

    /// What was noted.
    pub(crate) fn into_failed(self) -> Vec<FailedAttempt> {
        self.failed
    }

    /// At least one attempt was denied by the peer, which is no use to ask again soon.
    pub(crate) fn was_denied(&self) -> bool {
        self.failed.iter().any(|failed| failed.why == DialFailure::Closed(CloseReason::DeniedByRemote))
    }

    /// No address is left and none is being tried.
    pub(crate) fn has_failed(&self) -> bool {
        self.waiting.is_empty() && self.attempts.is_empty()
    }

    pub(crate) fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    pub(crate) fn attempt_mut(&mut self, id: AttemptId) -> Option<&mut Attempt> {
        self.attempts.iter_mut().find(|attempt| attempt.id == id)
    }

    /// The next address, if one waits and its time has come.
    pub(crate) fn take_next(&mut self, now: Instant) -> Option<Candidate> {
        if self.next > now { None } else { self.waiting.pop_front() }
    }

    /// An address that was [taken](Self::take_next) is being tried; the next one may begin at `next`.
    pub(crate) fn begin(&mut self, attempt: Attempt, next: Instant) {
        self.attempts.push(attempt);
        self.next = next;
    }

    /// An address that was taken could not be tried now. It comes first next time.
    pub(crate) fn put_back(&mut self, candidate: Candidate) {
        self.waiting.push_front(candidate);
    }

    /// An attempt is over. If it failed, the next address need not wait.
    pub(crate) fn end(&mut self, id: AttemptId, now: Instant) -> Option<Attempt> {
        let index = self.attempts.iter().position(|attempt| attempt.id == id)?;
        self.next = self.next.min(now);
        Some(self.attempts.swap_remove(index))
    }

    /// A name was resolved: its addresses come next, and the attempt is over.
    pub(crate) fn resolved(&mut self, id: AttemptId, now: Instant, addrs: &[Multiaddr]) -> Option<Attempt> {
        let attempt = self.end(id, now)?;
        let room = Self::MAX_ADDRS.saturating_sub(self.taken);
        for addr in addrs.iter().take(room).rev() {
            self.taken = self.taken.saturating_add(1);
            self.waiting.push_front(Candidate { addr: addr.clone(), origin: attempt.candidate.origin.clone() });
        }
        Some(attempt)
    }

    /// When something is to be done by itself: the end of an attempt's patience, or the next address if there is
    /// `room` for it.
    pub(crate) fn poll_timeout(&self, room: bool) -> Option<Instant> {
        let patience = self.attempts.iter().map(|attempt| attempt.deadline).filter(|at| *at != Instant::NEVER).min();
        let next = (room && !self.waiting.is_empty()).then_some(self.next);
        patience.into_iter().chain(next).min()
    }

    /// Attempts whose patience is over. They are still to be [ended](Self::end).
    pub(crate) fn overdue(&self, now: Instant) -> Option<AttemptId> {
        let is_over = |attempt: &&Attempt| attempt.deadline <= now && attempt.deadline != Instant::NEVER;
        self.attempts.iter().find(is_over).map(|attempt| attempt.id)
    }
}
