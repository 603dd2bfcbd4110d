//! The asking end: what is asked of each peer.

mod call;
mod exchange;
mod line;
mod link;
mod links;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use septa_core::{
    Instant, PeerId,
    channel::{Payload, message::TooLong, rpc::ClientStats},
};

use self::{exchange::Exchanges, line::Line, links::Links};
use super::{Mode, RequestError, RequestOptions, RequestsShared};
use crate::{time::after, waiters::Woken};

/// What is asked of one peer. Lives while somebody asks or a stream is open.
pub(super) struct Asking {
    peer: PeerId,
    state: Mutex<State>,
}

struct State {
    mode: Mode,
    /// Callers for whose requests there is no room.
    line: Line,
    /// Used in one mode ...
    links: Links,
    /// ... and in the other.
    exchanges: Exchanges,
    closed: bool,
    /// Nobody finds this any more: whoever still does has to look again.
    gone: bool,
}

/// Nobody finds this peer's state any more.
struct Gone;

pub(super) async fn request(
    shared: &Arc<RequestsShared>,
    peer: PeerId,
    body: Payload<'_>,
    timeout: Duration,
) -> Result<Bytes, RequestError> {
    let (len, max) = (body.as_bytes().len(), shared.options.config.max_message_len);
    if len > max {
        return Err(RequestError::TooLong { peer, error: TooLong { len, max } });
    }
    let deadline = after(&**shared.node.runtime(), timeout);
    match shared.mode {
        Mode::Multiplexed => call::request(shared, peer, body, deadline).await,
        Mode::Exchange => exchange::request(shared, peer, body, deadline).await,
    }
}

impl Asking {
    pub(super) fn new(peer: PeerId, mode: Mode, options: &RequestOptions) -> Self {
        let state = State {
            mode,
            line: Line::new(options.config.max_waiting),
            links: Links::new(options.config.clone()),
            exchanges: Exchanges::new(options),
            closed: false,
            gone: false,
        };
        Self { peer, state: Mutex::new(state) }
    }

    /// Does something with the state, then wakes whom it concerns.
    fn with<T>(&self, now: Instant, f: impl FnOnce(&mut State) -> T) -> T {
        let mut woken = Woken::default();
        let mut state = self.lock();
        let result = f(&mut state);
        state.settle(self.peer, now, &mut woken);
        drop(state);
        woken.wake();
        result
    }

    /// True if nothing is asked any more, from now on.
    pub(super) fn retire(&self) -> bool {
        let mut state = self.lock();
        state.gone |= state.is_over();
        state.gone
    }

    pub(super) fn peer(&self) -> PeerId {
        self.peer
    }

    pub(super) fn stats(&self) -> ClientStats {
        let state = self.lock();
        let mut stats = state.links.stats();
        stats.pending += state.exchanges.under_way();
        stats.waiting = state.line.len();
        stats
    }

    pub(super) fn close(&self, error: &RequestError, woken: &mut Woken) {
        let mut state = self.lock();
        state.closed = true;
        state.links.close(error, woken);
        state.exchanges.close(woken);
        state.line.wake_all(woken);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Hands answers to those who wait for them, and wakes the caller whose turn it is and the tasks that have something
    /// to do.
    fn settle(&mut self, peer: PeerId, now: Instant, woken: &mut Woken) {
        self.links.settle(peer, now, self.line.len() == 0, woken);
        let has_room = match self.mode {
            Mode::Multiplexed => self.links.has_room(),
            Mode::Exchange => self.exchanges.has_room(),
        };
        if has_room {
            self.line.wake_first(woken);
        }
    }

    fn is_over(&self) -> bool {
        self.line.len() == 0 && self.links.is_empty() && self.exchanges.under_way() == 0
    }
}

impl RequestsShared {
    fn now(&self) -> Instant {
        self.node.runtime().now()
    }

    fn closed_error(&self) -> RequestError {
        RequestError::Closed { protocol: self.protocol.clone() }
    }
}
