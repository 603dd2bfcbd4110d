//! The world and the loop that runs it.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use septa_core::{Instant, Seed};
use septa_driver::runtime::Runtime;

use crate::{
    clock::{Clock, SimTimer},
    executor::{Executor, MAIN, Order},
    host::Host,
    link::LinkOptions,
    network::{HostId, Network, ip_of},
    plan::{FaultKind, Timed},
    player::{Player, Unplayable},
    trace::{Kind, Trace, TraceHash},
};

/// Task runs after which [`Simulation::block_on`] gives up: tasks that wake each other for ever would
/// otherwise hang a test.
const MAX_STEPS: u64 = 2_000_000;

/// A small world with its own time, network and luck.
///
/// Hosts are made with [`host`](Self::host); each is a [`Runtime`] with the addresses
/// [`ip`](Self::ip), `127.0.0.1` and `::1`. Dropping the simulation drops every task in it.
pub struct Simulation {
    world: Arc<World>,
    hosts: Mutex<(Seed, HostId)>,
}

pub(crate) struct World {
    pub(crate) clock: Arc<Clock>,
    pub(crate) trace: Arc<Trace>,
    pub(crate) network: Arc<Network>,
    pub(crate) executor: Executor,
}

/// Nothing can happen any more, and the awaited future is not done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Stalled {
    /// No task can run and no timer is armed.
    #[error("nothing can happen any more; waiting tasks: {}", tasks.join(", "))]
    Deadlock {
        /// The tasks that wait, by name. The awaited future is not among them.
        tasks: Vec<String>,
    },
    /// Tasks ran 2 million times without an end.
    #[error("no end in sight; live tasks: {}", tasks.join(", "))]
    Endless {
        /// The live tasks by name.
        tasks: Vec<String>,
    },
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
        let mut root = Seed::from_bytes(bytes);
        let (clock, trace) = (Arc::new(Clock::new()), Arc::new(Trace::new()));
        let network = Arc::new(Network::new(clock.clone(), trace.clone(), root.child("network")));
        let executor = Executor::new(order, root.child("executor"));
        let world = Arc::new(World { clock, trace, network, executor });
        Self { world, hosts: Mutex::new((root.child("hosts"), 0)) }
    }

    /// A new host.
    pub fn host(&self, name: &str) -> Arc<dyn Runtime> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.1 += 1;
        let (seed, id) = (hosts.0.child(name), hosts.1);
        Arc::new(Host { world: self.world.clone(), id, name: name.to_owned(), seed: Mutex::new(seed) })
    }

    /// The IPv4 address of the `number`-th host; the first is 1.
    pub fn ip(&self, number: u32) -> IpAddr {
        ip_of(number, false)
    }

    /// The IPv6 address of the `number`-th host; the first is 1.
    pub fn ip6(&self, number: u32) -> IpAddr {
        ip_of(number, true)
    }

    /// Runs the world until `future` is done and returns its result. The other tasks go on in the
    /// next call.
    ///
    /// # Errors
    /// Nothing can happen any more, or it never ends. The future is dropped.
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, Stalled> {
        let mut future = pin!(future);
        let waker = self.world.executor.waker(MAIN);
        waker.wake_by_ref();
        for _ in 0..MAX_STEPS {
            match self.world.executor.next() {
                Some(MAIN) => {
                    self.world.trace.record(Kind::Run, self.now(), MAIN, &[]);
                    if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                        return Ok(output);
                    }
                }
                Some(id) => {
                    self.world.trace.record(Kind::Run, self.now(), id, &[]);
                    self.world.executor.run(id);
                }
                None if self.world.clock.advance() => {}
                None => return Err(Stalled::Deadlock { tasks: self.live_tasks() }),
            }
        }
        Err(Stalled::Endless { tasks: self.live_tasks() })
    }

    /// Virtual time.
    pub fn now(&self) -> Instant {
        self.world.clock.now()
    }

    /// Waits in virtual time.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        let mut timer = SimTimer::new(self.world.clock.clone());
        let deadline = self.now().saturating_add(duration);
        async move {
            use septa_driver::runtime::Timer;
            timer.reset(Some(deadline));
            std::future::poll_fn(|cx| timer.poll_expired(cx)).await;
        }
    }

    /// Spawns an application task.
    pub fn spawn(&self, name: &str, future: impl Future<Output = ()> + Send + 'static) {
        self.world.executor.spawn(name.to_owned(), Box::pin(future));
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

    /// Nothing arrives any more, on any connection, and nobody is told.
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

    /// The next `count` accepts of the listener at `addr`, a host's own address, fail with `kind`.
    pub fn fail_accepts(&self, addr: SocketAddr, kind: io::ErrorKind, count: usize) {
        self.world.network.fail_accepts(addr, kind, count);
    }

    /// Has the faults of a plan strike from now on: its instants count from now. They are over when their time is.
    ///
    /// # Errors
    /// One of them is none that strikes the network. Nothing was begun.
    pub fn play(&self, faults: &[Timed]) -> Result<(), Unplayable> {
        let player = Player::new(self.world.network.clone(), self.now(), faults)?;
        self.spawn("faults", player.run());
        Ok(())
    }

    /// How often faults of each kind have changed something until now.
    pub fn faults_fired(&self) -> BTreeMap<FaultKind, u64> {
        self.world.network.fired.counts()
    }

    /// A hash over everything that ran and was sent until now, in order. Equal for equal seeds.
    pub fn trace(&self) -> TraceHash {
        self.world.trace.value()
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        self.world.executor.clear();
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
