//! The node: what it listens on, its connections and its tasks.

use std::{
    collections::BTreeMap,
    fmt,
    future::poll_fn,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll},
    time::Duration,
};

use septa_core::{
    Connection as Core, ExpectedPeer, Identity, Link, Multiaddr, PeerId, ProtocolId, PublicKey,
    connection::{Config, codes},
    noise::Credentials,
    protocol::identify,
};

use crate::{
    builder::{EndpointBuilder, Limits},
    connection::Connection,
    dial,
    error::{ConnectError, ListenError},
    inner::Owner,
    listener::{self, Listener, ListenerShared},
    node::{Member, NodeShared},
    output::Output,
    profile::Profile,
    runtime::{Runtime, Socket, SocketReader},
    services,
    shared::Shared,
    task::ConnectionTask,
    time::{after, within},
    waiters::{Waiters, Woken},
};

/// One node on the network: an identity, listeners and connections. Cheap to clone.
///
/// Dropping the last clone stops nothing: connections and listeners live as long as their handles.
/// [`shutdown`](Self::shutdown) ends everything.
#[derive(Clone)]
pub struct Endpoint(Arc<EndpointInner>);

/// Counters of an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct EndpointStats {
    /// Connections now, those that are being made included.
    pub connections: usize,
    /// Tasks of the endpoint that have not ended: one per connection and listener, one per ping,
    /// identify or perf stream that is being answered, and one per connection that is to be told of a
    /// change.
    pub live_tasks: usize,
    /// Tasks that ended in a panic, which is a bug. Their connections were lost, nothing else was.
    pub panicked_tasks: u64,
    /// Inbound connections that were dropped because of [`Limits::max_connections`].
    pub refused_connections: u64,
}

impl Endpoint {
    pub(crate) fn into_inner(self) -> Arc<EndpointInner> {
        self.0
    }

    /// Starts to configure an endpoint that proves `identity` to its peers.
    pub fn builder(identity: Identity) -> EndpointBuilder {
        EndpointBuilder::new(identity)
    }

    pub(crate) fn new(inner: EndpointInner) -> Self {
        Self(Arc::new(inner))
    }

    /// Who this node is.
    pub fn peer_id(&self) -> PeerId {
        self.0.credentials.peer_id()
    }

    /// The key behind the peer id.
    pub fn public_key(&self) -> &PublicKey {
        self.0.credentials.public_key()
    }

    /// The runtime that everything runs on.
    pub fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.0.runtime
    }

    /// The addresses that are listened on, with their real ports.
    pub fn listen_addrs(&self) -> Vec<Multiaddr> {
        let addrs = self.0.state(|state| state.listeners.values().map(|listener| listener.local).collect::<Vec<_>>());
        addrs.into_iter().map(Multiaddr::from_socket_addr).collect()
    }

    /// Counters of now.
    pub fn stats(&self) -> EndpointStats {
        self.0.state(|state| EndpointStats {
            connections: state.connections.len(),
            live_tasks: state.live_tasks,
            panicked_tasks: state.panicked_tasks,
            refused_connections: state.refused_connections,
        })
    }

    /// Listens on `/ip4/../tcp/..` or `/ip6/../tcp/..`; port 0 chooses a free one, which
    /// [`Listener::local_addr`] tells. When this returns, connections are being accepted.
    ///
    /// # Errors
    /// The address is unsuitable or taken, or the endpoint was shut down. Nothing was started.
    pub async fn listen(&self, addr: &Multiaddr) -> Result<Listener, ListenError> {
        self.0.listen(addr, None).await
    }

    /// Connects to `addr` and waits until streams are possible.
    ///
    /// If the address ends in `/p2p/..`, only that peer will do, whatever `expected` allows; see
    /// [`expected_peer`](crate::expected_peer) for a way to insist on it. Names are resolved, and
    /// their addresses tried in turn. Dropping the future gives up and leaves nothing behind.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(&self, addr: &Multiaddr, expected: ExpectedPeer) -> Result<Connection, ConnectError> {
        dial::connect(&self.0, addr, expected).await
    }

    /// Replaces the protocols that the application serves, on open connections too, and tells the
    /// peers. Streams that are already negotiated go on.
    pub fn serve(&self, protocols: impl IntoIterator<Item = ProtocolId>) {
        self.0.serve(protocols);
    }

    /// Tells every peer that speaks identify push who this node is now.
    ///
    /// That happens by itself when the protocols that are served or the addresses that are listened on
    /// change. On each connection there is one push at a time and at most one each
    /// [`MIN_PUSH_INTERVAL`](identify::MIN_PUSH_INTERVAL), with what is true when it leaves.
    pub fn push_identify(&self) {
        self.0.identify_changed();
    }

    /// Stops listening, closes every connection in good order, and cuts off what is left at
    /// `deadline` from now. When this returns, no task of the endpoint is alive.
    ///
    /// Written data leaves first, as far as the drain timeout of the connections allows. May be called
    /// again, and dropped: what it began goes on. Every other method fails from now on.
    pub async fn shutdown(&self, deadline: Duration) {
        self.0.shutdown(deadline).await;
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("peer", &self.peer_id()).field("stats", &self.stats()).finish_non_exhaustive()
    }
}

