//! A host on which blocking work never ends.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use septa_core::{Instant, Seed};
use septa_driver::runtime::{Acceptor, BoxFuture, Runtime, Socket, Timer};

type Work = Box<dyn FnOnce() + Send>;

pub(crate) struct Hanging {
    host: Arc<dyn Runtime>,
    /// Work that has begun and never ends.
    begun: Mutex<Vec<Work>>,
}

impl Hanging {
    pub(crate) fn new(host: Arc<dyn Runtime>) -> Self {
        Self { host, begun: Mutex::default() }
    }
}

impl fmt::Debug for Hanging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.fmt(f)
    }
}

impl Runtime for Hanging {
    fn now(&self) -> Instant {
        self.host.now()
    }

    fn unix_time(&self) -> Duration {
        self.host.unix_time()
    }

    fn timer(&self) -> Box<dyn Timer> {
        self.host.timer()
    }

    fn spawn(&self, name: &str, task: BoxFuture<'static, ()>) {
        self.host.spawn(name, task);
    }

    fn spawn_blocking(&self, work: Work) {
        self.begun.lock().unwrap().push(work);
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Socket>> {
        self.host.connect(addr)
    }

    fn listen(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Acceptor>>> {
        self.host.listen(addr)
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        self.host.resolve(host, port)
    }

    fn seed(&self) -> Seed {
        self.host.seed()
    }
}
