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
    stream::Stream,
    time::{after, within},
};

/// Opens the stream and carries requests and answers until it ends.
pub(super) async fn run(shared: Arc<RequestsShared>, asking: Arc<Asking>, begun: Begun) {
    let task = LinkTask { shared: &shared, asking: &asking, key: begun.key };
    let Some(mut stream) = task.open(begun.except).await else { return task.end(LinkEnd::Lost) };
    let end = task.carry(&stream).await;
    task.end(end);
    match end {
        LinkEnd::Done => {
            let _ = stream.finish();
            let runtime = &**shared.node.runtime();
            let _ = within(runtime, after(runtime, LINGER), stream.read_to_end()).await;
        }
        LinkEnd::Violation => stream.reset(codes::stream::PROTOCOL_VIOLATION),
        // The peer cancels what it has of it.
        LinkEnd::Unsupported | LinkEnd::Lost => {}
    }
}

struct LinkTask<'a> {
    shared: &'a Arc<RequestsShared>,
    asking: &'a Arc<Asking>,
    key: u64,
}

impl LinkTask<'_> {
    /// `None` if nobody wants it any more.
    async fn open(&self, mut except: Option<ConnectionId>) -> Option<Stream> {
        let Self { shared, asking, key } = *self;
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
                asking.with(shared.now(), |state| state.links.opened(key, connection));
                return Some(stream);
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

    async fn carry(&self, stream: &Stream) -> LinkEnd {
        poll_fn(|cx| {
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

    fn end(&self, end: LinkEnd) {
        self.asking.with(self.shared.now(), |state| state.links.end(self.key, end));
        self.shared.retire(self.asking);
    }
}
