//! Inbound connections.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use septa_core::{Link, Multiaddr, PeerId, connection::CloseReason};

use crate::{
    connection::Connection,
    endpoint::{EndpointInner, NoSlot},
    error::{AcceptError, ListenError},
    inner::Owner,
    node::NodeShared,
    runtime::{Acceptor, Socket, Timer},
    shared::{Handle, Shared},
    time::after,
    waiters::{Waiters, Woken},
};

/// Failures that wait for [`Listener::accept`]. Stops strangers, who cause them, from filling memory;
/// the oldest goes first.
const MAX_ERRORS: usize = 64;
/// The first pause after a failed accept. It doubles each time: an accept that fails because there
/// are too many open files would otherwise fail again at once, for ever.
const MIN_BACKOFF: Duration = Duration::from_millis(5);
/// The longest pause after a failed accept.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// Hands out inbound connections. Dropping it stops listening.
pub struct Listener {
    shared: Arc<ListenerShared>,
}

impl Listener {
    /// The address that is listened on, with its real port and without the peer id.
    pub fn local_addr(&self) -> Multiaddr {
        Multiaddr::from_socket_addr(self.shared.local)
    }

    /// Whether it accepts connections.
    pub(crate) fn is_listening(&self) -> bool {
        self.shared.state(|state, _| !state.closed)
    }

    /// Why the last accept failed, until one works.
    pub(crate) fn trouble(&self) -> Option<io::ErrorKind> {
        self.shared.state(|state, _| state.trouble)
    }

    /// The next inbound connection whose handshake is done.
    ///
    /// May be called by several tasks, each connection goes to one of them. Dropping the future loses
    /// nothing.
    ///
    /// # Errors
    /// One connection did not come to be; call again. After [`AcceptError::ShutDown`] nothing comes
    /// any more.
    pub async fn accept(&self) -> Result<Connection, AcceptError> {
        let mut waiting = Waiting { shared: &self.shared, key: None };
        poll_fn(|cx| self.shared.poll_next(&mut waiting.key, cx)).await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({})", self.shared.local)
    }
}

pub(crate) struct ListenerShared {
    pub(crate) local: SocketAddr,
    max_upgrades: usize,
    backlog: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    closed: bool,
    upgrading: usize,
    ready: VecDeque<Connection>,
    errors: VecDeque<AcceptError>,
    waiting: Waiters,
    task: Option<Waker>,
    /// Why the last accept failed, until one works.
    trouble: Option<io::ErrorKind>,
}

/// Where accepted sockets go.
enum Sink {
    /// To [`Listener::accept`], once their handshake is done.
    Accept,
    Node(Arc<NodeShared>),
}

/// Registers a listener and starts its task.
pub(crate) fn start(
    endpoint: &Arc<EndpointInner>,
    acceptor: Box<dyn Acceptor>,
    local: SocketAddr,
    node: Option<&Arc<NodeShared>>,
) -> Result<Listener, ListenError> {
    let limits = &endpoint.limits;
    let shared = Arc::new(ListenerShared {
        local,
        max_upgrades: limits.max_pending_upgrades,
        backlog: limits.accept_backlog,
        state: Mutex::default(),
    });
    let id = endpoint.add_listener(&shared)?;
    let sink = node.map_or(Sink::Accept, |node| Sink::Node(node.clone()));
    let backoff = MIN_BACKOFF;
    let task = ListenerTask { endpoint: endpoint.clone(), shared: shared.clone(), id, acceptor, sink, backoff };
    endpoint.spawn("listener", task.run());
    Ok(Listener { shared })
}

impl ListenerShared {
    /// Stops the task and drops the connections that nobody accepted.
    pub(crate) fn close(&self) {
        let ready = self.state(|state, woken| {
            state.closed = true;
            woken.extend(state.task.take());
            state.waiting.wake_into(woken);
            std::mem::take(&mut state.ready)
        });
        drop(ready);
    }

    fn poll_next(&self, key: &mut Option<u64>, cx: &mut Context<'_>) -> Poll<Result<Connection, AcceptError>> {
        self.state(|state, woken| {
            if let Some(connection) = state.ready.pop_front() {
                woken.extend(state.task.take());
                return Poll::Ready(Ok(connection));
            }
            if let Some(error) = state.errors.pop_front() {
                return Poll::Ready(Err(error));
            }
            if state.closed {
                return Poll::Ready(Err(AcceptError::ShutDown));
            }
            state.waiting.wait(key, cx.waker());
            Poll::Pending
        })
    }

