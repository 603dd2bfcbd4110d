//! What the handles and the task of one connection share.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    },
    task::{Context, Poll, Waker},
};

use septa_core::{
    Connection as Core, Instant, PeerId, Role,
    buf::SpareBlocks,
    connection::{CloseReason, Event, RefuseReason, StreamId, codes},
};

use crate::{
    endpoint::{EndpointInner, Slot},
    listener::Upgrade,
    output::{Filled, Output},
    services::{self, Service, ServiceState},
    waiters::{Waiters, Woken},
};

/// Inbound streams that wait for the application. Stops a peer that opens streams faster than they
/// are accepted; one more is reset with [`codes::stream::RESOURCE_LIMIT`].
pub(crate) const INBOUND_BACKLOG: usize = 256;

/// One connection, shared by its task and its handles.
///
/// The lock of `inner` is held for calls into the core only, never across an await, a system call or the
/// cryptography of an open connection; wakers are registered under it and woken after it is released. It
/// may be taken while `output` is held, not the other way round.
pub(crate) struct Shared {
    pub(crate) endpoint: Arc<EndpointInner>,
    pub(crate) slot: Slot,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) role: Role,
    /// Handles of the application. When the last one goes, the connection closes.
    handles: AtomicUsize,
    inner: Mutex<Inner>,
    output: Mutex<Output>,
    /// The task found the output taken, and must be woken when it is free.
    output_wanted: AtomicBool,
}

pub(crate) struct Inner {
    core: Core,
    /// The core panicked, and what it says cannot be trusted.
    broken: bool,
    /// The task will ask the core for output before it sleeps, or waits for the socket to take some.
    active: bool,
    /// The deadline for which the task's timer is armed.
    armed: Option<Instant>,
    task: Option<Waker>,
    /// The socket did not take all of the last buffer, or failed under a handle that flushed.
    unsent: bool,
    upgrade: Option<Upgrade>,
    opened: bool,
    ending: bool,
    /// Nothing more happens on the connection.
    over: bool,
    killed: bool,
    streams: BTreeMap<StreamId, StreamState>,
    inbound: VecDeque<StreamId>,
    services: ServiceState,
    /// Who waits for an inbound stream.
    pub(crate) accepting: Waiters,
    /// Who waits until a stream can be opened.
    pub(crate) opening: Waiters,
    /// Who waits for the connection to open or to end.
    pub(crate) phase: Waiters,
}

/// What the task does before it sleeps.
pub(crate) struct Settled {
    /// What its timer is to be armed for.
    pub(crate) deadline: Option<Instant>,
    /// Memory can be given back.
    pub(crate) is_idle: bool,
}

/// The futures that wait for one stream, and what its negotiation came to.
#[derive(Default)]
pub(crate) struct StreamState {
    reader: Option<Waker>,
    writer: Option<Waker>,
    negotiator: Option<Waker>,
    refused: Option<RefuseReason>,
}

/// What is done when the lock is released.
#[derive(Default)]
struct Effects {
    woken: Woken,
    services: Vec<(StreamId, Service)>,
    upgrade: Option<(Upgrade, Result<PeerId, CloseReason>)>,
}

impl Shared {
    pub(crate) fn new(
        endpoint: Arc<EndpointInner>,
        slot: Slot,
        (local, remote): (SocketAddr, SocketAddr),
        core: Core,
        output: Output,
        upgrade: Option<Upgrade>,
    ) -> Arc<Self> {
        let role = core.role();
        let inner = Inner {
            core,
            broken: false,
            active: true,
            armed: None,
            task: None,
            unsent: false,
            upgrade,
            opened: false,
            ending: false,
            over: false,
            killed: false,
            streams: BTreeMap::new(),
            inbound: VecDeque::new(),
            services: ServiceState::new(endpoint.max_perf_download.is_some()),
            accepting: Waiters::default(),
            opening: Waiters::default(),
            phase: Waiters::default(),
        };
        Arc::new(Self {
            endpoint,
            slot,
            local,
            remote,
            role,
            handles: AtomicUsize::new(0),
            inner: Mutex::new(inner),
            output: Mutex::new(output),
            output_wanted: AtomicBool::new(false),
        })
    }

