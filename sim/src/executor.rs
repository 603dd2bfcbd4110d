//! Tasks, and in which order they run.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use septa_core::{Seed, SeedStream};
use septa_driver::runtime::BoxFuture;

/// Which of the tasks that can run is run next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// The one that was woken first.
    Fifo,
    /// Any, drawn from the seed. Finds what depends on luck.
    Seeded,
}

/// The task that [`Simulation::block_on`](crate::Simulation::block_on) waits for.
pub(crate) const MAIN: TaskId = 0;

pub(crate) type TaskId = u64;

pub(crate) struct Executor {
    ready: Arc<Ready>,
    tasks: Mutex<Tasks>,
}

#[derive(Default)]
struct Tasks {
    live: BTreeMap<TaskId, Task>,
    last_id: TaskId,
    panics: Vec<(String, String)>,
}

struct Task {
    name: String,
    waker: Waker,
    /// `None` while it runs.
    future: Option<BoxFuture<'static, ()>>,
}

impl Executor {
    pub(crate) fn new(order: Order, seed: Seed) -> Self {
        Self { ready: Arc::new(Ready::new(order, seed)), tasks: Mutex::default() }
    }

    pub(crate) fn spawn(&self, name: String, future: BoxFuture<'static, ()>) {
        let id = self.lock(|tasks| {
            tasks.last_id += 1;
            let waker = self.waker(tasks.last_id);
            tasks.live.insert(tasks.last_id, Task { name, waker, future: Some(future) });
            tasks.last_id
        });
        self.ready.push(id);
    }

    /// The next task to run: removed from the queue.
    pub(crate) fn next(&self) -> Option<TaskId> {
        self.ready.pop()
    }

    pub(crate) fn waker(&self, id: TaskId) -> Waker {
        Waker::from(Arc::new(TaskWaker { id, ready: self.ready.clone() }))
    }

    /// Polls a task once. A panic ends that task alone and is kept for
    /// [`take_panics`](Self::take_panics).
    pub(crate) fn run(&self, id: TaskId) {
        let Some((waker, mut future)) = self.lock(|tasks| {
            let task = tasks.live.get_mut(&id)?;
            Some((task.waker.clone(), task.future.take()?))
        }) else {
            return;
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waker))));
        match outcome {
            Ok(Poll::Pending) => self.lock(|tasks| {
                if let Some(task) = tasks.live.get_mut(&id) {
                    task.future = Some(future);
                }
            }),
            Ok(Poll::Ready(())) => {
                drop(self.lock(|tasks| tasks.live.remove(&id)));
            }
            Err(payload) => {
                let message = message(&*payload);
                let task = self.lock(|tasks| {
                    let task = tasks.live.remove(&id);
                    tasks.panics.extend(task.as_ref().map(|task| (task.name.clone(), message)));
                    task
                });
                drop(task);
                // What a panicked future holds must still be dropped, and may panic again.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
            }
        }
    }

    /// Does `work` at once. If it panics, that is kept for [`take_panics`](Self::take_panics) under this name.
    pub(crate) fn contain(&self, name: impl FnOnce() -> String, work: Box<dyn FnOnce() + Send>) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
            let panic = (name(), message(&*payload));
            self.lock(|tasks| tasks.panics.push(panic));
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.lock(|tasks| tasks.live.values().map(|task| task.name.clone()).collect())
    }

    pub(crate) fn take_panics(&self) -> Vec<(String, String)> {
        self.lock(|tasks| std::mem::take(&mut tasks.panics))
    }

    /// Drops every task. Tasks hold the runtime and the runtime holds the tasks, so somebody must.
    pub(crate) fn clear(&self) {
        loop {
            let live = self.lock(|tasks| std::mem::take(&mut tasks.live));
            if live.is_empty() {
                return;
            }
            drop(live);
        }
    }

    fn lock<T>(&self, f: impl FnOnce(&mut Tasks) -> T) -> T {
        f(&mut self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("tasks", &self.names()).finish_non_exhaustive()
    }
}

fn message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

/// Tasks that were woken and have not run since. Each is in here at most once.
struct Ready(Mutex<ReadyState>);

struct ReadyState {
    queue: VecDeque<TaskId>,
    queued: BTreeSet<TaskId>,
    luck: Option<SeedStream>,
}

impl Ready {
    fn new(order: Order, mut seed: Seed) -> Self {
        let luck = (order == Order::Seeded).then(|| seed.public_stream());
        Self(Mutex::new(ReadyState { queue: VecDeque::new(), queued: BTreeSet::new(), luck }))
    }

    fn push(&self, id: TaskId) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.queued.insert(id) {
            state.queue.push_back(id);
        }
    }

    fn pop(&self) -> Option<TaskId> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let length = state.queue.len() as u64;
        let index = state.luck.as_mut().filter(|_| length > 1).map_or(0, |luck| luck.next_u64() % length);
        let id = state.queue.remove(usize::try_from(index).unwrap_or(0))?;
        state.queued.remove(&id);
        Some(id)
    }
}

struct TaskWaker {
    id: TaskId,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.push(self.id);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.push(self.id);
    }
}
