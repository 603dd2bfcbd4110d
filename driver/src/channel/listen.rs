//! The tasks that take streams in and read them, and those who take what was read.

use std::{
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
};

use septa_core::{
    ConnectionId, PeerId, Role,
    channel::{Epoch, Inbox, Message},
    connection::codes,
};

use super::{
    ChannelShared, Mode, Received,
    form::Malformed,
    inbound::{Entry, Inbound, Opener, Refused, Taken},
};
use crate::{
    node::{InboundStream, IncomingStreams},
    stream::Stream,
    waiters::Woken,
};

/// Chunks that a reader takes in a row, each at most 64 KiB. Others are to have their turn, too, however fast a peer is.
const MAX_CHUNKS_AT_ONCE: usize = 16;

/// Takes the streams in that peers open, until the channel or the node ends.
pub(super) async fn run(channel: Arc<ChannelShared>, mut streams: IncomingStreams) {
    // Also if this is cut off: nobody can send or receive then.
    let _closes = CloseOnDrop(&channel);
    loop {
        let next = {
            let mut next = pin!(streams.next());
            poll_fn(|cx| {
                {
                    let mut inbound = channel.lock_inbound();
                    if inbound.closed {
                        return Poll::Ready(None);
                    }
                    inbound.listener = Some(cx.waker().clone());
                }
                next.as_mut().poll(cx)
            })
            .await
        };
        match next {
            Some(stream) => take_in(&channel, stream),
            None => return,
        }
    }
}

struct CloseOnDrop<'a>(&'a ChannelShared);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Has a stream read that a peer has opened.
fn take_in(channel: &Arc<ChannelShared>, inbound: InboundStream) {
    let InboundStream { peer, connection, mut stream, .. } = inbound;
    stream.set_priority(channel.options.config.priority);
    let stream = Arc::new(stream);
    let code = match channel.begin_reading(peer, connection, Opener::Peer, &stream) {
        Ok(()) => return channel.accepted(&peer, &stream),
        Err(Refused::Closed) => codes::stream::NO_ERROR,
        Err(Refused::Second) => codes::stream::PROTOCOL_VIOLATION,
        Err(Refused::Full) => codes::stream::RESOURCE_LIMIT,
    };
    stream.cut_off(code);
}

/// Reads one stream until it ends.
async fn read(channel: Arc<ChannelShared>, peer: PeerId, key: u64, stream: Arc<Stream>) {
    if let End::Violated = (Reading { channel: &channel, peer, key, stream: &stream }).run().await {
        stream.cut_off(codes::stream::PROTOCOL_VIOLATION);
    }
    channel.with_inbound(|inbound, woken| inbound.end(&peer, key, woken));
    if channel.mode == Mode::Shared {
        channel.tell_sender(&peer);
        // If nobody sends on it this end is done with it, too; otherwise it is the sender who ends it.
        if let Some(mut stream) = Arc::into_inner(stream) {
            let _ = stream.finish();
        }
    }
}

struct Reading<'a> {
    channel: &'a ChannelShared,
    peer: PeerId,
    key: u64,
    stream: &'a Stream,
}

enum Step {
    Read,
    /// There is no room: what comes stays in the stream's window.
    Wait,
    End(End),
}

/// How a stream ended for its reader.
enum End {
    /// Its peer, its connection or the channel has ended it.
    Over,
    /// The peer has broken the protocol.
    Violated,
}

