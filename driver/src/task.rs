//! The task of one connection: it owns the socket's input and moves bytes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use septa_core::{Connection as Core, Instant, Role, buf::SpareBlocks, connection::RecordOpener};

use crate::{
    inner::{Inner, Settled},
    output::Progress,
    runtime::{SocketReader, Timer},
    shared::Shared,
    worker::Worker,
};

/// Rounds of transmit and receive before other tasks get their turn. More than one: a task that
/// yields after each round triples the round trip.
const ROUNDS: usize = 8;
/// Input for which it is worth while to lend the core blocks.
const MUCH: usize = 16 * 1024;

// Functions that a message there and back does without are kept out of line: what runs for each message finds the
// instruction cache as the system call left it, so its length counts.

/// Drives a connection until it is over. If it is dropped or panics before that, the handles learn
/// that the connection is lost.
pub(crate) struct ConnectionTask {
    shared: Arc<Shared>,
    reader: Box<dyn SocketReader>,
    /// From the time when the record side was detached; until then the core opens.
    opener: Option<RecordOpener>,
    timer: Box<dyn Timer>,
    /// What the timer is armed for.
    deadline: Option<Instant>,
    /// Whom the timer wakes, once it was polled for that deadline.
    timer_wakes: Option<Waker>,
    /// The dialing application was given its turn after the handshake.
    yielded: bool,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Todo {
    /// Sleep, unless there is input: everybody else who could have work for the task wakes it.
    Settled,
    Receive,
    Transmit,
    /// The connection is over.
    End,
}

/// Whether a round without input transmits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// The record side may be there to be taken.
    Always,
    IfAny,
    /// It was just tried in vain: the socket is full, or a handle has the output. Either wakes the task.
    Never,
}

struct Received {
    progress: Progress,
    next: Todo,
}

impl Received {
    const NOTHING: Self = Self { progress: Progress::Nothing, next: Todo::Receive };
}

impl ConnectionTask {
    pub(crate) fn new(shared: Arc<Shared>, reader: Box<dyn SocketReader>) -> Self {
        let timer = shared.endpoint.runtime.timer();
        Self { shared, reader, opener: None, timer, deadline: None, timer_wakes: None, yielded: false }
    }

