//! What a connection counts.

use alloc::vec::Vec;

use crate::{ProtocolId, yamux};

/// Protocols of which one connection counts the streams. Further ones are in the totals only. Stops whoever uses
/// ever new protocols from filling memory.
pub const MAX_COUNTED_PROTOCOLS: usize = 32;

/// Counters of one connection since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Stats {
    /// Bytes taken from the transport, handshake and overhead included.
    pub bytes_received: u64,
    /// Bytes handed to the transport, handshake and overhead included.
    pub bytes_sent: u64,
    /// Noise records opened.
    pub records_received: u64,
    /// Noise records sealed.
    pub records_sent: u64,
    /// Streams that are live now, of either end.
    pub streams: usize,
    /// Streams that this end opened.
    pub streams_opened: u64,
    /// Streams that the peer opened and on which a protocol was agreed.
    pub streams_accepted: u64,
    /// Streams of either end on which no protocol was agreed.
    pub streams_refused: u64,
    /// Counters of the stream multiplexer; zero until the connection is open.
    pub yamux: yamux::SessionStats,
}

/// What the streams of one protocol have moved on one connection since it was made.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ProtocolStats {
    /// Which.
    pub protocol: ProtocolId,
    /// Streams on which it was agreed, of either end.
    pub streams: u64,
    /// Bytes that this end has read.
    pub bytes_received: u64,
    /// Bytes that this end has written, whether or not they have left.
    pub bytes_sent: u64,
}

/// What one stream has moved: what its application has read and written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    pub(super) received: u64,
    pub(super) sent: u64,
}

impl Traffic {
    pub(super) fn count_received(&mut self, bytes: usize) {
        self.received = self.received.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    pub(super) fn count_sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }
}

/// What the streams that are over have moved, by protocol, in the order of the first end. Few: a list is the
/// smallest, and idle connections have it, too.
#[derive(Clone, Debug, Default)]
pub(super) struct ProtocolCounters(Vec<ProtocolStats>);

impl ProtocolCounters {
    pub(super) fn add(&mut self, protocol: &ProtocolId, traffic: Traffic) {
        let known = self.0.iter_mut().find(|stats| stats.protocol == *protocol);
        if let Some(stats) = known {
            stats.streams = stats.streams.saturating_add(1);
            stats.bytes_received = stats.bytes_received.saturating_add(traffic.received);
            stats.bytes_sent = stats.bytes_sent.saturating_add(traffic.sent);
        } else if self.0.len() < MAX_COUNTED_PROTOCOLS {
            let Traffic { received: bytes_received, sent: bytes_sent } = traffic;
            self.0.reserve_exact(1);
            self.0.push(ProtocolStats { protocol: protocol.clone(), streams: 1, bytes_received, bytes_sent });
        }
    }

    pub(super) fn into_stats(self) -> Vec<ProtocolStats> {
        self.0
    }

    pub(super) fn memory_used(&self) -> usize {
        self.0.capacity().saturating_mul(size_of::<ProtocolStats>())
    }
}

/// What a connection counts itself.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) bytes_received: u64,
    pub(super) bytes_sent: u64,
    pub(super) records_received: u64,
    pub(super) records_sent: u64,
    pub(super) streams_opened: u64,
    pub(super) streams_accepted: u64,
    pub(super) streams_refused: u64,
}

impl Counters {
    /// Together with what the session counts, once there is one.
    pub(super) fn stats(&self, streams: Option<usize>, yamux: Option<yamux::SessionStats>) -> Stats {
        Stats {
            bytes_received: self.bytes_received,
            bytes_sent: self.bytes_sent,
            records_received: self.records_received,
            records_sent: self.records_sent,
            streams: streams.unwrap_or_default(),
            streams_opened: self.streams_opened,
            streams_accepted: self.streams_accepted,
            streams_refused: self.streams_refused,
            yamux: yamux.unwrap_or_default(),
        }
    }
}
