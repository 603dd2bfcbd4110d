//! What can go wrong.

use std::{fmt, num::NonZeroU32, time::Duration};

use super::text::{Words, Written, duration, name_of, number};

/// Something that goes wrong. Hosts are numbered from 1, in the order in which they were made.
///
/// Those that last do so for the [length](super::Timed::length) that their plan gives; the others happen once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing arrives from one host at the other, nor does anybody hear of it; what was sent arrives when it is over. Who
    /// dials waits as long, if the dial or its answer goes that way.
    /// In one direction it is a stall, in both a partition. Lasts.
    Stall {
        /// Who is not heard.
        from: NonZeroU32,
        /// Who does not hear.
        to: NonZeroU32,
    },
    /// The same in both directions. Lasts.
    Partition {
        /// One host.
        one: NonZeroU32,
        /// The other.
        other: NonZeroU32,
    },
    /// The connections that there are between two hosts are each reset once one of its directions has carried so many
    /// bytes more. Happens once.
    Reset {
        /// One host.
        one: NonZeroU32,
        /// The other.
        other: NonZeroU32,
        /// So many bytes later.
        after: u64,
    },
    /// One direction of the connections between two hosts ends, although its writer did not end it. Happens once.
    Fin {
        /// Whose output ends.
        from: NonZeroU32,
        /// Who sees the end.
        to: NonZeroU32,
    },
    /// Bytes of one direction are changed on their way. Happens once.
    Tamper {
        /// Whose output is changed.
        from: NonZeroU32,
        /// Who gets it.
        to: NonZeroU32,
        /// How.
        how: Tamper,
        /// So many bytes later.
        after: u64,
    },
    /// Who dials a host does not reach it. Lasts.
    Dial {
        /// Who is dialed.
        to: NonZeroU32,
        /// What the dialer sees.
        how: DialFault,
    },
    /// The host ends at once with all its tasks and connections, and comes back when it is over. Lasts.
    Crash {
        /// Which.
        host: NonZeroU32,
        /// As whom it comes back.
        restart: Restart,
    },
    /// The next store of the host is torn: of what it writes, a part arrives, and it crashes. The length of the fault is
    /// that for which it is down then. Lasts.
    TornStore {
        /// Which.
        host: NonZeroU32,
        /// As whom it comes back.
        restart: Restart,
    },
    /// The clocks of a host stand still, and jump when it is over, as those of a suspended machine. Lasts.
    ClockPause {
        /// Whose.
        host: NonZeroU32,
    },
    /// The calendar of a host jumps, ahead or back. Timers do not see it. Happens once.
    CalendarJump {
        /// Whose.
        host: NonZeroU32,
        /// Seconds, negative if back.
        seconds: i64,
    },
    /// The clocks of a host run faster or slower. Lasts.
    ClockDrift {
        /// Whose.
        host: NonZeroU32,
        /// Parts per million, negative if slower.
        ppm: i32,
    },
    /// Timers of a host fire late, each by a time drawn up to this. Lasts.
    LateTimers {
        /// Whose.
        host: NonZeroU32,
        /// By how much, at most.
        by: Duration,
    },
    /// Tasks of a host are woken for nothing, again and again. Lasts.
    SpuriousWakes {
        /// Whose.
        host: NonZeroU32,
    },
}

/// How bytes are changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Tamper {
    /// One bit of one byte is flipped.
    Flip,
    /// So many bytes are missing: 1 to 65,535.
    Truncate(u16),
    /// So many bytes come twice, 1 to 65,535: at most what is left of the write that the first of them belongs to.
    Duplicate(u16),
    /// So many drawn bytes come in between: 1 to 65,535.
    Insert(u16),
}

/// What a dialer sees.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum DialFault {
    /// Nobody listens.
    Refused,
    /// There is no way there.
    Unreachable,
    /// Nothing.
    Hanging,
    /// The connection is made and reset: too many wait to be accepted.
    BacklogFull,
    /// Nothing, as the host is behind a network address translator: only itself can dial.
    Nat,
}

/// As whom a host comes back that has crashed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Restart {
    /// With the identity and the storage that it had.
    Same,
    /// As somebody else with an empty storage, at the same address.
    New,
}

/// What a fault is, without where and when: what is counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum FaultKind {
    /// [`Fault::Stall`].
    Stall,
    /// [`Fault::Partition`].
    Partition,
    /// [`Fault::Reset`].
    Reset,
    /// [`Fault::Fin`].
    Fin,
    /// [`Tamper::Flip`].
    Flip,
    /// [`Tamper::Truncate`].
    Truncate,
    /// [`Tamper::Duplicate`].
    Duplicate,
    /// [`Tamper::Insert`].
    Insert,
    /// [`DialFault::Refused`].
    DialRefused,
    /// [`DialFault::Unreachable`].
    DialUnreachable,
    /// [`DialFault::Hanging`].
    DialHanging,
    /// [`DialFault::BacklogFull`].
    BacklogFull,
    /// [`DialFault::Nat`].
    Nat,
    /// [`Fault::Crash`].
    Crash,
    /// [`Fault::TornStore`].
    TornStore,
    /// [`Fault::ClockPause`].
    ClockPause,
    /// [`Fault::CalendarJump`].
    CalendarJump,
    /// [`Fault::ClockDrift`].
    ClockDrift,
    /// [`Fault::LateTimers`].
    LateTimers,
    /// [`Fault::SpuriousWakes`].
    SpuriousWakes,
}

