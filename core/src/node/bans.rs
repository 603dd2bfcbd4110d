//! Who is not let in, and for how long.

use alloc::collections::{BTreeMap, BTreeSet};
use core::{net::IpAddr, time::Duration};

use super::{
    Ban, BanPhase, BanReason, BanRecord, BanSubject, InvalidValue, InvalidValues, Prefix, WallTime, backoff::doubled,
};
use crate::{Instant, PeerId};

/// How long automatic bans last and how many bans are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BanConfig {
    /// The first automatic ban of a subject. 10 min unless set. Each further one lasts twice as long.
    pub base: Duration,
    /// No automatic ban is longer. 7 days unless set.
    pub max: Duration,
    /// How long after its last ban a subject's next offence counts as a further one. 7 days unless set; zero
    /// makes all automatic bans equally long.
    pub memory: Duration,
    /// Bans, and offences remembered, 65,536 unless set. Identities cost nothing, so whoever makes new ones
    /// to have them banned would fill our memory. When full, a new ban takes the place of the offences that
    /// would be forgotten first, then of the ban that would end first, never of one for ever.
    pub max_entries: usize,
}

impl Default for BanConfig {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        Self {
            base: Duration::from_secs(10 * 60),
            max: day.saturating_mul(7),
            memory: day.saturating_mul(7),
            max_entries: 65_536,
        }
    }
}

impl BanConfig {
    /// Checks every value and reports all that are wrong at once.
    pub fn validate(&self) -> Result<(), InvalidValues> {
        let mut errors = InvalidValues::default();
        errors.not_zero("bans.base", self.base);
        errors.not_more("bans.base", "bans.max", self.base <= self.max);
        errors.refuse(self.max_entries == 0, InvalidValue::Zero { name: "bans.max_entries" });
        errors.into_result()
    }
}

/// Nobody was banned: all places are taken by bans for ever, or, for mere offences that are restored, by
/// bans. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no room for another ban")]
pub struct BansFull;

/// A ban was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Banned {
    pub(super) ban: Ban,
    /// A ban that ended before its time to make room.
    pub(super) displaced: Option<Ban>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    reason: BanReason,
    offences: u32,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    ForEver,
    Until(Instant),
    /// No ban runs, but the offences count for the next one.
    Remembered(Instant),
}

/// All bans, by peer and by network, and the offences of those whose ban is over.
///
/// ```text
///            ban        offence            expire, time is up            unban
/// nobody     banned     banned, 1 offence  -                             -
/// banned     replaced   ignored            remembered if any offences,   nobody
///                                          else nobody
/// remembered banned     banned, 1 more     nobody (forgotten)            nobody
/// ```
///
/// Bans run on the monotonic clock; wall time only bridges the gap between two processes. A `now` that runs
/// backwards counts as the last one. Each operation costs O(log n) in the number of bans, those that take an
/// address once for each prefix length in use.
#[derive(Debug)]
pub(super) struct Bans {
    config: BanConfig,
    entries: BTreeMap<BanSubject, Entry>,
    ending: BTreeSet<(Instant, BanSubject)>,
    forgetting: BTreeSet<(Instant, BanSubject)>,
    // How many entries have prefixes of each family and length.
    lengths: BTreeMap<(Family, u8), usize>,
    latest: Instant,
    revision: u64,
}

impl Bans {
    pub(super) fn new(config: BanConfig) -> Self {
        Self {
            config,
            entries: BTreeMap::new(),
            ending: BTreeSet::new(),
            forgetting: BTreeSet::new(),
            lengths: BTreeMap::new(),
            latest: Instant::EPOCH,
            revision: 0,
        }
    }

    /// Bans `subject` for `length`, for ever if `None`, whether it was banned for longer or not. This is no
    /// offence.
    pub(super) fn ban(
        &mut self,
        now: Instant,
        subject: BanSubject,
        reason: BanReason,
        length: Option<Duration>,
    ) -> Result<Banned, BansFull> {
        let now = self.observe(now);
        let offences = self.offences(now, subject);
        let phase = length.map_or(Phase::ForEver, |length| Phase::Until(now.saturating_add(length)));
        self.put(subject, Entry { reason, offences, phase })
    }