    pub(crate) fn now(&self) -> Instant {
        self.endpoint.runtime.now()
    }

    /// Reads or writes a stream, then wakes the task if there is something to send and it sleeps.
    pub(crate) fn transfer<T>(self: &Arc<Self>, f: impl FnOnce(&mut Inner) -> T) -> T {
        self.with(f, Inner::wake_to_transmit)
    }

    /// Does something that may change timers or end the connection, then wakes the task if it must
    /// know.
    pub(crate) fn command<T>(self: &Arc<Self>, f: impl FnOnce(&mut Inner) -> T) -> T {
        self.with(f, |inner, woken| {
            inner.wake_to_transmit(woken);
            inner.wake_for_command(woken);
        })
    }

    /// Looks at the core, or does what cannot make it tell anything.
    pub(crate) fn quietly<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.lock())
    }

    /// What the task itself does, or whoever has the output.
    pub(crate) fn task<T>(self: &Arc<Self>, f: impl FnOnce(&mut Inner) -> T) -> T {
        self.with(f, |_, _| {})
    }

    /// [`task`](Self::task), then, when the events that came of it are seen to, a look at what is left.
    pub(crate) fn task_then<T, U>(
        self: &Arc<Self>,
        f: impl FnOnce(&mut Inner) -> T,
        then: impl FnOnce(&mut Inner, T) -> U,
    ) -> U {
        self.around_dispatch(f, |inner, _, result| then(inner, result))
    }

    /// The output, for the task. `None` while a handle is flushing; `task` is woken afterwards.
    pub(crate) fn lock_output(self: &Arc<Self>, task: &Waker) -> Option<MutexGuard<'_, Output>> {
        self.try_output().or_else(|| {
            self.quietly(|inner| inner.set_task(task));
            self.output_wanted.store(true, Ordering::Relaxed);
            // Either this finds the output free now, or its holder finds the wish afterwards.
            fence(Ordering::SeqCst);
            self.try_output()
        })
    }

    /// Releases the output, which the task may have found taken.
    fn release_output(self: &Arc<Self>, output: MutexGuard<'_, Output>) {
        drop(output);
        fence(Ordering::SeqCst);
        if self.output_wanted.load(Ordering::Relaxed) && self.output_wanted.swap(false, Ordering::Relaxed) {
            self.wake_task();
        }
    }

    fn try_output(&self) -> Option<MutexGuard<'_, Output>> {
        match self.output.try_lock() {
            Ok(output) => Some(output),
            Err(TryLockError::Poisoned(poisoned)) => {
                // Whoever had it has panicked, and nobody knows what has left.
                let mut output = poisoned.into_inner();
                output.fail(self);
                Some(output)
            }
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Sends on the caller's thread what waits, as far as the socket takes it. If somebody else is
    /// sending, it is left to them. The socket wakes the task, never the caller.
    pub(crate) fn flush(self: &Arc<Self>) {
        self.flush_after(|_| {});
    }

    /// Writes something with `write`, then [flushes](Self::flush). If that works out, the task never hears of it.
    pub(crate) fn flush_after<T>(self: &Arc<Self>, write: impl FnOnce(&mut Inner) -> T) -> T {
        // Who has the output may not look again, so the task must, if it was not told yet.
        let Some(mut output) = self.try_output() else { return self.transfer(write) };
        if !output.can_flush() {
            self.release_output(output);
            return self.transfer(write);
        }
        let _on_panic = WakeOnPanic(self);
        let mut worker = self.endpoint.pool.take();
        // If the socket is full, the task is woken below and registers itself.
        let mut nobody = Context::from_waker(Waker::noop());
        let (written, sent) = output.transmit_after(write, self, self.now(), &mut nobody, &mut worker.scratch);
        self.endpoint.pool.put(worker);
        let needs_task = output.needs_task();
        self.release_output(output);
        if needs_task || !sent.is_all() {
            self.with(
                |_| {},
                |inner, woken| {
                    inner.flushed(needs_task, woken);
                    inner.wake_for_command(woken);
                },
            );
        }
        written
    }

    /// Waits on the list that `list` names until `check` has a result.
    pub(crate) async fn wait<T>(
        self: &Arc<Self>,
        list: fn(&mut Inner) -> &mut Waiters,
        mut check: impl FnMut(&mut Inner) -> Option<T>,
    ) -> T {
        let mut waiting = Waiting { shared: self, list, key: None };
        std::future::poll_fn(|cx: &mut Context<'_>| {
            self.command(|inner| match check(inner) {
                Some(result) => Poll::Ready(result),
                None => {
                    list(inner).wait(&mut waiting.key, cx.waker());
                    Poll::Pending
                }
            })
        })
        .await
    }

    /// Ends the connection without a goodbye.
    pub(crate) fn kill(self: &Arc<Self>) {
        self.task(|inner| inner.killed = true);
        self.wake_task();
    }

    fn wake_task(&self) {
        let task = self.quietly(|inner| inner.task.clone());
        task.into_iter().for_each(Waker::wake);
    }

    /// The task is gone; nobody moves bytes any more.
    pub(crate) fn task_ended(self: &Arc<Self>) {
        let now = self.now();
        // Waits for a handle that is flushing, which does not block.
        self.output.lock().unwrap_or_else(PoisonError::into_inner).close();
        self.task(|inner| {
            inner.task = None;
            if let Ok(core) = inner.core() {
                core.handle_io_error(now);
            }
        });
        self.endpoint.remove_connection(self.slot.id());
    }

    fn with<T>(self: &Arc<Self>, f: impl FnOnce(&mut Inner) -> T, wake: impl FnOnce(&mut Inner, &mut Woken)) -> T {
        self.around_dispatch(f, |inner, woken, result| {
            wake(inner, woken);
            result
        })
    }

    /// Calls `f`, sees to the events that come of it, which may change the core again, then calls `then`.
    fn around_dispatch<T, U>(
        self: &Arc<Self>,
        f: impl FnOnce(&mut Inner) -> T,
        then: impl FnOnce(&mut Inner, &mut Woken, T) -> U,
    ) -> U {
        let mut effects = Effects::default();
        let on_panic = WakeOnPanic(self);
        let mut inner = self.lock();
        let result = f(&mut inner);
        inner.dispatch(&mut effects);
        let result = then(&mut inner, &mut effects.woken, result);
        drop(inner);
        drop(on_panic);
        effects.woken.drain(..).for_each(Waker::wake);
        for (id, service) in effects.services.drain(..) {
            services::spawn(self, id, service);
        }
        if let Some((upgrade, outcome)) = effects.upgrade.take() {
            upgrade.done(self, outcome);
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| {
            let mut inner = PoisonError::into_inner(poisoned);
            inner.broken = true;
            inner
        })
    }
}

