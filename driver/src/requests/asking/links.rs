//! The streams to one peer on which many requests are asked, and the callers who wait for answers.

use std::{
    collections::BTreeMap,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use septa_core::{
    ConnectionId, Instant, PeerId,
    channel::{
        Payload,
        rpc::{Answer, Client, ClientStats, Config, Outcome, RequestId},
    },
};

use super::super::{
    RequestError,
    error::{Refusal, Violation},
    transmit::write,
};
use crate::{connection::Connection, stream::Stream, waiters::Woken};

/// A request on one of the streams.
pub(super) type CallId = (u64, RequestId);

/// One stream is asked on; of others, whose connections give way, the answers are waited for.
pub(super) struct Links {
    config: Config,
    links: BTreeMap<u64, Link>,
    last_key: u64,
    /// The one that is asked on.
    current: Option<u64>,
    /// Its task is still to be spawned.
    begun: Option<Begun>,
    callers: BTreeMap<CallId, Caller>,
}

/// A link without a task.
pub(super) struct Begun {
    pub(super) key: u64,
    /// The connection that gives way: another one is waited for.
    pub(super) except: Option<ConnectionId>,
}

/// One stream and its task. Until the stream is open nothing is asked.
struct Link {
    client: Client,
    /// Once the stream is open.
    connection: Option<Connection>,
    task: Option<Waker>,
    /// The task has sent all there was, and is to be woken when there is more.
    is_idle: bool,
    end: Option<LinkEnd>,
}

/// Why nothing more is asked or answered on a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LinkEnd {
    /// All is answered, and its connection gives way.
    Done,
    /// The peer broke a rule.
    Violation,
    /// The peer does not answer requests.
    Unsupported,
    Lost,
}

enum Caller {
    Waiting(Waker),
    Done(Result<Bytes, RequestError>),
}

