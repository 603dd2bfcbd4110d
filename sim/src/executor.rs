//! Tasks.

use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use septa_driver::runtime::BoxFuture;

use crate::{network::HostId, schedule::Schedule};

/// The task that [`Simulation::block_on`](crate::Simulation::block_on) waits for.
pub(crate) const MAIN: TaskId = 0;

/// Counted from 1; 0 is [`MAIN`].
pub(crate) type TaskId = u32;

pub(crate) struct Executor {
    schedule: Arc<Schedule>,
    main: Arc<TaskWaker>,
    tasks: Mutex<Tasks>,
}

#[derive(Default)]
struct Tasks {
    live: BTreeMap<TaskId, Task>,
    last_id: TaskId,
    panics: Vec<(String, String)>,
}

struct Task {
    host: HostId,
    name: Box<str>,
    /// Wakes it, and knows whether somebody has.
    is_due: Arc<TaskWaker>,
    waker: Waker,
    /// `None` while it runs.
    future: Option<BoxFuture<'static, ()>>,
}

impl Executor {
    pub(crate) fn new(schedule: Arc<Schedule>) -> Self {
        let main = TaskWaker::new(MAIN, &schedule);
        Self { schedule, main, tasks: Mutex::default() }
    }

    /// Host 0 is nobody's: a crash does not end the task.
    pub(crate) fn spawn(&self, host: HostId, name: String, future: BoxFuture<'static, ()>) {
        let is_due = self.lock(|tasks| {
            tasks.last_id = tasks.last_id.checked_add(1).expect("fewer than four thousand million tasks");
            let is_due = TaskWaker::new(tasks.last_id, &self.schedule);
            let (name, waker, future) = (name.into(), is_due.clone().into(), Some(future));
            let task = Task { host, name, is_due: is_due.clone(), waker, future };
            tasks.live.insert(tasks.last_id, task);
            is_due
        });
        is_due.wake_by_ref();
    }

    /// Wakes the main task.
    pub(crate) fn main_waker(&self) -> Waker {
        self.main.clone().into()
    }

    /// The main task is about to run.
    pub(crate) fn begin_main(&self) {
        self.main.is_scheduled.store(false, Ordering::Relaxed);
    }

    /// Polls a task once. A panic ends that task alone and is kept for
    /// [`take_panics`](Self::take_panics).
    pub(crate) fn run(&self, id: TaskId) {
        let Some((waker, mut future)) = self.lock(|tasks| {
            let task = tasks.live.get_mut(&id)?;
            task.is_due.is_scheduled.store(false, Ordering::Relaxed);
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
                let task = self.lock(|tasks| tasks.live.remove(&id));
                let name = || task.map_or_else(String::new, |task| format!("{}, when it had ended", task.name));
                self.contain(name, Box::new(move || drop(future)));
            }
            Err(payload) => {
                let message = message(&*payload);
                let task = self.lock(|tasks| {
                    let task = tasks.live.remove(&id);
                    tasks.panics.extend(task.as_ref().map(|task| (task.name.to_string(), message)));
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

    /// Drops all tasks of a host, as a crash does. None of them may be running.
    pub(crate) fn end_host(&self, host: HostId) {
        let ended: Vec<Task> = self.lock(|tasks| {
            let of_host: Vec<TaskId> =
                tasks.live.iter().filter(|(_, task)| task.host == host).map(|(id, _)| *id).collect();
            of_host.iter().filter_map(|id| tasks.live.remove(id)).collect()
        });
        ended.into_iter().for_each(|task| self.end(task));
    }

    fn end(&self, task: Task) {
        let name = task.name.clone();
        self.contain(|| format!("{name}, when it was ended"), Box::new(move || drop(task)));
    }

    /// Wakes every task of a host that nobody has woken. Returns how many there were.
    pub(crate) fn wake_host(&self, host: HostId) -> u64 {
        let idle = |task: &&Task| task.host == host && !task.is_due.is_scheduled.load(Ordering::Relaxed);
        let wakers: Vec<Waker> =
            self.lock(|tasks| tasks.live.values().filter(idle).map(|task| task.waker.clone()).collect());
        wakers.iter().for_each(Waker::wake_by_ref);
        wakers.len() as u64
    }

    /// Whose a task is, and what it is called.
    pub(crate) fn describe(&self, id: TaskId) -> Option<(HostId, String)> {
        match id {
            MAIN => Some((0, "what the scenario waits for".to_owned())),
            _ => self.lock(|tasks| tasks.live.get(&id).map(|task| (task.host, task.name.to_string()))),
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.lock(|tasks| tasks.live.values().map(|task| task.name.to_string()).collect())
    }

    /// How many tasks of a host are alive.
    pub(crate) fn count_of(&self, host: HostId) -> usize {
        self.lock(|tasks| tasks.live.values().filter(|task| task.host == host).count())
    }

    pub(crate) fn has_panics(&self) -> bool {
        self.lock(|tasks| !tasks.panics.is_empty())
    }

    pub(crate) fn take_panics(&self) -> Vec<(String, String)> {
        self.lock(|tasks| std::mem::take(&mut tasks.panics))
    }

    /// Drops every task. Tasks hold the runtime and the runtime holds the tasks, so somebody must. Panics are kept.
    pub(crate) fn clear(&self) {
        loop {
            let live = self.lock(|tasks| std::mem::take(&mut tasks.live));
            if live.is_empty() {
                return;
            }
            live.into_values().for_each(|task| self.end(task));
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

/// What a panic said.
pub(crate) fn message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

struct TaskWaker {
    id: TaskId,
    /// It is in the schedule, once.
    is_scheduled: AtomicBool,
    schedule: Arc<Schedule>,
}

impl TaskWaker {
    fn new(id: TaskId, schedule: &Arc<Schedule>) -> Arc<Self> {
        Arc::new(Self { id, is_scheduled: AtomicBool::new(false), schedule: schedule.clone() })
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_scheduled.swap(true, Ordering::Relaxed) {
            self.schedule.run(self.id);
        }
    }
}
