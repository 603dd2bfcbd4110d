//! [`Runtime`] over async-std's executor and reactor.

use std::{
    io,
    net::{Shutdown, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_std::{
    net::{TcpListener, TcpStream, ToSocketAddrs as _},
    task,
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

/// Runs the driver on async-std's executor, which starts when the first task does and ends with the process.
#[derive(Debug)]
pub struct AsyncStdRuntime {
    clock: MonotonicClock,
    seeds: OsSeeds,
}

impl AsyncStdRuntime {
    /// Its epoch is now.
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub fn new() -> io::Result<Self> {
        Ok(Self { clock: MonotonicClock::new(), seeds: OsSeeds::new()? })
    }
}

impl Runtime for AsyncStdRuntime {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn unix_time(&self) -> Duration {
        adapter::unix_time()
    }

    fn timer(&self) -> Box<dyn Timer> {
        Box::new(SleepTimer::new(self.clock, |duration| Box::pin(task::sleep(duration))))
    }

    fn spawn(&self, _name: &str, task: BoxFuture<'static, ()>) {
        drop(task::spawn(task));
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        drop(task::spawn_blocking(work));
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Socket>> {
        Box::pin(async move { socket(TcpStream::connect(addr).await?, addr) })
    }

    fn listen(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Acceptor>>> {
        Box::pin(async move {
            let listener = TcpListener::bind(addr).await?;
            let local = listener.local_addr()?;
            Ok(Box::new(AcceptByFuture::new(listener, local, accept)) as Box<dyn Acceptor>)
        })
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let host = host.to_owned();
        Box::pin(async move { Ok((&*host, port).to_socket_addrs().await?.collect()) })
    }

    fn seed(&self) -> Seed {
        self.seeds.draw()
    }

    fn provider(&self) -> Arc<dyn Provider> {
        Arc::new(DefaultProvider)
    }
}

fn accept(listener: Arc<TcpListener>) -> BoxFuture<'static, io::Result<Socket>> {
    Box::pin(async move {
        let (stream, remote) = listener.accept().await?;
        socket(stream, remote)
    })
}

fn socket(stream: TcpStream, remote: SocketAddr) -> io::Result<Socket> {
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    Ok(adapter::socket(stream, (local, remote), |stream| stream.shutdown(Shutdown::Write)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_writes_are_not_delayed() {
        task::block_on(async {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            let addr = listener.local_addr().unwrap();
            let stream = TcpStream::connect(addr).await.unwrap();
            let watched = stream.clone();
            assert!(!watched.nodelay().unwrap());
            let socket = socket(stream, addr).unwrap();
            assert!(watched.nodelay().unwrap());
            assert_eq!((socket.local, socket.remote), (watched.local_addr().unwrap(), addr));
        });
    }

    #[test]
    fn the_feature_chooses_the_cryptography() {
        let expected = if cfg!(feature = "aws-lc-rs") { "AwsLc" } else { "RustCrypto" };
        assert_eq!(format!("{:?}", AsyncStdRuntime::new().unwrap().provider()), expected);
    }
}
