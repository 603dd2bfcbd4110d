//! Events of a connection and the bounded queue that holds them.

use alloc::collections::VecDeque;

use super::RefuseReason;
use crate::{PeerId, room, yamux::StreamId};

/// What became possible. Events never carry payload.
///
/// **Arming rule**: [`Readable`](Event::Readable) and [`Writable`](Event::Writable) come exactly once
/// after a call returned `Blocked` and the condition then changed. Readable also comes once at the start
/// of a stream, when the first data waits. [`Incoming`](Event::Incoming) comes at the start and then
/// exactly once after [`accept`](super::Connection::accept) returned `None`, and
/// [`OpenUnblocked`](Event::OpenUnblocked) once after [`open`](super::Connection::open) was blocked or too
/// early; [`HandshakeReadable`](Event::HandshakeReadable) at the start and then once after
/// [`handshake_recv`](super::Connection::handshake_recv) returned `None`. An
/// event that a call has overtaken by returning `Blocked` again is taken back. So the queue is bounded
/// by the number of streams and no wake-up is lost.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Noise is done: the peer has proved who it is. With manual admission, now is the time for
    /// [`admit`](super::Connection::admit) or [`deny`](super::Connection::deny).
    Secured {
        /// The authenticated peer.
        peer: PeerId,
    },
    /// Streams are possible. With an application handshake, only those of ping and identify as yet; it
    /// begins now.
    Open,
    /// [`handshake_recv`](super::Connection::handshake_recv) will return a message.
    HandshakeReadable,
    /// Both applications have accepted each other: streams of every protocol are possible. Comes at most
    /// once, and right behind `Open` if the handshake is automatic.
    Ready,
    /// [`accept`](super::Connection::accept) will return a stream.
    Incoming,
    /// The peer agreed on the protocol of a stream that this end opened.
    Negotiated {
        /// The stream.
        id: StreamId,
    },
    /// The peer did not agree on a protocol. The stream is of no use; release it.
    Refused {
        /// The stream.
        id: StreamId,
        /// Why.
        reason: RefuseReason,
    },
    /// Data, the end of the stream or an error waits.
    Readable {
        /// The stream.
        id: StreamId,
    },
    /// At least half of the send quota is free, or writing fails now.
    Writable {
        /// The stream.
        id: StreamId,
    },
    /// [`open`](super::Connection::open) may succeed again, or fails now for another reason.
    OpenUnblocked,
    /// The connection is over and the transport can be dropped. Comes exactly once, last.
    Closed,
}

const _: () = assert!(size_of::<Event>() <= 64);

/// Events for which an empty queue keeps room, so that a busy connection does not allocate for each
/// and an idle one holds next to nothing.
const IDLE_CAPACITY: usize = 16;

/// The events that the driver has not taken yet.
///
/// Bounded without a limit of its own: events of the connection come once each, `Incoming`,
/// `OpenUnblocked` and `HandshakeReadable` have a [`Wake`] each, and each stream has at most one event of each kind in here,
/// which its release removes.
#[derive(Debug, Default)]
pub(super) struct Events {
    queue: VecDeque<Event>,
    /// `Closed` was taken: nothing follows it.
    over: bool,
}

/// The arming rule for one condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wake {
    /// No call is blocked.
    Idle,
    /// A call returned `Blocked`; the next change of the condition makes an event.
    Armed,
    /// The event is in the queue.
    Queued,
    /// The event is in the queue, but a call returned `Blocked` after it was made. If the condition does
    /// not change again before its turn it is dropped.
    Overtaken,
}

impl Wake {
    /// A call returned `Blocked`.
    pub(super) fn arm(&mut self) {
        *self = match *self {
            Self::Idle | Self::Armed => Self::Armed,
            Self::Queued | Self::Overtaken => Self::Overtaken,
        };
    }

    /// The condition changed. True if an event is to be queued.
    pub(super) fn wake(&mut self) -> bool {
        let armed = *self == Self::Armed;
        if matches!(self, Self::Armed | Self::Overtaken) {
            *self = Self::Queued;
        }
        armed
    }

    /// The event's turn has come. False if it is to be dropped.
    pub(super) fn take(&mut self) -> bool {
        let overtaken = *self == Self::Overtaken;
        *self = if overtaken { Self::Armed } else { Self::Idle };
        !overtaken
    }
}

impl Events {
    pub(super) fn push(&mut self, event: Event) {
        match self.queue.back() {
            _ if self.over => {}
            Some(Event::Closed) => self.queue.insert(self.queue.len().saturating_sub(1), event),
            _ => room::push_back(&mut self.queue, event),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        let event = self.queue.pop_front()?;
        self.over |= event == Event::Closed;
        // Behind these a connection may stay idle for long.
        self.give_back(if let Event::Open | Event::Ready = event { 0 } else { IDLE_CAPACITY });
        Some(event)
    }

    /// Frees an empty queue that has room for more than `kept` events.
    fn give_back(&mut self, kept: usize) {
        if self.queue.is_empty() && self.queue.capacity() > kept {
            self.queue = VecDeque::new();
        }
    }

    /// Forgets everything about a stream that the application gave up.
    pub(super) fn remove_stream(&mut self, gone: StreamId) {
        self.queue.retain(|event| match event {
            Event::Negotiated { id } | Event::Refused { id, .. } | Event::Readable { id } | Event::Writable { id } => {
                *id != gone
            }
            _ => true,
        });
        self.give_back(IDLE_CAPACITY);
    }

    pub(super) fn memory_used(&self) -> usize {
        self.queue.capacity().saturating_mul(size_of::<Event>())
    }
}
