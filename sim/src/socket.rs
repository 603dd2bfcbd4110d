//! One end of a simulated TCP connection.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use septa_driver::runtime::{Socket, SocketReader, SocketWriter};

use crate::{network::Network, observer::Event, pipe::Pipe, trace::Kind};

/// A socket that reads from the first of `pipes` and writes to the second.
pub(crate) fn new(
    network: &Arc<Network>,
    id: u64,
    (input, output): (Arc<Mutex<Pipe>>, Arc<Mutex<Pipe>>),
    (local, remote): (SocketAddr, SocketAddr),
) -> Socket {
    let end = Arc::new(End { network: network.clone(), id, input, output });
    Socket { reader: Box::new(SimReader(end.clone())), writer: Box::new(SimWriter(end)), local, remote }
}

/// What the two halves share. The socket closes when both are dropped.
struct End {
    network: Arc<Network>,
    id: u64,
    input: Arc<Mutex<Pipe>>,
    output: Arc<Mutex<Pipe>>,
}

struct SimReader(Arc<End>);

struct SimWriter(Arc<End>);

impl SocketReader for SimReader {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let End { network, id, input, .. } = &*self.0;
        let read = with(input, |pipe| pipe.read(cx, network.now(), buffer));
        if let Poll::Ready(Ok(count @ 1..)) = read {
            network.counters.add_delivery(count);
        }
        match &read {
            Poll::Ready(Ok(count)) => network.observer.tell(Event::Read { socket: *id, count: *count }),
            Poll::Ready(Err(error)) => network.observer.tell(Event::Failed { socket: *id, why: error.kind() }),
            Poll::Pending => {}
        }
        read
    }
}

impl SocketWriter for SimWriter {
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let End { network, id, input, output } = &*self.0;
        let now = network.now();
        let (written, exhausted) = with(output, |pipe| (pipe.write(cx, now, data), pipe.is_exhausted()));
        match &written {
            Poll::Ready(Ok(count)) => {
                network.trace.record(Kind::Send, now, *id, &data[..*count]);
                network.observer.tell(Event::Sent { socket: *id, bytes: &data[..*count] });
            }
            Poll::Ready(Err(error)) => network.observer.tell(Event::Failed { socket: *id, why: error.kind() }),
            Poll::Pending => {}
        }
        if exhausted {
            with(output, |pipe| {
                pipe.count_reset();
                pipe.reset();
            });
            with(input, Pipe::reset);
        }
        written
    }

    fn poll_shutdown(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let End { network, id, output, .. } = &*self.0;
        let now = network.now();
        network.trace.record(Kind::End, now, *id, &[]);
        network.observer.tell(Event::Ended { socket: *id });
        with(output, |pipe| pipe.finish(now));
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    /// Like close(2): a reset if unread input is thrown away, else an end of the output. Whoever
    /// writes to a closed socket gets a reset.
    fn drop(&mut self) {
        let now = self.network.now();
        let unread = with(&self.input, |pipe| pipe.has_unread());
        self.network.trace.record(Kind::End, now, self.id, &[u8::from(unread)]);
        self.network.observer.tell(Event::Closed { socket: self.id, has_unread: unread });
        if unread {
            with(&self.output, Pipe::reset);
        } else {
            with(&self.output, |pipe| pipe.finish(now));
        }
        with(&self.input, Pipe::reset);
    }
}

pub(crate) fn with<T>(pipe: &Mutex<Pipe>, f: impl FnOnce(&mut Pipe) -> T) -> T {
    f(&mut pipe.lock().unwrap_or_else(PoisonError::into_inner))
}