pub(crate) struct EndpointInner {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) config: Arc<Config>,
    pub(crate) limits: Limits,
    /// `None` if perf is not served.
    pub(crate) max_perf_download: Option<u64>,
    profile: Profile,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    shut_down: bool,
    last_id: u64,
    /// An entry without a connection is one whose socket is being connected.
    connections: BTreeMap<u64, Weak<Shared>>,
    listeners: BTreeMap<u64, Arc<ListenerShared>>,
    live_tasks: usize,
    panicked_tasks: u64,
    refused_connections: u64,
    idle: Waiters,
}

/// No connection may be added.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NoSlot {
    Full,
    ShutDown,
}

impl EndpointInner {
    pub(crate) fn new(
        runtime: Arc<dyn Runtime>,
        credentials: Credentials,
        config: Config,
        profile: Profile,
        max_perf_download: Option<u64>,
        limits: Limits,
    ) -> Self {
        Self {
            runtime,
            credentials: Arc::new(credentials),
            config: Arc::new(config),
            limits,
            max_perf_download,
            profile,
            state: Mutex::default(),
        }
    }

    /// Counts a connection that is about to be made.
    pub(crate) fn reserve(self: &Arc<Self>) -> Result<Slot, NoSlot> {
        let id = self.state(|state| {
            if state.shut_down {
                return Err(NoSlot::ShutDown);
            }
            if state.connections.len() >= self.limits.max_connections {
                return Err(NoSlot::Full);
            }
            let id = state.new_id();
            state.connections.insert(id, Weak::new());
            Ok(id)
        })?;
        Ok(Slot { endpoint: self.clone(), id })
    }

    /// Makes a connection of an established socket and starts its task. The connection ends at once if
    /// the endpoint was shut down meanwhile.
    pub(crate) fn start(self: &Arc<Self>, slot: Slot, socket: Socket, link: Link, owner: Owner) -> Arc<Shared> {
        let (shared, reader) = self.prepare(slot, socket, link, owner, None);
        self.run(&shared, reader);
        shared
    }

    /// Makes a connection of an established socket. Nothing happens on it until it [runs](Self::run).
    pub(crate) fn prepare(
        self: &Arc<Self>,
        slot: Slot,
        socket: Socket,
        link: Link,
        owner: Owner,
        member: Option<Member>,
    ) -> (Arc<Shared>, Box<dyn SocketReader>) {
        let addrs = (socket.local, socket.remote);
        let core = Core::new(link, self.config.clone(), self.credentials.clone(), self.runtime.now());
        let shared = Shared::new(self.clone(), slot, addrs, core, Output::new(socket.writer), owner, member);
        (shared, socket.reader)
    }

