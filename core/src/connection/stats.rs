//! What a connection counts.

use crate::yamux;

/// Counters of one connection since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
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
