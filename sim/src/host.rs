//! One host of the simulation, as its programs see it.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use septa_core::{Instant, Seed};
use septa_driver::runtime::{Acceptor, BoxFuture, Runtime, Socket, Timer};

use crate::{
    clock::SimTimer,
    network::{Dialed, HostId},
    simulation::World,
};

pub(crate) struct Host {
    pub(crate) world: Arc<World>,
    pub(crate) id: HostId,
    pub(crate) name: String,
    pub(crate) seed: Mutex<Seed>,
}

impl Runtime for Host {
    fn now(&self) -> Instant {
        self.world.clock.now()
    }

    /// The simulation begins in 1970.
    fn unix_time(&self) -> Duration {
        self.world.clock.now().saturating_duration_since(Instant::EPOCH)
    }

    fn timer(&self) -> Box<dyn Timer> {
        Box::new(SimTimer::new(self.world.clock.clone()))
    }

    fn spawn(&self, name: &str, task: BoxFuture<'static, ()>) {
        self.world.executor.spawn(format!("{}: {name}", self.name), task);
    }

    /// Takes no time here. A panic is kept, as that of a task is.
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.world.executor.contain(|| format!("{}: blocking work", self.name), work);
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Socket>> {
        let (network, id) = (self.world.network.clone(), self.id);
        Box::pin(async move {
            match network.connect(id, addr)? {
                Dialed::Connected(socket) => Ok(socket),
                Dialed::Hanging => std::future::pending().await,
            }
        })
    }

    fn listen(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Acceptor>>> {
        let (network, id) = (self.world.network.clone(), self.id);
        Box::pin(async move { network.listen(id, addr).map(|acceptor| Box::new(acceptor) as Box<dyn Acceptor>) })
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let (network, host) = (self.world.network.clone(), host.to_owned());
        Box::pin(async move { network.resolve(&host, port) })
    }

    fn seed(&self) -> Seed {
        self.seed.lock().unwrap_or_else(PoisonError::into_inner).child("runtime")
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({})", self.name)
    }
}
