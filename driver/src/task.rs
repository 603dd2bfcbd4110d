//! The task of one connection: it owns the socket and moves bytes.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use septa_core::Instant;

use crate::{
    runtime::{Socket, SocketReader, SocketWriter, Timer},
    shared::Shared,
};

/// Rounds of transmit and receive before other tasks get their turn. More than one: a task that
/// yields after each round triples the round trip.
const ROUNDS: usize = 8;
/// Buffers that are sent before input is looked at.
const GATHERS: usize = 4;

/// Drives a connection until it is over. If it is dropped or panics before that, the handles learn
/// that the connection is lost.
pub(crate) struct ConnectionTask {
    shared: Arc<Shared>,
    reader: Box<dyn SocketReader>,
    writer: Box<dyn SocketWriter>,
    timer: Box<dyn Timer>,
    /// What the timer is armed for.
    deadline: Option<Instant>,
    /// What the socket did not take of the last buffer; empty and without memory most of the time.
    unsent: Vec<u8>,
    sent: usize,
    /// The write-stall timer runs.
    stalled: bool,
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    Open,
    /// Half-closed: everything has left.
    Finished,
    /// The socket takes no more, but there may be a last word of the peer to read.
    Failed,
}

/// Whether something moved, and if not, whether that is because the socket is full.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Moved,
    Nothing,
}

impl ConnectionTask {
    pub(crate) fn new(shared: Arc<Shared>, socket: Socket) -> Self {
        let timer = shared.endpoint.runtime.timer();
        Self {
            shared,
            reader: socket.reader,
            writer: socket.writer,
            timer,
            deadline: None,
            unsent: Vec::new(),
            sent: 0,
            stalled: false,
            output: Output::Open,
        }
    }

    fn drive(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<()> {
        self.shared.task(|inner| inner.task_awake(cx.waker()));
        for _ in 0..ROUNDS {
            self.expire_timers();
            let sent = self.transmit(cx, scratch);
            let received = self.receive(cx, scratch);
            self.half_close(cx);
            if self.shared.task(|inner| inner.is_done()) {
                return Poll::Ready(());
            }
            let moved = sent == Progress::Moved || received == Progress::Moved;
            if !moved && self.sleep(cx).is_pending() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn expire_timers(&mut self) {
        let now = self.now();
        self.shared.task(|inner| {
            if let Ok(core) = inner.core()
                && core.poll_timeout().is_some_and(|deadline| deadline <= now)
            {
                core.handle_timeout(now);
            }
        });
    }

    fn sleep(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.shared.task(|inner| inner.arm());
        if deadline != self.deadline {
            self.timer.reset(deadline);
            self.deadline = deadline;
        }
        self.timer.poll_expired(cx)
    }

    /// Sends what the core has, at most [`GATHERS`] buffers.
    fn transmit(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Progress {
        let mut progress = Progress::Nothing;
        for _ in 0..GATHERS {
            if !self.unsent.is_empty() {
                match self.write_unsent(cx) {
                    Poll::Ready(Ok(())) => progress = Progress::Moved,
                    Poll::Ready(Err(_)) => self.fail_output(),
                    Poll::Pending => return progress,
                }
            }
            let length = self.fill(scratch);
            if length == 0 {
                break;
            }
            if self.output != Output::Open {
                continue;
            }
            progress = Progress::Moved;
            match self.write(cx, &scratch[..length]) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => self.fail_output(),
                Poll::Pending => return progress,
            }
        }
        progress
    }

    /// Takes output from the core. If there is none, the handles must wake this task for more.
    fn fill(&mut self, scratch: &mut [u8]) -> usize {
        let now = self.now();
        self.shared.task(|inner| {
            let length = match inner.core() {
                // The scratch is longer than the shortest allowed.
                Ok(core) if core.wants_transmit() => core.poll_transmit(now, scratch).unwrap_or(0),
                _ => 0,
            };
            inner.set_active(length > 0);
            length
        })
    }

    /// Writes all of `data`, or keeps the rest.
    fn write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<()>> {
        let mut rest = data;
        while !rest.is_empty() {
            match self.writer.poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    self.taken();
                    rest = rest.get(count..).unwrap_or_default();
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.unsent = rest.to_vec();
                    self.sent = 0;
                    self.blocked();
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn write_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.unsent.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.writer.poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    self.taken();
                    self.sent += count;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.blocked();
                    return Poll::Pending;
                }
            }
        }
        self.unsent = Vec::new();
        Poll::Ready(Ok(()))
    }

    fn taken(&mut self) {
        if std::mem::take(&mut self.stalled) {
            let now = self.now();
            self.shared.task(|inner| inner.core().map(|core| core.handle_transmitted(now)).ok());
        }
    }

    /// The socket is full. The task stays active: the socket will wake it.
    fn blocked(&mut self) {
        if !std::mem::replace(&mut self.stalled, true) {
            let now = self.now();
            self.shared.task(|inner| inner.core().map(|core| core.handle_transmit_blocked(now)).ok());
        }
    }

    fn fail_output(&mut self) {
        self.output = Output::Failed;
        self.unsent = Vec::new();
    }

    /// Reads once.
    fn receive(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Progress {
        let room = self.shared.task(|inner| inner.core().map_or(0, |core| core.recv_room())).min(scratch.len());
        let Some(buffer) = scratch.get_mut(..room).filter(|buffer| !buffer.is_empty()) else {
            return Progress::Nothing;
        };
        let outcome = self.reader.poll_read(cx, buffer);
        let now = self.now();
        let failed = self.output == Output::Failed;
        self.shared.task(|inner| {
            let Ok(core) = inner.core() else { return Progress::Nothing };
            match outcome {
                Poll::Ready(Ok(0)) => core.handle_recv_eof(now),
                Poll::Ready(Ok(count)) => {
                    if let Some(data) = buffer.get_mut(..count) {
                        // No more was read than there is room for.
                        let _ = core.handle_recv(now, data);
                        inner.set_active(true);
                    }
                }
                Poll::Ready(Err(_)) => core.handle_io_error(now),
                Poll::Pending if failed => core.handle_io_error(now),
                Poll::Pending => return Progress::Nothing,
            }
            Progress::Moved
        })
    }

    /// Ends the output once everything has left.
    fn half_close(&mut self, cx: &mut Context<'_>) {
        if self.output == Output::Open
            && self.unsent.is_empty()
            && self.shared.task(|inner| inner.core().is_ok_and(|core| core.wants_shutdown()))
        {
            match self.writer.poll_shutdown(cx) {
                Poll::Ready(Ok(())) => self.output = Output::Finished,
                Poll::Ready(Err(_)) => self.fail_output(),
                Poll::Pending => {}
            }
        }
    }

    fn now(&self) -> Instant {
        self.shared.now()
    }
}

impl Future for ConnectionTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let task = self.get_mut();
        let mut scratch = task.shared.endpoint.pool.take();
        let outcome = task.drive(cx, &mut scratch);
        task.shared.endpoint.pool.put(scratch);
        outcome
    }
}

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        self.shared.task_ended();
    }
}
