//! The way out of a connection: frames, sealed and written, by its task or by a handle that flushes.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
};

use septa_core::{
    Instant,
    connection::{Framed, RecordOpener, RecordSealer},
};

use crate::{inner::Inner, runtime::SocketWriter, shared::Shared};

/// Buffers that are sent before the sender looks at something else.
const GATHERS: usize = 4;
/// If less than this was framed and nothing is left, the sender does not look again at once: a message
/// goes out sooner. Behind more, the next data is probably being written already.
const SMALL: usize = 16 * 1024;

/// The output of a connection's socket and what belongs in front of it.
///
/// Its lock is held across system calls, so nobody with something to send waits for it: who finds it taken leaves
/// the work to whoever has it ([`Shared::lock_output`]).
pub(crate) struct Output {
    /// `None` once the task has ended: handles that live on must not keep the socket open.
    writer: Option<Box<dyn SocketWriter>>,
    /// From the time when the record side was detached; until then the core seals.
    sealer: Option<RecordSealer>,
    /// What the socket did not take of the last buffer; empty and without memory most of the time.
    unsent: Vec<u8>,
    sent: usize,
    /// The write-stall timer runs.
    stalled: bool,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Half-closed: everything has left.
    Finished,
    /// The socket takes no more, but there may be a last word of the peer to read.
    Failed,
}

/// What was moved.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    Nothing,
    /// Little, and nothing is left.
    Small,
    Much,
}

/// What [`Output::transmit`] came to.
#[derive(Clone, Copy)]
pub(crate) struct Transmitted {
    pub(crate) progress: Progress,
    rest: Rest,
    /// The task has to end, or to arm its timer earlier.
    concerns_task: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Nothing,
    /// Look again: there is more, or more is likely by then.
    More,
    /// The socket is full.
    Blocked,
}

impl Transmitted {
    /// All has left that there was, or the output [has failed](Output::has_failed), and who has something to send
    /// from now on wakes the task.
    pub(crate) fn is_all(&self) -> bool {
        self.rest == Rest::Nothing && !self.concerns_task
    }

    fn after(self, before: Progress, concerned_task: bool) -> Self {
        let progress = if self.progress == Progress::Nothing { before } else { self.progress };
        Self { progress, concerns_task: self.concerns_task || concerned_task, ..self }
    }
}

/// What the core had to send.
#[derive(Clone, Copy)]
pub(crate) struct Filled {
    length: usize,
    /// Look again: there is more, or more is likely by then.
    more: bool,
    /// Nothing follows, ever.
    shut_down: bool,
    concerns_task: bool,
}

impl Filled {
    /// `length` bytes were framed; `rest` says whether something is left, `shut_down` that the output ends.
    pub(crate) fn new(length: usize, rest: bool, shut_down: bool, concerns_task: bool) -> Self {
        Self { length, more: rest || length >= SMALL, shut_down, concerns_task }
    }

    /// Nobody looks again, so a handle with something to send must wake the task.
    pub(crate) fn is_last(self) -> bool {
        !self.more
    }

    fn progress(self) -> Progress {
        if self.more { Progress::Much } else { Progress::Small }
    }
}

impl Output {
    pub(crate) fn new(writer: Box<dyn SocketWriter>) -> Self {
        Self { writer: Some(writer), sealer: None, unsent: Vec::new(), sent: 0, stalled: false, state: State::Open }
    }

    /// Nothing will be sent for some time.
    pub(crate) fn rest(&mut self) {
        if let Some(sealer) = &mut self.sealer {
            sealer.rest();
        }
    }

    /// Drops this half of the socket, for ever.
    pub(crate) fn close(&mut self) {
        (self.writer, self.sealer, self.unsent) = (None, None, Vec::new());
        self.state = State::Failed;
    }

