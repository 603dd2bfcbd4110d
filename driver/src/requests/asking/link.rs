//! The task of one stream to a peer, on which many requests are asked.

use std::{
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
};

use septa_core::{
    ConnectionId,
    connection::{ReadError, RefuseReason, codes},
};

use super::{
    super::{LINGER, ROUNDS, RequestsShared},
    Asking,
    links::{Begun, LinkEnd},
};
use crate::{
    connection::Connection,
    stream::{Stream, linger},
    time::after,
};

/// Opens the stream and carries requests and answers until it ends.
///
/// When it is dropped, even before it has run, what was asked on it is lost.
pub(super) struct LinkTask {
    shared: Arc<RequestsShared>,
    asking: Arc<Asking>,
    key: u64,
    except: Option<ConnectionId>,
}

impl Drop for LinkTask {
    fn drop(&mut self) {
        self.end(LinkEnd::Lost);
    }
}

impl LinkTask {
    pub(super) fn new(shared: &Arc<RequestsShared>, asking: &Arc<Asking>, begun: &Begun) -> Self {
        Self { shared: shared.clone(), asking: asking.clone(), key: begun.key, except: begun.except }
    }

    pub(super) async fn run(self) {
        let Some((connection, mut stream)) = self.open().await else { return };
        let end = self.carry(&connection, &stream).await;
        self.end(end);
        match end {
            LinkEnd::Done => {
                let _ = stream.finish();
                let runtime = &**self.shared.node.runtime();
                linger(&stream, runtime, after(runtime, LINGER), true).await;
            }
            LinkEnd::Violation => stream.reset(codes::stream::PROTOCOL_VIOLATION),
            // The peer cancels what it has of it.
            LinkEnd::Unsupported | LinkEnd::Lost => {}
        }
    }

    /// `None` if nobody wants it any more.
    async fn open(&self) -> Option<(Connection, Stream)> {
        let Self { shared, asking, key, except } = self;
        let mut except = *except;
        loop {
            let Some(connection) = self.while_wanted(shared.node.established(asking.peer, except)).await? else {
                // The node has ended.
                shared.close();
                return None;
            };
            except = connection.id();
            let protocols = std::slice::from_ref(&shared.protocol);
            if let Ok(mut stream) = self.while_wanted(connection.open_stream(protocols)).await? {
                stream.set_priority(shared.options.priority);
                asking.with(shared.now(), |state| state.links.opened(*key, connection.clone()));
                return Some((connection, stream));
            }
        }
    }

    async fn while_wanted<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            let is_wanted = self.asking.with(self.shared.now(), |state| {
                state.links.wait(self.key, cx);
                !state.closed && state.line.len() > 0
            });
            if is_wanted { future.as_mut().poll(cx).map(Some) } else { Poll::Ready(None) }
        })
        .await
    }

    async fn carry(&self, connection: &Connection, stream: &Stream) -> LinkEnd {
        // Only to be woken when it gives way.
        let mut over = pin!(connection.closed());
        let mut is_over = false;
        poll_fn(|cx| {
            is_over = is_over || over.as_mut().poll(cx).is_ready();
            let transmitted = self
                .asking
                .with(self.shared.now(), |state| (!state.closed).then(|| state.links.transmit(self.key, cx, stream)));
            let Some(transmitted) = transmitted else { return Poll::Ready(LinkEnd::Lost) };
            match transmitted {
                // Of a stream that takes nothing more, answers that came before can still be read: behind them, reading
                // tells how it has ended.
                Poll::Pending | Poll::Ready(LinkEnd::Lost) => self.receive(cx, stream),
                Poll::Ready(end) => Poll::Ready(end),
            }
        })
        .await
    }

    /// Reads what there is.
    fn receive(&self, cx: &mut Context<'_>, stream: &Stream) -> Poll<LinkEnd> {
        for _ in 0..ROUNDS {
            match stream.poll_read_chunk(cx) {
                Poll::Ready(Ok(Some(chunk))) => {
                    self.asking.with(self.shared.now(), |state| state.links.received(self.key, chunk));
                }
                Poll::Ready(Err(ReadError::Refused(RefuseReason::Unsupported))) => {
                    return Poll::Ready(LinkEnd::Unsupported);
                }
                Poll::Ready(_) => return Poll::Ready(LinkEnd::Lost),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The first call counts.
    fn end(&self, end: LinkEnd) {
        self.asking.with(self.shared.now(), |state| state.links.end(self.key, end));
        self.shared.retire(&self.asking);
    }
}
