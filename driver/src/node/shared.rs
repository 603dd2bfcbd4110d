//! What the handles of a node, its task and its connections share.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use septa_core::{
    ConnectionId, Instant, Link, Multiaddr, PeerId,
    link::{Mailbox, ToConnection, ToNode},
    node::{AttemptId, DialFailure, Endpoints, Event, Node as Core, PeerState},
};

use super::{
    attempt::Abort,
    connecting::Connecting,
    error::ShutDown,
    incoming::Incoming,
    keeper::{Keeper, KeeperHealth},
    lag::Lag,
    subscription::Subscribers,
};
use crate::{
    endpoint::{EndpointInner, Slot},
    inner::{NodeEffects, Owner},
    listener::Listener,
    runtime::Socket,
    shared::{Handle, Shared},
    stream::Stream,
    waiters::{Waiters, Woken},
};

/// One node, shared by its task, its handles and its connections.
///
/// The lock of `state` is held for calls into the core only, never across an await, a system call or the lock of a
/// connection. Whatever the core wants done is done by the task of the node, and by nobody else, so that it happens in
/// the order in which the core wants it. That of `mail` may be taken at any time.
pub(crate) struct NodeShared {
    pub(super) endpoint: Arc<EndpointInner>,
    pub(super) incoming: Incoming,
    state: Mutex<State>,
    mail: Mutex<Mail>,
}

/// What the node's lock guards.
pub(super) struct State {
    pub(super) core: Core,
    /// The connections that the core knows, kept open until it is told that they are over.
    pub(super) connections: BTreeMap<ConnectionId, Handle>,
    /// Messages for connections that the core knows and that are being made.
    pub(super) early: BTreeMap<ConnectionId, Mailbox<ToConnection>>,
    pub(super) attempts: BTreeMap<AttemptId, Arc<Abort>>,
    /// Connections whose peers are to be asked who they are.
    pub(super) opened: Vec<(ConnectionId, PeerId)>,
    pub(super) listeners: Vec<Listener>,
    pub(super) subscribers: Subscribers,
    pub(super) connecting: Connecting,
    /// Connections on which the application is to begin its handshake.
    pub(super) handshakes: VecDeque<(Handle, PeerId)>,
    max_handshakes: usize,
    pub(super) handshaking: Waiters,
    pub(super) keeper: KeeperHealth,
    pub(super) lag: Lag,
    /// Nothing is begun any more.
    pub(super) shut_down: bool,
    /// The core panicked.
    pub(super) broken: bool,
    /// The deadline of the shutdown is over: nothing is waited for any more.
    pub(super) is_cut: bool,
}

/// What the task of the node is called for.
#[derive(Default)]
struct Mail {
    task: Option<Waker>,
    /// The task will look. Since when.
    woken: Option<Instant>,
    /// Connections with something to fetch. Each is there once, since it calls again only when it was answered.
    calls: Vec<ConnectionId>,
}

/// A connection's membership of a node.
pub(crate) struct Member {
    node: Arc<NodeShared>,
    id: ConnectionId,
}

impl Member {
    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    /// Tells the node what has come up on the connection.
    pub(crate) fn hear(&self, connection: &Arc<Shared>, effects: NodeEffects) {
        if effects.call {
            self.node.called_by(self.id);
        }
        if effects.handshake {
            self.node.begin_handshake(connection);
        }
        let peer = (!effects.streams.is_empty()).then(|| connection.quietly(|inner| inner.opened())).flatten();
        for (id, protocol) in effects.streams {
            let stream = Stream::new(Handle::new(connection), id);
            if let Some(peer) = peer {
                self.node.incoming.offer(&protocol, self.id, peer, stream);
            }
        }
    }
}

impl NodeShared {
    pub(super) fn new(endpoint: Arc<EndpointInner>, core: Core, keeper: &Keeper, limits: super::NodeLimits) -> Self {
        let state = State {
            core,
            connections: BTreeMap::new(),
            early: BTreeMap::new(),
            attempts: BTreeMap::new(),
            opened: Vec::new(),
            listeners: Vec::new(),
            subscribers: Subscribers::default(),
            connecting: Connecting::default(),
            handshakes: VecDeque::new(),
            max_handshakes: limits.max_waiting_handshakes,
            handshaking: Waiters::default(),
            keeper: keeper.health(),
            lag: Lag::default(),
            shut_down: false,
            broken: false,
            is_cut: false,
        };
        let (state, mail) = (Mutex::new(state), Mutex::default());
        Self { endpoint, incoming: Incoming::new(limits), state, mail }
    }

    pub(super) fn now(&self) -> Instant {
        self.endpoint.runtime.now()
    }

    /// Asks the core for something, or tells it; then passes its events on and calls the task.
    ///
    /// # Errors
    /// The node was shut down. Nothing was asked.
    pub(super) fn command<T>(&self, f: impl FnOnce(&mut State, Instant) -> T) -> Result<T, ShutDown> {
        self.tell(|state, now| if state.shut_down { Err(ShutDown) } else { Ok(f(state, now)) })
    }

    /// [`command`](Self::command), whether or not the node was shut down.
    pub(super) fn tell<T>(&self, f: impl FnOnce(&mut State, Instant) -> T) -> T {
        let result = self.quietly(f);
        self.call_task();
        result
    }

    /// [`tell`](Self::tell), for the task itself.
    pub(super) fn quietly<T>(&self, f: impl FnOnce(&mut State, Instant) -> T) -> T {
        let now = self.now();
        let mut woken = Woken::default();
        let _on_panic = CallOnPanic(self);
        let mut state = self.lock();
        let result = f(&mut state, now);
        state.publish(&mut woken);
        drop(state);
        woken.wake();
        result
    }

