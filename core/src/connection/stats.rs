//! What a connection counts.

use crate::yamux;

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
