//! What two applications say to each other in messages: bounded messages on a stream, and the
//! handshake with which they decide whether they want each other.
//!
//! The machines here know no stream, no time and no connection: bytes go in, bytes and messages come out.

pub mod handshake;
pub mod message;
#[cfg(test)]
mod tests;