    /// The socket failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.state == State::Failed
    }

    /// A handle may transmit: the connection is open, and the socket is not full as far as is known.
    pub(crate) fn can_flush(&self) -> bool {
        self.sealer.is_some() && self.state == State::Open && self.unsent.is_empty()
    }

    /// Something is left that the socket did not take, or the task must know of an error.
    pub(crate) fn needs_task(&self) -> bool {
        self.state == State::Failed || !self.unsent.is_empty()
    }

    /// Takes the sealing half of the record side as soon as the core gives it, and returns the other.
    pub(crate) fn detach_records(&mut self, shared: &Arc<Shared>) -> Option<RecordOpener> {
        if self.sealer.is_some() {
            return None;
        }
        let (sealer, opener) = shared.task(|inner| inner.core().ok()?.detach_records())?;
        self.sealer = Some(sealer);
        Some(opener)
    }

    /// Sends what the core has, at most [`GATHERS`] buffers. If the socket is full, `cx` is woken when it
    /// takes more.
    pub(crate) fn transmit(
        &mut self,
        shared: &Arc<Shared>,
        now: Instant,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Transmitted {
        let mut before = Progress::Nothing;
        if !self.unsent.is_empty() {
            match self.write_unsent(shared, now, cx) {
                Poll::Ready(Ok(())) => before = Progress::Much,
                Poll::Ready(Err(_)) => self.fail(shared),
                Poll::Pending => {
                    return Transmitted { progress: Progress::Nothing, rest: Rest::Blocked, concerns_task: false };
                }
            }
        }
        let ((), sent) = self.transmit_after(|_| {}, shared, Some(now), cx, scratch);
        sent.after(before, false)
    }

    /// [`transmit`](Self::transmit) when nothing is [unsent](Self::can_flush), behind a `write` under the same lock.
    /// Without `now` it looks at the clock if the time makes a difference.
    pub(crate) fn transmit_after<T>(
        &mut self,
        write: impl FnOnce(&mut Inner) -> T,
        shared: &Arc<Shared>,
        now: Option<Instant>,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> (T, Transmitted) {
        let (written, data, filled) = self.fill(shared, now, scratch, write);
        let sent = self.deliver(shared, now, cx, data, filled);
        if sent.rest == Rest::More {
            return (written, self.transmit_more(sent, shared, now, cx, scratch));
        }
        (written, sent)
    }

    #[inline(never)]
    fn transmit_more(
        &mut self,
        mut sent: Transmitted,
        shared: &Arc<Shared>,
        now: Option<Instant>,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Transmitted {
        for _ in 1..GATHERS {
            if sent.rest != Rest::More {
                break;
            }
            let ((), data, filled) = self.fill(shared, now, scratch, |_| {});
            sent = self.deliver(shared, now, cx, data, filled).after(sent.progress, sent.concerns_task);
        }
        sent
    }

    /// Writes what was taken from the core.
    fn deliver(
        &mut self,
        shared: &Arc<Shared>,
        now: Option<Instant>,
        cx: &mut Context<'_>,
        data: &[u8],
        filled: Filled,
    ) -> Transmitted {
        let mut sent = Transmitted {
            progress: Progress::Nothing,
            rest: if filled.is_last() { Rest::Nothing } else { Rest::More },
            concerns_task: filled.concerns_task,
        };
        if !data.is_empty() && self.state == State::Open {
            sent.progress = filled.progress();
            match self.write(shared, now, cx, data) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => self.fail(shared),
                Poll::Pending => return Transmitted { progress: Progress::Much, rest: Rest::Blocked, ..sent },
            }
        }
        if filled.shut_down {
            self.half_close(shared, cx);
        }
        sent
    }

    /// Ends the output.
    #[cold]
    fn half_close(&mut self, shared: &Shared, cx: &mut Context<'_>) {
        if let (State::Open, Some(writer)) = (self.state, &mut self.writer) {
            match writer.poll_shutdown(cx) {
                Poll::Ready(Ok(())) => self.state = State::Finished,
                Poll::Ready(Err(_)) => self.fail(shared),
                Poll::Pending => {}
            }
        }
    }

    /// Takes output from the core, which frames under its lock, after `write`; sealing is done here, beside it. If
    /// there is none, the handles must wake the task for more.
    fn fill<'s, T>(
        &mut self,
        shared: &Arc<Shared>,
        now: Option<Instant>,
        scratch: &'s mut [u8],
        write: impl FnOnce(&mut Inner) -> T,
    ) -> (T, &'s [u8], Filled) {
        let Some(sealer) = &mut self.sealer else {
            let (written, filled) = fill_early(shared, now, scratch, write);
            return (written, &scratch[..filled.length], filled);
        };
        let frame = |inner: &mut Inner| {
            let written = write(inner);
            let framed = match inner.core() {
                Ok(core) => {
                    let now = match now {
                        Some(now) => now,
                        None if core.transmit_needs_time() => shared.now(),
                        // No later than what the core knows.
                        None => Instant::EPOCH,
                    };
                    core.poll_frames(now, scratch).unwrap_or_default()
                }
                Err(_) => Framed::default(),
            };
            (written, framed)
        };
        let (written, framed, filled) = shared.task_then(frame, |inner, (written, framed)| {
            let filled = inner.filled(framed.len());
            (written, framed, filled)
        });
        let sealed = sealer.seal(framed).unwrap_or_else(|_| {
            // All nonces of the key are used: nothing can be sent any more.
            self.fail(shared);
            &[]
        });
        (written, sealed, filled)
    }

    /// Writes all of `data`, or keeps the rest.
    fn write(
        &mut self,
        shared: &Arc<Shared>,
        now: Option<Instant>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<()>> {
        let mut rest = data;
        while let (false, Some(writer)) = (rest.is_empty(), &mut self.writer) {
            match poll_write(writer, cx, rest) {
                Poll::Ready(Ok(count)) => {
                    self.taken(shared, now);
                    rest = rest.get(count..).unwrap_or_default();
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.unsent = rest.to_vec();
                    self.sent = 0;
                    shared.quietly(|inner| inner.set_unsent(true));
                    self.blocked(shared, now);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn write_unsent(&mut self, shared: &Arc<Shared>, now: Instant, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let (Some(rest), Some(writer)) =
            (self.unsent.get(self.sent..).filter(|rest| !rest.is_empty()), &mut self.writer)
        {
            match poll_write(writer, cx, rest) {
                Poll::Ready(Ok(count)) => {
                    self.taken(shared, Some(now));
                    self.sent += count;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.blocked(shared, Some(now));
                    return Poll::Pending;
                }
            }
        }
        self.unsent = Vec::new();
        shared.quietly(|inner| inner.set_unsent(false));
        Poll::Ready(Ok(()))
    }

    fn taken(&mut self, shared: &Arc<Shared>, now: Option<Instant>) {
        if std::mem::take(&mut self.stalled) {
            let now = now.unwrap_or_else(|| shared.now());
            shared.task(|inner| inner.core().map(|core| core.handle_transmitted(now)).ok());
        }
    }

    /// The socket is full and will wake the task, which therefore stays active.
    #[cold]
    fn blocked(&mut self, shared: &Arc<Shared>, now: Option<Instant>) {
        if !std::mem::replace(&mut self.stalled, true) {
            let now = now.unwrap_or_else(|| shared.now());
            shared.task(|inner| inner.core().map(|core| core.handle_transmit_blocked(now)).ok());
        }
    }

    /// The task looks at the output until it has told the core.
    #[cold]
    pub(crate) fn fail(&mut self, shared: &Shared) {
        self.state = State::Failed;
        self.unsent = Vec::new();
        shared.quietly(|inner| inner.set_unsent(true));
    }
}

/// [`Output::fill`] before the record side was detached.
#[cold]
fn fill_early<T>(
    shared: &Arc<Shared>,
    now: Option<Instant>,
    scratch: &mut [u8],
    write: impl FnOnce(&mut Inner) -> T,
) -> (T, Filled) {
    let now = now.unwrap_or_else(|| shared.now());
    let transmit = |inner: &mut Inner| {
        let written = write(inner);
        // The scratch is longer than the shortest allowed.
        let length = inner.core().map_or(0, |core| core.poll_transmit(now, scratch).unwrap_or(0));
        (written, length)
    };
    shared.task_then(transmit, |inner, (written, length)| (written, inner.filled(length)))
}

/// A socket that takes nothing has failed.
fn poll_write(writer: &mut Box<dyn SocketWriter>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
    match writer.poll_write(cx, data) {
        Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        outcome => outcome,
    }
}
