//! The disk of a node, watched from outside: whether it keeps what was stored, and whether the node takes that up.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use septa_core::{
    Instant, PeerId,
    node::{BanPhase, BanRecord, BanSubject, Intent, KnownPeer, Restored, Snapshot, WallTime},
};
use septa_driver::{
    Node,
    storage::{Loaded, Storage, StorageError},
};

use super::{Shared, lock};

const KEPT: &str = "what was stored is there behind a restart";
const STORED: &str = "what a node was told long ago is stored";
const TAKEN_UP: &str = "a node takes up what it has stored";

/// A node stores within 5 s what it is told; clocks may be late, and it does not store and hear in the same moment.
const STORING: Duration = Duration::from_secs(9);

/// What is on the disk of somebody.
#[derive(Default)]
pub(super) struct Kept {
    whole: Option<Snapshot>,
    /// What may be there instead, or half of it: the store of it was torn.
    torn: Option<Snapshot>,
    told: Told,
}

/// What the owner of a disk was told in its life, by its own clock.
#[derive(Default)]
struct Told {
    /// To whom it is to keep a connection, and since when.
    peers: BTreeMap<PeerId, Instant>,
    /// Since when a ban runs, and until when.
    ban: Option<(Instant, Instant)>,
    /// When it last was seen alive.
    alive: Option<Instant>,
}

impl Kept {
    /// The owner is to keep a connection to these, and to nobody else any more.
    pub(super) fn tell_peers(&mut self, peers: impl Iterator<Item = PeerId>, now: Instant) {
        let before = std::mem::take(&mut self.told.peers);
        self.told.peers = peers.map(|peer| (peer, before.get(&peer).copied().unwrap_or(now))).collect();
        self.told.alive = Some(now);
    }

    /// The owner has a ban until then.
    pub(super) fn tell_ban(&mut self, now: Instant, ends: Instant) {
        self.told.ban = Some((now, ends));
    }

    /// What of it is not in a snapshot that was found when the life was over, though there was time to store it. Of a
    /// store that was torn nothing can be said.
    fn missing(&self, found: Option<&Snapshot>) -> Option<String> {
        let alive = self.told.alive.filter(|_| self.torn.is_none())?;
        let is_due = |since: Instant| since.saturating_add(STORING) <= alive;
        let has_peer = |peer: PeerId| {
            let mut known = found.into_iter().flat_map(|found| &found.peers);
            known.any(|known| known.peer == peer && known.intent == Intent::Persistent)
        };
        let due = self.told.peers.iter().filter(|(_, since)| is_due(**since));
        if let Some((peer, since)) = due.map(|(peer, since)| (*peer, *since)).find(|(peer, _)| !has_peer(*peer)) {
            return Some(format!("{peer}, told at {since:?} to one who lived at {alive:?}"));
        }
        let runs = |record: &BanRecord| matches!(record.phase, BanPhase::Running { .. });
        let has_ban = found.is_some_and(|found| found.bans.iter().any(runs));
        // It may have died a while behind.
        let ban = self.told.ban.filter(|(since, ends)| is_due(*since) && *ends > alive.saturating_add(STORING));
        ban.filter(|_| !has_ban)
            .map(|(since, ends)| format!("a ban from {since:?} to {ends:?}, one lived at {alive:?}"))
    }
}

/// The disk of one life.
pub(super) struct Disk {
    disk: Arc<dyn Storage>,
    owner: PeerId,
    shared: Arc<Shared>,
    given: Mutex<Option<Loaded>>,
}

impl Disk {
    pub(super) fn new(disk: Arc<dyn Storage>, owner: PeerId, shared: &Arc<Shared>) -> Self {
        Self { disk, owner, shared: shared.clone(), given: Mutex::default() }
    }