impl Inner {
    /// The core, unless it has panicked.
    pub(crate) fn core(&mut self) -> Result<&mut Core, CloseReason> {
        if self.broken { Err(CloseReason::Io) } else { Ok(&mut self.core) }
    }

    /// The authenticated peer, once the connection has opened.
    pub(crate) fn opened(&self) -> Option<PeerId> {
        if self.opened && !self.broken { self.core.peer() } else { None }
    }

    /// Why the connection is ending or has ended.
    pub(crate) fn reason(&self) -> Option<CloseReason> {
        if self.broken { Some(CloseReason::Io) } else { self.core.close_reason().cloned() }
    }

    /// Why the connection has ended, once nothing more happens on it.
    pub(crate) fn over(&self) -> Option<CloseReason> {
        self.over.then(|| self.reason().unwrap_or(CloseReason::Io))
    }

    /// Whether the task should end.
    pub(crate) fn is_done(&self) -> bool {
        self.broken || self.killed || self.core.is_closed()
    }

    /// The next inbound stream for the application.
    pub(crate) fn next_inbound(&mut self) -> Option<StreamId> {
        self.inbound.pop_front()
    }

    pub(crate) fn services(&mut self) -> &mut ServiceState {
        &mut self.services
    }

    pub(crate) fn stream_state(&mut self, id: StreamId) -> &mut StreamState {
        self.streams.entry(id).or_default()
    }

