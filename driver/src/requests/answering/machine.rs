//! What a peer asks on one stream, in either mode.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use septa_core::{
    Instant,
    channel::{
        Payload,
        message::Error as MessageError,
        rpc::{
            AnswerError, Asked, RequestId, Server, ServerStats,
            exchange::{Error, Responder},
        },
    },
    connection::WriteError,
};

use super::{
    super::transmit::{Source, write},
    stream::Ending,
};
use crate::{runtime::Runtime, stream::Stream, time::after};

/// Which request of a stream; `None` if there is only one.
pub(super) type Id = Option<RequestId>;

pub(super) enum Machine {
    /// For many requests.
    Many(Server),
    /// For one.
    One(One),
}

/// One request and its answer.
pub(super) struct One {
    responder: Responder,
    /// The request has come. What comes behind it is thrown away.
    is_heard: bool,
    /// The peer has ended its half.
    is_ended: bool,
    /// How long the peer may take no piece of the answer. Stops one that asks and does not read from keeping answers here.
    patience: Duration,
    /// When that is over, as long as the stream takes nothing.
    due: Option<Instant>,
    has_progressed: bool,
    is_given_up: bool,
}

/// What comes of what was read.
pub(super) enum Heard {
    Request(Id, Bytes),
    Cancelled(Id),
    /// Nothing more will come.
    End(Ending),
}

impl Machine {
    pub(super) fn one(responder: Responder, patience: Duration) -> Self {
        Self::One(One {
            responder,
            is_heard: false,
            is_ended: false,
            patience,
            due: None,
            has_progressed: false,
            is_given_up: false,
        })
    }

    /// Of many requests those for which there is no room wait in the machine, which bounds them. One is not begun without
    /// room; once its length is known, which is taken, it is read to its end.
    pub(super) fn wants_input(&self, has_room: bool) -> bool {
        match self {
            Self::Many(server) => server.wants_input(),
            Self::One(one) => !one.is_ended && (has_room || one.is_heard || one.responder.announced() > 0),
        }
    }

    /// The length of a request that is to come, from when it is known.
    pub(super) fn incoming_bytes(&self) -> usize {
        match self {
            Self::Many(_) => 0,
            Self::One(one) => one.responder.announced(),
        }
    }

    pub(super) fn handle_chunk(&mut self, mut chunk: Bytes) {
        match self {
            Self::Many(server) => server.handle_chunk(&mut chunk),
            Self::One(one) => one.responder.handle_chunk(&mut chunk),
        }
    }

    pub(super) fn handle_eof(&mut self) {
        match self {
            Self::Many(server) => server.handle_eof(),
            Self::One(one) => {
                one.is_ended = true;
                one.responder.handle_eof();
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Many(_) => None,
            Self::One(one) => one.responder.poll_timeout().or(one.due),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Self::One(one) = self {
            one.responder.handle_timeout(now);
            one.is_given_up |= one.due.is_some_and(|due| due <= now);
        }
    }

    /// Without room for requests, only what needs none.
    pub(super) fn poll_heard(&mut self, has_room: bool) -> Option<Heard> {
        match self {
            Self::Many(server) => {
                let asked = match has_room {
                    true => server.poll_asked(),
                    false => server.poll_cancelled().map(|id| Asked::Cancelled { id }),
                };
                match asked {
                    Some(Asked::Request { id, body }) => Some(Heard::Request(Some(id), body)),
                    Some(Asked::Cancelled { id }) => Some(Heard::Cancelled(Some(id))),
                    _ if server.failure().is_some() => Some(Heard::End(Ending::Violation)),
                    _ => None,
                }
            }
            Self::One(one) => {
                if one.is_given_up {
                    return Some(Heard::End(Ending::Refused));
                }
                one.responder.poll_request().map(|request| {
                    one.is_heard = true;
                    // It has taken its room already.
                    request.map_or_else(|error| Heard::End(ending(error)), |body| Heard::Request(None, body))
                })
            }
        }
    }

    pub(super) fn respond(&mut self, id: Id, body: Payload<'_>) -> Result<(), AnswerError> {
        match (self, id) {
            (Self::Many(server), Some(id)) => server.respond(id, body),
            (Self::One(one), None) => one.responder.respond(body),
            _ => Err(AnswerError::NotDue),
        }
    }

    /// Says that there is no answer, if there is a way to. If not, the stream is to be reset.
    pub(super) fn refuse(&mut self, id: Id, reason: &str) -> Result<Option<Ending>, AnswerError> {
        match (self, id) {
            (Self::Many(server), Some(id)) => server.refuse(id, reason).map(|()| None),
            (Self::One(_), None) => Ok(Some(Ending::Refused)),
            _ => Err(AnswerError::NotDue),
        }
    }

    pub(super) fn write(
        &mut self,
        cx: &mut Context<'_>,
        stream: &Stream,
        runtime: &dyn Runtime,
    ) -> Poll<Result<(), WriteError>> {
        match self {
            Self::Many(server) => write(cx, stream, server),
            Self::One(one) => {
                one.has_progressed = false;
                let written = write(cx, stream, one);
                one.due = match written {
                    Poll::Ready(_) => None,
                    Poll::Pending if one.has_progressed || one.due.is_none() => Some(after(runtime, one.patience)),
                    Poll::Pending => one.due,
                };
                written
            }
        }
    }

    pub(super) fn wants_transmit(&self) -> bool {
        match self {
            Self::Many(server) => server.wants_transmit(),
            Self::One(one) => one.responder.wants_transmit(),
        }
    }

    /// All was answered that was or can be asked, and handed out.
    pub(super) fn is_finished(&self) -> bool {
        match self {
            Self::Many(server) => server.is_finished(),
            Self::One(one) => one.responder.is_finished(),
        }
    }

    pub(super) fn add_stats(&self, stats: &mut ServerStats) {
        if let Self::Many(server) = self {
            let own = server.stats();
            stats.waiting += own.waiting;
            stats.queued_messages += own.queued_messages;
            stats.queued_bytes += own.queued_bytes;
            stats.requests += own.requests;
            stats.cancelled += own.cancelled;
            stats.unknown_cancels += own.unknown_cancels;
        }
    }
}

impl Source for One {
    fn wants_transmit(&self) -> bool {
        self.responder.wants_transmit()
    }

    fn peek_shared(&self) -> Option<Bytes> {
        self.responder.peek_shared()
    }

    fn peek_transmit(&self) -> &[u8] {
        self.responder.peek_transmit()
    }

    fn transmitted(&mut self, len: usize) {
        self.has_progressed = true;
        self.responder.transmitted(len);
    }
}

/// How a stream ends that brings no request.
fn ending(error: Error) -> Ending {
    match error {
        Error::TimedOut => Ending::Refused,
        Error::Lost | Error::NoMessage | Error::Message(MessageError::UnexpectedEof) => Ending::Lost,
        _ => Ending::Violation,
    }
}
