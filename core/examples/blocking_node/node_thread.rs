//! The thread of a node, and those that listen and dial for it.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    sync::mpsc::{Receiver, SyncSender},
    thread::{self, JoinHandle},
    time::Duration,
};

use septa_core::{
    ConnectionId, Link, Multiaddr,
    multiaddr::Protocol,
    node::{Action, DialFailure, Endpoints, Node},
};

use crate::{
    application::{Application, Clock, Party, multiaddr},
    connection_threads,
    inbox::{Letters, ToNodeThread, node_inbox, receive},
};

/// How long a thread may wait for a transport: as long as the node does.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long nothing is accepted behind an error such as "too many open files".
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A node, and the ways to its connections. Everything here happens on the thread that calls [`run`](Self::run).
pub(crate) struct NodeThread {
    clock: Clock,
    party: Party,
    node: Node,
    application: Application,
    inbox: Receiver<ToNodeThread>,
    to_self: SyncSender<ToNodeThread>,
    connections: BTreeMap<ConnectionId, (Letters, JoinHandle<()>)>,
    listener: Option<(SocketAddr, JoinHandle<()>)>,
}

impl NodeThread {
    pub(crate) fn new(clock: Clock, party: Party, node: Node, application: Application) -> Self {
        let (to_self, inbox) = node_inbox();
        Self { clock, party, node, application, inbox, to_self, connections: BTreeMap::new(), listener: None }
    }

    /// Accepts on a thread of its own.
    pub(crate) fn listen(&mut self, listener: TcpListener) -> io::Result<()> {
        let (addr, node) = (listener.local_addr()?, self.to_self.clone());
        let accept = move || {
            loop {
                let told = match listener.accept() {
                    Ok((socket, _)) => node.send(ToNodeThread::Accepted(socket)),
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => Ok(()),
                    Err(_) => {
                        thread::sleep(ACCEPT_PAUSE);
                        Ok(())
                    }
                };
                // Nobody listens to this thread any more.
                if told.is_err() {
                    return;
                }
            }
        };
        self.listener = Some((addr, thread::spawn(accept)));
        Ok(())
    }

    /// Runs until the application has shut the node down and everything has ended.
    pub(crate) fn run(mut self) {
        loop {
            self.obey();
            // A node that waits for a backoff is idle too, so that alone does not say it has ended.
            if self.application.has_ended() && self.node.is_idle() && self.connections.is_empty() {
                break;
            }
            if let Some(message) = receive(&self.inbox, self.clock, self.node.poll_timeout()) {
                self.hear(message);
            }
            // Early, late and repeated calls are harmless.
            self.node.handle_timeout(self.clock.now());
        }
        self.application.assert_is_done();
        drop(self.inbox);
        if let Some((addr, thread)) = self.listener {
            // It is blocked in `accept`, so it gets something, which it cannot pass on any more.
            let _ = TcpStream::connect(addr);
            let _ = thread.join();
        }
    }

    fn hear(&mut self, message: ToNodeThread) {
        let now = self.clock.now();
        match message {
            ToNodeThread::Accepted(socket) => {
                let Some(endpoints) = endpoints(&socket) else { return };
                if let Ok(link) = self.node.handle_incoming(now, endpoints) {
                    self.begin(link, socket);
                }
            }
            ToNodeThread::Resolved(id, Ok(addrs)) => {
                let addrs: Vec<Multiaddr> = addrs.into_iter().map(multiaddr).collect();
                self.node.handle_resolved(now, id, &addrs);
            }
            ToNodeThread::Resolved(id, Err(_)) => {
                self.node.handle_dial_failed(now, id, DialFailure::ResolveFailed);
            }
            ToNodeThread::Dialed(id, Ok(socket)) => match endpoints(&socket) {
                // The node may not want it any more: then it is dropped.
                Some(endpoints) => {
                    if let Some(link) = self.node.handle_dialed(now, id, endpoints) {
                        self.begin(link, socket);
                    }
                }
                None => self.node.handle_dial_failed(now, id, DialFailure::Other),
            },
            ToNodeThread::Dialed(id, Err(error)) => self.node.handle_dial_failed(now, id, failure(&error)),
            ToNodeThread::Said(id, message) => self.node.handle_connection(now, id, *message),
            ToNodeThread::Word(word) => self.application.hear(&mut self.node, now, word),
            ToNodeThread::Gone(id) => {
                // It does nothing if the connection has told that it was over.
                self.node.handle_connection_lost(now, id);
                if let Some((_, thread)) = self.connections.remove(&id) {
                    // This was the last that the thread did.
                    let _ = thread.join();
                }
            }
        }
    }

    /// Passes the node's events on and does what it wants, until it wants nothing.
    fn obey(&mut self) {
        loop {
            let now = self.clock.now();
            while let Some(event) = self.node.poll_event() {
                self.application.handle(&mut self.node, now, &event);
            }
            let Some(action) = self.node.poll_action() else { break };
            let to_self = self.to_self.clone();
            match action {
                Action::Resolve { id, addr } => {
                    thread::spawn(move || to_self.send(ToNodeThread::Resolved(id, resolve(&addr))));
                }
                Action::StartDial { id, addr } => {
                    thread::spawn(move || to_self.send(ToNodeThread::Dialed(id, dial(&addr))));
                }
                // Nothing can interrupt the thread. What it comes back with, the node will not want.
                Action::AbortDial { .. } => {}
                // A message to a connection that is over comes too late.
                Action::Send { to, message } => {
                    if let Some((letters, _)) = self.connections.get(&to) {
                        letters.put(message);
                    }
                }
                // Actions of versions to come.
                _ => {}
            }
        }
    }

    /// Makes a connection of a link and a socket.
    fn begin(&mut self, link: Link, socket: TcpStream) {
        let Some(id) = link.id() else { return };
        let now = self.clock.now();
        let connection = self.party.connection(link, now);
        let session = self.application.session();
        match connection_threads::start(self.clock, id, connection, session, socket, self.to_self.clone()) {
            Ok(threads) => drop(self.connections.insert(id, threads)),
            Err(_) => self.node.handle_connection_lost(now, id),
        }
    }
}

fn endpoints(socket: &TcpStream) -> Option<Endpoints> {
    Some(Endpoints { local: multiaddr(socket.local_addr().ok()?), remote: multiaddr(socket.peer_addr().ok()?) })
}

fn dial(addr: &Multiaddr) -> io::Result<TcpStream> {
    let addr = addr.socket_addr().ok_or(io::ErrorKind::Unsupported)?;
    TcpStream::connect_timeout(&addr, DIAL_TIMEOUT)
}

fn resolve(addr: &Multiaddr) -> io::Result<Vec<SocketAddr>> {
    let mut protocols = addr.protocols();
    let (name, port, is_wanted): (_, _, fn(&SocketAddr) -> bool) = match (protocols.next(), protocols.next()) {
        (Some(Protocol::Dns(name)), Some(Protocol::Tcp(port))) => (name, port, |_| true),
        (Some(Protocol::Dns4(name)), Some(Protocol::Tcp(port))) => (name, port, SocketAddr::is_ipv4),
        (Some(Protocol::Dns6(name)), Some(Protocol::Tcp(port))) => (name, port, SocketAddr::is_ipv6),
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    Ok((name, port).to_socket_addrs()?.filter(is_wanted).collect())
}

/// What the node makes of an error, and tells the application.
fn failure(error: &io::Error) -> DialFailure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => DialFailure::Refused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => {
            DialFailure::Unreachable
        }
        io::ErrorKind::TimedOut => DialFailure::TimedOut,
        _ => DialFailure::Other,
    }
}