    pub(crate) fn forget_stream(&mut self, id: StreamId) {
        self.streams.remove(&id);
    }

    /// Whom to wake when the task has something to do.
    pub(crate) fn set_task(&mut self, waker: &Waker) {
        set_waker(&mut self.task, waker);
    }

    /// Tells the core the time, if a timer of its is due.
    pub(crate) fn expire(&mut self, now: Instant) {
        if let Ok(core) = self.core()
            && core.poll_timeout().is_some_and(|deadline| deadline <= now)
        {
            core.handle_timeout(now);
        }
    }

    /// Notes what the core had to send, and whether anybody will look again.
    pub(crate) fn filled(&mut self, length: usize) -> Filled {
        let (rest, shut_down) =
            self.core().map_or((false, false), |core| (core.wants_transmit(), core.wants_shutdown()));
        // The first ping may be leaving, and its answer is waited for.
        let filled = Filled::new(length, rest, shut_down, self.concerns_task());
        self.active = !filled.is_last();
        filled
    }

    pub(crate) fn set_unsent(&mut self, unsent: bool) {
        self.unsent = unsent;
    }

    /// The task looks whether there is work for the output. If not, handles wake it when there is.
    pub(crate) fn has_output(&mut self) -> bool {
        let unsent = self.unsent;
        self.active = unsent || self.core().is_ok_and(|core| core.wants_transmit() || core.wants_shutdown());
        self.active
    }

    /// The task will sleep unless there is input, and `task` wakes it. Blocks that the core does not need go to
    /// `spares`.
    pub(crate) fn settle(&mut self, task: &Waker, spares: Option<&mut SpareBlocks>) -> Settled {
        self.set_task(task);
        if let (Some(spares), Ok(core)) = (spares, self.core()) {
            core.reclaim_spare_blocks(spares);
        }
        self.armed = if self.broken { None } else { self.core.poll_timeout() };
        Settled { deadline: self.armed, is_idle: self.core().is_ok_and(|core| core.is_idle()) }
    }

    fn wake_to_transmit(&mut self, woken: &mut Woken) {
        if !self.active && !self.broken && self.core.wants_transmit() {
            self.active = true;
            woken.extend(self.task.clone());
        }
    }

    /// A handle has transmitted. What came up meanwhile, and what it could not do, is the task's.
    fn flushed(&mut self, needs_task: bool, woken: &mut Woken) {
        self.active = needs_task;
        if needs_task {
            woken.extend(self.task.clone());
        }
        self.wake_to_transmit(woken);
    }

    fn wake_for_command(&mut self, woken: &mut Woken) {
        if self.concerns_task() {
            woken.extend(self.task.clone());
        }
    }

    /// The task has to end, or to arm its timer earlier.
    fn concerns_task(&self) -> bool {
        let earlier = |deadline: Instant| self.armed.is_none_or(|armed| deadline < armed);
        self.is_done() || self.core.wants_shutdown() || self.core.poll_timeout().is_some_and(earlier)
    }

    /// Turns the core's events into wake-ups.
    fn dispatch(&mut self, effects: &mut Effects) {
        if self.broken {
            return self.ended(CloseReason::Io, effects);
        }
        while let Some(event) = self.core.poll_event() {
            match event {
                Event::Open => {
                    self.opened = true;
                    self.phase.wake_into(&mut effects.woken);
                    if let (Some(upgrade), Some(peer)) = (self.upgrade.take(), self.core.peer()) {
                        effects.upgrade = Some((upgrade, Ok(peer)));
                    }
                    self.take_inbound(effects);
                }
                Event::Incoming => self.take_inbound(effects),
                Event::Negotiated { id } => self.stream_event(id, |state| state.wake_all(&mut effects.woken)),
                Event::Refused { id, reason } => {
                    // Somebody may ask later.
                    let state = self.stream_state(id);
                    state.refused = Some(reason);
                    state.wake_all(&mut effects.woken);
                }
                Event::Readable { id } => self.stream_event(id, |state| effects.woken.extend(state.reader.take())),
                Event::Writable { id } => self.stream_event(id, |state| effects.woken.extend(state.writer.take())),
                Event::OpenUnblocked => self.opening.wake_into(&mut effects.woken),
                Event::Closed => {
                    let reason = self.core.close_reason().cloned().unwrap_or(CloseReason::Io);
                    self.ended(reason, effects);
                }
                _ => {}
            }
        }
        if !self.ending && self.core.close_reason().is_some() {
            self.ending = true;
            self.wake_everybody(effects);
        }
    }

