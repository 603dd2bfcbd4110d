//! The tasks that take streams in, read requests and write answers.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll};

use septa_core::{
    channel::rpc::{Server, exchange::Responder},
    connection::codes,
};

use super::{
    super::{LINGER, Mode, ROUNDS, RequestsShared},
    desk::Offer,
    machine::Machine,
    stream::{AskedOn, Ending, Step},
};
use crate::{
    node::{InboundStream, IncomingStreams},
    stream::Stream,
    time::{after, within},
};

/// Takes the streams in that peers open, until all is closed or the node ends.
pub(in super::super) async fn listen(shared: Arc<RequestsShared>, mut streams: IncomingStreams) {
    loop {
        let next = {
            let mut next = pin!(streams.next());
            poll_fn(|cx| match shared.desk.poll_closed(cx) {
                Poll::Ready(()) => Poll::Ready(None),
                Poll::Pending => next.as_mut().poll(cx),
            })
            .await
        };
        match next {
            Some(inbound) => take_in(&shared, inbound),
            None => return shared.close(),
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
            Machine::one(Responder::new(&options.config, now, options.read_timeout))
        }
    };
    let asked_on = Arc::new(AskedOn::new(peer, machine, shared.desk.room(options.max_received_bytes)));
    let is_only = shared.mode == Mode::Multiplexed;
    let Some(admitted) = shared.desk.admit(connection, is_only, &asked_on) else { return };
    admitted.end_older();
    stream.set_priority(options.priority);
    shared.node.spawn("requests from a peer", serve(shared.clone(), asked_on, admitted.key, stream));
}

/// Reads requests and writes answers until the stream ends.
async fn serve(shared: Arc<RequestsShared>, asked_on: Arc<AskedOn>, key: u64, mut stream: Stream) {
    let ending = carry(&shared, &asked_on, &stream).await;
    asked_on.end(ending);
    match ending {
        Ending::Finished | Ending::Closed => {
            let goodbye = async {
                if poll_fn(|cx| asked_on.flush(cx, &stream)).await && stream.finish().is_ok() {
                    stream.read_to_end().await;
                }
            };
            let runtime = &**shared.node.runtime();
            let _ = within(runtime, after(runtime, LINGER), goodbye).await;
        }
        Ending::Refused => stream.reset(codes::stream::NO_ERROR),
        Ending::Violation => stream.reset(codes::stream::PROTOCOL_VIOLATION),
        Ending::Lost => {}
    }
    drop(stream);
    if let Some(next) = shared.desk.leave(&asked_on, key) {
        begin(&shared, next);
    }
}

async fn carry(shared: &Arc<RequestsShared>, asked_on: &Arc<AskedOn>, stream: &Stream) -> Ending {
    let desk = &shared.desk;
    let runtime = shared.node.runtime();
    let mut timer = runtime.timer();
    let mut deadline = None;
    poll_fn(|cx| {
        for _ in 0..ROUNDS {
            let (step, due) = asked_on.with(desk, |state| (state.step(cx, stream), state.poll_timeout()));
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
