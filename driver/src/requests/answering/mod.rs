//! The answering end: what peers ask, and the application's handles on it.

mod desk;
mod machine;
mod room;
mod stream;
mod task;

use std::{fmt, future::poll_fn, sync::Arc, task::Poll};

use bytes::Bytes;
use septa_core::{PeerId, channel::Payload};

pub(super) use self::{desk::Desk, task::Listener};
use self::{machine::Id, stream::AskedOn};
use super::{RequestsShared, RespondError};

/// What a peer asks. Dropping it without an answer refuses it.
pub struct Request {
    shared: Arc<RequestsShared>,
    asked_on: Arc<AskedOn>,
    id: Id,
    body: Bytes,
}

impl Request {
    /// Who asks.
    pub fn peer(&self) -> PeerId {
        self.asked_on.peer
    }

    /// What is asked.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Answers. Does not wait: the answer leaves when the peer takes it.
    ///
    /// # Errors
    /// See [`RespondError`].
    pub fn respond<'m>(self, body: impl Into<Payload<'m>>) -> Result<(), RespondError> {
        self.asked_on.respond(&self.shared.desk, self.id, body.into())
    }

    /// Says that there is no answer, and why. On a stream of its own the request cannot be told the reason: the stream is
    /// reset.
    ///
    /// # Errors
    /// See [`RespondError`].
    pub fn refuse(self, reason: &str) -> Result<(), RespondError> {
        self.asked_on.refuse(&self.shared.desk, self.id, reason)
    }

    /// Nobody waits for the answer any more.
    pub fn is_cancelled(&self) -> bool {
        !self.asked_on.is_out(self.id)
    }

    /// Waits until nobody waits for the answer any more: the peer has cancelled the request or is gone, or all was closed.
    pub async fn cancelled(&self) {
        let mut waiting = Waiting { request: self, key: None };
        poll_fn(|cx| waiting.request.asked_on.poll_cancelled(self.id, &mut waiting.key, cx)).await;
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.asked_on.give_up(&self.shared.desk, self.id);
        self.shared.desk.release(self.peer());
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("peer", &self.peer()).field("length", &self.body.len()).finish_non_exhaustive()
    }
}

/// A future's place among those that wait to hear of a cancellation.
struct Waiting<'a> {
    request: &'a Request,
    key: Option<u64>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.request.asked_on.forget(self.request.id, self.key);
    }
}

/// A future's place among those that wait for a request.
struct Taking<'a> {
    desk: &'a Desk,
    key: Option<u64>,
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        self.desk.forget(self.key);
    }
}

pub(super) async fn next(shared: &Arc<RequestsShared>) -> Option<Request> {
    let mut taking = Taking { desk: &shared.desk, key: None };
    poll_fn(|cx| {
        loop {
            let asked_on = match taking.desk.poll_next(&mut taking.key, cx) {
                Poll::Ready(Some(asked_on)) => asked_on,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            };
            if let Some((id, body)) = asked_on.take(&shared.desk) {
                return Poll::Ready(Some(Request { shared: shared.clone(), asked_on, id, body }));
            }
            taking.desk.release(asked_on.peer);
        }
    })
    .await
}
