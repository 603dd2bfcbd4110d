//! The tasks that take streams in, read requests and write answers.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll};

use septa_core::{
    channel::rpc::{Server, exchange::Responder},
    connection::codes,
};

use super::{
    super::{LINGER, Mode, ROUNDS, RequestsShared},
    desk::{Next, Offer},
    machine::Machine,
    stream::{AskedOn, Ending, Step},
};
use crate::{
    node::{InboundStream, IncomingStreams},
    stream::{Stream, linger},
    time::{after, within},
};

/// Takes the streams in that peers open, until all is closed or the node ends. When it is dropped all is closed.
pub(in super::super) struct Listener(pub(in super::super) Arc<RequestsShared>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Listener {
    pub(in super::super) async fn run(self, mut streams: IncomingStreams) {
        let shared = &self.0;
        loop {
            let mut next = pin!(streams.next());
            let next = poll_fn(|cx| match shared.desk.poll_listener(cx) {
                Poll::Ready(next) => Poll::Ready(Ok(next)),
                Poll::Pending => next.as_mut().poll(cx).map(Err),
            });
            match next.await {
                Ok(Next::Begin(inbound)) => begin(shared, inbound),
                Err(Some(inbound)) => take_in(shared, inbound),
                Ok(Next::Closed) | Err(None) => return,
            }
        }
    }
}

fn take_in(shared: &Arc<RequestsShared>, inbound: InboundStream) {
    let options = &shared.options;
    let (max_active, max_parked) = match shared.mode {
        // One for each connection.
        Mode::Multiplexed => (usize::MAX, 0),
        Mode::Exchange => (options.config.max_answering, options.max_waiting_streams),
    };
    match shared.desk.offer(inbound, max_active, max_parked) {
        Offer::Begin(inbound) => begin(shared, inbound),
        Offer::Parked => {}
        Offer::Refused(mut inbound) => inbound.stream.reset(codes::stream::RESOURCE_LIMIT),
    }
}

fn begin(shared: &Arc<RequestsShared>, inbound: InboundStream) {
    let InboundStream { peer, connection, mut stream, .. } = inbound;
    let options = &shared.options;
    let machine = match shared.mode {
        Mode::Multiplexed => Machine::Many(Server::new(&options.config)),
        Mode::Exchange => {
            let now = shared.node.runtime().now();
            Machine::one(Responder::new(&options.config, now, options.read_timeout), options.read_timeout)
        }
    };
    let desk = &shared.desk;
    let of_peer = (shared.mode == Mode::Exchange).then_some(peer);
    let room = desk.room(of_peer, options.max_received_bytes);
    let asked_on = Arc::new(AskedOn::new(peer, desk.next_number(), machine, room));
    let only_of = (shared.mode == Mode::Multiplexed).then_some(connection);
    if !desk.admit(only_of, &asked_on) {
        return;
    }
    stream.set_priority(options.priority);
    let task = StreamTask { shared: shared.clone(), asked_on };
    shared.node.spawn("requests from a peer", task.run(stream));
}

/// Reads requests and writes answers until the stream ends. When it is dropped, even before it has run, the stream is
/// over for everybody who waits.
struct StreamTask {
    shared: Arc<RequestsShared>,
    asked_on: Arc<AskedOn>,
}

impl Drop for StreamTask {
    fn drop(&mut self) {
        self.asked_on.end(&self.shared.desk, Ending::Lost);
        self.shared.desk.leave(&self.asked_on);
    }
}

impl StreamTask {
    async fn run(self, mut stream: Stream) {
        let Self { shared, asked_on } = &self;
        let ending = carry(shared, asked_on, &stream).await;
        asked_on.end(&shared.desk, ending);
        match ending {
            Ending::Finished | Ending::Closed => {
                let runtime = &**shared.node.runtime();
                let deadline = after(runtime, LINGER);
                let flushed = within(runtime, deadline, poll_fn(|cx| asked_on.flush(cx, &stream, runtime))).await;
                if flushed == Some(true) && stream.finish().is_ok() {
                    linger(&stream, runtime, deadline, true).await;
                }
            }
            Ending::Refused => stream.reset(codes::stream::NO_ERROR),
            Ending::Violation => stream.reset(codes::stream::PROTOCOL_VIOLATION),
            Ending::Lost => {}
        }
    }
}

async fn carry(shared: &Arc<RequestsShared>, asked_on: &Arc<AskedOn>, stream: &Stream) -> Ending {
    let desk = &shared.desk;
    let runtime = shared.node.runtime();
    let mut timer = runtime.timer();
    let mut deadline = None;
    poll_fn(|cx| {
        for _ in 0..ROUNDS {
            let (step, due) = asked_on.with(desk, |state| (state.step(cx, stream, &**runtime), state.poll_timeout()));
            let read = match step {
                Step::End(ending) => return Poll::Ready(ending),
                Step::Read => stream.poll_read_chunk(cx),
                Step::Wait if stream.poll_lost(cx).is_ready() => return Poll::Ready(Ending::Lost),
                Step::Wait => Poll::Pending,
            };
            match read {
                Poll::Ready(Ok(Some(chunk))) => asked_on.with(desk, |state| state.machine().handle_chunk(chunk)),
                Poll::Ready(Ok(None)) => asked_on.with(desk, |state| state.machine().handle_eof()),
                Poll::Ready(Err(_)) => return Poll::Ready(Ending::Lost),
                Poll::Pending => {
                    if due != std::mem::replace(&mut deadline, due) {
                        timer.reset(due);
                    }
                    if timer.poll_expired(cx).is_pending() {
                        return Poll::Pending;
                    }
                    asked_on.with(desk, |state| state.machine().handle_timeout(runtime.now()));
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}