    /// Looks at a node in the instant in which it was made. Returns the peers that it knows to keep a connection to.
    pub(super) fn check(&self, node: &Node) -> Vec<KnownPeer> {
        let given = lock(&self.given).take();
        let (found, referee) = (node.recollection(), &self.shared.referee);
        let (snapshot, set_aside) = match given {
            Some(Loaded::Snapshot(snapshot)) => (*snapshot, None),
            Some(Loaded::Corrupt { set_aside, why }) => (Snapshot::default(), Some((set_aside, why))),
            Some(Loaded::Nothing) => (Snapshot::default(), None),
            None => {
                referee.blame(TAKEN_UP, format!("{} has not looked", self.owner));
                return Vec::new();
            }
        };
        if found.set_aside != set_aside {
            referee.blame(TAKEN_UP, format!("{} says that {:?} was set aside", self.owner, found.set_aside));
        }
        let peers: Vec<PeerId> = snapshot.peers.iter().map(|known| known.peer).collect();
        let all = Restored { peers: peers.len(), ..Restored::default() };
        if found.restored != all || node.known_peers() != peers {
            referee.blame(TAKEN_UP, format!("{} knows {:?} of {}", self.owner, found.restored, peers.len()));
        }
        let runtime = node.runtime();
        let wall = WallTime::from_secs(i64::try_from(runtime.unix_time().as_secs()).unwrap_or(i64::MAX));
        let (expected, found) = (left(&snapshot, runtime.now(), wall), bans_of(node));
        if expected != found {
            referee.blame(TAKEN_UP, format!("{} knows the bans {found:?} of {expected:?}", self.owner));
        }
        snapshot.peers.into_iter().filter(|known| known.intent == Intent::Persistent).collect()
    }
}

impl Storage for Disk {
    fn load(&self) -> Result<Loaded, StorageError> {
        let loaded = self.disk.load()?;
        let mut all = lock(&self.shared.kept);
        let kept = all.entry(self.owner).or_default();
        let is_right = match &loaded {
            Loaded::Nothing => kept.whole.is_none(),
            Loaded::Snapshot(found) => [&kept.whole, &kept.torn].into_iter().flatten().any(|kept| *kept == **found),
            Loaded::Corrupt { .. } => kept.torn.is_some(),
        };
        if !is_right {
            self.shared.referee.blame(KEPT, format!("{} finds {loaded:?}", self.owner));
        }
        let whole = if let Loaded::Snapshot(found) = &loaded { Some((**found).clone()) } else { None };
        if let Some(missing) = kept.missing(whole.as_ref()) {
            self.shared.referee.blame(STORED, format!("{} does not find {missing}", self.owner));
        }
        *kept = Kept { whole, ..Kept::default() };
        *lock(&self.given) = Some(loaded.clone());
        Ok(loaded)
    }

    fn store(&self, snapshot: &Snapshot) -> Result<(), StorageError> {
        let outcome = self.disk.store(snapshot);
        let mut all = lock(&self.shared.kept);
        let kept = all.entry(self.owner).or_default();
        match outcome {
            Ok(()) => (kept.whole, kept.torn) = (Some(snapshot.clone()), None),
            Err(_) => kept.torn = Some(snapshot.clone()),
        }
        outcome
    }
}

/// The bans of a snapshot that run still, and until when: the time since it was stored, by the calendar, has passed for
/// them. A calendar that was set back makes none longer.
fn left(snapshot: &Snapshot, now: Instant, wall: WallTime) -> BTreeMap<BanSubject, Option<Instant>> {
    let bans = snapshot.bans.iter().filter_map(|record| {
        let passed = wall.saturating_duration_since(record.saved);
        match record.phase {
            BanPhase::ForEver => Some((record.subject, None)),
            BanPhase::Running { rest } if rest > passed => {
                Some((record.subject, Some(now.saturating_add(rest - passed))))
            }
            BanPhase::Running { .. } | BanPhase::Over { .. } => None,
        }
    });
    bans.collect()
}

fn bans_of(node: &Node) -> BTreeMap<BanSubject, Option<Instant>> {
    node.bans().into_iter().map(|ban| (ban.subject, ban.ends)).collect()
}