impl FaultKind {
    /// Each of them.
    pub const ALL: [Self; 20] = [
        Self::Stall,
        Self::Partition,
        Self::Reset,
        Self::Fin,
        Self::Flip,
        Self::Truncate,
        Self::Duplicate,
        Self::Insert,
        Self::DialRefused,
        Self::DialUnreachable,
        Self::DialHanging,
        Self::BacklogFull,
        Self::Nat,
        Self::Crash,
        Self::TornStore,
        Self::ClockPause,
        Self::CalendarJump,
        Self::ClockDrift,
        Self::LateTimers,
        Self::SpuriousWakes,
    ];
}

const DIAL_FAULTS: [(&str, DialFault); 5] = [
    ("refused", DialFault::Refused),
    ("unreachable", DialFault::Unreachable),
    ("hanging", DialFault::Hanging),
    ("backlog", DialFault::BacklogFull),
    ("nat", DialFault::Nat),
];
const RESTARTS: [(&str, Restart); 2] = [("same", Restart::Same), ("new", Restart::New)];

impl Fault {
    /// What it is.
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Stall { .. } => FaultKind::Stall,
            Self::Partition { .. } => FaultKind::Partition,
            Self::Reset { .. } => FaultKind::Reset,
            Self::Fin { .. } => FaultKind::Fin,
            Self::Tamper { how, .. } => how.kind(),
            Self::Dial { how, .. } => how.kind(),
            Self::Crash { .. } => FaultKind::Crash,
            Self::TornStore { .. } => FaultKind::TornStore,
            Self::ClockPause { .. } => FaultKind::ClockPause,
            Self::CalendarJump { .. } => FaultKind::CalendarJump,
            Self::ClockDrift { .. } => FaultKind::ClockDrift,
            Self::LateTimers { .. } => FaultKind::LateTimers,
            Self::SpuriousWakes { .. } => FaultKind::SpuriousWakes,
        }
    }

    /// Whether it goes on for a time.
    pub fn lasts(&self) -> bool {
        match self {
            Self::Reset { .. } | Self::Fin { .. } | Self::Tamper { .. } | Self::CalendarJump { .. } => false,
            Self::Stall { .. }
            | Self::Partition { .. }
            | Self::Dial { .. }
            | Self::Crash { .. }
            | Self::TornStore { .. }
            | Self::ClockPause { .. }
            | Self::ClockDrift { .. }
            | Self::LateTimers { .. }
            | Self::SpuriousWakes { .. } => true,
        }
    }

    /// Why it would change nothing, whatever happens, if that is so, when it goes on for so long.
    pub(super) fn idleness(&self, length: Duration) -> Option<&'static str> {
        match self {
            Self::CalendarJump { seconds: 0, .. } => Some("a calendar that jumps by nothing stays as it is"),
            Self::ClockDrift { ppm: 0, .. } => Some("a clock that drifts by nothing is right"),
            Self::LateTimers { by, .. } if by.is_zero() => Some("timers that are late by nothing are punctual"),
            // Whoever crashes has done so, even if it comes back at once.
            Self::Crash { .. } | Self::TornStore { .. } => None,
            fault if fault.lasts() && length.is_zero() => Some("it is over at once: say for how long, as in 'for 3s'"),
            _ => None,
        }
    }

    /// Those that it strikes: one or two.
    pub fn hosts(&self) -> impl Iterator<Item = NonZeroU32> {
        let (one, other) = match *self {
            Self::Stall { from, to } | Self::Fin { from, to } | Self::Tamper { from, to, .. } => (from, Some(to)),
            Self::Partition { one, other } | Self::Reset { one, other, .. } => (one, Some(other)),
            Self::Dial { to, .. } => (to, None),
            Self::Crash { host, .. }
            | Self::TornStore { host, .. }
            | Self::ClockPause { host }
            | Self::CalendarJump { host, .. }
            | Self::ClockDrift { host, .. }
            | Self::LateTimers { host, .. }
            | Self::SpuriousWakes { host } => (host, None),
        };
        std::iter::once(one).chain(other)
    }

    pub(super) fn read(words: &mut Words<'_>) -> Result<Self, String> {
        Ok(match words.next()? {
            "stall" => {
                let (from, to) = words.hosts('>')?;
                Self::Stall { from, to }
            }
            "partition" => {
                let (one, other) = words.hosts('-')?;
                Self::Partition { one, other }
            }
            "reset" => {
                let (one, other) = words.hosts('-')?;
                Self::Reset { one, other, after: number(words.named("after")?)? }
            }
            "fin" => {
                let (from, to) = words.hosts('>')?;
                Self::Fin { from, to }
            }
            "tamper" => {
                let (from, to) = words.hosts('>')?;
                let how = Tamper::read(words)?;
                Self::Tamper { from, to, how, after: number(words.named("after")?)? }
            }
            "dial" => Self::Dial { to: words.host()?, how: words.one_of(&DIAL_FAULTS)? },
            "crash" => Self::Crash { host: words.host()?, restart: words.one_of(&RESTARTS)? },
            "torn-store" => Self::TornStore { host: words.host()?, restart: words.one_of(&RESTARTS)? },
            "clock-pause" => Self::ClockPause { host: words.host()? },
            "calendar-jump" => Self::CalendarJump { host: words.host()?, seconds: signed(words.named("seconds")?)? },
            "clock-drift" => {
                let (host, ppm) = (words.host()?, signed(words.named("ppm")?)?);
                Self::ClockDrift { host, ppm: i32::try_from(ppm).map_err(|_| format!("{ppm} ppm are too many"))? }
            }
            "late-timers" => Self::LateTimers { host: words.host()?, by: duration(words.named("by")?)? },
            "spurious-wakes" => Self::SpuriousWakes { host: words.host()? },
            other => return Err(format!("there is no fault '{other}'")),
        })
    }
}

