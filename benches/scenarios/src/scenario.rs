//! The list of scenarios.

use std::{fmt, str::FromStr};

use crate::network::Failure;

/// What is raced.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scenario {
    /// One stream, one way, 64 KiB per write and read.
    Bulk,
    /// One stream, one way, 100 bytes per write and up to 64 KiB per read.
    Messages,
    /// One way, messages of 100 bytes that arrive as such, where a variant has that.
    Channel,
    /// 32 bytes there and back, one at a time.
    RoundTrip,
    /// The same with both ends in one process.
    RoundTripOneProcess,
    /// 64 tasks, each of which connects, echoes one byte on one stream and closes, again and again.
    Connections,
    /// One task that opens a stream, sends two bytes, reads one back, both ends finish, again and again.
    Streams1,
    /// Sixteen such tasks on one connection.
    Streams16,
    /// A thousand connections without streams.
    Idle,
}

impl Scenario {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 9] = [
        Self::Bulk,
        Self::Messages,
        Self::Channel,
        Self::RoundTrip,
        Self::RoundTripOneProcess,
        Self::Connections,
        Self::Streams1,
        Self::Streams16,
        Self::Idle,
    ];

    /// What it is called on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Messages => "messages",
            Self::Channel => "channel",
            Self::RoundTrip => "roundtrip",
            Self::RoundTripOneProcess => "roundtrip-one-process",
            Self::Connections => "connections",
            Self::Streams1 => "streams-1",
            Self::Streams16 => "streams-16",
            Self::Idle => "idle",
        }
    }

    /// Whether it needs several streams on one connection, which plain TCP does not have.
    pub fn needs_streams(self) -> bool {
        matches!(self, Self::Streams1 | Self::Streams16)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scenario {
    type Err = Failure;

    fn from_str(name: &str) -> Result<Self, Failure> {
        let found = Self::ALL.into_iter().find(|scenario| scenario.name() == name);
        found.ok_or_else(|| format!("no scenario is called '{name}'").into())
    }
}
