//! What goes to one peer, and the task that sends it.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use septa_core::{
    ConnectionId, PeerId,
    channel::{Config, DropReason, Epoch, Outbox, OutboxStats, Ticket},
};

use super::ChannelShared;
use crate::{
    connection::Connection,
    stream::Stream,
    waiters::{Waiters, Woken},
};

/// How long a peer that does not take the channel is left alone, at first and at most: it may open it later.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What goes to one peer.
pub(super) struct Outgoing {
    peer: PeerId,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) outbox: Outbox,
    /// Those who wait with a message.
    pub(super) senders: BTreeMap<Ticket, Waker>,
    /// Those who wait until there is room.
    pub(super) ready: Waiters,
    task: Option<Waker>,
    /// The task was begun.
    started: bool,
    /// The task has sent all there was, and is to be woken when there is more.
    is_idle: bool,
    has_stream: bool,
    /// The channel was closed.
    closed: bool,
    /// The task has ended: whoever still sees this has to ask for it again.
    pub(super) gone: bool,
}

impl Outgoing {
    pub(super) fn new(peer: PeerId, config: &Config) -> Self {
        let state = State {
            outbox: Outbox::new(config),
            senders: BTreeMap::new(),
            ready: Waiters::default(),
            task: None,
            started: false,
            is_idle: false,
            has_stream: false,
            closed: false,
            gone: false,
        };
        Self { peer, state: Mutex::new(state) }
    }