    /// Reads before it looks for anything else: a message that came is taken under one lock, and a task that
    /// was woken by a handle which has flushed since finds out at little cost.
    fn drive(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> Poll<()> {
        let mut now = self.shared.now();
        let mut look = if self.opener.is_none() { Look::Always } else { Look::IfAny };
        let (mut sent, mut failed, mut is_busy, mut is_settled) = (Progress::Nothing, false, false, false);
        for _ in 0..ROUNDS {
            is_busy |= sent == Progress::Much;
            let received = self.receive(cx, now, worker, is_busy, failed);
            is_busy |= received.progress == Progress::Much;
            let todo = match (received.next, sent) {
                (Todo::End, _) => Todo::End,
                // Much has left, so there is probably more by now.
                (_, Progress::Much) => Todo::Transmit,
                _ if received.progress != Progress::Nothing => received.next,
                _ if is_settled => Todo::Settled,
                _ => self.settle(cx, now, (!is_busy).then_some(&mut worker.spares), look),
            };
            if received.progress == Progress::Much {
                now = self.shared.now();
            }
            sent = Progress::Nothing;
            let after_input = is_settled;
            is_settled = todo == Todo::Settled;
            match todo {
                Todo::End => return Poll::Ready(()),
                Todo::Transmit if self.should_yield() => break,
                Todo::Transmit => {
                    (sent, failed) = self.transmit(cx, now, &mut worker.scratch);
                    look = if sent == Progress::Nothing { Look::Never } else { Look::IfAny };
                }
                Todo::Receive => look = Look::IfAny,
                Todo::Settled if received.progress != Progress::Nothing => {}
                Todo::Settled if after_input && self.is_timer_set(cx, now) => return Poll::Pending,
                Todo::Settled => match self.poll_timer(cx) {
                    Poll::Ready(()) => (now, look, is_settled) = (self.shared.now(), Look::IfAny, false),
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Nothing came: looks for everything else that there may be to do, and prepares for sleep. Blocks go back
    /// to the worker, unless there will be use for them at once.
    #[inline(never)]
    fn settle(&mut self, cx: &mut Context<'_>, now: Instant, spares: Option<&mut SpareBlocks>, look: Look) -> Todo {
        let (todo, settled) = self.shared.task(|inner| {
            inner.expire(now);
            if inner.is_done() {
                return (Todo::End, None);
            }
            if look == Look::Always || (look == Look::IfAny && inner.has_output()) {
                inner.set_task(cx.waker());
                return (Todo::Transmit, None);
            }
            (Todo::Settled, Some(inner.settle(cx.waker(), spares)))
        });
        self.prepare_sleep(cx, settled);
        todo
    }

    fn prepare_sleep(&mut self, cx: &mut Context<'_>, settled: Option<Settled>) {
        let Some(Settled { deadline, is_idle }) = settled else { return };
        if is_idle {
            self.rest(cx);
        }
        if deadline != self.deadline {
            self.timer.reset(deadline);
            self.deadline = deadline;
            self.timer_wakes = None;
        }
    }

    /// The timer will wake this task later, so that it need not be asked behind each message.
    fn is_timer_set(&self, cx: &mut Context<'_>, now: Instant) -> bool {
        self.timer_wakes.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
            && self.deadline.is_some_and(|deadline| now < deadline)
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer_wakes {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.timer_wakes = Some(cx.waker().clone()),
        }
        let expired = self.timer.poll_expired(cx);
        if expired.is_ready() {
            // It has woken whom it was to wake, even if the clock should say that it is not time yet.
            self.timer_wakes = None;
        }
        expired
    }

    /// Once, between the handshake and its last message: the application that dialed was just woken, and
    /// what it writes first leaves in the same system call.
    #[inline(never)]
    fn should_yield(&mut self) -> bool {
        if self.yielded || self.shared.role != Role::Dialer {
            return false;
        }
        self.yielded = self.shared.quietly(|inner| inner.opened().is_some());
        self.yielded
    }

    /// Gives memory back that an idle connection does not need.
    #[inline(never)]
    fn rest(&mut self, cx: &mut Context<'_>) {
        if let Some(opener) = &mut self.opener {
            opener.rest();
        }
        if let Some(mut output) = self.shared.lock_output(cx.waker()) {
            output.rest();
        }
    }

    /// Transmits, unless a handle is at it. Also says whether the output has failed.
    #[inline(never)]
    fn transmit(&mut self, cx: &mut Context<'_>, now: Instant, scratch: &mut [u8]) -> (Progress, bool) {
        let Some(mut output) = self.shared.lock_output(cx.waker()) else { return (Progress::Nothing, false) };
        if self.opener.is_none() {
            self.opener = output.detach_records(&self.shared);
        }
        let sent = output.transmit(&self.shared, now, cx, scratch);
        (sent.progress, output.has_failed())
    }

    /// Reads once. Opens what came before it takes the connection's lock.
    fn receive(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        worker: &mut Worker,
        is_busy: bool,
        output_failed: bool,
    ) -> Received {
        let scratch = &mut worker.scratch;
        let room = match &self.opener {
            Some(_) => scratch.len(),
            None => self.shared.quietly(|inner| inner.core().map_or(0, |core| core.recv_room())).min(scratch.len()),
        };
        let Some(buffer) = scratch.get_mut(..room).filter(|buffer| !buffer.is_empty()) else {
            return Received::NOTHING;
        };
        match self.reader.poll_read(cx, buffer) {
            Poll::Ready(Ok(0)) => self.end(|core, now| core.handle_recv_eof(now)),
            Poll::Ready(Ok(count)) => {
                let progress = if count < MUCH { Progress::Small } else { Progress::Much };
                let data = buffer.get_mut(..count).unwrap_or_default();
                let next = self.received(cx, now, data, &mut worker.spares, is_busy);
                return Received { progress, next };
            }
            Poll::Ready(Err(_)) => self.end(|core, now| core.handle_io_error(now)),
            Poll::Pending if output_failed => self.end(|core, now| core.handle_io_error(now)),
            Poll::Pending => return Received::NOTHING,
        }
        // The end of the input is the end of the connection, unless what came before waits for admission.
        let is_done = self.shared.quietly(|inner| inner.is_done());
        Received { progress: Progress::Small, next: if is_done { Todo::End } else { Todo::Transmit } }
    }

    fn received(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        data: &mut [u8],
        spares: &mut SpareBlocks,
        is_busy: bool,
    ) -> Todo {
        let is_much = data.len() >= MUCH;
        match &mut self.opener {
            Some(opener) => {
                let opened = opener.open(data);
                self.hand_over(cx, now, spares, is_busy, is_much, |core| core.handle_opened(now, &opened))
            }
            None => self.received_early(cx, now, data, spares, is_busy),
        }
    }

    /// [`received`](Self::received) before the record side was detached.
    #[cold]
    fn received_early(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        data: &mut [u8],
        spares: &mut SpareBlocks,
        is_busy: bool,
    ) -> Todo {
        let is_much = data.len() >= MUCH;
        self.hand_over(cx, now, spares, is_busy, is_much, |core| {
            // No more was read than there is room for.
            let _ = core.handle_recv(now, data);
        })
    }

    /// Lets the core `handle` input. Prepares for sleep under the same lock if that was little: it is probably all
    /// for now.
    fn hand_over(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        spares: &mut SpareBlocks,
        is_busy: bool,
        is_much: bool,
        handle: impl FnOnce(&mut Core),
    ) -> Todo {
        let is_all = !is_much && self.opener.is_some();
        let take = |inner: &mut Inner| {
            inner.expire(now);
            if let Ok(core) = inner.core() {
                if is_much {
                    core.lend_spare_blocks(spares);
                }
                handle(core);
            }
            spares
        };
        let (todo, settled) = self.shared.task_then(take, |inner, spares| {
            if inner.is_done() {
                return (Todo::End, None);
            }
            let has_output = inner.has_output();
            if !has_output && is_all {
                return (Todo::Settled, Some(inner.settle(cx.waker(), (!is_busy).then_some(spares))));
            }
            inner.set_task(cx.waker());
            (if has_output { Todo::Transmit } else { Todo::Receive }, None)
        });
        self.prepare_sleep(cx, settled);
        todo
    }

    #[cold]
    fn end(&mut self, tell: impl FnOnce(&mut septa_core::Connection, Instant)) {
        let now = self.shared.now();
        self.shared.task(|inner| {
            if let Ok(core) = inner.core() {
                tell(core, now);
            }
        });
    }
}

impl Future for ConnectionTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let task = self.get_mut();
        let mut worker = Worker::take();
        let outcome = task.drive(cx, &mut worker);
        worker.put_back();
        outcome
    }
}

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        self.shared.task_ended();
    }
}
