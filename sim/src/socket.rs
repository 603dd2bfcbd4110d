//! A simulated TCP connection: its two sockets, and the pipes between them.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use septa_driver::runtime::{Socket, SocketReader, SocketWriter};

use crate::{
    network::Network,
    observer::Event,
    pipe::{Pipe, Written},
    trace::Kind,
};

/// A connection: the socket of its dialer, that of its listener, and the two pipes between them. All of it is in one
/// place, as there are thousands.
pub(crate) struct Wire {
    network: Arc<Network>,
    /// Of the dialer's socket. That of the listener has the next number.
    id: u64,
    /// From the dialer to the listener, and back.
    pipes: [Mutex<Pipe>; 2],
    /// How many halves of each socket there are. It closes when both are dropped.
    halves: [AtomicU8; 2],
}

/// One direction of a connection.
pub(crate) struct Direction {
    wire: Arc<Wire>,
    is_back: bool,
}

/// The reader or the writer of a socket.
struct Half {
    wire: Arc<Wire>,
    is_dialer: bool,
}

struct SimReader(Half);

struct SimWriter(Half);

impl Wire {
    pub(crate) fn new(network: Arc<Network>, id: u64, there: Pipe, back: Pipe) -> Arc<Self> {
        let halves = [AtomicU8::new(2), AtomicU8::new(2)];
        Arc::new(Self { network, id, pipes: [there, back].map(Mutex::new), halves })
    }

    /// The sockets of the dialer and of the listener. Each is made once.
    pub(crate) fn sockets(self: &Arc<Self>, dialer: SocketAddr, listener: SocketAddr) -> (Socket, Socket) {
        (self.socket(true, dialer, listener), self.socket(false, listener, dialer))
    }

    fn socket(self: &Arc<Self>, is_dialer: bool, local: SocketAddr, remote: SocketAddr) -> Socket {
        let half = || Half { wire: self.clone(), is_dialer };
        Socket { reader: Box::new(SimReader(half())), writer: Box::new(SimWriter(half())), local, remote }
    }

    /// From the dialer to the listener.
    pub(crate) fn there(self: Arc<Self>) -> Direction {
        Direction { wire: self, is_back: false }
    }

    /// From the listener to the dialer.
    pub(crate) fn back(self: Arc<Self>) -> Direction {
        Direction { wire: self, is_back: true }
    }

    fn pipe<T>(&self, is_back: bool, f: impl FnOnce(&mut Pipe) -> T) -> T {
        let pipe = &self.pipes[usize::from(is_back)];
        f(&mut pipe.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Direction {
    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut Pipe) -> T) -> T {
        self.wire.pipe(self.is_back, f)
    }
}

impl Half {
    fn network(&self) -> &Network {
        &self.wire.network
    }

    /// The number of the socket.
    fn id(&self) -> u64 {
        self.wire.id + u64::from(!self.is_dialer)
    }

    fn input<T>(&self, f: impl FnOnce(&mut Pipe) -> T) -> T {
        self.wire.pipe(self.is_dialer, f)
    }

    fn output<T>(&self, f: impl FnOnce(&mut Pipe) -> T) -> T {
        self.wire.pipe(!self.is_dialer, f)
    }

    /// Like close(2): a reset if input is thrown away that has arrived, else an end of the output. Either takes its time to
    /// the other end, which can write nothing any more once it is there.
    fn close(&self) {
        let (network, id) = (self.network(), self.id());
        let now = network.now();
        let unread = self.input(|pipe| pipe.has_unread(now));
        network.trace.record(Kind::End, now, id, &[u8::from(unread)]);
        network.observer.tell(Event::Closed { socket: id, has_unread: unread });
        self.output(|pipe| {
            if unread {
                pipe.reset(now);
            }
            pipe.close(now);
        });
        self.input(|pipe| pipe.abandon(now));
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        if self.wire.halves[usize::from(!self.is_dialer)].fetch_sub(1, Ordering::AcqRel) == 1 {
            self.close();
        }
    }
}

impl SocketReader for SimReader {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let (half, network, id) = (&self.0, self.0.network(), self.0.id());
        let now = network.now();
        let read = half.input(|pipe| pipe.read(cx, now, buffer));
        match &read {
            Poll::Ready(Ok(count)) => {
                if *count > 0 {
                    network.counters.add_delivery(*count);
                }
                network.trace.count(Kind::Read, now, id, *count as u64);
                network.observer.tell(Event::Read { socket: id, count: *count });
            }
            Poll::Ready(Err(error)) => {
                network.trace.count(Kind::Fail, now, id, 0);
                network.observer.tell(Event::Failed { socket: id, why: error.kind() });
            }
            Poll::Pending => {}
        }
        read
    }
}

impl SocketWriter for SimWriter {
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let (half, network, id) = (&self.0, self.0.network(), self.0.id());
        let now = network.now();
        let written = match half.input(|pipe| pipe.is_told(now)) {
            true => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            false => half.output(|pipe| pipe.write(cx, now, data)),
        };
        if written.is_ready() {
            half.input(|pipe| pipe.forget_writer());
        }
        match written {
            Poll::Ready(Ok(Written { count, changed })) => {
                let sent = changed.as_deref().unwrap_or(&data[..count]);
                network.trace.record(Kind::Send, now, id, sent);
                network.observer.tell(Event::Sent { socket: id, bytes: &data[..count] });
                if half.output(|pipe| pipe.reset_if_exhausted(now)) {
                    half.input(|pipe| {
                        pipe.forget_planned_reset();
                        pipe.reset(now);
                    });
                }
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => {
                network.trace.count(Kind::Fail, now, id, 1);
                network.observer.tell(Event::Failed { socket: id, why: error.kind() });
                Poll::Ready(Err(error))
            }
            Poll::Pending => {
                half.input(|pipe| pipe.await_news(cx.waker(), now));
                Poll::Pending
            }
        }
    }

    fn poll_shutdown(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (half, network, id) = (&self.0, self.0.network(), self.0.id());
        let now = network.now();
        network.trace.record(Kind::End, now, id, &[]);
        network.observer.tell(Event::Ended { socket: id });
        half.output(|pipe| pipe.finish(now));
        Poll::Ready(Ok(()))
    }
}
