//! Sockets and listeners of runtimes whose TCP streams have the traits of `futures-io`.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_io::{AsyncRead, AsyncWrite};

use crate::runtime::{Acceptor, BoxFuture, Socket, SocketReader, SocketWriter};

/// A [`Socket`] of a TCP stream that closes when nobody has it any more. The local and the remote address are `addrs`;
/// `shut_down` ends the output at once, which not every stream does when it is closed as an [`AsyncWrite`].
pub fn socket<S>(stream: S, addrs: (SocketAddr, SocketAddr), shut_down: fn(&S) -> io::Result<()>) -> Socket
where
    S: Send + Sync + 'static,
    for<'a> &'a S: AsyncRead + AsyncWrite + Unpin,
{
    let stream = Arc::new(stream);
    let (local, remote) = addrs;
    let writer = Box::new(Writer { stream: stream.clone(), shut_down });
    Socket { reader: Box::new(Reader(stream)), writer, local, remote }
}

struct Reader<S>(Arc<S>);

impl<S: Send + Sync> SocketReader for Reader<S>
where
    for<'a> &'a S: AsyncRead + Unpin,
{
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.0).poll_read(cx, buffer)
    }
}

struct Writer<S> {
    stream: Arc<S>,
    shut_down: fn(&S) -> io::Result<()>,
}

impl<S: Send + Sync> SocketWriter for Writer<S>
where
    for<'a> &'a S: AsyncWrite + Unpin,
{
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.stream).poll_write(cx, data)
    }

    fn poll_shutdown(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready((self.shut_down)(&self.stream))
    }
}

/// An [`Acceptor`] over a listener that offers a future for each connection. Dropping it drops the listener.
pub struct AcceptByFuture<L> {
    listener: Arc<L>,
    local: SocketAddr,
    accept: fn(Arc<L>) -> BoxFuture<'static, io::Result<Socket>>,
    /// The future that waits for the next connection.
    accepting: Option<BoxFuture<'static, io::Result<Socket>>>,
}

impl<L> AcceptByFuture<L> {
    /// Accepts what connects to `listener`, which listens on `local`, with one `accept` after the other.
    pub fn new(listener: L, local: SocketAddr, accept: fn(Arc<L>) -> BoxFuture<'static, io::Result<Socket>>) -> Self {
        Self { listener: Arc::new(listener), local, accept, accepting: None }
    }
}

impl<L: Send + Sync> Acceptor for AcceptByFuture<L> {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Socket>> {
        let accepting = self.accepting.get_or_insert_with(|| (self.accept)(self.listener.clone()));
        let accepted = ready!(accepting.as_mut().poll(cx));
        self.accepting = None;
        Poll::Ready(accepted)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

impl<L> fmt::Debug for AcceptByFuture<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AcceptByFuture({})", self.local)
    }
}
