//! The task of one connection: it owns the socket's input and moves bytes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use septa_core::{Instant, Role, connection::RecordOpener};

use crate::{
    output::Progress,
    runtime::{SocketReader, Timer},
    shared::Shared,
};

/// Rounds of transmit and receive before other tasks get their turn. More than one: a task that
/// yields after each round triples the round trip.
const ROUNDS: usize = 8;

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

impl ConnectionTask {
    pub(crate) fn new(shared: Arc<Shared>, reader: Box<dyn SocketReader>) -> Self {
        let timer = shared.endpoint.runtime.timer();
        Self { shared, reader, opener: None, timer, deadline: None, yielded: false }
    }

    fn drive(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<()> {
        for _ in 0..ROUNDS {
            if self.begin_round().is_ready() {
                return Poll::Ready(());
            }
            if self.should_yield() {
                break;
            }
            let (sent, failed) = self.transmit(cx, scratch);
            let received = self.receive(cx, scratch, failed);
            let moved = sent == Progress::Moved || received == Progress::Moved;
            if !moved && self.sleep(cx).is_pending() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Tells the time to the core, and ends if the connection is over.
    fn begin_round(&mut self) -> Poll<()> {
        let now = self.shared.now();
        self.shared.task(|inner| {
            if let Ok(core) = inner.core()
                && core.poll_timeout().is_some_and(|deadline| deadline <= now)
            {
                core.handle_timeout(now);
            }
            if inner.is_done() { Poll::Ready(()) } else { Poll::Pending }
        })
    }

    /// Once, between the handshake and its last message: the application that dialed was just woken, and
    /// what it writes first leaves in the same system call.
    fn should_yield(&mut self) -> bool {
        if self.yielded || self.shared.role != Role::Dialer {
            return false;
        }
        self.yielded = self.shared.task(|inner| inner.opened().is_some());
        self.yielded
    }

    fn sleep(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (deadline, done) = self.shared.task(|inner| (inner.arm(), inner.is_done()));
        if done {
            return Poll::Ready(());
        }
        if deadline != self.deadline {
            self.timer.reset(deadline);
            self.deadline = deadline;
        }
        self.timer.poll_expired(cx)
    }

    /// Transmits, unless a handle is at it. Also says whether the output has failed.
    fn transmit(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> (Progress, bool) {
        let Some(mut output) = self.shared.lock_output() else { return (Progress::Nothing, false) };
        if self.opener.is_none() {
            self.opener = output.detach_records(&self.shared);
        }
        let progress = output.transmit(&self.shared, cx, scratch);
        output.half_close(&self.shared, cx);
        (progress, output.has_failed())
    }

    /// Reads once. Opens what came before it takes the connection's lock.
    fn receive(&mut self, cx: &mut Context<'_>, scratch: &mut [u8], output_failed: bool) -> Progress {
        let room = match &self.opener {
            Some(_) => scratch.len(),
            None => self.shared.task(|inner| inner.core().map_or(0, |core| core.recv_room())).min(scratch.len()),
        };
        let Some(buffer) = scratch.get_mut(..room).filter(|buffer| !buffer.is_empty()) else {
            return Progress::Nothing;
        };
        match self.reader.poll_read(cx, buffer) {
            Poll::Ready(Ok(0)) => self.end(|core, now| core.handle_recv_eof(now)),
            Poll::Ready(Ok(count)) => self.received(buffer.get_mut(..count).unwrap_or_default()),
            Poll::Ready(Err(_)) => self.end(|core, now| core.handle_io_error(now)),
            Poll::Pending if output_failed => self.end(|core, now| core.handle_io_error(now)),
            Poll::Pending => return Progress::Nothing,
        }
        Progress::Moved
    }

    fn received(&mut self, data: &mut [u8]) {
        let now = self.shared.now();
        let opened = match &mut self.opener {
            Some(opener) => Ok(opener.open(data)),
            None => Err(data),
        };
        self.shared.task(|inner| {
            let Ok(core) = inner.core() else { return };
            match opened {
                Ok(opened) => core.handle_opened(now, &opened),
                // No more was read than there is room for.
                Err(data) => drop(core.handle_recv(now, data)),
            }
            inner.set_active(true);
        });
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
        let lent = task.shared.task(|inner| {
            inner.task_awake(cx.waker());
            inner.swap_spare_blocks(&mut worker.spares)
        });
        let outcome = task.drive(cx, &mut worker.scratch);
        if lent && !task.shared.task(|inner| inner.swap_spare_blocks(&mut worker.spares)) {
            // The connection is over and took the blocks with it.
            worker.forget_spares();
        }
        task.shared.endpoint.pool.put(worker);
        outcome
    }
}

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        self.shared.task_ended();
    }
}
