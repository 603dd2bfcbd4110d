//! The task that sends to one peer.

use std::{
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use septa_core::{
    ConnectionId,
    channel::{DropReason, Epoch},
    connection::WriteError,
};

use super::{
    ChannelShared, Mode,
    inbound::Opener,
    outgoing::{Outgoing, State},
};
use crate::{
    connection::Connection,
    stream::{Stream, linger},
    time::after,
};

/// How long a peer that does not take the channel is left alone, at first and at most: it may open it later.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long a peer has to end a stream on which everything was sent. Then it is cut.
const LINGER: Duration = Duration::from_secs(10);

/// How a stream ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Everything has left, and there will be no more.
    Finished,
    /// Another connection is to be used.
    Moved,
    /// Another stream of the connection is to be used.
    Switched,
    /// The peer has ended the stream, which took messages.
    Ended,
    /// The peer does not speak the protocol, or has reset the stream, or the connection is gone.
    Lost,
}

/// Sends what there is to one peer, until there is nothing more.
pub(super) async fn run(channel: Arc<ChannelShared>, outgoing: Arc<Outgoing>) {
    let task = Task { channel, outgoing };
    let (channel, outgoing) = (&task.channel, &task.outgoing);
    let mut retry = RETRY.0;
    // One that has ended may still be the node's, until the node hears of it.
    let mut ended = None;
    while !channel.end_outgoing(outgoing, None) {
        let connection = match task.established(ended.take()).await {
            Ok(connection) => connection,
            Err(Unreachable::InTime) => {
                channel.end_outgoing(outgoing, Some(DropReason::PeerGone));
                return;
            }
            Err(Unreachable::Ever) => return channel.close(),
        };
        let begun = channel.node.runtime().now();
        let end = match task.begin(&connection).await {
            Some(sending) => sending.run().await,
            None => End::Lost,
        };
        let gives_way = connection.is_giving_way();
        match end {
            End::Finished | End::Switched | End::Ended => {}
            End::Moved => ended = connection.id(),
            End::Lost if gives_way => ended = connection.id(),
            // It was taken for a good while: an accident, or the peer has begun anew.
            End::Lost if channel.node.runtime().now().saturating_duration_since(begun) >= retry => retry = RETRY.0,
            End::Lost => {
                let is_other = task.pause(retry, connection.id()).await;
                retry = if is_other { RETRY.0 } else { (retry * 2).min(RETRY.1) };
            }
        }
    }
}

/// A task that sends to one peer. Where it is dropped, its peer is given up.
struct Task {
    channel: Arc<ChannelShared>,
    outgoing: Arc<Outgoing>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.channel.end_outgoing(&self.outgoing, Some(DropReason::Closed));
    }
}

/// Why there is no connection to the peer.
enum Unreachable {
    /// There was none for as long as messages are kept.
    InTime,
    /// The channel or the node has ended.
    Ever,
}

impl Task {
    /// Waits for a connection to the peer.
    async fn established(&self, except: Option<ConnectionId>) -> Result<Connection, Unreachable> {
        let mut waiting = pin!(self.channel.node.established(self.outgoing.peer, except));
        let runtime = self.channel.node.runtime();
        let mut timer = None;
        poll_fn(|cx| {
            if self.outgoing.with(|state| state.wait_closed(cx)) {
                return Poll::Ready(Err(Unreachable::Ever));
            }
            if let Poll::Ready(connection) = waiting.as_mut().poll(cx) {
                return Poll::Ready(connection.ok_or(Unreachable::Ever));
            }
            let timer = timer.get_or_insert_with(|| {
                let mut timer = runtime.timer();
                timer.reset(Some(runtime.now().saturating_add(self.channel.options.keep)));
                timer
            });
            timer.poll_expired(cx).map(|()| Err(Unreachable::InTime))
        })
        .await
    }

    /// True if it was cut short because there is another connection than `current`.
    async fn pause(&self, length: Duration, current: Option<ConnectionId>) -> bool {
        let runtime = self.channel.node.runtime();
        let mut timer = runtime.timer();
        timer.reset(Some(runtime.now().saturating_add(length)));
        let mut other = pin!(self.channel.node.established(self.outgoing.peer, current));
        poll_fn(|cx| {
            if self.outgoing.with(|state| state.wait_closed(cx)) {
                return Poll::Ready(false);
            }
            if other.as_mut().poll(cx).is_ready() {
                return Poll::Ready(true);
            }
            timer.poll_expired(cx).map(|()| false)
        })
        .await
    }

    /// Takes the stream that is there, or opens one and waits until the peer has accepted it: what was sent before would be
    /// lost if it does not. `None` if there is none.
    async fn begin<'a>(&'a self, connection: &'a Connection) -> Option<Sending<'a>> {
        let Self { channel, outgoing } = self;
        let id = connection.id()?;
        let sent = outgoing.stats().sent_messages;
        if let Some(stream) = channel.preferred_stream(&outgoing.peer, id, connection.role()) {
            return Some(Sending { channel, outgoing, connection, id, stream, sent });
        }
        let mut opening = pin!(async {
            let mut stream = connection.open_stream(std::slice::from_ref(&channel.protocol)).await.ok()?;
            stream.set_priority(channel.options.config.priority);
            stream.negotiated().await.ok()?;
            match channel.mode {
                // Whoever accepts it ends its own half at once.
                Mode::OneWay if stream.read_chunk().await == Ok(None) => Some(stream),
                Mode::OneWay => None,
                Mode::Shared => Some(stream),
            }
        });
        let stream = poll_fn(|cx| {
            if outgoing.with(|state| state.wait_closed(cx)) {
                return Poll::Ready(None);
            }
            opening.as_mut().poll(cx)
        })
        .await?;
        let stream = Arc::new(stream);
        if channel.mode == Mode::Shared {
            channel.begin_reading(outgoing.peer, id, Opener::Own, &stream).ok()?;
        }
        Some(Sending { channel, outgoing, connection, id, stream, sent })
    }
}

