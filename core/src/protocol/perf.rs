//! Perf ("libp2p perf spec"): how fast bytes go to a peer and come back.
//!
//! The client says in eight bytes how many it wants, sends as many as it likes and ends its side. The
//! server counts until that end, then sends what was asked for and ends its side. Whoever serves this
//! lets strangers use the line, so nothing serves it unless it is told to.

mod client;
mod server;

use core::time::Duration;

use bytes::Bytes;
pub use client::Client;
pub use server::Server;

use crate::{Instant, ProtocolId};

/// The name of the protocol.
pub const PROTOCOL: ProtocolId = ProtocolId::from_static("/perf/1.0.0");

/// Bytes of the wanted download at the front of the stream, an unsigned integer, most significant
/// byte first.
pub const HEADER_LEN: usize = 8;

/// Perf streams that a connection should serve at the same time. Stops a peer that opens many to take
/// more than its share of the line; one more is reset.
pub const MAX_INBOUND_STREAMS: usize = 4;

/// How long a run may stand still. Stops a peer that neither reads nor writes from holding a stream;
/// how long a run takes that moves is up to the amounts.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest chunk that a machine hands out at once, in bytes.
pub const CHUNK_LEN: usize = 64 * 1024;

static ZEROS: [u8; CHUNK_LEN] = [0; CHUNK_LEN];

/// The run failed. The machine stays failed; the stream is to be reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The stream ended inside the header, or before all that was asked for had come.
    #[error("the perf stream ended early: {received} of {expected} bytes came")]
    UnexpectedEof {
        /// How many came.
        received: u64,
        /// How many should have come.
        expected: u64,
    },
    /// The server sent more than was asked for.
    #[error("the peer sent more than the {expected} bytes that were asked for")]
    TooMuch {
        /// How many were asked for.
        expected: u64,
    },
    /// The client asks for more than the server allows.
    #[error("{wanted} bytes were asked for, at most {max} are allowed")]
    DownloadTooLong {
        /// What it asks for.
        wanted: u64,
        /// What is allowed.
        max: u64,
    },
    /// Nothing moved for [`STALL_TIMEOUT`].
    #[error("nothing moved for 30 seconds")]
    Stalled,
}

/// How far a run is, in bytes of payload.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Progress {
    /// From client to server. The client counts what it has handed out to be sent.
    pub uploaded: u64,
    /// From server to client. The server counts what it has handed out to be sent.
    pub downloaded: u64,
}

/// What a run came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// The bytes both ways, all that were wanted.
    pub amounts: Progress,
    /// From the start until the server had read all and said so: one round trip is in it.
    pub upload_time: Duration,
    /// From then until the last byte.
    pub download_time: Duration,
}

/// Zeros that are still to be sent.
#[derive(Clone, Copy, Debug)]
struct Outgoing {
    total: u64,
    sent: u64,
}

impl Outgoing {
    fn new(total: u64) -> Self {
        Self { total, sent: 0 }
    }

    /// The next chunk; nothing is copied or allocated.
    fn next_chunk(&mut self) -> Option<Bytes> {
        let left = self.total.saturating_sub(self.sent);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_LEN);
        let chunk = ZEROS.get(..len).filter(|chunk| !chunk.is_empty())?;
        self.sent = self.sent.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        Some(Bytes::from_static(chunk))
    }

    fn is_done(&self) -> bool {
        self.sent == self.total
    }
}

/// When something moved last.
#[derive(Clone, Copy, Debug)]
struct Stall {
    moved: Instant,
}

impl Stall {
    fn moved(&mut self, now: Instant) {
        self.moved = self.moved.max(now);
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.moved.saturating_add(STALL_TIMEOUT)).filter(|deadline| *deadline != Instant::NEVER)
    }
}
