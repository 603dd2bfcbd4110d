//! What is said on a stream of requests: a kind, the number of the request, a body.

use alloc::boxed::Box;
use core::fmt;

use bytes::{Buf, Bytes};

use super::super::message::{self, MessageReader};
use crate::varint;

/// Longest reason of an answer that is an error, in bytes. Stops a peer from filling logs.
pub const MAX_REASON_LEN: usize = 1024;

/// Most bytes before a body: the kind and the number.
const MAX_HEAD_LEN: usize = 1 + varint::MAX_LEN;

const REQUEST: u8 = 0;
const RESPONSE: u8 = 1;
const ERROR: u8 = 2;
const CANCEL: u8 = 3;

/// The number of a request on its stream: 0, 1, 2 and so on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub(super) u64);

impl RequestId {
    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The peer broke a rule. The machine stays failed and the stream is to be reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What came cannot be cut into messages, or the stream ended inside of one.
    #[error(transparent)]
    Message(#[from] message::Error),
    /// A message has not even a kind and a number.
    #[error("a message has no kind or no number")]
    Truncated,
    /// The number of a message is not a varint of at most nine bytes in its shortest form.
    #[error("the number of a message is not a varint in its shortest form")]
    BadNumber,
    /// A message has a kind that does not exist, or one that only the other end may send.
    #[error("a message of the kind {0} may not stand here")]
    UnexpectedKind(u8),
    /// The numbers of requests do not grow by one.
    #[error("a request has the number {got} instead of {expected}")]
    UnexpectedNumber {
        /// The number that was due.
        expected: RequestId,
        /// The number that came.
        got: RequestId,
    },
    /// A cancellation carries something.
    #[error("a cancellation has a body")]
    CancelWithBody,
    /// The reason of an error is longer than [`MAX_REASON_LEN`].
    #[error("the reason of an error is longer than 1024 bytes")]
    ReasonTooLong,
    /// The reason of an error is not UTF-8.
    #[error("the reason of an error is not UTF-8 text")]
    ReasonNotUtf8,
}

/// One message, checked on its own.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Frame {
    Request(RequestId, Bytes),
    Response(RequestId, Bytes),
    Error(RequestId, Box<str>),
    Cancel(RequestId),
}

/// The kinds that a frame can have, without what belongs to them.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Request,
    Response,
    Error,
    Cancel,
}

/// What stands before a body.
pub(super) struct Head {
    bytes: [u8; MAX_HEAD_LEN],
    len: usize,
}

impl Head {
    pub(super) fn new(kind: Kind, id: RequestId) -> Self {
        let kind = match kind {
            Kind::Request => REQUEST,
            Kind::Response => RESPONSE,
            Kind::Error => ERROR,
            Kind::Cancel => CANCEL,
        };
        let mut buffer = [0; varint::MAX_LEN];
        let number = varint::encode(id.0, &mut buffer);
        let mut bytes = [0; MAX_HEAD_LEN];
        for (to, from) in bytes.iter_mut().zip([kind].iter().chain(number)) {
            *to = *from;
        }
        Self { bytes, len: number.len().saturating_add(1) }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Cuts chunks of a stream into frames. Looks at no more than one frame at a time, so that its owner decides
/// when to go on.
#[derive(Debug)]
pub(super) struct FrameReader {
    reader: MessageReader,
    max_body_len: usize,
    /// Input that was not looked at.
    rest: Bytes,
    is_eof: bool,
}

impl FrameReader {
    pub(super) fn new(max_body_len: usize) -> Self {
        // The reason of an error may be longer than a body.
        let max = max_body_len.max(MAX_REASON_LEN).saturating_add(MAX_HEAD_LEN);
        Self { reader: MessageReader::new(max), max_body_len, rest: Bytes::new(), is_eof: false }
    }

    /// Whether a chunk would be taken.
    pub(super) fn wants_input(&self) -> bool {
        self.rest.is_empty() && !self.is_eof
    }

    pub(super) fn handle_chunk(&mut self, chunk: &mut Bytes) {
        if self.wants_input() {
            self.rest = core::mem::take(chunk);
        }
    }

    pub(super) fn handle_eof(&mut self) {
        self.is_eof = true;
    }

    /// Whether all input has come and was looked at.
    pub(super) fn is_ended(&self) -> bool {
        self.is_eof && self.rest.is_empty()
    }

    pub(super) fn next(&mut self) -> Result<Option<Frame>, Error> {
        let message = self.reader.handle_chunk(&mut self.rest)?;
        if self.rest.is_empty() {
            // An empty slice would keep its chunk in memory.
            self.rest = Bytes::new();
        }
        match message {
            Some(message) => Frame::decode(message, self.max_body_len).map(Some),
            None if self.is_eof => Ok(self.reader.handle_eof().map(|()| None)?),
            None => Ok(None),
        }
    }

    /// Drops what was not looked at and takes nothing more.
    pub(super) fn discard(&mut self) {
        self.reader = MessageReader::new(0);
        self.rest = Bytes::new();
        self.is_eof = true;
    }

    pub(super) fn memory_used(&self) -> usize {
        self.reader.memory_used().saturating_add(self.rest.len())
    }
}

impl Frame {
    fn decode(mut message: Bytes, max_body_len: usize) -> Result<Self, Error> {
        let (kind, rest) = message.split_first().ok_or(Error::Truncated)?;
        let kind = *kind;
        let (number, len) = varint::decode(rest, u64::MAX).map_err(|_| Error::BadNumber)?.ok_or(Error::Truncated)?;
        let id = RequestId(number);
        message.advance(len.saturating_add(1));
        let body = message;
        match kind {
            REQUEST | RESPONSE if body.len() > max_body_len => {
                Err(Error::Message(message::Error::TooLong { max: max_body_len }))
            }
            REQUEST => Ok(Self::Request(id, body)),
            RESPONSE => Ok(Self::Response(id, body)),
            ERROR if body.len() > MAX_REASON_LEN => Err(Error::ReasonTooLong),
            ERROR => {
                let reason = core::str::from_utf8(&body).map_err(|_| Error::ReasonNotUtf8)?;
                Ok(Self::Error(id, reason.into()))
            }
            CANCEL if body.is_empty() => Ok(Self::Cancel(id)),
            CANCEL => Err(Error::CancelWithBody),
            kind => Err(Error::UnexpectedKind(kind)),
        }
    }

    pub(super) fn kind(&self) -> u8 {
        match self {
            Self::Request(..) => REQUEST,
            Self::Response(..) => RESPONSE,
            Self::Error(..) => ERROR,
            Self::Cancel(_) => CANCEL,
        }
    }
}
