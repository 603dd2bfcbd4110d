//! Why a connection ended and why a call was refused.

use crate::{
    channel::handshake::{self, Party},
    multistream, noise, yamux,
};

/// Why a connection ended. The same for every handle on it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This end closed it, and everything written before that was handed to the transport first.
    #[error("closed by this node")]
    Local,
    /// This end closed it, but the peer did not take all that was written within the drain timeout.
    #[error("closed by this node; the peer did not take all data in time")]
    DrainTimeout,
    /// The peer said goodbye (Yamux GoAway). Code 0 is an ordinary close; some peers close so when a
    /// connection has carried no stream for a while.
    #[error("closed by the peer with code {code:#x}")]
    Remote {
        /// See [`codes::connection`](super::codes::connection).
        code: u32,
    },
    /// The transport ended between two frames without a GoAway, as go-libp2p closes.
    #[error("the peer ended the connection")]
    Eof,
    /// The transport ended inside a frame or record: the peer died or somebody cut the connection.
    #[error("the connection was cut off in the middle of a message")]
    Truncated,
    /// The transport failed.
    #[error("the transport failed")]
    Io,
    /// The connection was not open within the upgrade timeout.
    #[error("the peer did not complete the handshake in time")]
    UpgradeTimeout,
    /// A Yamux ping was not answered in time.
    #[error("the peer does not answer pings")]
    KeepAliveTimeout,
    /// The transport took no bytes for too long.
    #[error("the peer does not read")]
    WriteStall,
    /// The peer supports none of the offered security protocols or stream multiplexers.
    #[error("no {0} in common with the peer")]
    NothingInCommon(Layer),
    /// This end denied the authenticated peer.
    #[error("denied: {0}")]
    Denied(DenyReason),
    /// The listener ended the connection right after the handshake, before any Yamux frame of its own: it
    /// does not want this peer now. An end that comes later than [`DENIAL_WINDOW`](super::DENIAL_WINDOW)
    /// after [`Event::Open`](super::Event::Open) is [`Remote`](Self::Remote) or [`Eof`](Self::Eof),
    /// because peers also close connections that carried no stream for a while.
    #[error("denied by the peer")]
    DeniedByRemote,
    /// The application handshake was not done within its timeout.
    #[error("the application handshake was not done in time")]
    HandshakeTimeout,
    /// One application did not want the other. [`rejection`](super::Connection::rejection) has its words.
    #[error("rejected by {by} with code {code}")]
    HandshakeRejected {
        /// Who did.
        by: Party,
        /// What it means is between the applications.
        code: u8,
    },
    /// The peer does not take part in the application handshake, or not by its rules.
    #[error("no application handshake: {0}")]
    HandshakeRefused(HandshakeRefusal),
    /// The peer broke a rule.
    #[error("the peer broke the protocol: {0}")]
    Protocol(ProtocolError),
}

/// Why there can be no application handshake with the peer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeRefusal {
    /// The peer refused the stream of the handshake, before or after the protocol was agreed. A peer whose
    /// handshake is automatic does not support it.
    #[error(transparent)]
    Stream(RefuseReason),
    /// The peer broke a rule of the handshake, or ended its stream too early. That was reset with
    /// [`PROTOCOL_VIOLATION`](super::codes::stream::PROTOCOL_VIOLATION).
    #[error(transparent)]
    Protocol(handshake::Error),
}

/// A layer that is chosen by multistream-select.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layer {
    /// The security protocol, `/noise`.
    Security,
    /// The stream multiplexer, `/yamux/1.0.0`.
    Muxer,
}

impl core::fmt::Display for Layer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Security => "security protocol",
            Self::Muxer => "stream multiplexer",
        })
    }
}

/// The rule that the peer broke.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A rule of multistream-select, while the connection was being upgraded.
    #[error("multistream-select: {0}")]
    Multistream(#[from] multistream::Error),
    /// A rule of Noise or of noise-libp2p; a wrong peer is reported here too.
    #[error("noise: {0}")]
    Noise(#[from] noise::Error),
    /// A rule of Yamux.
    #[error("yamux: {0}")]
    Yamux(#[from] yamux::Violation),
    /// The ends disagree whether the muxer was agreed inside the handshake (noise-libp2p, early muxer
    /// negotiation): one speaks multistream-select and the other Yamux.
    #[error("the peer does not agree how the stream multiplexer was chosen")]
    MuxerMismatch,
}

/// Why this end does not want an authenticated peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DenyReason {
    /// The peer is banned or not on the allow-list.
    #[error("the peer is banned")]
    Banned,
    /// A connection limit was reached.
    #[error("a connection limit was reached")]
    Limit,
    /// Another connection to the same peer is kept.
    #[error("another connection to the peer is kept")]
    Duplicate,
    /// The peer is this node itself.
    #[error("the peer is this node itself")]
    SelfDial,
    /// The application's handshake with the peer has just failed.
    #[error("the peer failed the application's handshake a moment ago")]
    Cooldown,
    /// Too many connections came from the same place in too short a time.
    #[error("too many connections in too short a time")]
    RateLimited,
    /// The node is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
}

impl DenyReason {
    /// The GoAway code that tells the peer.
    pub(super) fn code(self) -> u32 {
        use super::codes::connection as codes;
        match self {
            Self::Banned | Self::SelfDial | Self::Cooldown => codes::GATED,
            Self::Limit | Self::RateLimited => codes::RESOURCE_LIMIT,
            Self::Duplicate => codes::SUPPLANTED,
            Self::ShuttingDown => codes::SHUTDOWN,
        }
    }
}

/// Why an outbound stream was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RefuseReason {
    /// The peer serves none of the proposed protocols.
    #[error("the peer does not support the protocol")]
    Unsupported,
    /// The peer reset the stream before a protocol was agreed.
    #[error("the peer reset the stream with code {0:#x}")]
    Reset(u32),
    /// This end reset the stream before a protocol was agreed, because its receive memory was short.
    #[error("the stream was reset because receive memory was short")]
    ResourceLimit,
    /// No protocol was agreed within the negotiation timeout.
    #[error("the peer did not answer in time")]
    TimedOut,
    /// The peer broke a rule of multistream-select on this stream.
    #[error("multistream-select: {0}")]
    Protocol(multistream::Error),
}

