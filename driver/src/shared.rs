//! What the handles and the task of one connection share.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use septa_core::{Connection as Core, Instant, Role, connection::codes};

use crate::{
    endpoint::{EndpointInner, Slot},
    inner::{Effects, Inner, OtherEffects, Owner},
    node::Member,
    output::Output,
    services,
    waiters::{Waiters, Woken},
    worker::Worker,
};

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
    /// The node to which the connection belongs, if to one.
    pub(crate) member: Option<Member>,
    /// Handles of the application. When the last one goes, the connection closes.
    handles: AtomicUsize,
    inner: Mutex<Inner>,
    output: Mutex<Output>,
    /// The task found the output taken, and must be woken when it is free.
    output_wanted: AtomicBool,
}

impl Shared {
    pub(crate) fn new(
        endpoint: Arc<EndpointInner>,
        slot: Slot,
        (local, remote): (SocketAddr, SocketAddr),
        core: Core,
        output: Output,
        owner: Owner,
        member: Option<Member>,
    ) -> Arc<Self> {
        let role = core.role();
        let inner = Inner::new(core, owner, endpoint.max_perf_download.is_some());
        Arc::new(Self {
            endpoint,
            slot,
            local,
            remote,
            role,
            member,
            handles: AtomicUsize::new(0),
            inner: Mutex::new(inner),
            output: Mutex::new(output),
            output_wanted: AtomicBool::new(false),
        })
    }

    pub(crate) fn now(&self) -> Instant {
        self.endpoint.runtime.now()
    }

    /// Reads or writes a stream, then wakes the task if there is something to send and it sleeps. If `f` has to wait,
    /// it has changed nothing.
    pub(crate) fn transfer<T>(self: &Arc<Self>, f: impl FnOnce(&mut Inner) -> Poll<T>) -> Poll<T> {
        let mut effects = Effects::default();
        let on_panic = WakeOnPanic(self);
        let mut inner = self.lock();
        let result = f(&mut inner);
        if result.is_ready() {
            inner.dispatch(&mut effects);
            inner.wake_to_transmit(&mut effects.woken);
        }
        drop(inner);
        drop(on_panic);
        self.see_to(effects);
        result
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
            // Both ends swap: if the holder's swap comes first, it is seen here, and so is the output that was free
            // before it. If it comes second, the holder finds the wish.
            self.output_wanted.swap(true, Ordering::AcqRel);
            self.try_output()
        })
    }

    /// Releases the output, which the task may have found taken.
    fn release_output(self: &Arc<Self>, output: MutexGuard<'_, Output>) {
        drop(output);
        if self.output_wanted.swap(false, Ordering::AcqRel) {
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
        let _ = self.flush_after(|_| Poll::Ready(()));
    }

    /// Writes something with `write`, then [flushes](Self::flush). If that works out, the task never hears of it.
    pub(crate) fn flush_after<T>(self: &Arc<Self>, write: impl FnOnce(&mut Inner) -> Poll<T>) -> Poll<T> {
        // Who has the output may not look again, so the task must, if it was not told yet.
        let Some(mut output) = self.try_output() else { return self.transfer(write) };
        if !output.can_flush() {
            self.release_output(output);
            return self.transfer(write);
        }
        let _on_panic = WakeOnPanic(self);
        let mut worker = Worker::take();
        // If the socket is full, the task is woken below and registers itself.
        let mut nobody = Context::from_waker(Waker::noop());
        let (written, sent) = output.transmit_after(write, self, None, &mut nobody, &mut worker.scratch);
        worker.put_back();
        let needs_task = output.needs_task();
        self.release_output(output);
        if needs_task || !sent.is_all() {
            self.leave_to_task(needs_task);
        }
        written
    }

    /// What a handle could not send, or what came up meanwhile, is the task's.
    #[inline(never)]
    fn leave_to_task(self: &Arc<Self>, needs_task: bool) {
        self.with(
            |_| {},
            |inner, woken| {
                inner.flushed(needs_task, woken);
                inner.wake_for_command(woken);
            },
        );
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
        self.task(Inner::kill);
        self.wake_task();
    }

    #[cold]
    pub(crate) fn wake_task(&self) {
        let task = self.quietly(Inner::task);
        task.into_iter().for_each(Waker::wake);
    }

    /// The task is gone; nobody moves bytes any more.
    pub(crate) fn task_ended(self: &Arc<Self>) {
        let now = self.now();
        // Waits for a handle that is flushing, which does not block.
        self.output.lock().unwrap_or_else(PoisonError::into_inner).close();
        self.task(|inner| {
            inner.take_task();
            if let Ok(core) = inner.core() {
                core.handle_io_error(now);
            }
            inner.set_last();
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
        self.see_to(effects);
        result
    }

    fn see_to(self: &Arc<Self>, effects: Effects) {
        let Effects { woken, others } = effects;
        woken.wake();
        if let Some(others) = others {
            self.see_to_others(*others);
        }
    }

    #[inline(never)]
    fn see_to_others(self: &Arc<Self>, others: OtherEffects) {
        for (id, service) in others.services {
            services::spawn(self, id, service);
        }
        if let Some((upgrade, outcome)) = others.upgrade {
            upgrade.done(self, outcome);
        }
        if let Some(member) = &self.member {
            member.hear(self, others.node);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| {
            let mut inner = PoisonError::into_inner(poisoned);
            inner.panicked();
            inner
        })
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
            let task = self.0.lock().take_task();
            task.into_iter().for_each(Waker::wake);
        }
    }
}
