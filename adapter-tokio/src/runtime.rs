//! [`Runtime`] over the current tokio runtime.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

#[cfg(feature = "aws-lc-rs")]
use septa_core::crypto::AwsLc as DefaultProvider;
#[cfg(not(feature = "aws-lc-rs"))]
use septa_core::crypto::RustCrypto as DefaultProvider;
use septa_core::{Instant, Seed, crypto::Provider};
use septa_driver::{
    adapter::{OsSeeds, unix_time},
    runtime::{Acceptor, BoxFuture, Runtime, Socket, SocketReader, SocketWriter, Timer},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Handle,
    task::unconstrained,
    time::Sleep,
};

/// Runs the driver on a tokio runtime, whose I/O and time drivers must be enabled.
pub struct TokioRuntime {
    handle: Handle,
    epoch: tokio::time::Instant,
    seeds: OsSeeds,
}

impl TokioRuntime {
    /// Uses the tokio runtime in whose context this is called. Its epoch is now.
    ///
    /// # Errors
    /// This is not called within a tokio runtime, or the operating system gives no randomness.
    pub fn current() -> io::Result<Self> {
        let handle = Handle::try_current().map_err(io::Error::other)?;
        Ok(Self { handle, epoch: tokio::time::Instant::now(), seeds: OsSeeds::new()? })
    }

    /// Tokio's sockets must be made in its context, even if another executor polls the future.
    fn within<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> BoxFuture<'static, T> {
        let (handle, mut future) = (self.handle.clone(), Box::pin(future));
        Box::pin(std::future::poll_fn(move |cx| {
            let _guard = handle.enter();
            future.as_mut().poll(cx)
        }))
    }
}

impl Runtime for TokioRuntime {
    fn now(&self) -> Instant {
        let elapsed = self.epoch.elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    fn unix_time(&self) -> Duration {
        unix_time()
    }

    fn timer(&self) -> Box<dyn Timer> {
        let _guard = self.handle.enter();
        Box::new(TokioTimer { epoch: self.epoch, sleep: Box::pin(tokio::time::sleep(Duration::ZERO)), armed: false })
    }

    fn spawn(&self, _name: &str, task: BoxFuture<'static, ()>) {
        self.handle.spawn(task);
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.handle.spawn_blocking(work);
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Socket>> {
        self.within(async move { socket(TcpStream::connect(addr).await?, addr) })
    }

    fn listen(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Acceptor>>> {
        self.within(async move {
            let listener = TcpListener::bind(addr).await?;
            Ok(Box::new(TokioAcceptor(listener)) as Box<dyn Acceptor>)
        })
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let host = host.to_owned();
        self.within(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }

    fn seed(&self) -> Seed {
        self.seeds.draw()
    }

    fn provider(&self) -> Arc<dyn Provider> {
        Arc::new(DefaultProvider)
    }
}

impl fmt::Debug for TokioRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokioRuntime")
    }
}

struct TokioTimer {
    epoch: tokio::time::Instant,
    sleep: Pin<Box<Sleep>>,
    armed: bool,
}

impl Timer for TokioTimer {
    fn reset(&mut self, deadline: Option<Instant>) {
        let deadline = deadline.filter(|deadline| *deadline != Instant::NEVER);
        let deadline = deadline.and_then(|deadline| self.epoch.checked_add(Duration::from_nanos(deadline.as_nanos())));
        self.armed = deadline.is_some();
        if let Some(deadline) = deadline {
            self.sleep.as_mut().reset(deadline);
        }
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.armed {
            return Poll::Pending;
        }
        // Else it would forget the waker of a task whose budget is used up.
        Pin::new(&mut unconstrained(self.sleep.as_mut())).poll(cx)
    }
}

fn socket(stream: TcpStream, remote: SocketAddr) -> io::Result<Socket> {
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    let (reader, writer) = stream.into_split();
    Ok(Socket { reader: Box::new(TokioReader(reader)), writer: Box::new(TokioWriter(Some(writer))), local, remote })
}

struct TokioReader(OwnedReadHalf);

impl SocketReader for TokioReader {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

/// Never empty before it is dropped.
struct TokioWriter(Option<OwnedWriteHalf>);

impl TokioWriter {
    fn half(&mut self) -> io::Result<Pin<&mut OwnedWriteHalf>> {
        self.0.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl SocketWriter for TokioWriter {
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.half()?.poll_write(cx, data)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.half()?.poll_shutdown(cx)
    }
}

impl Drop for TokioWriter {
    /// The half would shut the output down once more, and even if the connection was to be cut off.
    fn drop(&mut self) {
        if let Some(half) = self.0.take() {
            half.forget();
        }
    }
}

struct TokioAcceptor(TcpListener);

impl Acceptor for TokioAcceptor {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Socket>> {
        let (stream, remote) = ready!(self.0.poll_accept(cx))?;
        Poll::Ready(socket(stream, remote))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
