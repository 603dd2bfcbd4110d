//! What a node and a connection tell each other, in named slots.

use alloc::boxed::Box;
use core::time::Duration;

use crate::{
    PeerId, ProtocolSet,
    connection::{CloseReason, DenyReason, Stats},
};

/// Slots of each direction, and so the most messages that wait in a [`Mailbox`].
pub const SLOTS: usize = 4;

/// The way from a node to one of its connections, or back: a place for one message of each kind.
///
/// A driver keeps two for each connection that belongs to a node. It puts in what [`Connection::poll_node`] and the
/// node's actions yield, and takes it out for the other side. A message that waits is replaced by a newer one of
/// its kind, which says all that the older one said. So neither side can flood the other, nothing blocks, and
/// nothing that matters is lost. An empty one takes a word.
///
/// [`Connection::poll_node`]: crate::Connection::poll_node
#[derive(Debug)]
pub struct Mailbox<M>(Option<Box<[Option<M>; SLOTS]>>);

// Each connection of a node has two, which are empty nearly always.
const _: () = assert!(size_of::<Mailbox<ToNode>>() == size_of::<usize>());

/// A message that has its slot in a [`Mailbox`].
pub trait Slotted: sealed::Sealed {
    /// Which of the [`SLOTS`].
    fn slot(&self) -> usize;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::ToNode {}
    impl Sealed for super::ToConnection {}
}

impl<M> Default for Mailbox<M> {
    fn default() -> Self {
        Self(None)
    }
}

impl<M: Slotted> Mailbox<M> {
    /// Puts a message into its slot, in the place of one that waits there.
    pub fn put(&mut self, message: M) {
        let slots = self.0.get_or_insert_with(|| Box::new([const { None }; SLOTS]));
        if let Some(slot) = slots.get_mut(message.slot()) {
            *slot = Some(message);
        }
    }

    /// Takes the next message, in the order of a connection's life.
    #[must_use]
    pub fn take(&mut self) -> Option<M> {
        let message = self.0.as_mut()?.iter_mut().find_map(Option::take);
        if self.is_empty() {
            self.0 = None;
        }
        message
    }

    /// Messages that wait, at most [`SLOTS`].
    pub fn len(&self) -> usize {
        self.0.iter().flat_map(|slots| slots.iter()).flatten().count()
    }

    /// No message waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// From a connection to its node. Opaque: drivers carry it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ToNode(pub(crate) NodeMessage);

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum NodeMessage {
    /// The peer has proved who it is and waits for admission.
    Secured {
        peer: PeerId,
    },
    /// Streams are possible; `is_ready` if the application's handshake is done too.
    Opened {
        is_ready: bool,
    },
    Report(Box<Report>),
    /// Nothing follows.
    Closed {
        reason: CloseReason,
        last: Box<Report>,
    },
}

/// What a connection says about itself. Cumulative.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Report {
    pub(crate) stats: Stats,
    pub(crate) rtt: Option<Duration>,
    /// The last probe behind which the peer was heard.
    pub(crate) probe: u32,
}

/// From a node to one of its connections. Opaque: drivers carry it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ToConnection(pub(crate) ConnectionMessage);

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ConnectionMessage {
    Admission(Result<(), DenyReason>),
    /// What inbound streams may negotiate from now on.
    Policy(ProtocolSet),
    Query(Query),
    /// Close in good order with this code, once no stream is left.
    Retire {
        code: u32,
    },
    /// Close in good order with this code.
    Close {
        code: u32,
    },
    /// The node has forgotten the connection.
    Retired,
}

/// A question to a connection, which answers with a [`Report`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Query {
    /// Is the peer still there? The number goes into the report, which comes when the peer was heard.
    Probe(u32),
}

impl ToNode {
    /// It is the last one of its connection.
    pub fn is_last(&self) -> bool {
        matches!(self.0, NodeMessage::Closed { .. })
    }
}

impl Slotted for ToNode {
    fn slot(&self) -> usize {
        match self.0 {
            NodeMessage::Secured { .. } => 0,
            NodeMessage::Opened { .. } => 1,
            NodeMessage::Report(_) => 2,
            NodeMessage::Closed { .. } => 3,
        }
    }
}

impl ToConnection {
    /// It is the last one: the node knows that the connection is over.
    pub fn is_last(&self) -> bool {
        matches!(self.0, ConnectionMessage::Retired)
    }
}

impl Slotted for ToConnection {
    fn slot(&self) -> usize {
        match self.0 {
            // Before the peer is let in: streams that it has opened by then are answered as soon as it is.
            ConnectionMessage::Policy(_) => 0,
            ConnectionMessage::Admission(_) => 1,
            ConnectionMessage::Query(_) => 2,
            ConnectionMessage::Retire { .. } | ConnectionMessage::Close { .. } | ConnectionMessage::Retired => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_mailbox_holds_nothing_even_if_it_was_full() {
        let mut mailbox = Mailbox::default();
        for message in
            [ConnectionMessage::Retired, ConnectionMessage::Admission(Ok(())), ConnectionMessage::Close { code: 1 }]
        {
            mailbox.put(ToConnection(message));
        }
        assert_eq!(mailbox.len(), 2);
        assert_eq!(mailbox.take(), Some(ToConnection(ConnectionMessage::Admission(Ok(())))));
        assert!(mailbox.0.is_some());
        assert_eq!(mailbox.take(), Some(ToConnection(ConnectionMessage::Close { code: 1 })));
        assert!(mailbox.is_empty() && mailbox.0.is_none());
        assert_eq!(mailbox.take(), None);
    }
}