impl Tamper {
    pub(crate) fn kind(self) -> FaultKind {
        match self {
            Self::Flip => FaultKind::Flip,
            Self::Truncate(_) => FaultKind::Truncate,
            Self::Duplicate(_) => FaultKind::Duplicate,
            Self::Insert(_) => FaultKind::Insert,
        }
    }

    fn read(words: &mut Words<'_>) -> Result<Self, String> {
        let name = words.next()?;
        let len = |words: &mut Words<'_>| {
            let len = number(words.named("len")?)?;
            match u16::try_from(len) {
                Ok(0) => Err("0 bytes change nothing".to_owned()),
                Ok(len) => Ok(len),
                Err(_) => Err(format!("{len} bytes are too many")),
            }
        };
        match name {
            "flip" => Ok(Self::Flip),
            "truncate" => Ok(Self::Truncate(len(words)?)),
            "duplicate" => Ok(Self::Duplicate(len(words)?)),
            "insert" => Ok(Self::Insert(len(words)?)),
            other => Err(format!("bytes cannot be changed by '{other}'")),
        }
    }
}

impl DialFault {
    pub(crate) fn kind(self) -> FaultKind {
        match self {
            Self::Refused => FaultKind::DialRefused,
            Self::Unreachable => FaultKind::DialUnreachable,
            Self::Hanging => FaultKind::DialHanging,
            Self::BacklogFull => FaultKind::BacklogFull,
            Self::Nat => FaultKind::Nat,
        }
    }
}

fn signed(word: &str) -> Result<i64, String> {
    word.parse().map_err(|_| format!("'{word}' is no whole number"))
}

/// As in a table, such as `dial-refused`.
impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stall => "stall",
            Self::Partition => "partition",
            Self::Reset => "reset",
            Self::Fin => "fin",
            Self::Flip => "flip",
            Self::Truncate => "truncate",
            Self::Duplicate => "duplicate",
            Self::Insert => "insert",
            Self::DialRefused => "dial-refused",
            Self::DialUnreachable => "dial-unreachable",
            Self::DialHanging => "dial-hanging",
            Self::BacklogFull => "backlog-full",
            Self::Nat => "nat",
            Self::Crash => "crash",
            Self::TornStore => "torn-store",
            Self::ClockPause => "clock-pause",
            Self::CalendarJump => "calendar-jump",
            Self::ClockDrift => "clock-drift",
            Self::LateTimers => "late-timers",
            Self::SpuriousWakes => "spurious-wakes",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Stall { from, to } => write!(f, "stall {from}>{to}"),
            Self::Partition { one, other } => write!(f, "partition {one}-{other}"),
            Self::Reset { one, other, after } => write!(f, "reset {one}-{other} after={after}"),
            Self::Fin { from, to } => write!(f, "fin {from}>{to}"),
            Self::Tamper { from, to, how, after } => write!(f, "tamper {from}>{to} {how} after={after}"),
            Self::Dial { to, how } => write!(f, "dial {to} {}", name_of(&DIAL_FAULTS, how)),
            Self::Crash { host, restart } => write!(f, "crash {host} {}", name_of(&RESTARTS, restart)),
            Self::TornStore { host, restart } => write!(f, "torn-store {host} {}", name_of(&RESTARTS, restart)),
            Self::ClockPause { host } => write!(f, "clock-pause {host}"),
            Self::CalendarJump { host, seconds } => write!(f, "calendar-jump {host} seconds={seconds}"),
            Self::ClockDrift { host, ppm } => write!(f, "clock-drift {host} ppm={ppm}"),
            Self::LateTimers { host, by } => write!(f, "late-timers {host} by={}", Written(by)),
            Self::SpuriousWakes { host } => write!(f, "spurious-wakes {host}"),
        }
    }
}

impl fmt::Display for Tamper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flip => f.write_str("flip"),
            Self::Truncate(len) => write!(f, "truncate len={len}"),
            Self::Duplicate(len) => write!(f, "duplicate len={len}"),
            Self::Insert(len) => write!(f, "insert len={len}"),
        }
    }
}
