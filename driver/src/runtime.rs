//! What the driver needs of an async runtime and its network.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use septa_core::{
    Instant, Seed,
    crypto::{Provider, RustCrypto},
};

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A clock, a spawner, a TCP network and a source of seeds.
///
/// Held as `Arc<dyn Runtime>`, so that one set of driver types serves every runtime and the
/// simulator. Waking rules are those of [`Future::poll`]: a `poll_*` that returns pending has stored
/// the waker of its last caller.
pub trait Runtime: Send + Sync + fmt::Debug + 'static {
    /// Time since an epoch of the runtime's choice. Should not run backwards.
    fn now(&self) -> Instant;

    /// Time since 1970. It numbers what must be newer than what an earlier process with the same identity has said, and
    /// tells how much time has passed for bans and the address book since an earlier process has stored them. It may be
    /// wrong and jump: then bans may last too long or not long enough, and nothing else happens.
    fn unix_time(&self) -> Duration;

    /// A new timer, not armed.
    fn timer(&self) -> Box<dyn Timer>;

    /// Runs `task` until it ends. `name` says what it is, for people.
    fn spawn(&self, name: &str, task: BoxFuture<'static, ()>);

    /// Runs `work`, which blocks, where that does not hold up any task. It is dropped if the runtime ends first.
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>);

    /// Connects over TCP, without delaying small writes (`TCP_NODELAY`). Dropping the future gives up.
    fn connect(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Socket>>;

    /// Listens for TCP connections. Port 0 chooses a free port.
    fn listen(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Acceptor>>>;

    /// The addresses of `host`, each with `port`, in the order in which they should be tried.
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;

    /// An unpredictable seed, another one each time. A simulator derives them from its root.
    fn seed(&self) -> Seed;

    /// The cryptography of endpoints whose builder names none. Pure Rust unless the runtime knows better.
    fn provider(&self) -> Arc<dyn Provider> {
        Arc::new(RustCrypto)
    }
}

/// A timer that can be armed again and again.
pub trait Timer: Send {
    /// Arms the timer for `deadline`, or disarms it.
    fn reset(&mut self, deadline: Option<Instant>);

    /// Ready from the deadline on until the next [`reset`](Self::reset); never ready if not armed. Once it was pending
    /// it need not be asked again to be woken at the deadline, unless it is reset or another one is to be woken: so it
    /// must not be pending because the task has done enough for now. It fires when [`Runtime::now`] has reached the
    /// deadline, not before.
    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// An established TCP connection: its two directions, which two threads may use at the same time.
/// Dropping both halves closes it.
pub struct Socket {
    /// What comes from the peer.
    pub reader: Box<dyn SocketReader>,
    /// What goes to the peer.
    pub writer: Box<dyn SocketWriter>,
    /// Address and port of this end.
    pub local: SocketAddr,
    /// Address and port of the other end.
    pub remote: SocketAddr,
}

/// The input of a [`Socket`].
pub trait SocketReader: Send {
    /// Reads at least one byte into `buffer`, unless that is empty; 0 is the end of the input.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;
}

/// The output of a [`Socket`].
pub trait SocketWriter: Send {
    /// Writes some of `data` and returns how much.
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>>;

    /// Ends the output; input may still come.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// A listening TCP socket. Dropping it stops listening.
pub trait Acceptor: Send {
    /// The next connection, without delay of small writes (`TCP_NODELAY`). After an error the
    /// acceptor may be polled again.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Socket>>;

    /// The address that is listened on, with the port that was chosen.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("local", &self.local).field("remote", &self.remote).finish_non_exhaustive()
    }
}
