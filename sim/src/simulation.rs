//! The world and the loop that runs it.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use septa_core::{Instant, Seed, crypto::Provider};
use septa_driver::runtime::Runtime;

use crate::{
    executor::MAIN,
    export::Exported,
    host::Host,
    invariant::{Broken, Invariant, Referee},
    link::LinkOptions,
    machine::Boot,
    network::ip_of,
    observer::Event,
    plan::{FaultKind, Plan, Timed},
    player::{Player, Unplayable},
    report::Report,
    schedule::{Due, Order},
    stats::Stats,
    trace::{Kind, TraceHash},
    world::{NOBODY, World},
};

/// Steps after which [`Simulation::block_on`] gives up, unless it is told otherwise: tasks that wake each other for ever
/// would otherwise hang a test.
pub const DEFAULT_MAX_STEPS: u64 = 2_000_000;

/// The invariant of those who [forbid](Simulation::forbid_panics) them.
pub(crate) const NO_PANICS: &str = "no task panics";

/// A small world with its own time, network and luck.
///
/// Hosts are made with [`host`](Self::host) or [`boot`](Self::boot); each is a [`Runtime`] with the addresses
/// [`ip`](Self::ip), `127.0.0.1` and `::1`. Dropping the simulation drops every task in it, and panics if one of them does.
pub struct Simulation {
    world: Arc<World>,
    state: Mutex<State>,
}

struct State {
    max_steps: u64,
    is_panic_fatal: bool,
    invariants: Vec<Invariant>,
    players: Vec<Arc<Player>>,
}

/// The awaited future is not done, and will not be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Stalled {
    /// No task can run and no timer is armed.
    #[error("nothing can happen any more; waiting tasks: {}", tasks.join(", "))]
    Deadlock {
        /// The tasks that wait, by name. The awaited future is not among them.
        tasks: Vec<String>,
    },
    /// The most steps were made without an end.
    #[error("no end in sight; live tasks: {}", tasks.join(", "))]
    Endless {
        /// The live tasks by name.
        tasks: Vec<String>,
    },
    /// Something is so that must never be.
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// A spawned task panicked. The others went on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Panicked {
    /// The name of the task.
    pub task: String,
    /// What the panic said.
    pub message: String,
}

impl Simulation {
    /// A world in which tasks run in order and links do not misbehave.
    pub fn new(seed: u64) -> Self {
        Self::with_order(seed, Order::Fifo)
    }

