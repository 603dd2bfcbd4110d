//! The phases of a connection and what each holds.

use alloc::{boxed::Box, vec::Vec};

use super::{negotiation::Negotiation, streams::Streams};
use crate::{ExpectedPeer, PeerId, PublicKey, Seed, noise};

/// Where a connection is in its life. Phases are entered only downwards, and any phase may be
/// skipped on the way to `Closed`.
///
/// | phase | left for | when |
/// |---|---|---|
/// | `Negotiating` | `Handshaking` | `/noise` is agreed |
/// | | `Closed` | error, end of stream, timeout, `close` |
/// | `Handshaking` | `Secured` | Noise is done and the peer is the expected one |
/// | | `Closed` | error, end of stream, timeout, `close` |
/// | `Secured` | `Open` | the muxer is agreed *and* the peer is admitted |
/// | | `Lingering` | denied or broken, and Yamux was agreed early: a GoAway tells the peer |
/// | | `Closed` | error, end of stream with nothing waiting, timeout, `close`, otherwise denied |
/// | `Open` | `Lingering` | drained after `close` or a failed handshake of the applications |
/// | | | GoAway received, or the peer broke a rule |
/// | | `Closed` | end of stream, transport error, write stall, keep-alive timeout |
/// | `Lingering` | `Closed` | end of stream, transport error, or the linger timeout |
/// | | `Closed` | the peer broke a rule and goes on talking |
pub(super) enum Phase {
    /// multistream-select for the security protocol, in the clear.
    Negotiating(Box<Clear>),
    /// The Noise handshake.
    Handshaking(Box<noise::Handshake>),
    /// The peer is authenticated; the muxer is being agreed and admission decided.
    Secured(Box<Upgrade>),
    /// Streams are possible. Also while draining.
    Open(Box<Streams>),
    /// The last bytes leave, the rest of the input is read and discarded until the peer's end of
    /// stream: closing a socket with unread input would make the kernel cut off what is in flight.
    Lingering(Option<Box<Streams>>),
    /// The transport may be dropped. Buffered stream data stays readable.
    Closed(Option<Box<Streams>>),
}

/// What the first phase holds.
pub(super) struct Clear {
    pub(super) negotiation: Negotiation,
    pub(super) handshake: Prepared,
}

/// The handshake that follows the negotiation.
///
/// The dialer's begins with it: there is one proposal, so the first message rides with it and a round
/// trip is saved. A listener that refuses takes that message for garbage and hangs up, which is all
/// that it could do anyway. rust-libp2p dials so, too.
pub(super) enum Prepared {
    Initiator(Box<noise::Handshake>),
    Responder(Seed, ExpectedPeer),
}

/// Between the handshake and the first stream.
pub(super) struct Upgrade {
    pub(super) muxer: Muxer,
    pub(super) admitted: bool,
    /// Plaintext that belongs to the muxer but must wait for admission, at most
    /// [`MAX_RECV`](super::MAX_RECV) bytes.
    pub(super) pending: Vec<u8>,
    /// The peer has ended its side behind `pending`. That counts once the peer is admitted: it may have
    /// said all it had to say.
    pub(super) ended: bool,
}

/// How far the choice of the muxer is.
pub(super) enum Muxer {
    /// multistream-select inside the secured channel.
    Negotiating(Negotiation),
    /// Agreed inside the Noise handshake; the first plaintext must be Yamux.
    AgreedEarly,
    /// Agreed by multistream-select.
    Agreed,
}

/// What Noise proved about the peer.
pub(super) struct Secured {
    pub(super) peer: PeerId,
    /// `None` if the peer id contains it, as those of Ed25519 keys do: a decoded key takes much room for
    /// something that is rarely asked for.
    pub(super) public_key: Option<Box<PublicKey>>,
    pub(super) handshake_hash: [u8; 32],
}
