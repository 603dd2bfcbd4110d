//! What an event is about, for those who want only some.

use super::Event;
use crate::PeerId;

/// The kinds of [`Event`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum EventKind {
    /// [`Event::State`].
    State,
    /// [`Event::Opened`].
    Opened,
    /// [`Event::Closed`].
    Closed,
    /// [`Event::Denied`].
    Denied,
    /// [`Event::Banned`].
    Banned,
    /// [`Event::Unbanned`].
    Unbanned,
    /// [`Event::DialFailed`].
    DialFailed,
    /// [`Event::LimitReached`].
    LimitReached,
}

impl Event {
    /// What it is about.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::State { .. } => EventKind::State,
            Self::Opened { .. } => EventKind::Opened,
            Self::Closed { .. } => EventKind::Closed,
            Self::Denied { .. } => EventKind::Denied,
            Self::Banned { .. } => EventKind::Banned,
            Self::Unbanned { .. } => EventKind::Unbanned,
            Self::DialFailed { .. } => EventKind::DialFailed,
            Self::LimitReached { .. } => EventKind::LimitReached,
        }
    }

    /// Which peer it is about, if about one that is known.
    pub fn peer(&self) -> Option<PeerId> {
        match self {
            Self::State { peer, .. } | Self::Opened { peer, .. } | Self::DialFailed { peer, .. } => Some(*peer),
            Self::Closed { peer, .. } | Self::Denied { peer, .. } => *peer,
            Self::Banned { ban } | Self::Unbanned { ban } => ban.subject.peer(),
            Self::LimitReached { .. } => None,
        }
    }
}
