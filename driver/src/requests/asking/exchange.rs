//! One request on a stream of its own.

use std::{
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use septa_core::{
    Instant, PeerId,
    channel::{
        Payload, message,
        rpc::exchange::{Error, Requester},
    },
    connection::{ReadError, RefuseReason, codes},
};

use super::{
    super::{
        ROUNDS, RequestError, RequestOptions, RequestsShared,
        error::{Refusal, Violation},
        transmit::write,
    },
    Asking, Gone,
};
use crate::{
    stream::Stream,
    time::Watch,
    waiters::{Waiters, Woken},
};

/// The requests to one peer that are under way.
pub(super) struct Exchanges {
    under_way: usize,
    max: usize,
    /// Their futures, to be woken when all is closed.
    waiters: Waiters,
}

impl Exchanges {
    /// Not more than a peer with the same options takes: it would refuse the rest.
    pub(super) fn new(options: &RequestOptions) -> Self {
        let taken = options.config.max_answering.saturating_add(options.max_waiting_streams);
        Self { under_way: 0, max: options.config.max_pending.min(taken), waiters: Waiters::default() }
    }

    pub(super) fn has_room(&self) -> bool {
        self.under_way < self.max
    }

    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    pub(super) fn close(&mut self, woken: &mut Woken) {
        self.waiters.wake_into(woken);
    }
}

/// A caller: first in the line, then one of those under way.
struct Turn<'a> {
    shared: &'a Arc<RequestsShared>,
    asking: Arc<Asking>,
    place: Option<u64>,
    is_under_way: bool,
    key: Option<u64>,
}

pub(super) async fn request(
    shared: &Arc<RequestsShared>,
    peer: PeerId,
    body: Payload<'_>,
    deadline: Instant,
) -> Result<Bytes, RequestError> {
    let mut watch = Watch::new(&**shared.node.runtime());
    let mut is_connected = false;
    loop {
        let mut turn = Turn { shared, asking: shared.asking(peer)?, place: None, is_under_way: false, key: None };
        let asked = async {
            let exchange = pin!(exchange(shared, peer, body, deadline, &mut is_connected));
            turn.run(exchange).await
        };
        match watch.within(deadline, asked).await {
            Some(Ok(result)) => return result,
            Some(Err(Gone)) => {}
            None if is_connected || shared.node.connection(&peer).is_some() => {
                return Err(RequestError::TimedOut { peer });
            }
            None => return Err(RequestError::NotConnected { peer }),
        }
    }
}

