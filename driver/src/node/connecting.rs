//! Who waits for a peer to be reached.

use std::{collections::BTreeMap, task::Waker};

use septa_core::{
    Instant, PeerId,
    node::{DialId, Event, FailedAttempt},
};

use crate::waiters::{Waiters, Woken};

/// The futures that wait for peers.
#[derive(Default)]
pub(super) struct Connecting(BTreeMap<PeerId, Waiting>);

/// Those that wait for one peer, and how the last effort to reach it failed since they began to wait.
#[derive(Default)]
struct Waiting {
    futures: usize,
    waiters: Waiters,
    failure: Option<Failure>,
}

/// Every address has failed.
#[derive(Clone)]
pub(super) struct Failure {
    pub(super) dial: DialId,
    pub(super) attempts: Vec<FailedAttempt>,
    pub(super) retry_at: Option<Instant>,
}

impl Connecting {
    /// One more future waits. It must [leave](Self::leave).
    pub(super) fn join(&mut self, peer: PeerId) {
        self.0.entry(peer).or_default().futures += 1;
    }

    pub(super) fn leave(&mut self, peer: PeerId, key: Option<u64>) {
        let Some(waiting) = self.0.get_mut(&peer) else { return };
        waiting.waiters.forget(key);
        waiting.futures -= 1;
        if waiting.futures == 0 {
            self.0.remove(&peer);
        }
    }

    /// How the effort `dial`, or a later one, failed.
    pub(super) fn failure(&self, peer: &PeerId, dial: DialId) -> Option<Failure> {
        self.0.get(peer)?.failure.clone().filter(|failure| failure.dial >= dial)
    }

    pub(super) fn wait(&mut self, peer: PeerId, key: &mut Option<u64>, waker: &Waker) {
        if let Some(waiting) = self.0.get_mut(&peer) {
            waiting.waiters.wait(key, waker);
        }
    }

    pub(super) fn note(&mut self, event: &Event, woken: &mut Woken) {
        let Some(waiting) = event.peer().and_then(|peer| self.0.get_mut(&peer)) else { return };
        match event {
            Event::DialFailed { dial, attempts, retry_at, .. } => {
                waiting.failure = Some(Failure { dial: *dial, attempts: attempts.clone(), retry_at: *retry_at });
            }
            // Which connection is to be used can change while the state does not.
            Event::State { .. } | Event::Opened { .. } | Event::Closed { .. } => {}
            _ => return,
        }
        waiting.waiters.wake_into(woken);
    }

    pub(super) fn wake_all(&mut self, woken: &mut Woken) {
        self.0.values_mut().for_each(|waiting| waiting.waiters.wake_into(woken));
    }
}
