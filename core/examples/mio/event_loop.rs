//! The loop of one node.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    time::Duration,
};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use septa_core::{
    ConnectionId, Instant, Link,
    node::{Action, DialFailure, Endpoints, Node},
};

use crate::{
    application::{Application, Clock, Party, multiaddr},
    dials::Dials,
    transport::{Scratch, Transport},
};

const LISTENER: Token = Token(0);
/// How long nothing is accepted behind an error such as "too many open files". What waits announces itself only once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A node, its sockets and what they wait for. Everything happens on the thread that calls [`run`](Self::run).
pub(crate) struct EventLoop {
    poll: Poll,
    clock: Clock,
    party: Party,
    node: Node,
    application: Application,
    listener: Option<TcpListener>,
    /// When to accept again, although the listener announces nothing.
    accept_at: Option<Instant>,
    dials: Dials,
    transports: BTreeMap<Token, Transport>,
    tokens: BTreeMap<ConnectionId, Token>,
    /// The deadlines of the connections, each with its connection, and the one of each connection that is in there.
    deadlines: BTreeSet<(Instant, Token)>,
    armed: BTreeMap<Token, Instant>,
    /// Connections that are to have a turn.
    due: BTreeSet<Token>,
    last_token: usize,
    scratch: Scratch,
}