    /// A world with a choice of the task order.
    pub fn with_order(seed: u64, order: Order) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let world = Arc::new(World::new(order, Seed::from_bytes(bytes)));
        let state =
            State { max_steps: DEFAULT_MAX_STEPS, is_panic_fatal: false, invariants: Vec::new(), players: Vec::new() };
        Self { world, state: Mutex::new(state) }
    }

    /// The world of a plan. Its faults do not strike before they are [played](Self::play).
    pub fn of_plan(plan: &Plan) -> Self {
        let simulation = Self::with_order(plan.seed, plan.order);
        simulation.set_link(plan.link);
        simulation.set_provider(plan.crypto.provider());
        simulation
    }

    /// A new host.
    ///
    /// # Panics
    /// There are 65,535 already: there are no more addresses.
    pub fn host(&self, name: &str) -> Arc<dyn Runtime> {
        Arc::new(Host::new(self.world.clone(), self.world.add_machine(name), 0))
    }

    /// A new host, on which `program` runs now and whenever the host starts again behind a crash. Returns its number.
    ///
    /// # Panics
    /// As [`host`](Self::host).
    pub fn boot<F>(&self, name: &str, program: impl Fn(Boot) -> F + Send + Sync + 'static) -> NonZeroU32
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let machine = self.world.add_machine(name);
        machine.set_program(Arc::new(move |boot| Box::pin(program(boot))));
        machine.boot(&self.world);
        NonZeroU32::MIN.saturating_add(machine.id.saturating_sub(1))
    }

    /// The IPv4 address of the `number`-th host, from 1 to 65,535.
    pub fn ip(&self, number: u32) -> IpAddr {
        ip_of(number, false)
    }

    /// The IPv6 address of the `number`-th host, from 1 to 65,535.
    pub fn ip6(&self, number: u32) -> IpAddr {
        ip_of(number, true)
    }

    /// Runs the world until `future` is done and returns its result. The other tasks go on in the
    /// next call.
    ///
    /// # Errors
    /// Nothing can happen any more, or it never ends, or an [invariant](Self::add_invariant) is broken. The future is
    /// dropped.
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, Stalled> {
        let mut future = pin!(future);
        let waker = self.world.executor.main_waker();
        waker.wake_by_ref();
        let (max_steps, is_panic_fatal) = self.lock(|state| (state.max_steps, state.is_panic_fatal));
        for _ in 0..max_steps {
            let Some(due) = self.world.schedule.next() else {
                self.check(self.stats().steps, true)?;
                return Err(Stalled::Deadlock { tasks: self.live_tasks() });
            };
            let step = self.world.counters.add_step();
            match due {
                Due::Alarm(alarm) => {
                    if alarm.is_late {
                        self.world.fired.add(FaultKind::LateTimers, alarm.host);
                    }
                    self.world.observer.tell(Event::Alarm { host: alarm.host, is_late: alarm.is_late });
                    alarm.waker.wake();
                }
                Due::Task(id) => {
                    self.world.trace.record(Kind::Run, self.now(), id.into(), &[]);
                    self.world.tell_run(id);
                    if id == MAIN {
                        self.world.executor.begin_main();
                        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
                        self.clean_up(is_panic_fatal);
                        if let Poll::Ready(output) = polled {
                            self.check(step, true)?;
                            return Ok(output);
                        }
                    } else {
                        self.world.executor.run(id);
                        self.clean_up(is_panic_fatal);
                    }
                }
            }
            self.check(step, false)?;
        }
        self.check(self.stats().steps, true)?;
        Err(Stalled::Endless { tasks: self.live_tasks() })
    }

    /// What a task has left to do behind it.
    fn clean_up(&self, is_panic_fatal: bool) {
        self.world.crash_doomed();
        if is_panic_fatal && self.world.executor.has_panics() {
            self.blame_panics();
        }
    }

    /// Lets the world go on for so long.
    ///
    /// # Errors
    /// As [`block_on`](Self::block_on).
    pub fn run_for(&self, duration: Duration) -> Result<(), Stalled> {
        self.block_on(self.sleep(duration))
    }

    /// Lets the world go on until `holds`, which is asked every `every`, for at most so long. Tells whether it does.
    /// If `every` is zero it is asked every nanosecond.
    ///
    /// # Errors
    /// As [`block_on`](Self::block_on).
    pub fn run_until(
        &self,
        within: Duration,
        every: Duration,
        mut holds: impl FnMut() -> bool,
    ) -> Result<bool, Stalled> {
        let deadline = self.now().saturating_add(within);
        loop {
            if holds() {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(self.now());
            if left.is_zero() {
                return Ok(false);
            }
            self.run_for(left.min(every.max(Duration::from_nanos(1))))?;
        }
    }

    /// How many steps one call may take: [`DEFAULT_MAX_STEPS`] unless it is set.
    pub fn set_max_steps(&self, max_steps: u64) {
        self.lock(|state| state.max_steps = max_steps);
    }

    /// A task that panics breaks an invariant from now on.
    pub fn forbid_panics(&self) {
        self.lock(|state| state.is_panic_fatal = true);
    }

    /// What must always be so: `holds` is asked every so many steps, and at the end of each call that runs the world. It
    /// says what is wrong.
    pub fn add_invariant(
        &self,
        name: &str,
        every: u64,
        holds: impl FnMut(Instant) -> Result<(), String> + Send + 'static,
    ) {
        self.lock(|state| state.invariants.push(Invariant::new(name, every, holds)));
    }

    /// With which tasks say that an invariant is broken.
    pub fn referee(&self) -> Referee {
        Referee::new(&self.world)
    }

    fn check(&self, step: u64, all: bool) -> Result<(), Broken> {
        let now = self.now();
        let broken = self.world.take_broken();
        let (invariant, why) = match broken {
            Some(broken) => broken,
            None => {
                let found = self.lock(|state| {
                    let mut due = state.invariants.iter_mut().filter(|invariant| all || invariant.is_due(step));
                    due.find_map(|invariant| invariant.check(now))
                });
                let Some(broken) = found else { return Ok(()) };
                broken
            }
        };
        Err(Broken { invariant, why, step, at: now })
    }

    /// Ends every task and every program. The panics since the last call of [`take_panics`](Self::take_panics).
    pub(crate) fn end(&self) -> Vec<Panicked> {
        self.world.end();
        self.take_panics()
    }

    /// The invariant that was said to be broken since the last step, and why.
    pub(crate) fn take_broken(&self) -> Option<(String, String)> {
        self.world.take_broken()
    }

    fn blame_panics(&self) {
        for Panicked { task, message } in self.take_panics() {
            self.world.break_invariant(NO_PANICS, format!("{task}: {message}"));
        }
    }

    /// Virtual time.
    pub fn now(&self) -> Instant {
        self.world.schedule.now()
    }

    /// Waits in virtual time.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.world.sleep(duration)
    }

    /// Spawns an application task.
    pub fn spawn(&self, name: &str, future: impl Future<Output = ()> + Send + 'static) {
        self.world.executor.spawn(NOBODY, name.to_owned(), Box::pin(future));
    }

    /// The names of the tasks that have not ended.
    pub fn live_tasks(&self) -> Vec<String> {
        self.world.executor.names()
    }

    /// The panics since the last call.
    pub fn take_panics(&self) -> Vec<Panicked> {
        let panics = self.world.executor.take_panics();
        panics.into_iter().map(|(task, message)| Panicked { task, message }).collect()
    }

    /// How connections that are made from now on behave.
    pub fn set_link(&self, options: LinkOptions) {
        self.world.network.set_options(options);
    }

    /// What `name` resolves to. Other names do not resolve.
    pub fn add_name(&self, name: &str, addrs: Vec<IpAddr>) {
        self.world.network.add_name(name, addrs);
    }

    /// Nothing arrives any more, on any connection, and nobody is told. Dials hang.
    pub fn cut_network(&self) {
        self.world.network.set_cut(true);
    }

    /// What was written since [`cut_network`](Self::cut_network) arrives now.
    pub fn heal_network(&self) {
        self.world.network.set_cut(false);
    }

    /// Resets every connection.
    pub fn reset_connections(&self) {
        self.world.network.reset_all();
    }

    /// The next `count` accepts of the listener at `addr`, a host's own address, fail with `kind`. False if nobody listens
    /// there: then nothing fails.
    pub fn fail_accepts(&self, addr: SocketAddr, kind: io::ErrorKind, count: usize) -> bool {
        self.world.network.fail_accepts(addr, kind, count)
    }

    /// Has the faults of a plan strike from now on: its instants count from now. They are over when their time is.
    ///
    /// # Errors
    /// One of them strikes a host that there is not. Nothing was begun.
    pub fn play(&self, faults: &[Timed]) -> Result<(), Unplayable> {
        let player = Player::new(&self.world, faults)?;
        self.spawn("faults", player.clone().run());
        self.lock(|state| state.players.push(player));
        Ok(())
    }

    /// Ends the faults that last and calls off those to come. Hosts that are down come back.
    pub fn heal(&self) {
        let players = self.lock(|state| std::mem::take(&mut state.players));
        players.iter().for_each(|player| player.stop());
        self.world.call_off();
        self.world.observer.tell(Event::Healed);
    }

    /// How often faults of each kind have changed something until now.
    pub fn faults_fired(&self) -> BTreeMap<FaultKind, u64> {
        self.world.fired.counts()
    }

    /// How much has happened until now.
    pub fn stats(&self) -> Stats {
        self.world.counters.stats()
    }

    /// The cryptography of those who do not choose one. Pure Rust unless it is set.
    pub fn set_provider(&self, provider: Arc<dyn Provider>) {
        self.world.set_provider(provider);
    }

    /// Luck for the scenario itself: another seed each time.
    pub fn draw_seed(&self, name: &str) -> Seed {
        self.world.draw_seed(name)
    }

    /// How many tasks of a host have not ended.
    pub fn tasks_of(&self, host: NonZeroU32) -> usize {
        self.world.executor.count_of(host.get())
    }

    /// A hash over everything that ran and was sent until now, in order. Equal for equal seeds.
    pub fn trace(&self) -> TraceHash {
        self.world.trace.value()
    }

    /// Writes down from now on what happens, in memory, for a [recording](Self::recording). That changes nothing in the
    /// run. It keeps up to 20,000 hosts, the last 1,000 lives of each, and of connections and notes the last 20,000 each, of
    /// faults the last 1,000, of a note the first 1,000 characters. What is left out is counted, but for characters.
    pub fn record(&self) {
        self.world.record();
    }

    /// What has happened since [`record`](Self::record), in true time, if that was called. The scenario, its seed, plan,
    /// command and failure are not known here: whoever has them fills them in.
    pub fn recording(&self) -> Option<Report> {
        self.world.observer.report(self.trace())
    }

    /// Writes down from now on everything that happens, one line each: what runs, what is sent and what it says. That
    /// changes nothing in the run. Lines are written one by one: `out` had better be buffered.
    ///
    /// ```text
    ///      0.020000000s       41  alice         connection 1 > yamux data SYN stream 3 length 20 "\x13/multistream/1.0.0\n"
    /// ```
    ///
    /// Time is true time; the number behind it is that of the step. What is encrypted can be read if it was sealed with
    /// the cryptography that a host of this world was given after this call; see [`readable`](Self::readable). The first
    /// 128 bytes of each Yamux frame are shown. There is room for 1 GiB; what comes later is counted.
    pub fn export(&self, out: impl io::Write + Send + 'static) {
        self.world.export(Box::new(out));
    }

    /// Ends the export, if there is one, and flushes and drops its writer.
    ///
    /// # Errors
    /// Something could not be written. Nothing was written behind it.
    pub fn end_export(&self) -> io::Result<Exported> {
        Ok(self.take_export()?.map(|(exported, _)| exported).unwrap_or_default())
    }

    pub(crate) fn take_export(&self) -> io::Result<Option<(Exported, Box<dyn io::Write + Send>)>> {
        self.world.observer.end_export()
    }

    /// The same cryptography, so that an export of this world, if there is one, shows what is sealed with it. Those that
    /// its hosts [are given](Runtime::provider) are so already.
    pub fn readable(&self, provider: Arc<dyn Provider>) -> Arc<dyn Provider> {
        self.world.observer.watch(provider)
    }

    fn lock<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Simulation {
    /// # Panics
    /// What was dropped with it has panicked.
    fn drop(&mut self) {
        self.world.executor.take_panics();
        self.world.end();
        if let Some((task, message)) = self.world.executor.take_panics().first()
            && !std::thread::panicking()
        {
            panic!("{task}: {message}");
        }
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("now", &self.now())
            .field("tasks", &self.live_tasks())
            .finish_non_exhaustive()
    }
}