impl Links {
    pub(super) fn new(config: Config) -> Self {
        Self { config, links: BTreeMap::new(), last_key: 0, current: None, begun: None, callers: BTreeMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Whether [`request`](Self::request) is to be called.
    pub(super) fn has_room(&self) -> bool {
        self.current().is_none_or(|link| link.connection.is_some() && link.client.is_ready())
    }

    pub(super) fn is_connected(&self) -> bool {
        self.current().is_some_and(|link| link.connection.is_some())
    }

    pub(super) fn stats(&self) -> ClientStats {
        self.current().map(|link| link.client.stats()).unwrap_or_default()
    }

    fn current(&self) -> Option<&Link> {
        self.links.get(&self.current?)
    }

    /// Makes sure that there is a stream to ask on, or will be one.
    pub(super) fn prepare(&mut self) {
        let current = self.current();
        if current.is_some_and(|link| !link.is_giving_way()) {
            return;
        }
        let except = current.and_then(|link| link.connection.as_ref()?.id());
        self.last_key += 1;
        let link = Link { client: Client::new(&self.config), connection: None, task: None, is_idle: false, end: None };
        self.links.insert(self.last_key, link);
        self.current = Some(self.last_key);
        self.begun = Some(Begun { key: self.last_key, except });
    }

    /// A link whose task must be spawned.
    pub(super) fn take_begun(&mut self) -> Option<Begun> {
        self.begun.take()
    }

    /// Asks, with so much time left. `None` if there is no room.
    pub(super) fn request(
        &mut self,
        now: Instant,
        body: Payload<'_>,
        deadline: Instant,
        waker: &Waker,
    ) -> Option<CallId> {
        let key = self.current?;
        let link = self.links.get_mut(&key).filter(|link| link.connection.is_some())?;
        let id = link.client.request(now, body, deadline.saturating_duration_since(now)).ok()?;
        self.callers.insert((key, id), Caller::Waiting(waker.clone()));
        Some((key, id))
    }

    /// The answer, once.
    pub(super) fn poll_answer(&mut self, id: CallId, cx: &Context<'_>) -> Poll<Option<Result<Bytes, RequestError>>> {
        if let Some(Caller::Waiting(waker)) = self.callers.get_mut(&id) {
            waker.clone_from(cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(self.take_answer(id))
    }

    /// The answer, if it is there. If not, it is not wanted any more.
    pub(super) fn take_answer(&mut self, id: CallId) -> Option<Result<Bytes, RequestError>> {
        match self.callers.remove(&id)? {
            Caller::Done(result) => Some(result),
            Caller::Waiting(_) => {
                if let Some(link) = self.links.get_mut(&id.0) {
                    link.client.cancel(id.1);
                }
                None
            }
        }
    }

    pub(super) fn settle(&mut self, peer: PeerId, now: Instant, nobody_waits: bool, woken: &mut Woken) {
        let Self { links, callers, current, .. } = self;
        for (key, link) in links.iter_mut() {
            link.client.handle_timeout(now);
            while let Some(Answer { id, outcome }) = link.client.poll_answer() {
                let result = link.result(peer, outcome);
                woken.extend(callers.get_mut(&(*key, id)).and_then(|caller| caller.finish(result)));
            }
            if *current == Some(*key) && (link.end.is_some() || link.client.failure().is_some()) {
                *current = None;
            }
            if link.has_work(*current == Some(*key), nobody_waits) {
                link.is_idle = false;
                woken.extend(link.task.take());
            }
        }
        links.retain(|_, link| link.end.is_none());
    }

    pub(super) fn close(&mut self, error: &RequestError, woken: &mut Woken) {
        woken.extend(self.links.values_mut().filter_map(|link| link.task.take()));
        woken.extend(self.callers.values_mut().filter_map(|caller| caller.finish(Err(error.clone()))));
    }

    // What the task of a link calls.

    /// The task waits for something else, but is to be woken.
    pub(super) fn wait(&mut self, key: u64, cx: &Context<'_>) {
        if let Some(link) = self.links.get_mut(&key) {
            link.task = Some(cx.waker().clone());
        }
    }

    pub(super) fn opened(&mut self, key: u64, connection: Connection) {
        if let Some(link) = self.links.get_mut(&key) {
            link.connection = Some(connection);
        }
    }

    /// Writes what the stream takes. Ready when nothing more is to be written, and why.
    pub(super) fn transmit(&mut self, key: u64, cx: &mut Context<'_>, stream: &Stream) -> Poll<LinkEnd> {
        if self.current == Some(key) && self.current().is_some_and(Link::is_giving_way) {
            self.current = None;
        }
        let is_current = self.current == Some(key);
        let Some(link) = self.links.get_mut(&key) else { return Poll::Ready(LinkEnd::Lost) };
        if link.client.failure().is_some() {
            return Poll::Ready(LinkEnd::Violation);
        }
        link.task = Some(cx.waker().clone());
        match write(cx, stream, &mut link.client) {
            Poll::Ready(Ok(())) => link.is_idle = true,
            Poll::Ready(Err(_)) => return Poll::Ready(LinkEnd::Lost),
            Poll::Pending => link.is_idle = false,
        }
        if link.is_idle && !is_current && link.client.stats().pending == 0 {
            return Poll::Ready(LinkEnd::Done);
        }
        Poll::Pending
    }

    pub(super) fn received(&mut self, key: u64, mut chunk: Bytes) {
        if let Some(link) = self.links.get_mut(&key) {
            link.client.handle_chunk(&mut chunk);
        }
    }

    /// The stream is gone.
    pub(super) fn end(&mut self, key: u64, end: LinkEnd) {
        if let Some(link) = self.links.get_mut(&key) {
            link.end.get_or_insert(end);
            link.client.handle_lost();
        }
    }
}

impl Caller {
    /// Takes the result, unless it has one. Returns whom to wake.
    fn finish(&mut self, result: Result<Bytes, RequestError>) -> Option<Waker> {
        match std::mem::replace(self, Self::Done(result)) {
            Self::Waiting(waker) => Some(waker),
            first @ Self::Done(_) => {
                *self = first;
                None
            }
        }
    }
}

impl Link {
    fn is_giving_way(&self) -> bool {
        self.connection.as_ref().is_some_and(Connection::is_giving_way)
    }

    /// The task is to look.
    fn has_work(&self, is_current: bool, nobody_waits: bool) -> bool {
        if self.connection.is_none() {
            return nobody_waits;
        }
        let is_done = !is_current && self.client.stats().pending == 0;
        // A failed one is reset even if its peer does not read.
        self.client.failure().is_some() || (self.is_idle && (is_done || self.client.wants_transmit()))
    }

    fn result(&self, peer: PeerId, outcome: Outcome) -> Result<Bytes, RequestError> {
        match outcome {
            Outcome::Response(body) => Ok(body),
            Outcome::Refused(reason) => Err(RequestError::Refused { peer, why: Refusal::Reason(reason) }),
            Outcome::TimedOut => Err(RequestError::TimedOut { peer }),
            _ => Err(match (self.client.failure(), self.end) {
                (Some(error), _) => RequestError::Violation { peer, error: Violation::Stream(error) },
                (None, Some(LinkEnd::Unsupported)) => RequestError::Unsupported { peer },
                _ => RequestError::Lost { peer },
            }),
        }
    }
}