    /// Does something with the state, then wakes whom it concerns.
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let mut woken = Woken::new();
        let mut state = self.lock();
        let result = f(&mut state);
        state.settle(&mut woken);
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        result
    }

    /// Begins the task that sends, the first time. Not before there is something: it would end at once.
    pub(super) fn start(self: &Arc<Self>, channel: &Arc<ChannelShared>) {
        if !self.with(|state| std::mem::replace(&mut state.started, true)) {
            channel.node.spawn("channel to a peer", run(channel.clone(), self.clone()));
        }
    }

    pub(super) fn stats(&self) -> OutboxStats {
        self.lock().outbox.stats()
    }

    pub(super) fn close(&self, woken: &mut Woken) {
        let mut state = self.lock();
        if state.has_stream {
            state.outbox.finish();
            state.end(woken);
        } else {
            state.drop_all(DropReason::Closed, woken);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Nothing more is sent to this peer.
    fn end(&mut self, woken: &mut Woken) {
        self.closed = true;
        woken.extend(self.task.take());
        woken.extend(std::mem::take(&mut self.senders).into_values());
        self.ready.wake_into(woken);
    }

    fn drop_all(&mut self, why: DropReason, woken: &mut Woken) {
        self.outbox.close(why);
        self.end(woken);
    }

    /// Wakes the sender whose turn it is, those who wait for room, and the task if it has something to do.
    fn settle(&mut self, woken: &mut Woken) {
        while let Some(ticket) = self.outbox.next_to_wake() {
            woken.extend(self.senders.remove(&ticket));
        }
        if self.outbox.is_ready() {
            self.ready.wake_into(woken);
        }
        if self.is_idle && self.outbox.wants_transmit() {
            self.is_idle = false;
            woken.extend(self.task.take());
        }
    }

    fn is_over(&self) -> bool {
        let stats = self.outbox.stats();
        self.closed || (stats.messages == 0 && stats.waiting == 0)
    }
}

/// How a stream ended.
enum End {
    /// Everything has left, and there will be no more.
    Finished,
    /// Another connection is to be used.
    Moved,
    /// The peer or the connection is gone.
    Lost,
}

/// Sends what there is to one peer, until there is nothing more.
pub(super) async fn run(channel: Arc<ChannelShared>, outgoing: Arc<Outgoing>) {
    let mut retry = RETRY.0;
    // One that has ended may still be the node's, until the node hears of it.
    let mut ended = None;
    loop {
        if retire(&channel, &outgoing) {
            return;
        }
        let Some(connection) = established(&channel, &outgoing, ended.take()).await else {
            let mut woken = Woken::new();
            outgoing.lock().drop_all(DropReason::PeerGone, &mut woken);
            woken.into_iter().for_each(Waker::wake);
            continue;
        };
        let sent = outgoing.stats().sent_messages;
        let end = send_on(&channel, &outgoing, &connection).await;
        if outgoing.stats().sent_messages > sent {
            retry = RETRY.0;
        }
        match end {
            End::Finished => {}
            End::Moved => ended = connection.id(),
            End::Lost if connection.is_giving_way() => ended = connection.id(),
            End::Lost => {
                pause(&channel, &outgoing, retry).await;
                retry = (retry * 2).min(RETRY.1);
            }
        }
    }
}

/// True if there is nothing to do: then nobody finds this any more.
fn retire(channel: &ChannelShared, outgoing: &Outgoing) -> bool {
    let mut peers = channel.lock_peers();
    let is_over = outgoing.with(|state| {
        state.gone = state.is_over();
        state.gone
    });
    if is_over {
        peers.remove(&outgoing.peer);
    }
    is_over
}

/// Waits for a connection to the peer. `None` if the channel or the node ends first.
async fn established(channel: &ChannelShared, outgoing: &Outgoing, except: Option<ConnectionId>) -> Option<Connection> {
    let mut waiting = pin!(channel.node.established(outgoing.peer, except));
    poll_fn(|cx| {
        if outgoing.with(|state| state.wait_closed(cx)) {
            return Poll::Ready(None);
        }
        waiting.as_mut().poll(cx)
    })
    .await
}

async fn pause(channel: &ChannelShared, outgoing: &Outgoing, length: Duration) {
    let runtime = channel.node.runtime();
    let mut timer = runtime.timer();
    timer.reset(Some(runtime.now().saturating_add(length)));
    poll_fn(|cx| {
        if outgoing.with(|state| state.wait_closed(cx)) {
            return Poll::Ready(());
        }
        timer.poll_expired(cx)
    })
    .await;
}

async fn send_on(channel: &ChannelShared, outgoing: &Outgoing, connection: &Connection) -> End {
    let opened = connection.open_stream(std::slice::from_ref(&channel.protocol)).await;
    let (Ok(mut stream), Some(id)) = (opened, connection.id()) else { return End::Lost };
    stream.set_priority(channel.options.config.priority);
    let epoch = Epoch::of(id);
    let is_closed = outgoing.with(|state| {
        state.has_stream = !state.closed;
        let lost = state.outbox.stream_opened(epoch);
        debug_assert!(lost.is_none(), "the stream before was lost");
        state.closed
    });
    if is_closed {
        return End::Finished;
    }
    let end = {
        let mut over = pin!(connection.closed());
        let mut reads = true;
        poll_fn(|cx| {
            let end = outgoing.with(|state| state.transmit(cx, &stream, connection));
            if end.is_ready() {
                return end;
            }
            // The peer writes nothing, but may reset the stream.
            while reads {
                match stream.poll_read_chunk(cx) {
                    Poll::Ready(Ok(Some(_))) => {}
                    Poll::Ready(Ok(None)) => reads = false,
                    Poll::Ready(Err(_)) => return Poll::Ready(End::Lost),
                    Poll::Pending => break,
                }
            }
            over.as_mut().poll(cx).map(|_| End::Lost)
        })
        .await
    };
    if let End::Finished | End::Moved = end {
        let _ = stream.finish();
        stream.read_to_end().await;
    }
    let lost = outgoing.with(|state| {
        (state.has_stream, state.is_idle) = (false, false);
        state.outbox.stream_lost()
    });
    if let Some(lost) = lost {
        channel.tell_lost(outgoing.peer, lost.epoch);
    }
    end
}

impl State {
    /// True if the channel is closed. If not, the task is woken when it is.
    fn wait_closed(&mut self, cx: &Context<'_>) -> bool {
        self.task = Some(cx.waker().clone());
        self.closed
    }

    /// Writes what the stream takes.
    fn transmit(&mut self, cx: &mut Context<'_>, stream: &Stream, connection: &Connection) -> Poll<End> {
        while self.outbox.wants_transmit() {
            let written = match self.outbox.peek_shared() {
                Some(mut chunk) => stream.poll_write_chunk(cx, &mut chunk),
                None => stream.poll_write_slice(cx, self.outbox.peek_transmit()),
            };
            match written {
                Poll::Ready(Ok(count)) => self.outbox.transmitted(count),
                Poll::Ready(Err(_)) => return Poll::Ready(End::Lost),
                Poll::Pending => return self.sleep(cx, false),
            }
        }
        if self.outbox.is_finished() {
            return Poll::Ready(End::Finished);
        }
        if connection.is_giving_way() {
            return Poll::Ready(End::Moved);
        }
        self.sleep(cx, true)
    }

    fn sleep(&mut self, cx: &Context<'_>, is_idle: bool) -> Poll<End> {
        self.is_idle = is_idle;
        self.task = Some(cx.waker().clone());
        Poll::Pending
    }
}
