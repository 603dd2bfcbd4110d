//! Everything that there is in a simulation.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use septa_core::{
    Seed,
    crypto::{Provider, RustCrypto},
};
use septa_driver::runtime::Timer as _;

use crate::{
    clock::Clock,
    draws::Draws,
    executor::{Executor, TaskId},
    fired::Fired,
    machine::Machine,
    network::{HostId, MAX_HOSTS, Network},
    observer::{Event, Observer},
    plan::{FaultKind, Restart},
    schedule::{Order, Schedule},
    stats::Counters,
    storage::SimStorage,
    timer::SimTimer,
    trace::{Kind, Trace},
};

/// Whose tasks a crash does not end.
pub(crate) const NOBODY: HostId = 0;

pub(crate) struct World {
    pub(crate) schedule: Arc<Schedule>,
    /// True time.
    pub(crate) clock: Arc<Clock>,
    pub(crate) trace: Arc<Trace>,
    pub(crate) observer: Arc<Observer>,
    pub(crate) network: Arc<Network>,
    pub(crate) executor: Executor,
    pub(crate) fired: Arc<Fired>,
    pub(crate) counters: Arc<Counters>,
    state: Mutex<State>,
}

struct State {
    seed: Seed,
    machines: BTreeMap<HostId, Arc<Machine>>,
    provider: Arc<dyn Provider>,
    /// For how long a machine is down whose next store is torn, and as whom it comes back.
    tears: BTreeMap<HostId, (Duration, Restart)>,
    /// Those whose store was just torn.
    doomed: Vec<HostId>,
    /// Those that are down for that, and as whom they come back. Whoever takes one out starts it.
    restarts: BTreeMap<u64, (HostId, Restart)>,
    last_restart: u64,
    last_fault: u64,
    /// The first invariant that somebody has seen broken.
    broken: Option<(String, String)>,
}

impl World {
    pub(crate) fn new(order: Order, mut root: Seed) -> Self {
        let trace = Arc::new(Trace::new());
        let counters = Arc::new(Counters::default());
        let schedule = Arc::new(Schedule::new(order, root.child("schedule")));
        let observer = Arc::new(Observer::new(schedule.clone(), counters.clone()));
        let fired = Arc::new(Fired::new(observer.clone()));
        let luck = Draws::new(root.child("clock"));
        let clock = Arc::new(Clock::new(schedule.clone(), fired.clone(), counters.clone(), NOBODY, luck));
        let network = Network::new(
            schedule.clone(),
            trace.clone(),
            observer.clone(),
            fired.clone(),
            counters.clone(),
            root.child("network"),
        );
        let state = State {
            seed: root,
            machines: BTreeMap::new(),
            provider: Arc::new(RustCrypto),
            tears: BTreeMap::new(),
            doomed: Vec::new(),
            restarts: BTreeMap::new(),
            last_restart: 0,
            last_fault: 0,
            broken: None,
        };
        let executor = Executor::new(schedule.clone());
        let network = Arc::new(network);
        Self { schedule, clock, trace, observer, network, executor, fired, counters, state: Mutex::new(state) }
    }

    /// A host more.
    ///
    /// # Panics
    /// There are [`MAX_HOSTS`].
    pub(crate) fn add_machine(self: &Arc<Self>, name: &str) -> Arc<Machine> {
        let world = Arc::downgrade(self);
        self.lock(|state| {
            let id = HostId::try_from(state.machines.len()).unwrap_or(HostId::MAX).saturating_add(1);
            assert!(id <= MAX_HOSTS, "there are no more than {MAX_HOSTS} addresses for hosts");
            let mut seed = state.seed.child(name);
            let (schedule, fired, counters) = (self.schedule.clone(), self.fired.clone(), self.counters.clone());
            let clock = Clock::new(schedule, fired, counters, id, Draws::new(seed.child("clock")));
            let on_torn = move || world.upgrade().into_iter().for_each(|world: Arc<Self>| world.doom(id));
            let storage = SimStorage::new(Draws::new(seed.child("storage")), Arc::new(on_torn));
            let machine = Arc::new(Machine::new(id, name, seed, Arc::new(clock), Arc::new(storage)));
            state.machines.insert(id, machine.clone());
            self.observer.tell(Event::Host { name });
            machine
        })
    }

    /// Ends every task and every program, which may hold the world that holds them. Whatever panics is kept with the other
    /// panics.
    pub(crate) fn end(&self) {
        self.executor.clear();
        for machine in self.machines() {
            let name = machine.name.clone();
            let forget = Box::new(move || machine.forget_program());
            self.executor.contain(|| format!("{name}, when it was ended"), forget);
        }
    }

    /// # Panics
    /// There is none with this number.
    pub(crate) fn machine(&self, id: HostId) -> Arc<Machine> {
        self.find_machine(id).expect("hosts are numbered from 1 in the order in which they were made")
    }

