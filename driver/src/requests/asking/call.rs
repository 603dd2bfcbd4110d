//! One request among many on a stream.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use septa_core::{Instant, PeerId, channel::Payload};

use super::{
    super::{RequestError, RequestsShared},
    Asking, Gone, State,
    link::LinkTask,
    links::CallId,
};
use crate::time::Watch;

/// A caller: first in the line, then waiting for the answer.
struct Call<'a> {
    shared: &'a Arc<RequestsShared>,
    asking: Arc<Asking>,
    place: Option<u64>,
    asked: Option<CallId>,
}

pub(super) async fn request(
    shared: &Arc<RequestsShared>,
    peer: PeerId,
    body: Payload<'_>,
    deadline: Instant,
) -> Result<Bytes, RequestError> {
    let mut watch = Watch::new(&**shared.node.runtime());
    loop {
        let mut call = Call { shared, asking: shared.asking(peer)?, place: None, asked: None };
        match watch.within(deadline, poll_fn(|cx| call.poll(cx, body, deadline))).await {
            Some(Ok(result)) => return result,
            Some(Err(Gone)) => {}
            None => return call.expire(),
        }
    }
}

impl Call<'_> {
    fn poll(
        &mut self,
        cx: &Context<'_>,
        body: Payload<'_>,
        deadline: Instant,
    ) -> Poll<Result<Result<Bytes, RequestError>, Gone>> {
        let now = self.shared.now();
        let asking = self.asking.clone();
        let (outcome, begun) = asking.with(now, |state| {
            let outcome = match self.asked {
                Some(id) => self.poll_answer(state, id, cx).map(Ok),
                None => self.ask(state, cx, now, body, deadline),
            };
            (outcome, state.links.take_begun())
        });
        if let Some(begun) = begun {
            self.shared.node.spawn("requests to a peer", LinkTask::new(self.shared, &asking, &begun).run());
        }
        outcome
    }

    fn ask(
        &mut self,
        state: &mut State,
        cx: &Context<'_>,
        now: Instant,
        body: Payload<'_>,
        deadline: Instant,
    ) -> Poll<Result<Result<Bytes, RequestError>, Gone>> {
        if state.gone {
            self.place = None;
            return Poll::Ready(Err(Gone));
        }
        if state.closed {
            return Poll::Ready(Ok(Err(self.shared.closed_error())));
        }
        state.links.prepare();
        if state.line.is_first(self.place) {
            self.asked = state.links.request(now, body, deadline, cx.waker());
        }
        if self.asked.is_some() {
            state.line.leave(&mut self.place);
            return Poll::Pending;
        }
        match state.line.wait(&mut self.place, cx.waker()) {
            Ok(()) => Poll::Pending,
            Err(_) => Poll::Ready(Ok(Err(RequestError::TooManyWaiting { peer: self.asking.peer }))),
        }
    }

    fn poll_answer(&mut self, state: &mut State, id: CallId, cx: &Context<'_>) -> Poll<Result<Bytes, RequestError>> {
        state.links.poll_answer(id, cx).map(|answer| {
            self.asked = None;
            answer.unwrap_or_else(|| Err(self.shared.closed_error()))
        })
    }

    /// The deadline has come.
    fn expire(&mut self) -> Result<Bytes, RequestError> {
        let peer = self.asking.peer;
        let now = self.shared.now();
        let is_connected = self.shared.node.connection(&peer).is_some();
        // So that a request that is under way counts as timed out, not as cancelled.
        self.asking.with(now, |_| {});
        self.asking.with(now, |state| match self.asked.take() {
            Some(id) => state.links.take_answer(id).unwrap_or(Err(RequestError::TimedOut { peer })),
            None if is_connected || state.links.is_connected() => Err(RequestError::TimedOut { peer }),
            None => Err(RequestError::NotConnected { peer }),
        })
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let is_over = self.asking.with(self.shared.now(), |state| {
            state.line.leave(&mut self.place);
            if let Some(id) = self.asked.take() {
                state.links.take_answer(id);
            }
            state.is_over()
        });
        if is_over {
            self.shared.retire(&self.asking);
        }
    }
}
