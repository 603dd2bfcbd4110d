//! What there is of a host while its programs come and go.

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use septa_core::{Identity, Instant, Seed};
use septa_driver::{
    runtime::{BoxFuture, Runtime},
    storage::Storage,
};

use crate::{
    clock::Clock,
    host::Host,
    network::{HostId, ip_of},
    observer::Event,
    plan::Restart,
    storage::SimStorage,
    trace::Kind,
    world::World,
};

/// What runs on a host from its start on, and again whenever it starts again.
pub(crate) type Program = Arc<dyn Fn(Boot) -> BoxFuture<'static, ()> + Send + Sync>;

/// What a program finds when its host starts.
pub struct Boot {
    /// The host as its operating system shows it. After a crash it does nothing any more.
    pub runtime: Arc<dyn Runtime>,
    /// Who the host is.
    pub identity: Identity,
    /// What it has kept.
    pub storage: Arc<dyn Storage>,
    /// Its IPv4 address.
    pub ip: IpAddr,
    /// How often it has started before.
    pub restarts: u32,
    /// Where it says what happens to it.
    pub journal: Journal,
}

/// What is said here stands in the trace and in reports.
#[derive(Clone)]
pub struct Journal {
    world: Weak<World>,
    host: HostId,
}

impl Journal {
    /// Says that something has happened.
    pub fn note(&self, text: &str) {
        self.world.upgrade().into_iter().for_each(|world| world.note(self.host, text));
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Journal({})", self.host)
    }
}

impl fmt::Debug for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Boot")
            .field("ip", &self.ip)
            .field("peer", &self.identity.peer_id())
            .field("restarts", &self.restarts)
            .finish_non_exhaustive()
    }
}

/// A host: its clock and its disk, and whether it is up.
///
/// | state | left for | when |
/// |---|---|---|
/// | up | down | it [crashes](Self::crash) |
/// | down, once or more | up | it was [started](Self::start) as often as it crashed |
pub(crate) struct Machine {
    pub(crate) id: HostId,
    pub(crate) name: String,
    pub(crate) clock: Arc<Clock>,
    pub(crate) storage: Arc<SimStorage>,
    state: Mutex<State>,
}

struct State {
    seed: Seed,
    /// Counted up with each crash. What an earlier life has left behind can do nothing.
    life: u32,
    downs: u32,
    /// As somebody else next time.
    is_new: bool,
    /// Drawn anew when it comes back as somebody else.
    identity: [u8; 32],
    program: Option<Program>,
}

impl Machine {
    pub(crate) fn new(id: HostId, name: &str, mut seed: Seed, clock: Arc<Clock>, storage: Arc<SimStorage>) -> Self {
        let identity = draw_identity(&mut seed);
        let state = State { seed, life: 0, downs: 0, is_new: false, identity, program: None };
        Self { id, name: name.to_owned(), clock, storage, state: Mutex::new(state) }
    }

    pub(crate) fn set_program(&self, program: Program) {
        self.lock(|state| state.program = Some(program));
    }

    /// It never starts again. What the program holds of the world is let go.
    pub(crate) fn forget_program(&self) {
        let program = self.lock(|state| state.program.take());
        drop(program);
    }

    /// The life that goes on now. 0 for the first.
    pub(crate) fn life(&self) -> u32 {
        self.lock(|state| state.life)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.lock(|state| state.downs == 0)
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity::from_ed25519_seed(self.lock(|state| state.identity))
    }

    pub(crate) fn draw_seed(&self) -> Seed {
        self.lock(|state| state.seed.child("runtime"))
    }

    /// False if it is down already: then it stays so for one start more.
    pub(crate) fn crash(&self, world: &World, now: Instant) -> bool {
        let was_up = self.lock(|state| {
            state.downs += 1;
            state.life += u32::from(state.downs == 1);
            state.downs == 1
        });
        if was_up {
            world.trace.record(Kind::Crash, now, self.id.into(), &[]);
            world.observer.tell(Event::Crash { host: self.id });
            world.executor.end_host(self.id);
        }
        was_up
    }

    /// Takes back a crash. The machine comes up when all are taken back, as somebody else if one of them says so.
    pub(crate) fn start(&self, world: &Arc<World>, restart: Restart) {
        let comes_up = self.lock(|state| {
            state.is_new |= restart == Restart::New;
            state.downs = state.downs.saturating_sub(1);
            if state.downs > 0 {
                return false;
            }
            if std::mem::take(&mut state.is_new) {
                state.identity = draw_identity(&mut state.seed);
                self.storage.erase();
            }
            true
        });
        if comes_up {
            self.boot(world);
        }
    }

    /// Runs the program, if there is one.
    pub(crate) fn boot(&self, world: &Arc<World>) {
        let Some((program, life)) = self.lock(|state| Some((state.program.clone()?, state.life))) else { return };
        world.trace.record(Kind::Boot, world.schedule.now(), self.id.into(), &life.to_be_bytes());
        world.observer.tell(Event::Boot { host: self.id });
        let runtime = Host::new(world.clone(), world.machine(self.id), life);
        let boot = Boot {
            runtime: Arc::new(runtime),
            identity: self.identity(),
            storage: self.storage.clone(),
            ip: ip_of(self.id, false),
            restarts: life,
            journal: Journal { world: Arc::downgrade(world), host: self.id },
        };
        world.executor.spawn(self.id, self.name.clone(), program(boot));
    }

    fn lock<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn draw_identity(seed: &mut Seed) -> [u8; 32] {
    seed.child("identity").secret_stream().next_key()
}