impl Turn<'_> {
    /// Runs `exchange` when it is its turn, until all is closed.
    async fn run(
        &mut self,
        mut exchange: std::pin::Pin<&mut impl Future<Output = Result<Bytes, RequestError>>>,
    ) -> Result<Result<Bytes, RequestError>, Gone> {
        poll_fn(|cx| match self.poll_turn(cx) {
            Poll::Ready(Ok(Ok(()))) => exchange.as_mut().poll(cx).map(Ok),
            Poll::Ready(Ok(Err(error))) => Poll::Ready(Ok(Err(error))),
            Poll::Ready(Err(Gone)) => Poll::Ready(Err(Gone)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Ready once the request may be made, and whether it still may.
    fn poll_turn(&mut self, cx: &Context<'_>) -> Poll<Result<Result<(), RequestError>, Gone>> {
        let Self { shared, asking, place, is_under_way, key } = self;
        asking.with(shared.now(), |state| {
            if state.gone {
                return Poll::Ready(Err(Gone));
            }
            if state.closed {
                return Poll::Ready(Ok(Err(shared.closed_error())));
            }
            if !*is_under_way && state.exchanges.has_room() && state.line.is_first(*place) {
                state.line.leave(place);
                state.exchanges.under_way += 1;
                *is_under_way = true;
            }
            if *is_under_way {
                state.exchanges.waiters.wait(key, cx.waker());
                return Poll::Ready(Ok(Ok(())));
            }
            match state.line.wait(place, cx.waker()) {
                Ok(()) => Poll::Pending,
                Err(_) => Poll::Ready(Ok(Err(RequestError::TooManyWaiting { peer: asking.peer }))),
            }
        })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let is_over = self.asking.with(self.shared.now(), |state| {
            state.line.leave(&mut self.place);
            state.exchanges.waiters.forget(self.key);
            state.exchanges.under_way -= usize::from(self.is_under_way);
            state.is_over()
        });
        if is_over {
            self.shared.retire(&self.asking);
        }
    }
}

async fn exchange(
    shared: &Arc<RequestsShared>,
    peer: PeerId,
    body: Payload<'_>,
    deadline: Instant,
    is_connected: &mut bool,
) -> Result<Bytes, RequestError> {
    let mut except = None;
    let mut stream = loop {
        let established = shared.node.established(peer, except).await;
        let connection = established.ok_or_else(|| shared.closed_error())?;
        *is_connected = true;
        match connection.open_stream(std::slice::from_ref(&shared.protocol)).await {
            Ok(stream) => break stream,
            Err(_) => (except, *is_connected) = (connection.id(), false),
        }
    };
    stream.set_priority(shared.options.priority);
    let now = shared.now();
    let left = deadline.saturating_duration_since(now);
    let mut requester = Requester::new(&shared.options.config, now, body, left)
        .map_err(|error| RequestError::TooLong { peer, error })?;
    let (mut is_finished, mut has_begun) = (false, false);
    let answer = poll_fn(|cx| {
        // An error shows in reading, too, behind what came before it.
        if write(cx, &stream, &mut requester).is_ready() && !std::mem::replace(&mut is_finished, true) {
            let _ = stream.finish();
        }
        receive(cx, &stream, &mut requester, peer, &mut has_begun)
    })
    .await;
    match &answer {
        // If the peer has ended its half already, both are over, and no reset is sent.
        Ok(_) => {
            let _ = poll_fn(|cx| Poll::Ready(stream.poll_read_chunk(cx))).await;
        }
        Err(RequestError::Violation { .. }) => stream.reset(codes::stream::PROTOCOL_VIOLATION),
        Err(_) => {}
    }
    answer
}

/// Reads what there is, until that is an answer.
fn receive(
    cx: &mut Context<'_>,
    stream: &Stream,
    requester: &mut Requester,
    peer: PeerId,
    has_begun: &mut bool,
) -> Poll<Result<Bytes, RequestError>> {
    for _ in 0..ROUNDS {
        match stream.poll_read_chunk(cx) {
            Poll::Ready(Ok(Some(mut chunk))) => {
                *has_begun = true;
                requester.handle_chunk(&mut chunk);
            }
            Poll::Ready(Ok(None)) => requester.handle_eof(),
            // Who has begun to answer does not refuse.
            Poll::Ready(Err(_)) if *has_begun => return Poll::Ready(Err(RequestError::Lost { peer })),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(read_error(peer, &error))),
            Poll::Pending => return Poll::Pending,
        }
        if let Some(answer) = requester.poll_answer() {
            return Poll::Ready(answer.map_err(|error| answer_error(peer, error)));
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

fn read_error(peer: PeerId, error: &ReadError) -> RequestError {
    match error {
        ReadError::Refused(RefuseReason::Unsupported) => RequestError::Unsupported { peer },
        ReadError::Refused(RefuseReason::Reset(code)) | ReadError::Reset(code) => {
            RequestError::Refused { peer, why: Refusal::Reset(*code) }
        }
        _ => RequestError::Lost { peer },
    }
}

fn answer_error(peer: PeerId, error: Error) -> RequestError {
    match error {
        Error::TimedOut => RequestError::TimedOut { peer },
        Error::Lost | Error::NoMessage | Error::Message(message::Error::UnexpectedEof) => RequestError::Lost { peer },
        error => RequestError::Violation { peer, error: Violation::Exchange(error) },
    }
}