    /// Whether the task may accept one more; `None` if it should end.
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Option<()>> {
        self.state(|state, _| {
            if state.closed {
                return Poll::Ready(None);
            }
            state.task = Some(cx.waker().clone());
            let waiting = state.upgrading + state.ready.len();
            if state.upgrading < self.max_upgrades && waiting < self.backlog {
                Poll::Ready(Some(()))
            } else {
                Poll::Pending
            }
        })
    }

    fn set_trouble(&self, trouble: Option<io::ErrorKind>) {
        self.state(|state, _| state.trouble = trouble);
    }

    fn report(&self, error: AcceptError) {
        self.state(|state, woken| {
            if state.errors.len() == MAX_ERRORS {
                state.errors.pop_front();
            }
            state.errors.push_back(error);
            state.waiting.wake_into(woken);
        });
    }

    fn begin_upgrade(self: &Arc<Self>) -> Upgrade {
        self.state(|state, _| state.upgrading += 1);
        Upgrade { listener: self.clone() }
    }

    fn state<T>(&self, f: impl FnOnce(&mut State, &mut Woken) -> T) -> T {
        let mut woken = Woken::default();
        let result = f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner), &mut woken);
        woken.wake();
        result
    }
}

/// An inbound handshake under way.
pub(crate) struct Upgrade {
    listener: Arc<ListenerShared>,
}

impl Upgrade {
    /// Tells the listener what came of it.
    pub(crate) fn done(self, connection: &Arc<Shared>, outcome: Result<PeerId, CloseReason>) {
        match outcome {
            Ok(peer) => {
                let opened = Connection::new(Handle::new(connection), peer);
                // If nobody will accept it, it is dropped outside the lock.
                let unwanted = self.listener.state(|state, woken| {
                    if state.closed {
                        return Some(opened);
                    }
                    state.ready.push_back(opened);
                    state.waiting.wake_into(woken);
                    None
                });
                drop(unwanted);
            }
            Err(reason) => {
                self.listener.report(AcceptError::Upgrade { remote: connection.remote, reason: Box::new(reason) })
            }
        }
    }
}

impl Drop for Upgrade {
    fn drop(&mut self) {
        self.listener.state(|state, woken| {
            state.upgrading -= 1;
            woken.extend(state.task.take());
        });
    }
}

struct ListenerTask {
    endpoint: Arc<EndpointInner>,
    shared: Arc<ListenerShared>,
    id: u64,
    acceptor: Box<dyn Acceptor>,
    sink: Sink,
    backoff: Duration,
}

impl ListenerTask {
    async fn run(mut self) {
        while let Some(accepted) = self.accept().await {
            match accepted {
                Ok(socket) => {
                    self.backoff = MIN_BACKOFF;
                    self.shared.set_trouble(None);
                    match &self.sink {
                        Sink::Accept => self.upgrade(socket),
                        Sink::Node(node) => node.accepted(socket),
                    }
                }
                Err(error) => self.back_off(error.kind()).await,
            }
        }
    }

    async fn accept(&mut self) -> Option<io::Result<Socket>> {
        poll_fn(|cx| match self.shared.poll_room(cx) {
            Poll::Ready(Some(())) => self.acceptor.poll_accept(cx).map(Some),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    fn upgrade(&self, socket: Socket) {
        match self.endpoint.reserve() {
            Ok(slot) => {
                let upgrade = self.shared.begin_upgrade();
                let link = Link::listener(self.endpoint.runtime.seed());
                self.endpoint.start(slot, socket, link, Owner::Listener(upgrade));
            }
            Err(NoSlot::Full) => {
                self.endpoint.count_refused();
                let limit = self.endpoint.limits.max_connections;
                self.shared.report(AcceptError::TooManyConnections { remote: socket.remote, limit });
            }
            Err(NoSlot::ShutDown) => {}
        }
    }

    async fn back_off(&mut self, kind: io::ErrorKind) {
        let pause = self.backoff;
        self.shared.set_trouble(Some(kind));
        self.backoff = (pause * 2).min(MAX_BACKOFF);
        self.shared.report(AcceptError::Io { kind, retry_in: pause });
        let runtime = &*self.endpoint.runtime;
        let mut timer: Box<dyn Timer> = runtime.timer();
        timer.reset(Some(after(runtime, pause)));
        poll_fn(|cx| match self.shared.poll_room(cx) {
            Poll::Ready(None) => Poll::Ready(()),
            _ => timer.poll_expired(cx),
        })
        .await;
    }
}

impl Drop for ListenerTask {
    fn drop(&mut self) {
        self.endpoint.remove_listener(self.id);
        self.shared.close();
    }
}

struct Waiting<'a> {
    shared: &'a ListenerShared,
    key: Option<u64>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.state(|state, _| state.waiting.forget(self.key));
    }
}
