//! When what a node remembers is stored.

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Waker},
    time::Duration,
};

use septa_core::{
    Instant,
    node::{Snapshot, WallTime},
};

use super::shared::NodeShared;
use crate::storage::{Storage, StorageError};

/// How old a snapshot with bans may be. A restart behind which the time of day is earlier than before lengthens a ban by
/// the age of the snapshot, since nobody knows how long it took.
const MAX_AGE: Duration = Duration::from_secs(600);

/// Stores what has changed, at most once each interval and once more at the end.
///
/// | state | left for | when |
/// |---|---|---|
/// | `Clean` | `Dirty` | something has changed, bans have run for [`MAX_AGE`], or the node ends |
/// | `Dirty` | `Storing` | the interval has passed, or the node ends |
/// | `Storing` | `Clean` | it is stored |
/// | | `Dirty` | it failed; the next try is an interval later, and there is none if the node ends |
pub(super) struct Keeper {
    storage: Option<Arc<dyn Storage>>,
    interval: Duration,
    /// The revision that was stored last, or is being stored.
    revision: u64,
    state: State,
    /// When the last store began; at first, when the node did.
    stored: Instant,
    /// Bans run, whose rest is less each time.
    ages: bool,
    /// It began when the node had ended.
    is_last: bool,
    error: Option<StorageError>,
}

enum State {
    Clean,
    Dirty { due: Instant },
    Storing(Arc<Outcome>),
}

/// How the storage fares, for people.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct KeeperHealth {
    pub(super) is_used: bool,
    pub(super) error: Option<StorageError>,
    /// When the store that is under way began.
    pub(super) storing_since: Option<Instant>,
}

/// What becomes of a store on a thread of its own.
#[derive(Default)]
struct Outcome(Mutex<OutcomeState>);

#[derive(Default)]
struct OutcomeState {
    result: Option<Result<(), StorageError>>,
    /// Who waits for it.
    task: Option<Waker>,
}

/// Reports the outcome, even if the thread never gets to it.
struct Report {
    outcome: Arc<Outcome>,
    result: Result<(), StorageError>,
}

impl Report {
    fn set(mut self, result: Result<(), StorageError>) {
        self.result = result;
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        let task = {
            let mut outcome = self.outcome.0.lock().unwrap_or_else(PoisonError::into_inner);
            outcome.result = Some(result);
            outcome.task.take()
        };
        task.into_iter().for_each(Waker::wake);
    }
}

impl Keeper {
    /// `revision` is what the storage holds.
    pub(super) fn new(storage: Option<Arc<dyn Storage>>, interval: Duration, now: Instant, revision: u64) -> Self {
        Self { storage, interval, revision, state: State::Clean, stored: now, ages: false, is_last: false, error: None }
    }

    pub(super) fn health(&self) -> KeeperHealth {
        let storing_since = matches!(self.state, State::Storing(_)).then_some(self.stored);
        KeeperHealth { is_used: self.storage.is_some(), error: self.error.clone(), storing_since }
    }

    /// Goes on. True if something has happened.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, node: &Arc<NodeShared>, now: Instant, ends: bool) -> bool {
        let Some(storage) = self.storage.clone() else { return false };
        let (revision, bans) = node.look(|state| (state.core.revision(), state.core.stats().bans));
        self.ages = bans > 0;
        match &self.state {
            State::Clean if revision != self.revision => {
                self.state = State::Dirty { due: now.saturating_add(self.interval) };
                true
            }
            State::Clean if self.refresh_at().is_some_and(|due| due <= now) || (ends && !self.is_last) => {
                self.state = State::Dirty { due: now };
                true
            }
            State::Clean => false,
            State::Dirty { due } if *due > now && !ends => false,
            State::Dirty { .. } => {
                (self.revision, self.stored, self.is_last) = (revision, now, ends);
                self.state = State::Storing(store(node, storage, now));
                self.tell_health(node);
                true
            }
            State::Storing(outcome) => {
                let Some(result) = take(outcome, cx.waker()) else { return false };
                self.error = result.err();
                self.state = match &self.error {
                    Some(_) if !ends => State::Dirty { due: now.saturating_add(self.interval) },
                    _ => State::Clean,
                };
                self.tell_health(node);
                true
            }
        }
    }

    fn tell_health(&self, node: &NodeShared) {
        let health = self.health();
        node.look(|state| state.keeper = health);
    }

    /// When to go on by itself.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Dirty { due } => Some(due),
            State::Clean => self.refresh_at(),
            State::Storing(_) => None,
        }
    }

    fn refresh_at(&self) -> Option<Instant> {
        self.ages.then(|| self.stored.saturating_add(MAX_AGE))
    }

    /// Nothing is left to be stored.
    pub(super) fn is_clean(&self, revision: u64) -> bool {
        let is_tried = matches!(self.state, State::Clean) && self.is_last;
        self.storage.is_none() || (is_tried && (revision == self.revision || self.error.is_some()))
    }
}

fn take(outcome: &Outcome, task: &Waker) -> Option<Result<(), StorageError>> {
    let mut outcome = outcome.0.lock().unwrap_or_else(PoisonError::into_inner);
    let result = outcome.result.take();
    if result.is_none() {
        outcome.task = Some(task.clone());
    }
    result
}

fn store(node: &NodeShared, storage: Arc<dyn Storage>, now: Instant) -> Arc<Outcome> {
    let wall = wall_time(node);
    let snapshot: Snapshot = node.look(|state| state.core.snapshot(now, wall));
    let outcome = Arc::new(Outcome::default());
    let report = Report { outcome: outcome.clone(), result: Err(StorageError::Interrupted) };
    node.endpoint.runtime.spawn_blocking(Box::new(move || report.set(storage.store(&snapshot))));
    outcome
}

/// The time of day.
pub(super) fn wall_time(node: &NodeShared) -> WallTime {
    wall_time_of(&*node.endpoint.runtime)
}

/// The time of day by the clock of `runtime`.
pub(super) fn wall_time_of(runtime: &dyn crate::runtime::Runtime) -> WallTime {
    WallTime::from_secs(i64::try_from(runtime.unix_time().as_secs()).unwrap_or(i64::MAX))
}