    /// Bans `subject` for the longer, the more often it was in succession. One that is banned already stays
    /// so: several connections may show the same offence.
    pub(super) fn offence(&mut self, now: Instant, subject: BanSubject, reason: BanReason) -> Result<Banned, BansFull> {
        let now = self.observe(now);
        if let Some(ban) = self.get(now, subject) {
            return Ok(Banned { ban, displaced: None });
        }
        let earlier = self.offences(now, subject);
        let length = doubled(self.config.base, earlier, self.config.max);
        let phase = Phase::Until(now.saturating_add(length));
        self.put(subject, Entry { reason, offences: earlier.saturating_add(1), phase })
    }

    /// Lifts the ban of `subject` and forgets its offences. Returns the ban if one was running.
    pub(super) fn unban(&mut self, now: Instant, subject: BanSubject) -> Option<Ban> {
        let now = self.observe(now);
        let ban = self.get(now, subject);
        self.take(subject);
        ban
    }

    /// Changes with whatever [`to_records`](Self::to_records) would say, apart from the time that has passed. Counts up.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// The ban of exactly `subject`, if one runs.
    pub(super) fn get(&self, now: Instant, subject: BanSubject) -> Option<Ban> {
        let entry = self.entries.get(&subject)?;
        entry.runs(now.max(self.latest)).then(|| entry.ban(subject))
    }

    /// The ban of `peer`, if one runs.
    pub(super) fn banned_peer(&self, now: Instant, peer: PeerId) -> Option<Ban> {
        self.get(now, peer.into())
    }

    /// The ban of a network of `ip`, if one runs; of several that which ends last.
    pub(super) fn banned_addr(&self, now: Instant, ip: IpAddr) -> Option<Ban> {
        let ip = ip.to_canonical();
        let family = Family::of(ip);
        self.lengths
            .range((family, 0)..=(family, u8::MAX))
            .filter_map(|((_, len), _)| self.get(now, Prefix::truncate(ip, *len).into()))
            .max_by_key(|ban| ban.ends.unwrap_or(Instant::NEVER))
    }

