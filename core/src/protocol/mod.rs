//! Protocols that every libp2p node speaks: small machines on one stream each.
//!
//! A machine starts when multistream-select has agreed on its `PROTOCOL`. It is fed what the stream
//! receives, and polled for what the stream is to send, for a deadline, and for the moment to end its
//! side of the stream. After an error the stream is to be reset; the connection is not at stake.

pub mod identify;
pub mod perf;
pub mod ping;
#[cfg(test)]
mod tests;
