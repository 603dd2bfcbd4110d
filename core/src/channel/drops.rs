//! Why messages did not arrive, and how many.

/// Why a message will not arrive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum DropReason {
    /// There was no room, and the channel drops instead of waiting.
    BufferFull,
    /// It is longer than the limit. Its sender was told.
    TooLong,
    /// It was begun, and its stream was lost.
    StreamLost,
    /// It still waited when the channel was closed.
    Closed,
    /// It still waited when the peer was given up.
    PeerGone,
}

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::BufferFull, Self::TooLong, Self::StreamLost, Self::Closed, Self::PeerGone];
}

/// How many messages will not arrive, for each reason.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DropCounts([u64; DropReason::ALL.len()]);

impl DropCounts {
    /// Messages dropped for this reason.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or(0)
    }

    /// Messages dropped for all reasons together.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: &Self) {
        for (reason, count) in DropReason::ALL.into_iter().zip(other.0) {
            self.add(reason, count);
        }
    }

    /// Counts messages.
    pub fn add(&mut self, reason: DropReason, messages: u64) {
        if let Some(count) = self.0.get_mut(reason as usize) {
            *count = count.saturating_add(messages);
        }
    }
}