    /// When [`expire`](Self::expire) has something to return. Offences are forgotten without a timer.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.ending.first().map(|(ends, _)| *ends)
    }

    /// Ends one ban whose time is up, the earliest first. Call until it returns `None`.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Ban> {
        let now = self.observe(now);
        let (ends, subject) = self.ending.first().copied().filter(|(ends, _)| *ends <= now)?;
        let entry = self.take(subject)?;
        let until = ends.saturating_add(self.config.memory);
        if entry.offences > 0 && until > now {
            self.index(subject, Entry { phase: Phase::Remembered(until), ..entry });
        }
        Some(entry.ban(subject))
    }

    /// The bans that run, by subject.
    pub(super) fn iter(&self, now: Instant) -> impl Iterator<Item = Ban> {
        let now = now.max(self.latest);
        let running = self.entries.iter().filter(move |(_, entry)| entry.runs(now));
        running.map(|(subject, entry)| entry.ban(*subject))
    }

    /// Everything that is worth storing, by subject: the bans that run and the offences that count.
    pub(super) fn to_records(&self, now: Instant, wall: WallTime) -> impl Iterator<Item = BanRecord> {
        let now = now.max(self.latest);
        self.entries.iter().filter_map(move |(&subject, entry)| {
            let phase = self.phase(now, entry)?;
            Some(BanRecord { subject, reason: entry.reason, offences: entry.offences, saved: wall, phase })
        })
    }

    /// Takes up what was stored, less the time between `record.saved` and `wall`. A clock that was set back in
    /// between counts as one that stood still: it loses no ban and lengthens none. A clock that was set
    /// forward ends bans early at most. A subject that is known already stays as it is.
    ///
    /// Returns the ban that gave way to this one, if any.
    pub(super) fn restore(
        &mut self,
        now: Instant,
        wall: WallTime,
        record: &BanRecord,
    ) -> Result<Option<Ban>, BansFull> {
        let now = self.observe(now);
        let phase = match record.phase_at(wall, self.config.memory) {
            Some(BanPhase::ForEver) => Phase::ForEver,
            Some(BanPhase::Running { rest }) => Phase::Until(now.saturating_add(rest)),
            Some(BanPhase::Over { remembered }) => Phase::Remembered(now.saturating_add(remembered)),
            None => return Ok(None),
        };
        if self.entries.contains_key(&record.subject) {
            return Ok(None);
        }
        let entry = Entry { reason: record.reason, offences: record.offences, phase };
        self.put(record.subject, entry).map(|banned| banned.displaced)
    }

    /// How many bans run, or have ended without a call of [`expire`](Self::expire).
    pub(super) fn running(&self) -> usize {
        self.entries.len().saturating_sub(self.forgetting.len())
    }

    /// How many bans and remembered subjects there are, at most [`BanConfig::max_entries`].
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How far the ban of `entry` is; `None` if it is over and its offences do not count any more.
    fn phase(&self, now: Instant, entry: &Entry) -> Option<BanPhase> {
        let forgotten_at = match entry.phase {
            Phase::ForEver => return Some(BanPhase::ForEver),
            Phase::Until(ends) if ends > now => {
                return Some(BanPhase::Running { rest: ends.saturating_duration_since(now) });
            }
            // Nobody has called `expire` yet.
            Phase::Until(ended) => ended.saturating_add(self.config.memory),
            Phase::Remembered(until) => until,
        };
        let counts = entry.offences > 0 && forgotten_at > now;
        counts.then(|| BanPhase::Over { remembered: forgotten_at.saturating_duration_since(now) })
    }

    /// The offences of `subject` that count.
    fn offences(&self, now: Instant, subject: BanSubject) -> u32 {
        let entry = self.entries.get(&subject).filter(|entry| self.phase(now, entry).is_some());
        entry.map_or(0, |entry| entry.offences)
    }

    /// The latest time seen. Forgets what is due on the way; twice, since each call adds one entry at most.
    fn observe(&mut self, now: Instant) -> Instant {
        self.latest = self.latest.max(now);
        for _ in 0..2 {
            let due = self.forgetting.first().filter(|(until, _)| *until <= self.latest);
            let Some(&(_, subject)) = due else { break };
            self.take(subject);
        }
        self.latest
    }

    fn put(&mut self, subject: BanSubject, entry: Entry) -> Result<Banned, BansFull> {
        let known = self.take(subject).is_some();
        let displaced = if known { None } else { self.make_room(&entry)? };
        self.index(subject, entry);
        Ok(Banned { ban: entry.ban(subject), displaced })
    }

    /// Drops an entry that counts less than `new`, if there is no room for that.
    fn make_room(&mut self, new: &Entry) -> Result<Option<Ban>, BansFull> {
        if self.entries.len() < self.config.max_entries {
            return Ok(None);
        }
        if let Some((_, subject)) = self.forgetting.first().copied() {
            self.take(subject);
            return Ok(None);
        }
        let (_, subject) = match new.phase {
            Phase::Remembered(_) => None,
            Phase::ForEver | Phase::Until(_) => self.ending.first().copied(),
        }
        .ok_or(BansFull)?;
        Ok(self.take(subject).map(|entry| entry.ban(subject)))
    }

    fn index(&mut self, subject: BanSubject, entry: Entry) {
        match entry.phase {
            Phase::ForEver => {}
            Phase::Until(ends) => {
                self.ending.insert((ends, subject));
            }
            Phase::Remembered(until) => {
                self.forgetting.insert((until, subject));
            }
        }
        if let BanSubject::Prefix(prefix) = subject {
            let count = self.lengths.entry(length_of(prefix)).or_default();
            *count = count.saturating_add(1);
        }
        self.entries.insert(subject, entry);
        self.revision = self.revision.saturating_add(1);
    }

    fn take(&mut self, subject: BanSubject) -> Option<Entry> {
        let entry = self.entries.remove(&subject)?;
        self.revision = self.revision.saturating_add(1);
        match entry.phase {
            Phase::ForEver => {}
            Phase::Until(ends) => {
                self.ending.remove(&(ends, subject));
            }
            Phase::Remembered(until) => {
                self.forgetting.remove(&(until, subject));
            }
        }
        if let BanSubject::Prefix(prefix) = subject
            && let Some(count) = self.lengths.get_mut(&length_of(prefix))
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.lengths.remove(&length_of(prefix));
            }
        }
        Some(entry)
    }
}

impl Entry {
    fn runs(&self, now: Instant) -> bool {
        match self.phase {
            Phase::ForEver => true,
            Phase::Until(ends) => ends > now,
            Phase::Remembered(_) => false,
        }
    }

    fn ban(&self, subject: BanSubject) -> Ban {
        let ends = match self.phase {
            Phase::ForEver => None,
            Phase::Until(ends) | Phase::Remembered(ends) => Some(ends),
        };
        Ban { subject, reason: self.reason, ends, offences: self.offences }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

fn length_of(prefix: Prefix) -> (Family, u8) {
    (Family::of(prefix.network()), prefix.len())
}
