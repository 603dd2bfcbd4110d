//! One host of the simulation, as its programs see it.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use septa_core::{Instant, Seed, crypto::Provider};
use septa_driver::runtime::{Acceptor, BoxFuture, Runtime, Socket, Timer};

use crate::{dial::dial, machine::Machine, timer::SimTimer, world::World};

/// A host in one of its lives. When that is over, nothing that is asked of it happens.
pub(crate) struct Host {
    world: Arc<World>,
    machine: Arc<Machine>,
    life: u32,
}

impl Host {
    pub(crate) fn new(world: Arc<World>, machine: Arc<Machine>, life: u32) -> Self {
        Self { world, machine, life }
    }

    fn is_alive(&self) -> bool {
        self.machine.life() == self.life
    }

    fn check_alive(&self) -> io::Result<()> {
        if self.is_alive() { Ok(()) } else { Err(io::ErrorKind::NetworkDown.into()) }
    }
}

impl Runtime for Host {
    fn now(&self) -> Instant {
        self.machine.clock.now()
    }

    /// The simulation begins in 2020.
    fn unix_time(&self) -> Duration {
        self.machine.clock.unix_time()
    }

    fn timer(&self) -> Box<dyn Timer> {
        Box::new(SimTimer::new(self.machine.clock.clone()))
    }

    fn spawn(&self, name: &str, task: BoxFuture<'static, ()>) {
        if self.is_alive() {
            self.world.executor.spawn(self.machine.id, format!("{}: {name}", self.machine.name), task);
        }
    }

    /// Takes no time here. A panic is kept, as that of a task is.
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        if self.is_alive() {
            self.world.executor.contain(|| format!("{}: blocking work", self.machine.name), work);
        }
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Socket>> {
        let (network, id, alive) = (self.world.network.clone(), self.machine.id, self.check_alive());
        Box::pin(async move {
            alive?;
            dial(network, id, addr).await
        })
    }

    fn listen(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Acceptor>>> {
        let (network, id, alive) = (self.world.network.clone(), self.machine.id, self.check_alive());
        Box::pin(async move {
            alive?;
            network.listen(id, addr).map(|acceptor| Box::new(acceptor) as Box<dyn Acceptor>)
        })
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let (network, host) = (self.world.network.clone(), host.to_owned());
        Box::pin(async move { network.resolve(&host, port) })
    }

    fn seed(&self) -> Seed {
        self.machine.draw_seed()
    }

    fn provider(&self) -> Arc<dyn Provider> {
        self.world.provider()
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({})", self.machine.name)
    }
}