    /// Looks at the state, changing nothing that anybody else must hear of.
    pub(super) fn look<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.lock())
    }

    /// Makes a connection of what was accepted, if the core lets it in.
    pub(crate) fn accepted(self: &Arc<Self>, socket: Socket) {
        self.adopt(socket, |core, now, endpoints| core.handle_incoming(now, endpoints).ok());
    }

    /// Makes a connection of what was dialed, if it is still wanted.
    pub(super) fn dialed(self: &Arc<Self>, id: AttemptId, socket: Socket) {
        self.adopt(socket, |core, now, endpoints| core.handle_dialed(now, id, endpoints));
    }

    pub(super) fn dial_failed(&self, id: AttemptId, why: DialFailure) {
        self.tell(|state, now| state.core.handle_dial_failed(now, id, why));
    }

    /// Makes a connection of a socket with the link that `link` gives, and drops it if there is none.
    fn adopt(self: &Arc<Self>, socket: Socket, link: impl FnOnce(&mut Core, Instant, Endpoints) -> Option<Link>) {
        let Ok(slot) = self.endpoint.reserve() else { return };
        let endpoints = Endpoints { local: address(socket.local), remote: address(socket.remote) };
        let link = self.tell(|state, now| link(&mut state.core, now, endpoints));
        if let Some((id, link)) = link.and_then(|link| link.id().map(|id| (id, link))) {
            self.begin(slot, socket, id, link);
        }
    }

    fn begin(self: &Arc<Self>, slot: Slot, socket: Socket, id: ConnectionId, link: Link) {
        let member = Member { node: self.clone(), id };
        let (shared, reader) = self.endpoint.prepare(slot, socket, link, Owner::Node, Some(member));
        // The task of the node must find the connection when that calls.
        let early = self.look(|state| {
            state.connections.insert(id, Handle::new(&shared));
            state.early.remove(&id)
        });
        let now = self.now();
        let early = early.into_iter().flat_map(|mut early| std::iter::from_fn(move || early.take()));
        early.for_each(|message| shared.command(|inner| inner.handle_node(now, message)));
        self.endpoint.run(&shared, reader);
    }

    fn begin_handshake(&self, connection: &Arc<Shared>) {
        let Some(peer) = connection.quietly(|inner| inner.opened()) else { return };
        let mut woken = Woken::default();
        let oldest = self.look(|state| {
            let is_full = state.handshakes.len() >= state.max_handshakes;
            let oldest = if is_full { state.handshakes.pop_front() } else { None };
            state.handshakes.push_back((Handle::new(connection), peer));
            state.handshaking.wake_into(&mut woken);
            oldest
        });
        drop(oldest);
        woken.wake();
    }

    fn called_by(&self, id: ConnectionId) {
        self.lock_mail().calls.push(id);
        self.call_task();
    }

    /// Lets the task look, soon.
    pub(super) fn call_task(&self) {
        let now = self.now();
        let task = {
            let mut mail = self.lock_mail();
            // Once is enough until it looks.
            if mail.woken.is_some() {
                return;
            }
            mail.woken = Some(now);
            mail.task.clone()
        };
        task.into_iter().for_each(Waker::wake);
    }

    /// Since when the task was to look, if it has not yet.
    pub(super) fn late_since(&self) -> Option<Instant> {
        self.lock_mail().woken
    }

    /// The task looks: who called it, and since when it was to come.
    pub(super) fn take_calls(&self, task: &Waker) -> (Vec<ConnectionId>, Option<Instant>) {
        let mut mail = self.lock_mail();
        match &mut mail.task {
            Some(known) => known.clone_from(task),
            None => mail.task = Some(task.clone()),
        }
        (std::mem::take(&mut mail.calls), mail.woken.take())
    }

    /// Fetches what a connection has for the core. True if nothing will follow.
    pub(super) fn fetch(&self, id: ConnectionId, messages: &mut Vec<ToNode>) -> bool {
        let connection = self.look(|state| state.connections.get(&id).map(|handle| handle.shared().clone()));
        connection.is_some_and(|connection| connection.task(|inner| inner.fetch(messages)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| {
            // The core has panicked, and what it says cannot be trusted.
            let mut state = PoisonError::into_inner(poisoned);
            (state.shut_down, state.broken) = (true, true);
            state
        })
    }

    fn lock_mail(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls the task if the core panics, so that it can tell whoever waits.
struct CallOnPanic<'a>(&'a NodeShared);

impl Drop for CallOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.call_task();
        }
    }
}

impl State {
    /// Passes the core's events on to whoever waits for them.
    pub(super) fn publish(&mut self, woken: &mut Woken) {
        while let Some(event) = self.core.poll_event() {
            self.connecting.note(&event, woken);
            let core = &self.core;
            let is_known = |peer: &PeerId| core.book().contains(peer) || core.state(peer) != PeerState::Disconnected;
            self.subscribers.publish(&event, &is_known, woken);
            if let Event::Opened { connection, peer, .. } = &event {
                self.opened.push((*connection, *peer));
            }
        }
    }

    /// Nobody waits for anything any more.
    pub(super) fn close(&mut self, woken: &mut Woken) {
        self.shut_down = true;
        self.subscribers.close(woken);
        self.connecting.wake_all(woken);
        self.handshaking.wake_into(woken);
    }
}

fn address(addr: SocketAddr) -> Multiaddr {
    Multiaddr::from_socket_addr(addr)
}