/// More input than [`recv_room`](super::Connection::recv_room) allows. Nothing was consumed and the
/// state is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{given} bytes given, but only {room} are welcome")]
pub struct NoRoom {
    /// Bytes given.
    pub given: usize,
    /// Bytes welcome.
    pub room: usize,
}

/// Why output was not written. The state is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransmitError {
    /// The output buffer is shorter than [`MIN_TRANSMIT`](super::MIN_TRANSMIT).
    #[error("the output buffer is shorter than 64 bytes")]
    TooSmall,
    /// The driver has the record side and must use
    /// [`poll_frames`](super::Connection::poll_frames).
    #[error("the record side was detached; ask for frames and seal them")]
    Detached,
    /// The connection still has the record side; use
    /// [`poll_transmit`](super::Connection::poll_transmit).
    #[error("the record side was not detached")]
    Attached,
}

/// Why no stream could be opened. The state is unchanged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Too many streams are open or not yet acknowledged; wait for
    /// [`Event::OpenUnblocked`](super::Event::OpenUnblocked).
    #[error("too many streams; wait until one is closed or acknowledged")]
    Blocked,
    /// The connection is not open yet; wait for [`Event::Open`](super::Event::Open).
    #[error("the connection is not open yet")]
    NotOpen,
    /// The application handshake is not done, and one of the protocols is not ping or identify; wait for
    /// [`Event::Ready`](super::Event::Ready) or [`Event::OpenUnblocked`](super::Event::OpenUnblocked),
    /// which comes with it.
    #[error("the application handshake is not done yet")]
    NotReady,
    /// The list of protocols is empty or too long.
    #[error(transparent)]
    InvalidProposals(#[from] multistream::InvalidProposals),
    /// All stream ids of this connection were used; make a new connection.
    #[error("all stream ids of this connection are used up")]
    IdsExhausted,
    /// This end is closing the connection.
    #[error("the connection is closing")]
    Closing,
    /// The connection is over.
    #[error("connection lost: {0}")]
    ConnectionLost(CloseReason),
}

/// Why a step of the application handshake was not taken. The state is unchanged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The handshake is automatic: there is nothing to say in it.
    #[error("the handshake of this connection is automatic")]
    Automatic,
    /// The connection is not open yet; wait for [`Event::Open`](super::Event::Open).
    #[error("the connection is not open yet")]
    NotOpen,
    /// The handshake does not allow it now.
    #[error(transparent)]
    Command(#[from] handshake::CommandError),
    /// This end is closing the connection.
    #[error("the connection is closing")]
    Closing,
    /// The connection is over.
    #[error("connection lost: {0}")]
    ConnectionLost(CloseReason),
}

/// Why nothing was read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Nothing to read yet; [`Event::Readable`](super::Event::Readable) follows exactly once.
    #[error("nothing to read yet")]
    Blocked,
    /// The peer reset the stream; what came before was read already.
    #[error("the stream was reset with code {0:#x}")]
    Reset(u32),
    /// This end reset the stream because its receive memory was short; what was unread is lost. See
    /// [`MemoryLimits::hard_cap`](crate::yamux::MemoryLimits::hard_cap).
    #[error("the stream was reset because receive memory was short")]
    ResourceLimit,
    /// The peer did not agree on a protocol.
    #[error("the stream was refused: {0}")]
    Refused(RefuseReason),
    /// There is no such stream to read: it was reset, stopped or released by this end.
    #[error("no such stream")]
    Unknown,
    /// The connection is over; what came before was read already.
    #[error("connection lost: {0}")]
    ConnectionLost(CloseReason),
}

/// Why nothing was written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The send quota is used up; [`Event::Writable`](super::Event::Writable) follows exactly once.
    #[error("the send quota of the stream is used up")]
    Blocked,
    /// The peer reset the stream.
    #[error("the stream was reset with code {0:#x}")]
    Reset(u32),
    /// This end reset the stream because its receive memory was short; what was not sent is lost.
    #[error("the stream was reset because receive memory was short")]
    ResourceLimit,
    /// This end already finished the stream.
    #[error("the stream is finished")]
    Finished,
    /// The peer did not agree on a protocol.
    #[error("the stream was refused: {0}")]
    Refused(RefuseReason),
    /// There is no such stream: it was reset or released by this end.
    #[error("no such stream")]
    Unknown,
    /// The connection is over or closing.
    #[error("connection lost: {0}")]
    ConnectionLost(CloseReason),
}
