//! How a simulated TCP connection behaves.

use std::time::Duration;

use crate::draws::Draws;

/// How many bytes one read or write moves at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// As many as there are, or as there is room for.
    Whole,
    /// At most this many; 0 counts as 1.
    Fixed(usize),
    /// Drawn anew each time, from 1 to this many.
    Random(usize),
}

impl Cut {
    pub(crate) fn limit(self, luck: &mut Draws) -> usize {
        match self {
            Self::Whole => usize::MAX,
            Self::Fixed(limit) => limit.max(1),
            Self::Random(limit) => {
                let drawn = luck.next_u64() % (limit.max(1) as u64);
                usize::try_from(drawn).unwrap_or(0) + 1
            }
        }
    }
}

/// The behaviour of both directions of each new connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkOptions {
    /// Bytes that one direction holds, on the way or unread; 0 counts as 1. A writer waits when it is full.
    pub capacity: usize,
    /// How reads are cut.
    pub read_cut: Cut,
    /// How writes are cut.
    pub write_cut: Cut,
    /// From one end to the other, one way. A dial takes both ways.
    pub latency: Duration,
    /// Of what is written at once, the latency is longer by a time drawn up to this. It never overtakes what was written
    /// before.
    pub jitter: Duration,
    /// Bytes per second in one direction; 0 counts as 1, `None` has no limit. What is written waits until
    /// the line is free and arrives, all of one write together, when its last byte does. So a
    /// connection carries no more than [`capacity`](Self::capacity) in each [`latency`](Self::latency).
    pub bandwidth: Option<u64>,
    /// The connection is reset, both ways, once one direction has carried this many bytes.
    pub reset_after: Option<u64>,
}

impl LinkOptions {
    /// How long something is on its way that leaves now.
    pub(crate) fn draw_latency(&self, luck: &mut Draws) -> Duration {
        let jitter = match u64::try_from(self.jitter.as_nanos()).unwrap_or(u64::MAX) {
            0 => Duration::ZERO,
            most => Duration::from_nanos(luck.next_u64() % most.saturating_add(1).max(1)),
        };
        self.latency.saturating_add(jitter)
    }
}

impl Default for LinkOptions {
    fn default() -> Self {
        Self {
            capacity: 64 * 1024,
            read_cut: Cut::Whole,
            write_cut: Cut::Whole,
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            bandwidth: None,
            reset_after: None,
        }
    }
}
