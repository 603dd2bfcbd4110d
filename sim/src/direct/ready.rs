//! Which of a node's sockets something has happened to.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

/// The sockets of one node that were woken, each once, in that order: who holds thousands must not look at all of them
/// to find one.
#[derive(Default)]
pub(super) struct Ready(Mutex<State>);

#[derive(Default)]
struct State {
    marked: Vec<u32>,
    /// The task of the node.
    task: Option<Waker>,
    /// The task runs and will look again before it sleeps.
    is_running: bool,
}

/// Stands for one socket.
pub(super) struct Mark {
    /// Small, as there is one of these for each connection.
    index: u32,
    is_marked: AtomicBool,
    /// By the socket: there may be something to read, or room to write.
    is_woken: AtomicBool,
    ready: Arc<Ready>,
}

impl Mark {
    pub(super) fn new(index: usize, ready: Arc<Ready>) -> Arc<Self> {
        let index = u32::try_from(index).expect("fewer than four thousand million sockets");
        Arc::new(Self { index, is_marked: AtomicBool::new(false), is_woken: AtomicBool::new(false), ready })
    }

    /// It has its turn now: from here on it can be marked again. True if its socket has woken it since the last one.
    pub(super) fn clear(&self) -> bool {
        self.is_marked.store(false, Ordering::Relaxed);
        let is_woken = self.is_woken.load(Ordering::Relaxed);
        if is_woken {
            self.is_woken.store(false, Ordering::Relaxed);
        }
        is_woken
    }

    /// It is to have a turn, whatever the socket does.
    pub(super) fn set(&self) {
        // A run of the world has one thread.
        if !self.is_marked.swap(true, Ordering::Relaxed) {
            self.ready.push(self.index);
        }
    }
}

impl Wake for Mark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Relaxed);
        self.set();
    }
}

impl Ready {
    /// The task of the node begins to run. True if it may be another one than before.
    pub(super) fn begin(&self, task: &Waker) -> bool {
        let mut state = self.lock();
        state.is_running = true;
        let is_known = state.task.as_ref().is_some_and(|known| known.will_wake(task));
        if !is_known {
            state.task = Some(task.clone());
        }
        !is_known
    }

    /// Exchanges the list for `empty`.
    pub(super) fn swap(&self, empty: &mut Vec<u32>) {
        std::mem::swap(&mut self.lock().marked, empty);
    }

    /// The task is going to sleep, unless this is true: sockets were marked meanwhile.
    pub(super) fn end(&self) -> bool {
        let mut state = self.lock();
        state.is_running = false;
        !state.marked.is_empty()
    }

    fn push(&self, index: u32) {
        let task = {
            let mut state = self.lock();
            state.marked.push(index);
            // The first one has woken it.
            if state.is_running || state.marked.len() > 1 { None } else { state.task.clone() }
        };
        if let Some(task) = task {
            task.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
