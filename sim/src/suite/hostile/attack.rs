//! What hostile peers do, and what becomes of them.

use septa_core::{
    connection::{CloseReason, ProtocolError},
    yamux::Violation,
};

use super::{
    floods::{FLOODS, Flood},
    frames::{Frame, Stream},
    rules::RULES,
    tricks::{TRICKS, Trick},
};

/// One way to be hostile, or only odd.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attack {
    pub(super) name: &'static str,
    pub(super) act: Act,
    pub(super) fate: Fate,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// A few frames. Those that must be seen at once are in one record, the others are cut anywhere.
    Frames { frames: &'static [Frame], is_one_record: bool },
    /// The same again and again.
    Flood(&'static Flood),
    /// What no table can say.
    Trick(Trick),
}

/// All attacks.
pub(super) fn all() -> impl Iterator<Item = &'static Attack> {
    RULES.iter().chain(FLOODS).chain(TRICKS)
}

/// What becomes of whoever does it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// The connection is ended at once, for one of these.
    Violation(&'static [Violation]),
    /// It is ended at once because the records or the negotiation are wrong.
    Garbage,
    /// It is ended at once, with no blame.
    Left(Leaving),
    /// It is ended when the victim has waited long enough.
    TimedOut(Patience),
    /// Nothing was done that is forbidden: the victim goes on to serve, and says this and not that.
    Served(&'static [Word]),
}

/// Who leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Leaving {
    /// The attacker has said goodbye with this code.
    GoAway(u32),
    /// It has hung up between two frames.
    Eof,
    /// It has in the middle of one.
    Truncated,
}

/// What the victim waits for in vain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Patience {
    Upgrade,
    Pong,
}

/// A header that comes, or does not, before the victim has served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Word {
    pub(super) kind: u8,
    pub(super) flags: u16,
    /// `None` is any stream.
    pub(super) stream: Option<Stream>,
    pub(super) length: u32,
    /// How often.
    pub(super) times: Times,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Times {
    Never,
    Once,
    Often,
}

impl Fate {
    pub(super) fn is_ended(self) -> bool {
        !matches!(self, Self::Served(_))
    }

    pub(super) fn is_at_once(self) -> bool {
        matches!(self, Self::Violation(_) | Self::Garbage | Self::Left(_))
    }

    /// This is the reason for which it is ended.
    pub(super) fn is(self, reason: &CloseReason) -> bool {
        match (self, reason) {
            (Self::Violation(expected), CloseReason::Protocol(ProtocolError::Yamux(found))) => expected.contains(found),
            (Self::Garbage, CloseReason::Protocol(ProtocolError::Noise(_) | ProtocolError::Multistream(_))) => true,
            (Self::Left(Leaving::GoAway(code)), CloseReason::Remote { code: found }) => code == *found,
            // A victim that has dialed takes an early end for a denial.
            (Self::Left(Leaving::GoAway(_) | Leaving::Eof), CloseReason::DeniedByRemote)
            | (Self::Left(Leaving::Eof), CloseReason::Eof)
            | (Self::Left(Leaving::Truncated), CloseReason::Truncated)
            | (Self::TimedOut(Patience::Upgrade), CloseReason::UpgradeTimeout)
            | (Self::TimedOut(Patience::Pong), CloseReason::KeepAliveTimeout) => true,
            _ => false,
        }
    }

    /// A connection may be closed for this reason even so: the world is a bad one.
    pub(super) fn allows(self, reason: &CloseReason) -> bool {
        self.is(reason) || !matches!(reason, CloseReason::Protocol(_))
    }
}