    fn stream_event(&mut self, id: StreamId, f: impl FnOnce(&mut StreamState)) {
        if let Some(state) = self.streams.get_mut(&id) {
            f(state);
        }
    }

    /// Sorts inbound streams: ours are served at once, the others wait for the application.
    fn take_inbound(&mut self, effects: &mut Effects) {
        while let Some(id) = self.core.accept() {
            let mut stream = self.core.stream(id);
            let service = stream.protocol().and_then(|protocol| self.services.of(protocol));
            let admitted = match service {
                Some(service) => self.services.begin(service),
                None => self.inbound.len() < INBOUND_BACKLOG,
            };
            match service {
                _ if !admitted => {
                    stream.reset(codes::stream::RESOURCE_LIMIT);
                    stream.release();
                }
                Some(service) => effects.services.push((id, service)),
                None => {
                    self.inbound.push_back(id);
                    self.accepting.wake_into(&mut effects.woken);
                }
            }
        }
    }

    fn ended(&mut self, reason: CloseReason, effects: &mut Effects) {
        if !std::mem::replace(&mut self.over, true) {
            self.wake_everybody(effects);
            effects.woken.extend(self.task.take());
        }
        if let Some(upgrade) = self.upgrade.take() {
            effects.upgrade = Some((upgrade, Err(reason)));
        }
    }

    fn wake_everybody(&mut self, effects: &mut Effects) {
        for list in [&mut self.accepting, &mut self.opening, &mut self.phase, &mut self.services.informed] {
            list.wake_into(&mut effects.woken);
        }
        self.streams.values_mut().for_each(|state| state.wake_all(&mut effects.woken));
    }
}

impl StreamState {
    pub(crate) fn wait_to_read(&mut self, waker: &Waker) {
        set_waker(&mut self.reader, waker);
    }

    pub(crate) fn wait_to_write(&mut self, waker: &Waker) {
        set_waker(&mut self.writer, waker);
    }

    pub(crate) fn wait_for_protocol(&mut self, waker: &Waker) {
        set_waker(&mut self.negotiator, waker);
    }

    pub(crate) fn refused(&self) -> Option<RefuseReason> {
        self.refused.clone()
    }

    fn wake_all(&mut self, woken: &mut Woken) {
        woken.extend([self.reader.take(), self.writer.take(), self.negotiator.take()].into_iter().flatten());
    }
}

fn set_waker(slot: &mut Option<Waker>, waker: &Waker) {
    match slot {
        Some(present) => present.clone_from(waker),
        None => *slot = Some(waker.clone()),
    }
}

/// The application's hold on a connection. When the last one is dropped, the connection closes in
/// good order, as if it had been asked to.
pub(crate) struct Handle(Arc<Shared>);

impl Handle {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        shared.handles.fetch_add(1, Ordering::Relaxed);
        Self(shared.clone())
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.0.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            let now = self.0.now();
            self.0.command(|inner| {
                if let Ok(core) = inner.core() {
                    core.close(now, codes::connection::NO_ERROR);
                }
            });
        }
    }
}

/// A future's place in a list of waiters.
struct Waiting<'a> {
    shared: &'a Arc<Shared>,
    list: fn(&mut Inner) -> &mut Waiters,
    key: Option<u64>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.key.is_some() {
            (self.list)(&mut self.shared.lock()).forget(self.key);
        }
    }
}

/// Wakes the task if the core panics in a handle's call, so that the task can tell the others.
struct WakeOnPanic<'a>(&'a Shared);

impl Drop for WakeOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let task = self.0.lock().task.take();
            task.into_iter().for_each(Waker::wake);
        }
    }
}
