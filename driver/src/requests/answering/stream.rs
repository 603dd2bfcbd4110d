//! One stream on which a peer asks: what waits for the application, and what it has taken.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use septa_core::{
    Instant, PeerId,
    channel::{
        Payload,
        rpc::{AnswerError, ServerStats},
    },
};

use super::{
    super::RespondError,
    desk::Desk,
    machine::{Heard, Id, Machine},
    room::Room,
};
use crate::{
    runtime::Runtime,
    stream::Stream,
    waiters::{Waiters, Woken},
};

/// The reason of requests that the application has dropped.
const NOT_ANSWERED: &str = "the request was dropped";
/// The reason of those that are left when all is closed.
const CLOSED: &str = "no more requests are answered";

/// One stream on which a peer asks.
///
/// | a request | goes on |
/// |---|---|
/// | unread: in the stream's window, as long as there is no room | when there is |
/// | waiting, in the order in which they came | to the application ([`take`](Self::take)), or is cancelled |
/// | out, at the application | when it is answered, refused or cancelled, or the stream ends |
pub(super) struct AskedOn {
    pub(super) peer: PeerId,
    /// The number by which the desk knows it.
    pub(super) key: u64,
    /// The number of the desk's entry, the last time that this waited for room.
    pub(super) stalled: AtomicU64,
    state: Mutex<State>,
}

pub(super) struct State {
    machine: Machine,
    waiting: VecDeque<(Id, Bytes)>,
    waiting_bytes: usize,
    /// For those, and for the request that comes in on a stream of its own.
    room: Room,
    /// Those who wait to hear that it is cancelled, for each request that is out.
    out: BTreeMap<Id, Waiters>,
    /// The desk knows that there is something to take.
    is_announced: bool,
    /// The desk knows that this waits for room that others take.
    is_stalled: bool,
    task: Option<Waker>,
    /// The task is to be woken when there is something to send.
    is_idle: bool,
    /// The task is to be woken when there is room for input.
    waits_for_room: bool,
    ending: Option<Ending>,
}

/// How the stream ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// All was answered.
    Finished,
    /// What was answered still leaves.
    Closed,
    /// With a reset: the only request is not answered.
    Refused,
    /// With a reset: the peer broke a rule.
    Violation,
    /// It is gone.
    Lost,
}

/// What the task does next.
pub(super) enum Step {
    Read,
    /// No input is wanted: what comes stays in the stream's window.
    Wait,
    End(Ending),
}

impl AskedOn {
    pub(super) fn new(peer: PeerId, key: u64, machine: Machine, room: Room) -> Self {
        let state = State {
            machine,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            room,
            out: BTreeMap::new(),
            is_announced: false,
            is_stalled: false,
            task: None,
            is_idle: false,
            waits_for_room: false,
            ending: None,
        };
        Self { peer, key, stalled: AtomicU64::new(0), state: Mutex::new(state) }
    }

    /// Does something with the state, then tells whom it concerns.
    pub(super) fn with<T>(self: &Arc<Self>, desk: &Desk, f: impl FnOnce(&mut State) -> T) -> T {
        let result = self.alone(desk, f);
        // If there is room now, it may be because of this.
        desk.resume();
        result
    }

    /// There is room again.
    pub(super) fn resume(self: &Arc<Self>, desk: &Desk) {
        self.alone(desk, |state| state.is_stalled = false);
    }

    /// There may be room again that the streams of the peer share.
    pub(super) fn look(self: &Arc<Self>, desk: &Desk) {
        self.alone(desk, |_| {});
    }

    /// [`with`](Self::with), but for those who wait for room.
    fn alone<T>(self: &Arc<Self>, desk: &Desk, f: impl FnOnce(&mut State) -> T) -> T {
        let mut woken = Woken::default();
        let (result, is_ready, is_stalled, is_reopened) = {
            let mut state = self.lock();
            let result = f(&mut state);
            let stalls = state.settle(&mut woken);
            let is_ready = !state.waiting.is_empty() && !std::mem::replace(&mut state.is_announced, true);
            let is_stalled = stalls && !std::mem::replace(&mut state.is_stalled, true);
            (result, is_ready, is_stalled, state.room.take_reopened())
        };
        if is_ready {
            desk.announce(self, &mut woken);
        }
        if is_stalled {
            desk.stall(self);
        }
        if is_reopened {
            desk.resume_peer(&self.peer);
        }
        woken.wake();
        result
    }

    /// The next request goes to the application. `None` if it was cancelled meanwhile.
    pub(super) fn take(self: &Arc<Self>, desk: &Desk) -> Option<(Id, Bytes)> {
        self.with(desk, |state| {
            state.is_announced = false;
            let (id, body) = state.waiting.pop_front()?;
            state.waiting_bytes -= body.len();
            state.out.insert(id, Waiters::default());
            Some((id, body))
        })
    }

    pub(super) fn respond(self: &Arc<Self>, desk: &Desk, id: Id, body: Payload<'_>) -> Result<(), RespondError> {
        self.answer(desk, id, |machine| machine.respond(id, body).map(|()| None))
    }

    pub(super) fn refuse(self: &Arc<Self>, desk: &Desk, id: Id, reason: &str) -> Result<(), RespondError> {
        self.answer(desk, id, |machine| machine.refuse(id, reason))
    }

    /// The application has dropped a request, which it may have answered.
    pub(super) fn give_up(self: &Arc<Self>, desk: &Desk, id: Id) {
        let _ = self.refuse(desk, id, NOT_ANSWERED);
    }

