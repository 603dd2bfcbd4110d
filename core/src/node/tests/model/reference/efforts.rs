//! Efforts to reach a peer.

use core::time::Duration;
use std::{collections::VecDeque, vec, vec::Vec};

use super::{PEERS, Reference, Told, addrs};
use crate::{Instant, node::Intent};

#[derive(Clone, Debug)]
pub(in super::super) enum Effort {
    Idle,
    Waiting(Window),
    Dialing(Dial),
    Cooldown(Instant),
}

/// Not before `from`, and not after `to`.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Window {
    pub(in super::super) from: Instant,
    pub(in super::super) to: Instant,
}

impl Window {
    pub(super) fn at(instant: Instant) -> Self {
        Self { from: instant, to: instant }
    }

    pub(super) fn earliest(self, other: Self) -> Self {
        Self { from: self.from.min(other.from), to: self.to.min(other.to) }
    }

    pub(in super::super) fn contains(self, instant: Instant) -> bool {
        self.from <= instant && instant <= self.to
    }
}

/// A kind of address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum Addr {
    /// In the network that is banned now and then.
    Inside,
    Outside,
    /// To be resolved.
    Name,
}

#[derive(Clone, Debug)]
pub(in super::super) struct Dial {
    waiting: VecDeque<Addr>,
    pub(in super::super) attempts: Vec<Attempt>,
    /// Not before this the next address is tried.
    next: Instant,
    was_denied: bool,
}

#[derive(Clone, Debug)]
pub(in super::super) struct Attempt {
    pub(super) number: usize,
    addr: Addr,
    pub(in super::super) step: Step,
    deadline: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum Step {
    Resolving,
    Connecting,
    /// There is a connection, which has its own deadline.
    Upgrading,
}

impl Reference {
    fn dial(&mut self, peer: usize) -> Option<&mut Dial> {
        match &mut self.peers[peer].effort {
            Effort::Dialing(dial) => Some(dial),
            _ => None,
        }
    }

    /// The attempts to reach a peer, in the order in which they began.
    pub(in super::super) fn attempts(&self, peer: usize) -> &[Attempt] {
        match &self.peers[peer].effort {
            Effort::Dialing(dial) => &dial.attempts,
            _ => &[],
        }
    }

    pub(super) fn attempts_in_all(&self) -> usize {
        (0..PEERS).map(|peer| self.attempts(peer).len()).sum()
    }

    pub(super) fn retries(&self, peer: usize) -> bool {
        match self.peers[peer].intent {
            Some(Intent::Persistent) => true,
            Some(Intent::Transient) => self.peers[peer].failures < self.config.transient_attempts,
            _ => false,
        }
    }

    pub(super) fn begin_dial(&mut self, peer: usize) {
        let waiting = if self.peers[peer].has_addrs { addrs(peer).iter().copied().collect() } else { VecDeque::new() };
        let dial = Dial { waiting, attempts: vec![], next: self.now, was_denied: false };
        self.peers[peer].effort = Effort::Dialing(dial);
        self.go_on(peer, false);
    }

    /// Begins what may begin now, or finds that nothing is left. Whoever waits goes before.
    fn go_on(&mut self, peer: usize, mut is_first: bool) {
        let now = self.now;
        loop {
            let has_place = self.attempts_in_all() < self.config.max_dials && (is_first || self.queue.is_empty());
            is_first = false;
            let most = self.config.max_dials_per_peer;
            let Some(dial) = self.dial(peer) else { return };
            if dial.attempts.len() >= most || dial.next > now {
                break;
            }
            let Some(addr) = dial.waiting.front().copied() else { break };
            if self.is_banned_addr(addr) {
                self.dial(peer).unwrap().waiting.pop_front();
                continue;
            }
            if !has_place {
                self.has_queued = true;
                if !self.queue.contains(&peer) {
                    self.queue.push(peer);
                }
                break;
            }
            self.queue.retain(|other| *other != peer);
            let (deadline, next) =
                (now.saturating_add(self.config.dial_timeout), now.saturating_add(self.config.dial_stagger));
            self.attempts_made += 1;
            let step = if addr == Addr::Name { Step::Resolving } else { Step::Connecting };
            let attempt = Attempt { number: self.attempts_made, addr, step, deadline };
            let dial = self.dial(peer).unwrap();
            dial.waiting.pop_front();
            dial.attempts.push(attempt);
            dial.next = next;
        }
        if self.dial(peer).is_some_and(|dial| dial.waiting.is_empty() && dial.attempts.is_empty()) {
            self.effort_failed(peer);
        }
    }

    /// Whoever waits longest takes the places that are free.
    pub(super) fn feed(&mut self) {
        while !self.queue.is_empty() && self.attempts_in_all() < self.config.max_dials {
            let peer = self.queue.remove(0);
            self.go_on(peer, true);
        }
    }

    fn effort_failed(&mut self, peer: usize) {
        self.queue.retain(|other| *other != peer);
        let Effort::Dialing(dial) = core::mem::replace(&mut self.peers[peer].effort, Effort::Idle) else { return };
        self.peers[peer].was_denied = dial.was_denied;
        self.peers[peer].failures += 1;
        let failures = self.peers[peer].failures;
        if self.retries(peer) && !self.is_present(peer) {
            self.wait(peer);
        }
        self.end_wish_if_exhausted(peer);
        let retries = matches!(self.peers[peer].effort, Effort::Waiting(_));
        self.told.push(Told::DialFailed { peer, failures, retries });
    }

