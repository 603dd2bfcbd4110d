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

/// What a round is to do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Todo {
    /// There was nothing to send when it was last looked.
    Receive,
    Transmit,
    /// The connection is over.
    End,
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

    fn drive(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> Poll<()> {
        let mut now = self.shared.now();
        let mut todo = self.begin(cx, now);
        let mut is_busy = false;
        for _ in 0..ROUNDS {
            if todo == Todo::End {
                return Poll::Ready(());
            }
            if self.should_yield() {
                break;
            }
            let (sent, failed) = match todo {
                Todo::Transmit => self.transmit(cx, now, &mut worker.scratch),
                _ => (Progress::Nothing, false),
            };
            let received = self.receive(cx, now, worker, failed);
            is_busy |= sent == Progress::Much || received.progress == Progress::Much;
            let moved = sent != Progress::Nothing || received.progress != Progress::Nothing;
            todo = if moved {
                received.next.max(if sent == Progress::Much { Todo::Transmit } else { Todo::Receive })
            } else if self.sleep(cx, (!is_busy).then_some(&mut worker.spares)).is_ready() {
                self.begin(cx, self.shared.now())
            } else {
                return Poll::Pending;
            };
            if received.progress == Progress::Much {
                now = self.shared.now();
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Tells the core the time.
    fn begin(&mut self, cx: &mut Context<'_>, now: Instant) -> Todo {
        let is_attached = self.opener.is_none();
        self.shared.task(|inner| {
            inner.task_awake(cx.waker());
            if let Ok(core) = inner.core()
                && core.poll_timeout().is_some_and(|deadline| deadline <= now)
            {
                core.handle_timeout(now);
            }
            match inner.is_done() {
                true => Todo::End,
                false if inner.has_output() || is_attached => Todo::Transmit,
                false => Todo::Receive,
            }
        })
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

    /// Arms the timer. Blocks go back to the worker, unless there will be use for them at once.
    fn sleep(&mut self, cx: &mut Context<'_>, spares: Option<&mut SpareBlocks>) -> Poll<()> {
        let (deadline, done, idle) = self.shared.quietly(|inner| {
            if let (Some(spares), Ok(core)) = (spares, inner.core()) {
                core.reclaim_spare_blocks(spares);
            }
            (inner.arm(), inner.is_done(), inner.core().is_ok_and(|core| core.is_idle()))
        });
        if done {
            return Poll::Ready(());
        }
        if idle {
            self.rest();
        }
        if deadline != self.deadline {
            self.timer.reset(deadline);
            self.deadline = deadline;
        }
        self.timer.poll_expired(cx)
    }

    /// Gives memory back that an idle connection does not need.
    fn rest(&mut self) {
        if let Some(opener) = &mut self.opener {
            opener.rest();
        }
        if let Some(mut output) = self.shared.lock_output() {
            output.rest();
        }
    }

    /// Transmits, unless a handle is at it. Also says whether the output has failed.
    fn transmit(&mut self, cx: &mut Context<'_>, now: Instant, scratch: &mut [u8]) -> (Progress, bool) {
        let Some(mut output) = self.shared.lock_output() else { return (Progress::Nothing, false) };
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
            let Ok(core) = inner.core() else { return Todo::End };
            if is_much {
                core.lend_spare_blocks(spares);
            }
            match opened {
                Ok(opened) => core.handle_opened(now, &opened),
                // No more was read than there is room for.
                Err(data) => drop(core.handle_recv(now, data)),
            }
            if inner.received() { Todo::Transmit } else { Todo::Receive }
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