impl Reading<'_> {
    async fn run(&self) -> End {
        poll_fn(|cx| {
            for _ in 0..MAX_CHUNKS_AT_ONCE {
                match self.read_chunk(cx) {
                    Poll::Ready(None) => {}
                    Poll::Ready(Some(end)) => return Poll::Ready(end),
                    Poll::Pending => return Poll::Pending,
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }

    /// Takes a chunk, or the end.
    fn read_chunk(&self, cx: &mut Context<'_>) -> Poll<Option<End>> {
        match self.next_step(cx) {
            Step::Read => {}
            Step::Wait => return Poll::Pending,
            Step::End(end) => return Poll::Ready(Some(end)),
        }
        let chunk = match self.stream.poll_read_chunk(cx) {
            Poll::Ready(Ok(chunk)) => chunk,
            Poll::Ready(Err(_)) => return Poll::Ready(Some(End::Over)),
            Poll::Pending => return Poll::Pending,
        };
        let is_end = chunk.is_none();
        let taken = self.with_entry(|entry| {
            let taken = match chunk {
                _ if entry.is_violated => return false,
                Some(mut chunk) => entry.inbox.handle_chunk(&mut chunk),
                None => entry.inbox.handle_eof(),
            };
            taken.is_ok()
        });
        Poll::Ready(match taken {
            Some(true) if !is_end => None,
            Some(false) => Some(End::Violated),
            _ => Some(End::Over),
        })
    }

    fn next_step(&self, cx: &Context<'_>) -> Step {
        self.channel.with_inbound(|inbound, woken| {
            if inbound.closed {
                return Step::End(End::Over);
            }
            let has_room = inbound.has_room(&self.peer, self.key, woken);
            let Some(entry) = inbound.entry(&self.peer, self.key) else { return Step::End(End::Over) };
            if entry.inbox.failure().is_some() || entry.is_violated {
                return Step::End(End::Violated);
            }
            // Woken when the channel is closed, too.
            entry.reader = Some(cx.waker().clone());
            if has_room && entry.inbox.wants_input() { Step::Read } else { Step::Wait }
        })
    }

    /// `None` once the channel is closed.
    fn with_entry<T>(&self, f: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.channel.with_inbound(
            |inbound, woken| {
                if inbound.closed { None } else { inbound.with(&self.peer, self.key, woken, f) }
            },
        )
    }
}

/// A future's place among those that wait for a message.
struct Receiving<'a> {
    channel: &'a ChannelShared,
    key: Option<u64>,
}

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        if self.key.is_some() {
            self.channel.lock_inbound().receivers.forget(self.key);
        }
    }
}

pub(super) async fn recv(channel: &ChannelShared) -> Option<Received> {
    loop {
        // Beside the locks: inflating takes time. Nothing is awaited behind it, so that nothing is lost.
        match take(channel).await? {
            Taken::Lost { peer, epoch } => return Some(Received::Lost { peer, epoch }),
            Taken::Message { peer, key, message: Message { epoch, body } } => {
                match channel.form.decode(body, channel.options.config.max_message_len) {
                    Ok(body) => return Some(Received::Message { peer, epoch, body }),
                    Err(Malformed) => channel.with_inbound(|inbound, woken| inbound.violated(&peer, key, woken)),
                }
            }
        }
    }
}

async fn take(channel: &ChannelShared) -> Option<Taken> {
    let mut waiting = Receiving { channel, key: None };
    poll_fn(|cx| {
        waiting.channel.with_inbound(|inbound, woken| match inbound.recv(woken) {
            Some(taken) => Poll::Ready(Some(taken)),
            None if inbound.closed => Poll::Ready(None),
            None => {
                inbound.receivers.wait(&mut waiting.key, cx.waker());
                Poll::Pending
            }
        })
    })
    .await
}

impl ChannelShared {
    /// The stream to send on, where both ends send on the same.
    pub(super) fn preferred_stream(&self, peer: &PeerId, connection: ConnectionId, role: Role) -> Option<Arc<Stream>> {
        match self.mode {
            Mode::OneWay => None,
            Mode::Shared => self.lock_inbound().preferred(peer, connection, role).cloned(),
        }
    }

    /// Has a stream read from now on.
    pub(super) fn begin_reading(
        self: &Arc<Self>,
        peer: PeerId,
        connection: ConnectionId,
        opener: Opener,
        stream: &Arc<Stream>,
    ) -> Result<(), Refused> {
        let inbox = Inbox::new(&self.wire, Epoch::of(connection));
        let key = self.lock_inbound().add(peer, connection, opener, inbox, stream)?;
        self.node.spawn("channel from a peer", read(self.clone(), peer, key, stream.clone()));
        Ok(())
    }

    fn accepted(&self, peer: &PeerId, stream: &Stream) {
        match self.mode {
            // This end writes nothing, and says by its end that messages are welcome.
            Mode::OneWay => {
                let _ = stream.finish_writing();
            }
            Mode::Shared => self.tell_sender(peer),
        }
    }

    /// There is another stream to send on, or one less.
    fn tell_sender(&self, peer: &PeerId) {
        let outgoing = self.lock_peers().of.get(peer).cloned();
        if let Some(outgoing) = outgoing {
            outgoing.wake_task();
        }
    }

    /// A message was on its way to `peer` when its stream was lost.
    pub(super) fn tell_lost(&self, peer: PeerId, epoch: Epoch) {
        self.with_inbound(|inbound, woken| inbound.lose(peer, epoch, woken));
    }

    /// Does something with what was received, then wakes whom it concerns.
    fn with_inbound<T>(&self, f: impl FnOnce(&mut Inbound, &mut Woken) -> T) -> T {
        let mut woken = Woken::default();
        let result = f(&mut self.lock_inbound(), &mut woken);
        woken.wake();
        result
    }
}