    pub(crate) fn find_machine(&self, id: HostId) -> Option<Arc<Machine>> {
        self.lock(|state| state.machines.get(&id).cloned())
    }

    /// Keeps a record from now on.
    pub(crate) fn record(&self) {
        let machines = self.machines();
        self.observer.record(machines.iter().map(|machine| (&*machine.name, machine.is_up())));
    }

    /// Writes everything down from now on.
    pub(crate) fn export(&self, out: Box<dyn io::Write + Send>) {
        let machines = self.machines();
        self.observer.export(out, machines.iter().map(|machine| &*machine.name));
    }

    /// A task is about to run.
    pub(crate) fn tell_run(&self, task: TaskId) {
        if self.observer.is_exporting()
            && let Some((host, name)) = self.executor.describe(task)
        {
            self.observer.tell(Event::Ran { host, task: &name });
        }
    }

    fn machines(&self) -> Vec<Arc<Machine>> {
        self.lock(|state| state.machines.values().cloned().collect())
    }

    pub(crate) fn draw_seed(&self, name: &str) -> Seed {
        self.lock(|state| state.seed.child(name))
    }

    pub(crate) fn provider(&self) -> Arc<dyn Provider> {
        self.observer.watch(self.lock(|state| state.provider.clone()))
    }

    pub(crate) fn set_provider(&self, provider: Arc<dyn Provider>) {
        self.lock(|state| state.provider = provider);
    }

    pub(crate) fn note(&self, host: HostId, text: &str) {
        self.trace.record(Kind::Note, self.schedule.now(), host.into(), text.as_bytes());
        self.observer.tell(Event::Note { host, text });
    }

    /// The number of a fault that begins: never twice the same.
    pub(crate) fn number_fault(&self) -> u64 {
        self.lock(|state| {
            state.last_fault += 1;
            state.last_fault
        })
    }

    /// The next store of a host is torn, and takes it down for so long.
    pub(crate) fn tear_next_store(&self, host: HostId, length: Duration, restart: Restart) {
        if let Some(machine) = self.find_machine(host) {
            self.lock(|state| state.tears.insert(host, (length, restart)));
            machine.storage.tear_next();
        }
    }

    /// What plans were to do later, to connections or to what is stored, does not happen. Whoever is down because of what
    /// was stored comes back.
    pub(crate) fn call_off(self: &Arc<Self>) {
        self.network.call_off();
        let (waiting, down) =
            self.lock(|state| (std::mem::take(&mut state.tears), std::mem::take(&mut state.restarts)));
        for machine in waiting.keys().filter_map(|host| self.find_machine(*host)) {
            machine.storage.tear_no_more();
        }
        down.into_values().for_each(|(host, restart)| self.machine(host).start(self, restart));
    }

    fn doom(&self, host: HostId) {
        self.fired.add(FaultKind::TornStore, host);
        self.lock(|state| state.doomed.push(host));
    }

    /// Takes down those whose store was torn. Not while a task runs.
    pub(crate) fn crash_doomed(self: &Arc<Self>) {
        loop {
            let doomed = self.lock(|state| {
                let host = state.doomed.pop()?;
                Some((host, state.tears.remove(&host).unwrap_or((Duration::ZERO, Restart::Same))))
            });
            let Some((host, (length, restart))) = doomed else { return };
            self.machine(host).crash(self, self.schedule.now());
            let (world, sleep) = (Arc::downgrade(self), self.sleep(length));
            let place = self.lock(|state| {
                state.last_restart += 1;
                state.restarts.insert(state.last_restart, (host, restart));
                state.last_restart
            });
            self.executor.spawn(
                NOBODY,
                "restart".to_owned(),
                Box::pin(async move {
                    sleep.await;
                    let Some(world) = Weak::upgrade(&world) else { return };
                    if let Some((host, restart)) = world.lock(|state| state.restarts.remove(&place)) {
                        world.machine(host).start(&world, restart);
                    }
                }),
            );
        }
    }

    /// Waits in true time.
    pub(crate) fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        let mut timer = SimTimer::new(self.clock.clone());
        let deadline = self.schedule.now().saturating_add(duration);
        async move {
            timer.reset(Some(deadline));
            std::future::poll_fn(|cx| timer.poll_expired(cx)).await;
        }
    }

    /// Something is so that must never be. Only the first time counts.
    pub(crate) fn break_invariant(&self, invariant: &str, why: String) {
        self.lock(|state| {
            state.broken.get_or_insert_with(|| (invariant.to_owned(), why));
        });
    }

    pub(crate) fn take_broken(&self) -> Option<(String, String)> {
        self.lock(|state| state.broken.take())
    }

    fn lock<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