    /// The delay is from d to 1.25 d below the longest one, and from 0.75 d to d there.
    pub(super) fn wait(&mut self, peer: usize) {
        let (now, backoff) = (self.now, self.config.backoff);
        let known = &mut self.peers[peer];
        let was_denied = core::mem::take(&mut known.was_denied);
        let mut delay = backoff.initial;
        for _ in 1..known.failures {
            delay = (delay * 2).min(backoff.max);
        }
        let (least, most) = if was_denied || delay >= backoff.max {
            (backoff.max * 3 / 4, backoff.max)
        } else {
            (delay, (delay * 5 / 4).min(backoff.max))
        };
        let at = |delay: Duration| now.saturating_add(delay);
        known.effort = Effort::Waiting(Window { from: at(least), to: at(most) });
    }

    pub(super) fn end_wish_if_exhausted(&mut self, peer: usize) {
        let is_exhausted = self.peers[peer].failures >= self.config.transient_attempts;
        let is_idle = matches!(self.peers[peer].effort, Effort::Idle) && self.is_absent(peer);
        if self.peers[peer].intent == Some(Intent::Transient) && is_exhausted && is_idle {
            self.peers[peer].intent = Some(Intent::Dormant);
        }
    }

    /// Gives the effort up, the connections that it makes included.
    pub(super) fn abort(&mut self, peer: usize) {
        let made: Vec<usize> = self.attempts(peer).iter().map(|attempt| attempt.number).collect();
        self.end_effort(peer);
        let upgrading = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.attempt.is_some_and(|attempt| made.contains(&attempt)));
        for connection in upgrading.map(|(number, _)| *number).collect::<Vec<usize>>() {
            self.connections.get_mut(&connection).unwrap().attempt = None;
            self.close(connection);
        }
        self.feed();
    }

    /// Begins no other attempt; connections that are being made go on.
    pub(super) fn end_effort(&mut self, peer: usize) {
        self.queue.retain(|other| *other != peer);
        self.peers[peer].effort = Effort::Idle;
    }

    /// An attempt is over, and nothing came of it.
    pub(super) fn attempt_failed(&mut self, peer: usize, number: usize, was_denied: bool) {
        let now = self.now;
        if let Some(dial) = self.dial(peer)
            && dial.attempts.iter().any(|attempt| attempt.number == number)
        {
            dial.attempts.retain(|attempt| attempt.number != number);
            dial.next = dial.next.min(now);
            dial.was_denied |= was_denied;
        }
        self.go_on(peer, false);
        self.feed();
    }

    pub(in super::super) fn dialed(&mut self, peer: usize, index: usize) {
        let Some(attempt) = self.attempts(peer).get(index).cloned() else { return };
        let is_full = self.connections.len() >= self.config.max_connections;
        let wanted = !is_full && !self.is_banned_addr(attempt.addr);
        if wanted {
            let attempt = &mut self.dial(peer).unwrap().attempts[index];
            (attempt.step, attempt.deadline) = (Step::Upgrading, Instant::NEVER);
            let (number, addr) = (attempt.number, attempt.addr);
            self.made_by_dial(peer, number, addr);
        } else {
            self.attempt_failed(peer, attempt.number, false);
        }
        self.answer = super::Answer::Transport(wanted);
    }

    pub(in super::super) fn dial_failed(&mut self, peer: usize, index: usize) {
        if let Some(number) = self.attempts(peer).get(index).map(|attempt| attempt.number) {
            self.attempt_failed(peer, number, false);
        }
    }

    pub(in super::super) fn resolved(&mut self, peer: usize, index: usize, count: usize) {
        if let Some(number) = self.attempts(peer).get(index).map(|attempt| attempt.number) {
            self.dial(peer).unwrap().waiting.extend((0..count).map(|_| Addr::Outside));
            self.attempt_failed(peer, number, false);
        }
    }

    pub(super) fn expire_attempts(&mut self, peer: usize) {
        let now = self.now;
        while let Some(attempt) = self.attempts(peer).iter().find(|attempt| attempt.deadline <= now) {
            self.attempt_failed(peer, attempt.number, false);
        }
        self.go_on(peer, false);
    }

    pub(super) fn effort_deadline(&self, peer: usize) -> Option<Window> {
        match &self.peers[peer].effort {
            Effort::Idle => None,
            Effort::Waiting(window) => Some(*window),
            Effort::Cooldown(until) => Some(Window::at(*until)),
            Effort::Dialing(dial) => {
                let has_place = !self.queue.contains(&peer) && dial.attempts.len() < self.config.max_dials_per_peer;
                let next = (has_place && !dial.waiting.is_empty()).then_some(dial.next);
                let patience = dial.attempts.iter().map(|attempt| attempt.deadline);
                patience
                    .filter(|deadline| *deadline != Instant::NEVER)
                    .chain(next)
                    .map(Window::at)
                    .reduce(Window::earliest)
            }
        }
    }
}
