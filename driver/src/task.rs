//! The task of one connection: it owns the socket's input and moves bytes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use septa_core::{Instant, Role, buf::SpareBlocks, connection::RecordOpener};

use crate::{
    output::Progress,
    pool::Worker,
    runtime::{SocketReader, Timer},
    shared::Shared,
};

/// Rounds of transmit and receive before other tasks get their turn. More than one: a task that
/// yields after each round triples the round trip.
const ROUNDS: usize = 8;
/// Input for which it is worth while to lend the core blocks.
const MUCH: usize = 16 * 1024;

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
    /// The dialing application was given its turn after the handshake.
    yielded: bool,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Todo {
    /// Everybody who could have work for the task wakes it.
    Sleep,
    /// There was nothing to send when it was last looked.
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
        Self { shared, reader, opener: None, timer, deadline: None, yielded: false }
    }

    /// Reads before it looks for anything else: a message that came is taken under one lock, and a task that
    /// was woken by a handle which has flushed since finds out at little cost.
    fn drive(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> Poll<()> {
        let mut now = self.shared.now();
        let mut output = if self.opener.is_none() { Look::Always } else { Look::IfAny };
        let (mut sent, mut failed, mut is_busy) = (Progress::Nothing, false, false);
        for _ in 0..ROUNDS {
            let received = self.receive(cx, now, worker, failed);
            is_busy |= sent == Progress::Much || received.progress == Progress::Much;
            let todo = match received.progress {
                Progress::Nothing if sent == Progress::Much => Todo::Transmit,
                Progress::Nothing => {
                    let spares = (!is_busy).then_some(&mut worker.spares);
                    self.settle(cx, now, spares, output)
                }
                _ => received.next.max(if sent == Progress::Much { Todo::Transmit } else { Todo::Receive }),
            };
            if received.progress == Progress::Much {
                now = self.shared.now();
            }
            sent = Progress::Nothing;
            match todo {
                Todo::End => return Poll::Ready(()),
                Todo::Transmit if self.should_yield() => break,
                Todo::Transmit => {
                    (sent, failed) = self.transmit(cx, now, &mut worker.scratch);
                    output = if sent == Progress::Nothing { Look::Never } else { Look::IfAny };
                }
                Todo::Receive => output = Look::IfAny,
                Todo::Sleep => match self.timer.poll_expired(cx) {
                    Poll::Ready(()) => (now, output) = (self.shared.now(), Look::IfAny),
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Nothing came: looks for everything else that there may be to do, and prepares for sleep. Blocks go back
    /// to the worker, unless there will be use for them at once.
    fn settle(&mut self, cx: &mut Context<'_>, now: Instant, spares: Option<&mut SpareBlocks>, output: Look) -> Todo {
        let (todo, deadline, is_idle) = self.shared.task(|inner| {
            inner.set_task(cx.waker());
            inner.expire(now);
            if inner.is_done() {
                return (Todo::End, None, false);
            }
            if output == Look::Always || (output == Look::IfAny && inner.has_output()) {
                return (Todo::Transmit, None, false);
            }
            if let (Some(spares), Ok(core)) = (spares, inner.core()) {
                core.reclaim_spare_blocks(spares);
            }
            (Todo::Sleep, inner.arm(), inner.core().is_ok_and(|core| core.is_idle()))
        });
        if todo == Todo::Sleep {
            if is_idle {
                self.rest(cx);
            }
            if deadline != self.deadline {
                self.timer.reset(deadline);
                self.deadline = deadline;
            }
        }
        todo
    }

    /// Once, between the handshake and its last message: the application that dialed was just woken, and
    /// what it writes first leaves in the same system call.
    fn should_yield(&mut self) -> bool {
        if self.yielded || self.shared.role != Role::Dialer {
            return false;
        }
        self.yielded = self.shared.quietly(|inner| inner.opened().is_some());
        self.yielded
    }

    /// Gives memory back that an idle connection does not need.
    fn rest(&mut self, cx: &mut Context<'_>) {
        if let Some(opener) = &mut self.opener {
            opener.rest();
        }
        if let Some(mut output) = self.shared.lock_output(cx.waker()) {
            output.rest();
        }
    }

    /// Transmits, unless a handle is at it. Also says whether the output has failed.
    fn transmit(&mut self, cx: &mut Context<'_>, now: Instant, scratch: &mut [u8]) -> (Progress, bool) {
        let Some(mut output) = self.shared.lock_output(cx.waker()) else { return (Progress::Nothing, false) };
        if self.opener.is_none() {
            self.opener = output.detach_records(&self.shared);
        }
        let progress = output.transmit(&self.shared, now, cx, scratch);
        (progress, output.has_failed())
    }

    /// Reads once. Opens what came before it takes the connection's lock.
    fn receive(&mut self, cx: &mut Context<'_>, now: Instant, worker: &mut Worker, output_failed: bool) -> Received {
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
                let next = self.received(now, buffer.get_mut(..count).unwrap_or_default(), &mut worker.spares);
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

    fn received(&mut self, now: Instant, data: &mut [u8], spares: &mut SpareBlocks) -> Todo {
        let is_much = data.len() >= MUCH;
        let opened = match &mut self.opener {
            Some(opener) => Ok(opener.open(data)),
            None => Err(data),
        };
        self.shared.task(|inner| {
            inner.expire(now);
            let Ok(core) = inner.core() else { return Todo::End };
            if is_much {
                core.lend_spare_blocks(spares);
            }
            match opened {
                Ok(opened) => core.handle_opened(now, &opened),
                // No more was read than there is room for.
                Err(data) => drop(core.handle_recv(now, data)),
            }
            match inner.is_done() {
                true => Todo::End,
                false if inner.has_output() => Todo::Transmit,
                false => Todo::Receive,
            }
        })
    }

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
        let mut worker = task.shared.endpoint.pool.take();
        let outcome = task.drive(cx, &mut worker);
        task.shared.endpoint.pool.put(worker);
        outcome
    }
}

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        self.shared.task_ended();
    }
}