    fn answer(
        self: &Arc<Self>,
        desk: &Desk,
        id: Id,
        f: impl FnOnce(&mut Machine) -> Result<Option<Ending>, AnswerError>,
    ) -> Result<(), RespondError> {
        let mut woken = Woken::default();
        let result = self.with(desk, |state| {
            if !state.out.contains_key(&id) {
                return Err(RespondError::Cancelled);
            }
            let ending = f(&mut state.machine).map_err(|error| match error {
                AnswerError::TooLong(error) => RespondError::TooLong(error),
                _ => RespondError::Cancelled,
            })?;
            state.out.remove(&id);
            if let Some(ending) = ending {
                state.end(ending, &mut woken);
            }
            Ok(())
        });
        woken.wake();
        result
    }

    pub(super) fn is_out(&self, id: Id) -> bool {
        self.lock().out.contains_key(&id)
    }

    /// Ready when the request is not out any more.
    pub(super) fn poll_cancelled(&self, id: Id, key: &mut Option<u64>, cx: &Context<'_>) -> Poll<()> {
        match self.lock().out.get_mut(&id) {
            Some(waiters) => {
                waiters.wait(key, cx.waker());
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }

    pub(super) fn forget(&self, id: Id, key: Option<u64>) {
        if let Some(waiters) = self.lock().out.get_mut(&id) {
            waiters.forget(key);
        }
    }

    /// Nothing more is taken from this stream, nor answered. How it ends is settled by the first call.
    pub(super) fn end(self: &Arc<Self>, desk: &Desk, ending: Ending) {
        let mut woken = Woken::default();
        self.with(desk, |state| state.end(ending, &mut woken));
        woken.wake();
    }

    /// Refuses what was not answered.
    pub(super) fn close(&self) {
        let mut woken = Woken::default();
        {
            let mut state = self.lock();
            let ids: Vec<Id> = state.out.keys().copied().chain(state.waiting.iter().map(|(id, _)| *id)).collect();
            let mut ending = Ending::Closed;
            for id in ids {
                if let Ok(Some(other)) = state.machine.refuse(id, CLOSED) {
                    ending = other;
                }
            }
            state.end(ending, &mut woken);
        }
        woken.wake();
    }

    pub(super) fn add_stats(&self, stats: &mut ServerStats) {
        let state = self.lock();
        stats.answering += state.out.len();
        stats.waiting += state.waiting.len();
        state.machine.add_stats(stats);
    }

    // What the task calls.

    /// Writes the rest after the end.
    pub(super) fn flush(&self, cx: &mut Context<'_>, stream: &Stream, runtime: &dyn Runtime) -> Poll<bool> {
        self.lock().machine.write(cx, stream, runtime).map(|written| written.is_ok())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Looks at the input as far as there is room, and wakes the task if it has something to do. True if there is no room
    /// because of others.
    fn settle(&mut self, woken: &mut Woken) -> bool {
        self.update_room();
        while self.ending.is_none() {
            match self.machine.poll_heard(self.room.is_left()) {
                Some(Heard::Request(id, body)) => {
                    self.waiting_bytes += body.len();
                    self.waiting.push_back((id, body));
                }
                Some(Heard::Cancelled(id)) => self.cancel(id, woken),
                Some(Heard::End(ending)) => self.end(ending, woken),
                None => break,
            }
            self.update_room();
        }
        let is_due = self.ending.is_some()
            || (self.is_idle && (self.machine.wants_transmit() || self.machine.is_finished()))
            || (self.waits_for_room && self.wants_input());
        if is_due {
            woken.extend(self.task.take());
        }
        self.ending.is_none() && self.room.is_taken_by_others()
    }

    fn update_room(&mut self) {
        let incoming = if self.ending.is_none() { self.machine.incoming_bytes() } else { 0 };
        self.room.set(self.waiting_bytes + incoming);
    }

    fn wants_input(&self) -> bool {
        self.machine.wants_input(self.room.is_left())
    }

    fn cancel(&mut self, id: Id, woken: &mut Woken) {
        if let Some(mut waiters) = self.out.remove(&id) {
            waiters.wake_into(woken);
        } else if let Some(index) = self.waiting.iter().position(|(waiting, _)| *waiting == id)
            && let Some((_, body)) = self.waiting.remove(index)
        {
            self.waiting_bytes -= body.len();
        }
    }

    fn end(&mut self, ending: Ending, woken: &mut Woken) {
        self.ending.get_or_insert(ending);
        for mut waiters in std::mem::take(&mut self.out).into_values() {
            waiters.wake_into(woken);
        }
        (self.waiting, self.waiting_bytes) = (VecDeque::new(), 0);
        woken.extend(self.task.take());
    }

    /// Writes what the stream takes, and says what is to be done then.
    pub(super) fn step(&mut self, cx: &mut Context<'_>, stream: &Stream, runtime: &dyn Runtime) -> Step {
        if let Some(ending) = self.ending {
            return Step::End(ending);
        }
        self.is_idle = match self.machine.write(cx, stream, runtime) {
            Poll::Ready(Ok(())) if self.machine.is_finished() => return Step::End(Ending::Finished),
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(_)) => return Step::End(Ending::Lost),
            Poll::Pending => false,
        };
        self.task = Some(cx.waker().clone());
        self.waits_for_room = !self.wants_input();
        if self.waits_for_room { Step::Wait } else { Step::Read }
    }

    pub(super) fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.machine.poll_timeout()
    }
}
