//! What the threads tell each other.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::Duration,
};

use septa_core::{
    ConnectionId, Instant,
    link::{Mailbox, ToConnection, ToNode},
    node::AttemptId,
};

use crate::application::{Clock, Word};

/// Messages that wait for the node. Who has one more waits: the node itself waits for nobody.
const NODE_INBOX: usize = 64;
/// Messages that wait for a connection: one of its reader, one of its writer, and one that points to the mailbox. So
/// nobody ever waits for room.
const CONNECTION_INBOX: usize = 3;

/// What the thread of the node hears.
pub(crate) enum ToNodeThread {
    Accepted(TcpStream),
    Resolved(AttemptId, io::Result<Vec<SocketAddr>>),
    Dialed(AttemptId, io::Result<TcpStream>),
    Said(ConnectionId, Box<ToNode>),
    Word(Word),
    /// The thread of the connection is gone, which it told before if all was well.
    Gone(ConnectionId),
}

/// What the thread of a connection hears.
pub(crate) enum ToConnectionThread {
    /// The mailbox was empty and is not any more.
    Mail,
    /// The reader's buffer and how much was read; 0 is the end, or a failure.
    Received(Vec<u8>, io::Result<usize>),
    /// The writer's buffer, of which everything was written.
    Written(Vec<u8>, io::Result<()>),
}

pub(crate) fn node_inbox() -> (SyncSender<ToNodeThread>, Receiver<ToNodeThread>) {
    sync_channel(NODE_INBOX)
}

pub(crate) fn connection_inbox() -> (SyncSender<ToConnectionThread>, Receiver<ToConnectionThread>) {
    sync_channel(CONNECTION_INBOX)
}

/// The next message; `None` when the deadline has come. For ever, if there is no deadline.
pub(crate) fn receive<T>(inbox: &Receiver<T>, clock: Clock, deadline: Option<Instant>) -> Option<T> {
    let patience = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(clock.now()));
    match inbox.recv_timeout(patience) {
        Ok(message) => Some(message),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => panic!("who reads an inbox keeps a sender for others to clone"),
    }
}

/// The way from the node to a connection. Never blocks: a message replaces an older one of its kind.
#[derive(Clone)]
pub(crate) struct Letters {
    mailbox: Arc<Mutex<Mailbox<ToConnection>>>,
    bell: SyncSender<ToConnectionThread>,
}

impl Letters {
    pub(crate) fn new(bell: SyncSender<ToConnectionThread>) -> Self {
        Self { mailbox: Arc::default(), bell }
    }

    /// Puts a message in, and rings if nobody has since it was empty.
    pub(crate) fn put(&self, message: ToConnection) {
        let mut mailbox = self.mailbox.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = mailbox.is_empty();
        mailbox.put(message);
        if was_empty {
            // The connection may be over; and it rings once until the mailbox is empty, so there is room.
            let _ = self.bell.try_send(ToConnectionThread::Mail);
        }
    }

    pub(crate) fn take(&self) -> Mailbox<ToConnection> {
        std::mem::take(&mut *self.mailbox.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