/// A stream that takes messages.
struct Sending<'a> {
    channel: &'a Arc<ChannelShared>,
    outgoing: &'a Outgoing,
    connection: &'a Connection,
    id: ConnectionId,
    stream: Arc<Stream>,
    /// Messages sent before, on other streams.
    sent: u64,
}

impl Sending<'_> {
    async fn run(self) -> End {
        let is_closed = self.outgoing.with(|state| {
            state.has_stream = !state.closed;
            let lost = state.outbox.stream_opened(Epoch::of(self.id));
            debug_assert!(lost.is_none(), "the stream before was lost");
            state.closed
        });
        let end = if is_closed { End::Finished } else { self.send().await };
        let lost = self.outgoing.with(|state| {
            (state.has_stream, state.is_idle) = (false, false);
            state.outbox.stream_lost()
        });
        if let Some(lost) = lost {
            self.channel.tell_lost(self.outgoing.peer, lost.epoch);
        }
        self.end(end);
        end
    }

    /// Ends this end's half.
    fn end(self, end: End) {
        match (self.channel.mode, end) {
            // Cut off, if its connection is not.
            (Mode::OneWay, End::Lost | End::Ended | End::Switched) => {}
            (Mode::OneWay, End::Finished | End::Moved) | (Mode::Shared, End::Finished) => self.finish(),
            // The reader has the rest.
            (Mode::Shared, _) => {
                let _ = self.stream.finish_writing();
                self.channel.lock_inbound().retire(&self.outgoing.peer, &self.stream);
            }
        }
    }

    /// Ends it and waits elsewhere until the peer has, too: dropping it before would cut off what is on its way.
    fn finish(self) {
        let _ = self.stream.finish_writing();
        let runtime = self.channel.node.runtime().clone();
        let (stream, may_write) = (self.stream, self.channel.mode == Mode::Shared);
        self.channel.node.spawn("end of a channel", async move {
            linger(&stream, &*runtime, after(&*runtime, LINGER), may_write).await;
        });
    }

    async fn send(&self) -> End {
        let mut over = pin!(self.connection.closed());
        poll_fn(|cx| {
            let end = self.outgoing.with(|state| self.transmit(state, cx));
            if end.is_ready() {
                return end;
            }
            over.as_mut().poll(cx).map(|_| End::Lost)
        })
        .await
    }

    /// Writes what the stream takes.
    fn transmit(&self, state: &mut State, cx: &mut Context<'_>) -> Poll<End> {
        let elsewhere = self.elsewhere(state, cx);
        // What was begun here is ended here.
        let limit = if elsewhere.is_some() { state.outbox.begun_left() } else { usize::MAX };
        match self.write(state, cx, limit) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(End::Lost),
            Poll::Pending => {
                state.sleep(cx, false);
                return Poll::Pending;
            }
        }
        if let Some(end) = elsewhere {
            return Poll::Ready(end);
        }
        if state.outbox.is_finished() {
            return Poll::Ready(End::Finished);
        }
        state.sleep(cx, true);
        Poll::Pending
    }

    /// Writes at most `limit` bytes.
    fn write(&self, state: &mut State, cx: &mut Context<'_>, mut limit: usize) -> Poll<Result<(), WriteError>> {
        while limit > 0 && state.outbox.wants_transmit() {
            let written = match state.outbox.peek_shared() {
                Some(mut chunk) => {
                    chunk.truncate(limit);
                    self.stream.poll_write_chunk(cx, &mut chunk)
                }
                None => {
                    let bytes = state.outbox.peek_transmit();
                    self.stream.poll_write_slice(cx, bytes.get(..limit).unwrap_or(bytes))
                }
            };
            let Poll::Ready(count) = written? else { return Poll::Pending };
            state.outbox.transmitted(count);
            limit = limit.saturating_sub(count);
        }
        Poll::Ready(Ok(()))
    }

    /// What to do instead of going on with this stream, once no message is under way on it.
    fn elsewhere(&self, state: &State, cx: &mut Context<'_>) -> Option<End> {
        if state.closed {
            return None;
        }
        if self.connection.is_giving_way() {
            return Some(End::Moved);
        }
        if self.channel.mode == Mode::OneWay {
            return None;
        }
        match self.channel.preferred_stream(&self.outgoing.peer, self.id, self.connection.role()) {
            Some(stream) if Arc::ptr_eq(&stream, &self.stream) => None,
            Some(_) => Some(End::Switched),
            None => Some(match self.stream.poll_read_chunk(cx) {
                Poll::Ready(Ok(None)) if state.outbox.stats().sent_messages > self.sent => End::Ended,
                _ => End::Lost,
            }),
        }
    }
}
