//! Peers and networks that die in various ways.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{AsyncReadExt, AsyncWriteExt, future::join};
use septa_core::{ExpectedPeer, Identity, Instant, Seed};
use septa_driver::{
    CloseReason, Endpoint, ReadError,
    runtime::{Acceptor, BoxFuture, Runtime, Socket, SocketReader, Timer},
};
use septa_sim::LinkOptions;

use crate::world::{Conditions, ECHO, World, calm, conditions};

#[test]
fn a_peer_that_died_without_a_word_is_noticed() {
    for conditions in conditions(4) {
        let world = World::new(conditions);
        world.run(async {
            let (near, far, _listener) = world.connected().await;
            world.simulation.cut_network();
            let before = world.simulation.now();
            let (a, b) = join(near.closed(), far.closed()).await;
            assert_eq!((a, b), (CloseReason::KeepAliveTimeout, CloseReason::KeepAliveTimeout));
            let took = world.simulation.now().saturating_duration_since(before);
            assert!(took <= Duration::from_secs(36), "{took:?}");
        });
        world.end();
    }
}

#[test]
fn an_idle_connection_between_living_peers_stays() {
    let world = World::new(calm());
    world.run(async {
        let (near, far, _listener) = world.connected().await;
        world.simulation.sleep(Duration::from_secs(24 * 3600)).await;
        assert_eq!((near.close_reason(), far.close_reason()), (None, None));
        assert!(near.rtt().is_some());
        near.ping().await.unwrap();
    });
    world.end();
}

#[test]
fn a_network_that_takes_no_bytes_is_a_write_stall() {
    let world = World::new(calm());
    world.run(async {
        let (near, _far, _listener) = world.connected().await;
        let mut stream = near.open_stream(&[ECHO]).await.unwrap();
        stream.negotiated().await.unwrap();
        world.simulation.cut_network();
        let before = world.simulation.now();
        let error = loop {
            if let Err(error) = stream.write_all(&[0; 64 * 1024]).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(near.closed().await, CloseReason::WriteStall);
        let took = world.simulation.now().saturating_duration_since(before);
        assert_eq!(took, Duration::from_secs(30));
    });
    world.end();
}

#[test]
fn a_reset_connection_is_lost_for_every_handle() {
    for conditions in conditions(8) {
        let world = World::new(conditions);
        world.run(async {
            let (near, far, _listener) = world.connected().await;
            // Otherwise the end may come before any frame of the listener, and look like a denial.
            near.ping().await.unwrap();
            let mut stream = near.open_stream(&[ECHO]).await.unwrap();
            stream.write_all(b"x").await.unwrap();
            let inbound = far.accept_stream().await.unwrap();
            let reset = async { world.simulation.reset_connections() };
            let (read, ()) = join(stream.read_chunk(), reset).await;
            assert_eq!(read, Err(ReadError::ConnectionLost(CloseReason::Io)));
            assert_eq!(near.closed().await, CloseReason::Io);
            assert_eq!(far.closed().await, CloseReason::Io);
            drop(inbound);
        });
        world.end();
    }
}

#[test]
fn a_cut_at_any_byte_ends_everything_and_hangs_nothing() {
    for cut_at in (1..4000).step_by(61) {
        let link = LinkOptions { reset_after: Some(cut_at), ..LinkOptions::default() };
        let world = World::new(Conditions { link, seed: cut_at, ..calm() });
        world.run(async {
            let listener = world.bob.listen(&world.bob_addr()).await.unwrap();
            let server = async {
                while let Ok(connection) = listener.accept().await {
                    world.serve_echo(connection.clone());
                    connection.closed().await;
                }
            };
            let client = async {
                let addr = world.bob_addr();
                let Ok(near) = world.alice.connect(&addr, ExpectedPeer::Any).await else { return };
                let Ok(mut stream) = near.open_stream(&[ECHO]).await else { return };
                let _ = stream.write_all(&[0; 5000]).await;
                let _ = stream.close().await;
                let mut received = Vec::new();
                assert!(stream.read_to_end(&mut received).await.is_err(), "{cut_at}");
                near.closed().await;
            };
            futures_util::future::select(Box::pin(server), Box::pin(client)).await;
        });
        world.end();
    }
}

/// A host whose sockets panic when they are told to.
#[derive(Debug)]
struct Sabotaged {
    host: Arc<dyn Runtime>,
    armed: Arc<AtomicBool>,
}

struct SabotagedReader {
    reader: Box<dyn SocketReader>,
    armed: Arc<AtomicBool>,
}

impl Runtime for Sabotaged {
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
        let (connecting, armed) = (self.host.connect(addr), self.armed.clone());
        Box::pin(async move {
            let socket = connecting.await?;
            Ok(Socket { reader: Box::new(SabotagedReader { reader: socket.reader, armed }), ..socket })
        })
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

impl SocketReader for SabotagedReader {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        assert!(!self.armed.load(Ordering::Relaxed), "sabotage");
        self.reader.poll_read(cx, buffer)
    }
}

#[test]
fn a_task_that_panics_loses_its_connection_and_tells_every_handle() {
    let world = World::new(calm());
    let armed = Arc::new(AtomicBool::new(false));
    let runtime = Arc::new(Sabotaged { host: world.simulation.host("carol"), armed: armed.clone() });
    let carol = Endpoint::builder(Identity::from_ed25519_seed([3; 32])).build(runtime).unwrap();
    world.run(async {
        let listener = world.bob.listen(&world.bob_addr()).await.unwrap();
        let near = carol.connect(&world.bob_addr(), ExpectedPeer::Any).await.unwrap();
        let far = listener.accept().await.unwrap();
        near.ping().await.unwrap();
        let mut stream = near.open_stream(&[ECHO]).await.unwrap();
        let sabotage = async {
            armed.store(true, Ordering::Relaxed);
            far.close(0);
        };
        let ((read, accepted), ()) = join(join(stream.read_chunk(), near.accept_stream()), sabotage).await;
        assert_eq!(read, Err(ReadError::ConnectionLost(CloseReason::Io)));
        assert_eq!(accepted.unwrap_err(), CloseReason::Io);
        assert_eq!(near.closed().await, CloseReason::Io);
        far.closed().await;
        assert_eq!((carol.stats().panicked_tasks, carol.stats().live_tasks), (1, 0));
    });
    world.end();
}
