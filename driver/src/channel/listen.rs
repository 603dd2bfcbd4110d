//! The tasks that take streams in and read them.

use std::{
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use septa_core::{
    channel::{Epoch, Inbox},
    connection::codes,
};

use super::{ChannelShared, inbound::InboundEntry};
use crate::{
    node::{InboundStream, IncomingStreams},
    stream::Stream,
    waiters::Woken,
};

/// Takes the streams in that peers open, until the channel or the node ends.
pub(super) async fn run(channel: Arc<ChannelShared>, mut streams: IncomingStreams) {
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
            // Nobody can send any more.
            None => return channel.close(),
        }
    }
}

fn take_in(channel: &Arc<ChannelShared>, inbound: InboundStream) {
    let InboundStream { peer, connection, mut stream, .. } = inbound;
    let inbox = Inbox::new(&channel.options.config, Epoch::of(connection));
    let key = channel.lock_inbound().add(peer, connection, inbox);
    match key {
        Some(key) => channel.node.spawn("channel from a peer", read(channel.clone(), key, stream)),
        // A second one for the same name breaks the protocol.
        None => stream.reset(codes::stream::PROTOCOL_VIOLATION),
    }
}

/// Reads one stream until it ends.
async fn read(channel: Arc<ChannelShared>, key: u64, mut stream: Stream) {
    // This end writes nothing on it.
    let _ = stream.finish();
    let violation = poll_fn(|cx| {
        loop {
            match channel.with_inbox(key, |entry| next_step(entry, cx)) {
                Some(Step::Read) => {}
                Some(Step::Wait) => return Poll::Pending,
                Some(Step::Fail) => return Poll::Ready(true),
                None => return Poll::Ready(false),
            }
            let chunk = match stream.poll_read_chunk(cx) {
                Poll::Ready(Ok(chunk)) => chunk,
                Poll::Ready(Err(_)) => return Poll::Ready(false),
                Poll::Pending => return Poll::Pending,
            };
            let is_end = chunk.is_none();
            let taken = channel.with_inbox(key, |entry| match chunk {
                Some(mut chunk) => entry.inbox.handle_chunk(&mut chunk),
                None => entry.inbox.handle_eof(),
            });
            match taken {
                Some(Ok(())) if !is_end => {}
                Some(Err(_)) => return Poll::Ready(true),
                _ => return Poll::Ready(false),
            }
        }
    })
    .await;
    channel.lock_inbound().end(key);
    if violation {
        stream.reset(codes::stream::PROTOCOL_VIOLATION);
    }
}

enum Step {
    Read,
    /// There is no room: what comes stays in the stream's window.
    Wait,
    Fail,
}

fn next_step(entry: &mut InboundEntry, cx: &Context<'_>) -> Step {
    if entry.inbox.failure().is_some() {
        return Step::Fail;
    }
    // Woken when the channel is closed, too.
    entry.reader = Some(cx.waker().clone());
    if entry.inbox.wants_input() { Step::Read } else { Step::Wait }
}

impl ChannelShared {
    /// `None` once the channel is closed.
    fn with_inbox<T>(&self, key: u64, f: impl FnOnce(&mut InboundEntry) -> T) -> Option<T> {
        let mut woken = Woken::new();
        let result = {
            let mut inbound = self.lock_inbound();
            if inbound.closed { None } else { inbound.with(key, &mut woken, f) }
        };
        woken.into_iter().for_each(Waker::wake);
        result
    }
}
