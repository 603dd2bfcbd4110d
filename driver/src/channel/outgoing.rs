//! What goes to one peer.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
};

use septa_core::{
    PeerId,
    channel::{Config, DropReason, Outbox, OutboxStats, Ticket},
};

use super::{ChannelShared, sending};
use crate::waiters::{Waiters, Woken};

/// The messages for one peer, those who wait to add some, and the task that sends them.
pub(super) struct Outgoing {
    pub(super) peer: PeerId,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) outbox: Outbox,
    /// Those who wait with a message.
    pub(super) senders: BTreeMap<Ticket, Waker>,
    /// Those who wait until there is room.
    pub(super) ready: Waiters,
    task: Option<Waker>,
    /// The task was begun. Not before there is something: it would end at once.
    started: bool,
    /// The task has sent all there was, and is to be woken when there is more.
    pub(super) is_idle: bool,
    pub(super) has_stream: bool,
    /// The channel was closed.
    pub(super) closed: bool,
    /// The task has ended, and nobody finds this any more.
    pub(super) gone: Option<Gone>,
}

/// Why a task that sent to a peer has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Gone {
    /// There was nothing more to send. Whoever still sees this has to look for another one.
    Done,
    /// The peer was away for too long. What waited was dropped.
    GivenUp,
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
            gone: None,
        };
        Self { peer, state: Mutex::new(state) }
    }

    /// Does something with the state, then wakes whom it concerns.
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let mut woken = Woken::default();
        let mut state = self.lock();
        let result = f(&mut state);
        state.settle(&mut woken);
        drop(state);
        woken.wake();
        result
    }

    /// Begins the task that sends.
    pub(super) fn start(self: &Arc<Self>, channel: &Arc<ChannelShared>) {
        channel.node.spawn("channel to a peer", sending::run(channel.clone(), self.clone()));
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

    /// The task ends because there is nothing to do. False if there is.
    pub(super) fn retire(&self, woken: &mut Woken) -> bool {
        let mut state = self.lock();
        let is_over = state.is_over();
        if is_over && state.gone.is_none() {
            state.gone = Some(Gone::Done);
            state.drop_all(DropReason::Closed, woken);
        }
        is_over
    }

    /// The task ends whatever there is.
    pub(super) fn give_up(&self, why: DropReason, woken: &mut Woken) {
        let mut state = self.lock();
        if state.gone.is_none() {
            state.gone = Some(Gone::GivenUp);
            state.drop_all(why, woken);
        }
    }

    /// The task is to look at what has changed.
    pub(super) fn wake_task(&self) {
        let waker = self.lock().task.take();
        waker.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// True the first time: then the task is to be begun.
    pub(super) fn must_start(&mut self) -> bool {
        !std::mem::replace(&mut self.started, true)
    }

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

    /// True if the channel is closed. If not, the task is woken when it is.
    pub(super) fn wait_closed(&mut self, cx: &Context<'_>) -> bool {
        self.task = Some(cx.waker().clone());
        self.closed
    }

    /// The task sleeps: until the stream takes more, or, if it `is_idle`, there is more.
    pub(super) fn sleep(&mut self, cx: &Context<'_>, is_idle: bool) {
        self.is_idle = is_idle;
        self.task = Some(cx.waker().clone());
    }

    pub(super) fn is_over(&self) -> bool {
        let stats = self.outbox.stats();
        self.closed || (stats.messages == 0 && stats.waiting == 0)
    }
}
