//! Advisory codes of stream resets and of GoAway, as go-libp2p defines them.
//!
//! A peer may send any number; these are surfaced, never acted upon.

/// Codes of a stream reset (a Yamux RST on a window update carries one).
pub mod stream {
    /// No error, or a peer that sends no codes.
    pub const NO_ERROR: u32 = 0;
    /// multistream-select found no protocol in common, failed or timed out.
    pub const NEGOTIATION_FAILED: u32 = 0x1001;
    /// A limit was reached.
    pub const RESOURCE_LIMIT: u32 = 0x1002;
    /// Too many requests in too short a time.
    pub const RATE_LIMITED: u32 = 0x1003;
    /// The peer broke the protocol that the stream carries.
    pub const PROTOCOL_VIOLATION: u32 = 0x1004;
    /// A better connection to the same peer exists.
    pub const SUPPLANTED: u32 = 0x1005;
    /// The node is shutting down.
    pub const SHUTDOWN: u32 = 0x1007;
}

/// Codes of a GoAway, which ends the whole connection.
pub mod connection {
    /// An ordinary close.
    pub const NO_ERROR: u32 = 0;
    /// The peer broke the multiplexing or security protocol (yamux spec, go away).
    pub const PROTOCOL_ERROR: u32 = 1;
    /// A connection or memory limit was reached.
    pub const RESOURCE_LIMIT: u32 = 0x1001;
    /// Another connection to the same peer was kept.
    pub const SUPPLANTED: u32 = 0x1004;
    /// The node is shutting down.
    pub const SHUTDOWN: u32 = 0x1006;
    /// Refused by policy.
    pub const GATED: u32 = 0x1007;
}