    /// Starts the task of a connection.
    pub(crate) fn run(self: &Arc<Self>, shared: &Arc<Shared>, reader: Box<dyn SocketReader>) {
        let shut_down = self.state(|state| {
            state.connections.insert(shared.slot.id(), Arc::downgrade(shared));
            state.shut_down
        });
        // The configuration knows the protocols from the beginning.
        self.serve_on(shared);
        if shut_down {
            shared.kill();
        }
        self.spawn_unpin("connection", ConnectionTask::new(shared.clone(), reader));
    }

    pub(crate) fn remove_connection(&self, id: u64) {
        self.state(|state| state.connections.remove(&id));
    }

    pub(crate) fn add_listener(&self, listener: &Arc<ListenerShared>) -> Result<u64, ListenError> {
        let id = self.state(|state| {
            if state.shut_down {
                return Err(ListenError::ShutDown);
            }
            let id = state.new_id();
            state.listeners.insert(id, listener.clone());
            Ok(id)
        })?;
        self.identify_changed();
        Ok(id)
    }

    pub(crate) fn remove_listener(&self, id: u64) {
        drop(self.state(|state| state.listeners.remove(&id)));
        self.identify_changed();
    }

    /// Serves the protocols of now on a connection. Asks for them under the connection's lock, so that
    /// of two changes at once the last one stays.
    fn serve_on(&self, connection: &Arc<Shared>) {
        connection.command(|inner| inner.serve(|| self.profile.protocols()));
    }

    /// Tells all peers who this node is now.
    fn identify_changed(&self) {
        if !self.is_shut_down() {
            for connection in self.live_connections() {
                services::identify_changed(&connection);
            }
        }
    }

    pub(crate) fn count_refused(&self) {
        self.state(|state| state.refused_connections += 1);
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.state(|state| state.shut_down)
    }

    /// Runs `task` as one of the endpoint's: counted, its panic contained.
    pub(crate) fn spawn(self: &Arc<Self>, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_unpin(name, Box::pin(task));
    }

    /// [`spawn`](Self::spawn) without a box around the task.
    pub(crate) fn spawn_unpin(self: &Arc<Self>, name: &str, task: impl Future<Output = ()> + Send + Unpin + 'static) {
        self.state(|state| state.live_tasks += 1);
        let counted = Counted { task: Some(task), endpoint: self.clone() };
        self.runtime.spawn(name, Box::pin(counted));
    }

    /// What identify tells a peer whose connection goes from `local` to `remote`.
    pub(crate) fn identify_info(&self, local: SocketAddr, remote: SocketAddr) -> identify::Info {
        let listening: Vec<SocketAddr> = self.state(|state| state.listeners.values().map(|l| l.local).collect());
        self.profile.identify_info(&*self.runtime, &**self.credentials.provider(), &listening, local, remote)
    }

    /// See [`Endpoint::listen`]. Sockets go to `node`, if there is one.
    pub(crate) async fn listen(
        self: &Arc<Self>,
        addr: &Multiaddr,
        node: Option<&Arc<NodeShared>>,
    ) -> Result<Listener, ListenError> {
        let own = addr.peer_id().is_none_or(|peer| peer == self.credentials.peer_id());
        let socket_addr = addr.socket_addr().filter(|_| own);
        let socket_addr = socket_addr.ok_or_else(|| ListenError::Unsupported { addr: addr.clone() })?;
        let io_error = |error: std::io::Error| ListenError::Io { addr: socket_addr, kind: error.kind() };
        if self.is_shut_down() {
            return Err(ListenError::ShutDown);
        }
        let acceptor = self.runtime.listen(socket_addr).await.map_err(io_error)?;
        let local = acceptor.local_addr().map_err(io_error)?;
        listener::start(self, acceptor, local, node)
    }

    /// The protocol is one that the endpoint serves itself.
    pub(crate) fn serves_itself(&self, protocol: &ProtocolId) -> bool {
        self.profile.serves_itself(protocol)
    }

