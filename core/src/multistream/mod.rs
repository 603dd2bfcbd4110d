//! multistream-select 1.0.0: two ends agree on the protocol that runs on a byte stream.
//!
//! The dialer sends a header and proposals, the listener a header and, for each proposal, the same
//! name (agreed) or `na` (refused). Both machines are fed bytes and polled for bytes; they know
//! neither sockets nor time, so the caller sets a deadline (10 seconds for a stream is usual).
//!
//! # Driving
//!
//! * [`Dialer`] has output at once; [`Listener`] speaks when it was spoken to. Take the output with
//!   `poll_transmit` until `wants_transmit` is false. This holds after every outcome: what agreed
//!   first on a stream must still leave before the first byte of the application.
//! * `handle_recv` reads all of `data` unless the negotiation ends within it. One call for each piece
//!   received is enough: there is never a need to call it again with the same bytes. It takes
//!   nothing past the last byte of the negotiation; the rest of `data` belongs to the protocol
//!   that was agreed.
//! * The end is [`Progress::Agreed`], [`Progress::Unsupported`] or an [`Error`]. It is final: further
//!   calls take no bytes and report it again.
//!
//! # What a hostile peer can cost
//!
//! One message of at most [`MAX_MESSAGE_LEN`] bytes is buffered, and only if it arrives in pieces.
//! A negotiation has at most [`MAX_PROPOSALS`] proposals and [`MAX_NEGOTIATION_LEN`] bytes. Refusals
//! that wait to be sent are counted, not stored.

mod dialer;
mod listener;
mod message;
#[cfg(test)]
mod tests;

pub use dialer::{Dialer, InvalidProposals};
pub use listener::Listener;

use crate::{MAX_PROTOCOL_ID_LEN, ProtocolId};

/// Longest message that is accepted, in bytes with its newline and without its length.
///
/// Stops a peer from making us buffer; go and js have the same limit. Ours have at most 256.
pub const MAX_MESSAGE_LEN: usize = 1024;

/// Most proposals in one negotiation, of either end.
///
/// Stops a dialer that proposes nonsense until the deadline. The 65th is an error.
pub const MAX_PROPOSALS: usize = 64;

/// Most bytes that one negotiation may receive, lengths and headers included.
///
/// Stops a dialer that proposes long names, but has room for the header and [`MAX_PROPOSALS`] of the longest
/// names there are. A message that would go past it is refused from its length.
pub const MAX_NEGOTIATION_LEN: usize = 20 + MAX_PROPOSALS * (2 + MAX_PROTOCOL_ID_LEN + 1);

/// How far a negotiation is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// It goes on; more input is needed.
    Pending,
    /// Both ends agreed. Unread input belongs to this protocol.
    Agreed(ProtocolId),
    /// The ends have no protocol in common. Nobody is at fault; the stream is of no use.
    Unsupported,
}

/// The remote broke a rule of multistream-select.
///
/// The negotiation has failed and every later input returns the same error. Output that was due
/// before may still be taken; there is no reason to send it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A message has length 0; even an empty text has its newline.
    #[error("a negotiation message has length zero")]
    EmptyMessage,
    /// A message is longer than [`MAX_MESSAGE_LEN`].
    #[error("a negotiation message is longer than 1024 bytes")]
    MessageTooLong,
    /// The length of a message is written in more than two bytes.
    #[error("the length of a negotiation message is written in more than two bytes")]
    LengthTooLong,
    /// The length of a message is written in two bytes where one is enough.
    #[error("the length of a negotiation message is not in its shortest form")]
    LengthNotMinimal,
    /// A message does not end with a newline.
    #[error("a negotiation message does not end with a newline")]
    MissingNewline,
    /// The text of a message is not UTF-8.
    #[error("a negotiation message is not UTF-8 text")]
    NotUtf8,
    /// The first message is not the multistream-select header.
    #[error("the remote does not begin with the multistream-select 1.0.0 header")]
    HeaderExpected,
    /// The header came a second time.
    #[error("the remote sent the multistream-select header twice")]
    HeaderRepeated,
    /// The answer is neither the proposed name nor `na`. A remote that takes itself for the dialer
    /// as well ends here, unless it happens to propose what we propose.
    #[error("the remote answered a proposal with another text")]
    UnexpectedMessage,
    /// The answer came before the proposal was sent.
    #[error("the remote answered a proposal before it was sent")]
    ReplyTooEarly,
    /// The dialer made more than [`MAX_PROPOSALS`] proposals.
    #[error("the remote proposed more than 64 protocols")]
    TooManyProposals,
    /// The negotiation would receive more than [`MAX_NEGOTIATION_LEN`] bytes.
    #[error("the negotiation takes more than {MAX_NEGOTIATION_LEN} bytes")]
    TooManyBytes,
    /// The dialer ended its side before it proposed anything.
    #[error("the remote ended the stream before proposing a protocol")]
    UnexpectedEof,
}
