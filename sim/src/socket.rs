//! One end of a simulated TCP connection.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use septa_driver::runtime::{Socket, SocketReader, SocketWriter};

use crate::{
    network::Network,
    observer::Event,
    pipe::{Pipe, Written},
    trace::Kind,
};

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
        let now = network.now();
        let read = with(input, |pipe| pipe.read(cx, now, buffer));
        match &read {
            Poll::Ready(Ok(count)) => {
                if *count > 0 {
                    network.counters.add_delivery(*count);
                }
                network.trace.count(Kind::Read, now, *id, *count as u64);
                network.observer.tell(Event::Read { socket: *id, count: *count });
            }
            Poll::Ready(Err(error)) => {
                network.trace.count(Kind::Fail, now, *id, 0);
                network.observer.tell(Event::Failed { socket: *id, why: error.kind() });
            }
            Poll::Pending => {}
        }
        read
    }
}

impl SocketWriter for SimWriter {
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let End { network, id, input, output } = &*self.0;
        let now = network.now();
        let written = match with(input, |pipe| pipe.is_told(now)) {
            true => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            false => with(output, |pipe| pipe.write(cx, now, data)),
        };
        if written.is_ready() {
            with(input, |pipe| pipe.forget_writer());
        }
        match written {
            Poll::Ready(Ok(Written { count, changed })) => {
                let sent = changed.as_deref().unwrap_or(&data[..count]);
                network.trace.record(Kind::Send, now, *id, sent);
                network.observer.tell(Event::Sent { socket: *id, bytes: &data[..count] });
                if with(output, |pipe| pipe.reset_if_exhausted(now)) {
                    with(input, |pipe| {
                        pipe.forget_planned_reset();
                        pipe.reset(now);
                    });
                }
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => {
                network.trace.count(Kind::Fail, now, *id, 1);
                network.observer.tell(Event::Failed { socket: *id, why: error.kind() });
                Poll::Ready(Err(error))
            }
            Poll::Pending => {
                with(input, |pipe| pipe.await_news(cx.waker(), now));
                Poll::Pending
            }
        }
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
    /// Like close(2): a reset if input is thrown away that has arrived, else an end of the output. Either takes its time to
    /// the other end, which can write nothing any more once it is there.
    fn drop(&mut self) {
        let now = self.network.now();
        let unread = with(&self.input, |pipe| pipe.has_unread(now));
        self.network.trace.record(Kind::End, now, self.id, &[u8::from(unread)]);
        self.network.observer.tell(Event::Closed { socket: self.id, has_unread: unread });
        with(&self.output, |pipe| {
            if unread {
                pipe.reset(now);
            }
            pipe.close(now);
        });
        with(&self.input, |pipe| pipe.abandon(now));
    }
}

pub(crate) fn with<T>(pipe: &Mutex<Pipe>, f: impl FnOnce(&mut Pipe) -> T) -> T {
    f(&mut pipe.lock().unwrap_or_else(PoisonError::into_inner))
}