impl EventLoop {
    pub(crate) fn new(clock: Clock, party: Party, node: Node, application: Application) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            clock,
            party,
            node,
            application,
            listener: None,
            accept_at: None,
            dials: Dials::default(),
            transports: BTreeMap::new(),
            tokens: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            armed: BTreeMap::new(),
            due: BTreeSet::new(),
            last_token: LISTENER.0,
            scratch: Scratch::default(),
        })
    }

    /// 2.: listens, and returns where.
    pub(crate) fn listen(&mut self, addr: SocketAddr) -> io::Result<SocketAddr> {
        let mut listener = TcpListener::bind(addr)?;
        self.poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let addr = listener.local_addr()?;
        self.listener = Some(listener);
        Ok(addr)
    }

    /// Runs until the application has shut the node down and everything has ended.
    ///
    /// # Errors
    /// The operating system does not let the loop wait for sockets. Nothing else ends it.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        loop {
            self.obey();
            // 14.: a node that waits for a backoff is idle too, so that alone does not say it has ended.
            if self.application.has_ended() && self.node.is_idle() && self.transports.is_empty() {
                break;
            }
            // 4.: a connection that has still to do something shall have its turn behind the others.
            if let Err(error) = self.poll.poll(&mut events, self.patience())
                && error.kind() != io::ErrorKind::Interrupted
            {
                return Err(error);
            }
            for event in &events {
                self.note(event);
            }
            self.expire();
            for token in std::mem::take(&mut self.due) {
                self.take_turn(token)?;
            }
        }
        self.application.assert_is_done();
        Ok(())
    }

    /// 4.: how long to sleep at most; for ever if there is neither work nor a deadline.
    fn patience(&self) -> Option<Duration> {
        if !self.due.is_empty() {
            return Some(Duration::ZERO);
        }
        let connection = self.deadlines.first().map(|(deadline, _)| *deadline);
        let deadline = self.node.poll_timeout().into_iter().chain(connection).chain(self.accept_at).min()?;
        Some(deadline.saturating_duration_since(self.clock.now()))
    }

    /// Something happened to a socket.
    fn note(&mut self, event: &mio::event::Event) {
        match event.token() {
            LISTENER => self.accept(),
            token => match self.transports.get_mut(&token) {
                Some(transport) => {
                    transport.note(event);
                    self.due.insert(token);
                }
                None => self.finish_dial(token),
            },
        }
    }

    /// 13.: tells the time to the node, and lets the connections have a turn that have asked for it.
    fn expire(&mut self) {
        let now = self.clock.now();
        if self.node.poll_timeout().is_some_and(|deadline| deadline <= now) {
            self.node.handle_timeout(now);
        }
        if self.accept_at.is_some_and(|at| at <= now) {
            self.accept();
        }
        self.due.extend(self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now).map(|(_, token)| *token));
    }

    /// 5.: passes the node's events on and does what it wants, until it wants nothing.
    fn obey(&mut self) {
        loop {
            let now = self.clock.now();
            while let Some(event) = self.node.poll_event() {
                self.application.handle(&mut self.node, now, &event);
            }
            let Some(action) = self.node.poll_action() else { break };
            match action {
                // The resolver of the standard library waits, so it belongs on a thread of its own, whose answer wakes
                // this loop with a `mio::Waker`. Here all addresses are numbers.
                Action::Resolve { id, .. } => self.node.handle_dial_failed(now, id, DialFailure::ResolveFailed),
                Action::StartDial { id, addr } => {
                    let token = self.new_token();
                    let started = match addr.socket_addr() {
                        Some(addr) => self.dials.start(id, addr, token, self.poll.registry()),
                        None => Err(DialFailure::Other),
                    };
                    if let Err(why) = started {
                        self.node.handle_dial_failed(now, id, why);
                    }
                }
                Action::AbortDial { id } => self.dials.abort(id, self.poll.registry()),
                // A message to a connection that is over comes too late.
                Action::Send { to, message } => {
                    if let Some(token) = self.tokens.get(&to).copied()
                        && let Some(transport) = self.transports.get_mut(&token)
                    {
                        transport.handle_node(now, message);
                        self.due.insert(token);
                    }
                }
                // Actions of versions to come.
                _ => {}
            }
        }
    }

    /// 6.: a socket that was being connected is ready.
    fn finish_dial(&mut self, token: Token) {
        let now = self.clock.now();
        let Some(dialed) = self.dials.finish(token, self.poll.registry()) else { return };
        match dialed.outcome {
            Ok((mut socket, endpoints)) => match self.node.handle_dialed(now, dialed.id, endpoints) {
                Some(link) => self.begin(link, socket, token, Dials::INTEREST),
                None => drop(self.poll.registry().deregister(&mut socket)),
            },
            Err(why) => self.node.handle_dial_failed(now, dialed.id, why),
        }
    }

    /// 7.: accepts until nothing waits.
    fn accept(&mut self) {
        self.accept_at = None;
        while let Some(listener) = &self.listener {
            let (socket, remote) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The one that waited has gone; the next one may not have.
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {
                    continue;
                }
                Err(_) => {
                    self.accept_at = Some(self.clock.now().saturating_add(ACCEPT_PAUSE));
                    return;
                }
            };
            self.accepted(socket, remote);
        }
    }

    fn accepted(&mut self, mut socket: TcpStream, remote: SocketAddr) {
        let Ok(local) = socket.local_addr() else { return };
        let endpoints = Endpoints { local: multiaddr(local), remote: multiaddr(remote) };
        // What the node does not want is dropped here, before it has cost anything.
        let Ok(link) = self.node.handle_incoming(self.clock.now(), endpoints) else { return };
        let token = self.new_token();
        let interest = Interest::READABLE;
        match self.poll.registry().register(&mut socket, token, interest) {
            Ok(()) => self.begin(link, socket, token, interest),
            Err(_) => self.lost(&link),
        }
    }

    /// Makes a connection of a link and a socket that is registered.
    fn begin(&mut self, link: Link, socket: TcpStream, token: Token, interest: Interest) {
        let Some(id) = link.id() else { return };
        let connection = self.party.connection(link, self.clock.now());
        let session = self.application.session();
        self.transports.insert(token, Transport::new(id, connection, session, socket, token, interest));
        self.tokens.insert(id, token);
        self.due.insert(token);
    }

    /// The node has counted a connection that there will not be.
    fn lost(&mut self, link: &Link) {
        if let Some(id) = link.id() {
            self.node.handle_connection_lost(self.clock.now(), id);
        }
    }

    /// 8. to 12. for one connection.
    fn take_turn(&mut self, token: Token) -> io::Result<()> {
        let now = self.clock.now();
        let Some(transport) = self.transports.get_mut(&token) else { return Ok(()) };
        let turn = transport.take_turn(now, &mut self.scratch, self.poll.registry())?;
        let (id, deadline) = (transport.id(), transport.poll_timeout());
        for message in turn.to_node {
            self.node.handle_connection(now, id, message);
        }
        if let Some(word) = turn.word {
            self.application.hear(&mut self.node, now, word);
        }
        if turn.is_over {
            self.arm(token, None);
            self.tokens.remove(&id);
            if let Some(mut transport) = self.transports.remove(&token) {
                transport.deregister(self.poll.registry());
            }
            return Ok(());
        }
        self.arm(token, deadline);
        if turn.is_busy {
            self.due.insert(token);
        }
        Ok(())
    }

    /// Keeps the deadline of a connection among those of all, so that the earliest is found at once.
    fn arm(&mut self, token: Token, deadline: Option<Instant>) {
        let before = self.armed.get(&token).copied();
        if before == deadline {
            return;
        }
        before.map(|before| self.deadlines.remove(&(before, token)));
        match deadline {
            Some(deadline) => {
                self.deadlines.insert((deadline, token));
                self.armed.insert(token, deadline);
            }
            None => drop(self.armed.remove(&token)),
        }
    }

    /// Never used twice: an event that comes late must not be taken for another socket's.
    fn new_token(&mut self) -> Token {
        self.last_token += 1;
        Token(self.last_token)
    }
}