    /// See [`Endpoint::serve`].
    pub(crate) fn serve(&self, protocols: impl IntoIterator<Item = ProtocolId>) {
        if self.profile.serve(protocols) {
            self.live_connections().iter().for_each(|connection| self.serve_on(connection));
            self.identify_changed();
        }
    }

    /// See [`Endpoint::shutdown`].
    pub(crate) async fn shutdown(&self, deadline: Duration) {
        let (listeners, connections) = self.begin_shutdown();
        listeners.iter().for_each(|listener| listener.close());
        let now = self.runtime.now();
        for connection in &connections {
            connection.command(|inner| {
                if let Ok(core) = inner.core() {
                    core.close(now, codes::connection::SHUTDOWN);
                }
            });
        }
        drop(connections);
        self.idle_or_cut(deadline, || {}).await;
    }

    /// Waits until no task is alive. At `deadline` from now it calls `cut` and cuts the connections off that are left.
    pub(crate) async fn idle_or_cut(&self, deadline: Duration, cut: impl FnOnce()) {
        let runtime = &*self.runtime;
        if within(runtime, after(runtime, deadline), self.idle()).await.is_none() {
            cut();
            self.live_connections().iter().for_each(Shared::kill);
            self.idle().await;
        }
    }

    pub(crate) fn begin_shutdown(&self) -> (Vec<Arc<ListenerShared>>, Vec<Arc<Shared>>) {
        let listeners = self.state(|state| {
            state.shut_down = true;
            state.listeners.values().cloned().collect()
        });
        (listeners, self.live_connections())
    }

    fn live_connections(&self) -> Vec<Arc<Shared>> {
        self.state(|state| state.connections.values().filter_map(Weak::upgrade).collect())
    }

    /// Waits until no task is alive.
    async fn idle(&self) {
        let mut waiting = WaitingForIdle { endpoint: self, key: None };
        poll_fn(|cx| {
            self.state(|state| {
                if state.live_tasks == 0 {
                    return Poll::Ready(());
                }
                state.idle.wait(&mut waiting.key, cx.waker());
                Poll::Pending
            })
        })
        .await;
    }

    pub(crate) fn live_tasks(&self) -> usize {
        self.state(|state| state.live_tasks)
    }

    pub(crate) fn panicked_tasks(&self) -> u64 {
        self.state(|state| state.panicked_tasks)
    }

    fn task_ended(&self) {
        let mut woken = Woken::default();
        self.state(|state| {
            state.live_tasks -= 1;
            if state.live_tasks == 0 {
                state.idle.wake_into(&mut woken);
            }
        });
        woken.wake();
    }

    fn state<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

/// A connection's place among [`Limits::max_connections`], given back when dropped.
pub(crate) struct Slot {
    endpoint: Arc<EndpointInner>,
    id: u64,
}

impl Slot {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.endpoint.remove_connection(self.id);
    }
}

struct WaitingForIdle<'a> {
    endpoint: &'a EndpointInner,
    key: Option<u64>,
}

impl Drop for WaitingForIdle<'_> {
    fn drop(&mut self) {
        self.endpoint.state(|state| state.idle.forget(self.key));
    }
}

/// A task of the endpoint.
struct Counted<F> {
    /// `None` once it has ended.
    task: Option<F>,
    endpoint: Arc<EndpointInner>,
}

impl<F: Future<Output = ()> + Unpin> Future for Counted<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(task) = &mut self.task else { return Poll::Ready(()) };
        match catch_unwind(AssertUnwindSafe(|| Pin::new(task).poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => {}
            Err(_) => self.endpoint.state(|state| state.panicked_tasks += 1),
        }
        let task = self.task.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(task)));
        Poll::Ready(())
    }
}

impl<F> Drop for Counted<F> {
    fn drop(&mut self) {
        self.task = None;
        self.endpoint.task_ended();
    }
}
