//! What a connection costs in calls on its socket. Over tokio each call that does something is one system
//! call; one that finds nothing to do after a short read is none. `benches/count-socket-calls` counts the real
//! ones.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{AsyncReadExt, AsyncWriteExt};
use septa_core::{ExpectedPeer, Identity, Instant, Multiaddr, Seed, crypto::Provider};
use septa_driver::{
    Endpoint,
    runtime::{Acceptor, BoxFuture, Runtime, Socket, SocketReader, SocketWriter, Timer},
};
use septa_sim::Simulation;

use crate::world::{ECHO, echo};

#[derive(Default)]
pub(crate) struct Calls {
    connects: AtomicUsize,
    accepts: AtomicUsize,
    reads: AtomicUsize,
    /// How often a task looked for input, in vain or not.
    pub(crate) looks: AtomicUsize,
    pub(crate) writes: AtomicUsize,
    /// Every write fails from now on; reads wait.
    pub(crate) broken: AtomicBool,
    /// Halves of sockets that exist.
    pub(crate) halves: AtomicUsize,
}

impl Calls {
    fn all(&self) -> [usize; 4] {
        [&self.connects, &self.accepts, &self.reads, &self.writes].map(|count| count.load(Relaxed))
    }
}

/// Counts calls that do something.
fn count<T>(outcome: Poll<T>, calls: &AtomicUsize) -> Poll<T> {
    calls.fetch_add(usize::from(outcome.is_ready()), Relaxed);
    outcome
}

/// A host whose sockets count.
pub(crate) struct Counting {
    pub(crate) host: Arc<dyn Runtime>,
    pub(crate) calls: Arc<Calls>,
}

impl fmt::Debug for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.fmt(f)
    }
}

impl Runtime for Counting {
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

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.host.spawn_blocking(work);
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Socket>> {
        let (connecting, calls) = (self.host.connect(addr), self.calls.clone());
        Box::pin(async move {
            calls.connects.fetch_add(1, Relaxed);
            Ok(counting(connecting.await?, &calls))
        })
    }

    fn listen(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Acceptor>>> {
        let (listening, calls) = (self.host.listen(addr), self.calls.clone());
        Box::pin(async move {
            let acceptor = listening.await?;
            Ok(Box::new(CountingAcceptor { acceptor, calls }) as Box<dyn Acceptor>)
        })
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        self.host.resolve(host, port)
    }

    fn seed(&self) -> Seed {
        self.host.seed()
    }

    fn provider(&self) -> Arc<dyn Provider> {
        self.host.provider()
    }
}

struct CountingAcceptor {
    acceptor: Box<dyn Acceptor>,
    calls: Arc<Calls>,
}

impl Acceptor for CountingAcceptor {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Socket>> {
        count(self.acceptor.poll_accept(cx), &self.calls.accepts).map_ok(|socket| counting(socket, &self.calls))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.acceptor.local_addr()
    }
}

fn counting(socket: Socket, calls: &Arc<Calls>) -> Socket {
    Socket {
        reader: Box::new(CountingReader(socket.reader, Half::new(calls))),
        writer: Box::new(CountingWriter(socket.writer, Half::new(calls))),
        ..socket
    }
}

struct Half(Arc<Calls>);

impl Half {
    fn new(calls: &Arc<Calls>) -> Self {
        calls.halves.fetch_add(1, Relaxed);
        Self(calls.clone())
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        self.0.halves.fetch_sub(1, Relaxed);
    }
}

struct CountingReader(Box<dyn SocketReader>, Half);

impl SocketReader for CountingReader {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.1.0.looks.fetch_add(1, Relaxed);
        count(self.0.poll_read(cx, buffer), &self.1.0.reads)
    }
}

struct CountingWriter(Box<dyn SocketWriter>, Half);

impl SocketWriter for CountingWriter {
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.1.0.broken.load(Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        count(self.0.poll_write(cx, data), &self.1.0.writes)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        count(self.0.poll_shutdown(cx), &self.1.0.writes)
    }
}

/// Of both ends together, up to the first echoed byte. To be lowered whenever that becomes possible. Real
/// sockets need fewer reads, 13 calls in all: there, two writes in quick succession are one read.
const MOST: usize = 14;

#[test]
fn both_ends_need_few_socket_calls_up_to_the_first_echoed_byte() {
    let simulation = Arc::new(Simulation::new(1));
    let calls = Arc::new(Calls::default());
    let node = |seed: u8, name| {
        let runtime = Counting { host: simulation.host(name), calls: calls.clone() };
        let builder = Endpoint::builder(Identity::from_ed25519_seed([seed; 32])).serve([ECHO]);
        builder.build(Arc::new(runtime)).unwrap()
    };
    let (alice, bob) = (node(1, "alice"), node(2, "bob"));
    let addr = Multiaddr::from_socket_addr((simulation.ip(2), 4001).into());
    let spawner = simulation.clone();
    let counted = simulation.block_on(async {
        let listener = bob.listen(&addr).await.unwrap();
        spawner.spawn("bob", async move {
            let connection = listener.accept().await.unwrap();
            echo(connection.accept_stream().await.unwrap()).await;
        });
        let connection = alice.connect(&addr, ExpectedPeer::Exactly(bob.peer_id())).await.unwrap();
        let mut stream = connection.open_stream(&[ECHO]).await.unwrap();
        stream.write_all(b"!").await.unwrap();
        stream.flush().await.unwrap();
        stream.read_exact(&mut [0]).await.unwrap();
        calls.all()
    });
    let counted @ [connects, accepts, ..] = counted.unwrap();
    println!("connects, accepts, reads, writes: {counted:?}");
    assert_eq!((connects, accepts), (1, 1));
    assert!(counted.iter().sum::<usize>() <= MOST, "{counted:?}");
}
