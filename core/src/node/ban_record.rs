//! What a ban is, in memory and on disk.

use core::{fmt, time::Duration};

use super::{Prefix, WallTime};
use crate::{Instant, PeerId};

/// Who is banned.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum BanSubject {
    /// A peer, wherever it comes from.
    Peer(PeerId),
    /// All addresses of a network, whoever comes from there.
    Prefix(Prefix),
}

impl BanSubject {
    /// The peer, if it is one.
    pub fn peer(&self) -> Option<PeerId> {
        match self {
            Self::Peer(peer) => Some(*peer),
            Self::Prefix(_) => None,
        }
    }
}

impl From<PeerId> for BanSubject {
    fn from(peer: PeerId) -> Self {
        Self::Peer(peer)
    }
}

impl From<Prefix> for BanSubject {
    fn from(prefix: Prefix) -> Self {
        Self::Prefix(prefix)
    }
}

impl fmt::Display for BanSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(peer) => peer.fmt(f),
            Self::Prefix(prefix) => prefix.fmt(f),
        }
    }
}

/// Why somebody is banned.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum BanReason {
    /// The application or an operator wished it.
    Manual,
    /// The score reached [`ScoreConfig::ban`](super::ScoreConfig::ban).
    Score,
}

impl fmt::Display for BanReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manual => "banned by hand",
            Self::Score => "misbehaved too often",
        })
    }
}

/// A ban that runs, or that has just ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ban {
    /// Who is banned.
    pub subject: BanSubject,
    /// Why.
    pub reason: BanReason,
    /// When it ends. `None` is never.
    pub ends: Option<Instant>,
    /// How many automatic bans the subject had in succession, this one included.
    pub offences: u32,
}

/// What is stored of a ban, or of one that is over but not forgotten.
///
/// It says how much of the ban was left when it was saved, not when the ban ends, and time only takes away
/// from that: a wall clock that was set back before the record is read cannot add to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct BanRecord {
    /// Who is banned.
    pub subject: BanSubject,
    /// Why.
    pub reason: BanReason,
    /// How many automatic bans the subject had in succession.
    pub offences: u32,
    /// When this was written.
    pub saved: WallTime,
    /// What was left at that time.
    pub phase: BanPhase,
}

/// How far a ban had come when it was saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum BanPhase {
    /// It never ends.
    ForEver,
    /// It runs.
    Running {
        /// For how long. A store of coarser resolution rounds down, or each restart would lengthen it.
        rest: Duration,
    },
    /// It is over, but its offences still count.
    Over {
        /// For how long they count.
        remembered: Duration,
    },
}

impl BanRecord {
    /// When the ban ends by the wall clock that wrote the record, for people who read it. `None` is never,
    /// or over already.
    pub fn ends(&self) -> Option<WallTime> {
        match self.phase {
            BanPhase::Running { rest } => Some(self.saved.saturating_add(rest)),
            BanPhase::ForEver | BanPhase::Over { .. } => None,
        }
    }

    /// What is left at `wall` of a memory of `memory` at most; `None` if nothing is. A wall clock before
    /// the one that wrote the record counts as that one.
    pub(super) fn phase_at(&self, wall: WallTime, memory: Duration) -> Option<BanPhase> {
        let elapsed = wall.saturating_duration_since(self.saved);
        let over_for = match self.phase {
            BanPhase::ForEver => return Some(BanPhase::ForEver),
            BanPhase::Running { rest } if rest > elapsed => {
                return Some(BanPhase::Running { rest: rest.saturating_sub(elapsed) });
            }
            BanPhase::Running { rest } => elapsed.saturating_sub(rest),
            BanPhase::Over { remembered } => memory.saturating_sub(remembered).saturating_add(elapsed),
        };
        let counts = self.offences > 0 && over_for < memory;
        counts.then(|| BanPhase::Over { remembered: memory.saturating_sub(over_for) })
    }
}
