//! [`Runtime`] over smol's global executor and reactor.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

#[cfg(feature = "aws-lc-rs")]
use septa_core::crypto::AwsLc as DefaultProvider;
#[cfg(not(feature = "aws-lc-rs"))]
use septa_core::crypto::RustCrypto as DefaultProvider;
use septa_core::{Instant, Seed, crypto::Provider};
use septa_driver::{
    adapter::{self, AcceptByFuture, MonotonicClock, OsSeeds, SleepTimer},
    runtime::{Acceptor, BoxFuture, Runtime, Socket, Timer},
};
use smol::Async;

/// Runs the driver on smol's global executor, which starts when the first task does and ends with the process.
#[derive(Debug)]
pub struct SmolRuntime {
    clock: MonotonicClock,
    seeds: OsSeeds,
}

impl SmolRuntime {
    /// Its epoch is now.
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub fn new() -> io::Result<Self> {
        Ok(Self { clock: MonotonicClock::new(), seeds: OsSeeds::new()? })
    }
}

impl Runtime for SmolRuntime {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn unix_time(&self) -> Duration {
        adapter::unix_time()
    }

    fn timer(&self) -> Box<dyn Timer> {
        Box::new(SleepTimer::new(self.clock, smol::Timer::after))
    }

    fn spawn(&self, _name: &str, task: BoxFuture<'static, ()>) {
        smol::spawn(task).detach();
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        smol::unblock(work).detach();
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Socket>> {
        Box::pin(async move { socket(Async::<TcpStream>::connect(addr).await?, addr) })
    }

    fn listen(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Acceptor>>> {
        Box::pin(async move {
            let listener = Async::<TcpListener>::bind(addr)?;
            let local = listener.get_ref().local_addr()?;
            Ok(Box::new(AcceptByFuture::new(listener, local, accept)) as Box<dyn Acceptor>)
        })
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        Box::pin(smol::net::resolve((host.to_owned(), port)))
    }

    fn seed(&self) -> Seed {
        self.seeds.draw()
    }

    fn provider(&self) -> Arc<dyn Provider> {
        Arc::new(DefaultProvider)
    }
}

fn accept(listener: Arc<Async<TcpListener>>) -> BoxFuture<'static, io::Result<Socket>> {
    Box::pin(async move {
        let (stream, remote) = listener.accept().await?;
        socket(stream, remote)
    })
}

fn socket(stream: Async<TcpStream>, remote: SocketAddr) -> io::Result<Socket> {
    stream.get_ref().set_nodelay(true)?;
    let local = stream.get_ref().local_addr()?;
    Ok(adapter::socket(stream, (local, remote), |stream| stream.get_ref().shutdown(Shutdown::Write)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_writes_are_not_delayed() {
        smol::block_on(async {
            let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
            let addr = listener.get_ref().local_addr().unwrap();
            let stream = Async::<TcpStream>::connect(addr).await.unwrap();
            let watched = stream.get_ref().try_clone().unwrap();
            assert!(!watched.nodelay().unwrap());
            let socket = socket(stream, addr).unwrap();
            assert!(watched.nodelay().unwrap());
            assert_eq!((socket.local, socket.remote), (watched.local_addr().unwrap(), addr));
        });
    }

    #[test]
    fn the_feature_chooses_the_cryptography() {
        let expected = if cfg!(feature = "aws-lc-rs") { "AwsLc" } else { "RustCrypto" };
        assert_eq!(format!("{:?}", SmolRuntime::new().unwrap().provider()), expected);
    }
}
