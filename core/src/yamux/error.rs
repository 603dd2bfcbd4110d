//! What can go wrong, by whose fault.

/// The remote broke a rule. The session is over: it takes no more input and sends nothing but a
/// GoAway with code 1. Buffered data stays readable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// The version byte of a header is not 0.
    #[error("the remote sent a yamux frame of an unknown version")]
    UnknownVersion,
    /// The type byte of a header is above 3.
    #[error("the remote sent a yamux frame of an unknown type")]
    UnknownFrameType,
    /// A data frame or window update for stream 0, which is the session itself.
    #[error("the remote sent a stream frame for stream id 0")]
    ZeroStreamId,
    /// The remote opened a stream with an id that only we may use.
    #[error("the remote opened a stream with an id of the wrong parity")]
    WrongParity,
    /// The remote opened a stream that exists.
    #[error("the remote opened a stream that is already open")]
    DuplicateStream,
    /// SYN and ACK in one frame.
    #[error("the remote opened and acknowledged a stream in one frame")]
    SynWithAck,
    /// A body longer than the credit of its stream.
    #[error("the remote sent more data than it had credit for")]
    CreditExceeded,
    /// A window update that takes the credit past 32 bits.
    #[error("the remote granted more credit than 32 bits hold")]
    WindowOverflow,
    /// Data for streams that do not exist, beyond what may be in flight for streams that did.
    #[error("the remote sent data for unknown streams")]
    UnknownStreamData,
    /// More unanswered pings than the limit.
    #[error("the remote sent pings without reading the answers")]
    PingFlood,
    /// Streams opened to be refused or reset, beyond the limit.
    #[error("the remote opened and reset streams in rapid succession")]
    RapidReset,
    /// Frames that move nothing, beyond the limit.
    #[error("the remote sent a flood of frames without content")]
    EmptyFrameFlood,
}

/// The remote did not answer a ping in time. The session is unchanged; close the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the remote did not answer a keep-alive ping in time")]
pub struct KeepAliveTimeout;

/// No stream was opened; the session is unchanged unless the variant says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Too many live or unacknowledged streams. `OpenUnblocked` follows once, when one may be opened.
    #[error("too many streams are open or unacknowledged")]
    Blocked,
    /// The remote is going away.
    #[error("the remote is going away")]
    GoneAway,
    /// Every id was used; only a new connection helps.
    #[error("all stream ids were used")]
    IdsExhausted,
    /// `go_away` was called, or the remote violated the protocol.
    #[error("the session is closing")]
    Closing,
}

/// Nothing was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No data yet. `Readable` follows once.
    #[error("no data to read yet")]
    Blocked,
    /// The remote reset the stream with this code; everything received before was read.
    #[error("the remote reset the stream with code {0:#x}")]
    Reset(u32),
    /// The stream was reset here because receive memory was short; unread data was dropped.
    #[error("the stream was reset because receive memory was short")]
    ResourceLimit,
    /// No such stream: never opened, reset or released here, or `stop` was called.
    #[error("no such stream")]
    Unknown,
}

/// Nothing was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The send quota is used up. `Writable` follows once, when half of it is free.
    #[error("the stream's send quota is used up")]
    Blocked,
    /// The remote reset the stream with this code; unsent data was dropped.
    #[error("the remote reset the stream with code {0:#x}")]
    Reset(u32),
    /// The stream was reset here because receive memory was short; unsent data was dropped.
    #[error("the stream was reset because receive memory was short")]
    ResourceLimit,
    /// `finish` was called, or the session's GoAway was sent.
    #[error("the stream's sending half is finished")]
    Finished,
    /// No such stream: never opened, reset or released here.
    #[error("no such stream")]
    Unknown,
}
