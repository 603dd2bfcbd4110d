//! The loop of one node.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use septa_core::{
    Connection, Instant, Link, Multiaddr, connection,
    node::{Action, DialFailure, Endpoints, InvalidValues, Node},
    noise::Credentials,
};
use septa_driver::runtime::{Acceptor, Runtime, Socket, Timer};

use super::{
    Application, Context, Setup, Violation,
    context::Inner,
    contract::Ledger,
    memory::MemoryBound,
    slots::{Dial, Listener, Slot},
    transport::{Transport, Turn, Why},
    work::{NOT_AGAIN, NOT_TOO_EARLY, NOTHING_LEFT, Shared, Work},
};

/// The rule of the memory bound.
const HOLDS: &str = "a connection holds no more than its limits promise";
/// The rule of the ledger.
const ONCE: &str = "a connection is made, opened and closed once";

/// Turns behind which the node is asked what it has to tell: in so many there are far fewer events than it keeps.
const TURNS: usize = 64;
/// How long nothing is accepted behind an error such as "too many open files".
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A node, its sockets and what they wait for. Each time the task runs, everything that is ready has one turn.
pub(super) struct EventLoop {
    shared: Arc<Shared>,
    config: Arc<connection::Config>,
    credentials: Arc<Credentials>,
    application: Box<dyn Application>,
    inner: Inner,
    timer: Box<dyn Timer>,
    /// What the timer is armed for.
    armed: Option<Instant>,
    /// The task may be another one than that which the timer wakes.
    has_moved: bool,
    has_started: bool,
    /// In a world that is checked.
    checks: Option<Box<Checks>>,
}

/// What a node and its connections are checked against.
struct Checks {
    /// What each connection may hold.
    memory: MemoryBound,
    /// Kept as long as the node tells everything.
    ledger: Ledger,
}

impl EventLoop {
    pub(super) fn new(
        runtime: Arc<dyn Runtime>,
        shared: Arc<Shared>,
        setup: Setup,
        application: Box<dyn Application>,
    ) -> Result<Self, InvalidValues> {
        let (mut seed, now) = (runtime.seed(), runtime.now());
        let Setup { identity, provider, node, connection, .. } = setup;
        let node = Node::new(node, identity.peer_id(), now, seed.child("node"))?;
        let credentials = Credentials::new(&identity, provider, seed.child("credentials"));
        let timer = runtime.timer();
        let inner = Inner::new(runtime, node, now);
        let checks = || Box::new(Checks { memory: MemoryBound::new(&connection), ledger: Ledger::default() });
        let checks = shared.is_checked().then(checks);
        Ok(Self {
            shared,
            config: Arc::new(connection),
            credentials: Arc::new(credentials),
            application,
            inner,
            timer,
            armed: None,
            has_moved: false,
            has_started: false,
            checks,
        })
    }

    pub(super) fn add_listener(&mut self, acceptor: Box<dyn Acceptor>) {
        if let Ok(addr) = acceptor.local_addr() {
            // Most nodes listen at one address.
            self.inner.listening.reserve_exact(1);
            self.inner.listening.push(addr);
        }
        self.inner.slots.insert(Slot::Listening(Box::new(Listener { acceptor, accepted_at: None })));
    }

    /// One turn for everything that is ready. Ready when the node has ended.
    fn run(&mut self, cx: &mut TaskContext<'_>, work: &mut Work) -> Poll<()> {
        self.has_moved |= self.inner.slots.ready.begin(cx.waker());
        self.inner.now = self.inner.runtime.now();
        if !self.has_started {
            self.has_started = true;
            self.application.started(&mut Context(&mut self.inner));
            self.obey(work);
        }
        self.expire(work);
        let mut ready = std::mem::take(&mut work.buffers.ready);
        self.inner.slots.ready.swap(&mut ready);
        for (turn, index) in (1_usize..).zip(ready.drain(..)) {
            self.take_turn(index as usize, work);
            if turn.is_multiple_of(TURNS) {
                self.obey(work);
            }
        }
        work.buffers.ready = ready;
        self.obey(work);
        if self.inner.is_ending && self.inner.node().is_idle() && self.inner.slots.is_idle() {
            self.enter(work, |ledger| ledger.end());
            return Poll::Ready(());
        }
        if self.inner.slots.ready.end() || self.arm(cx) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Tells the time to whoever has asked for it.
    fn expire(&mut self, work: &mut Work) {
        let now = self.inner.now;
        if self.inner.node_deadline.is_some_and(|deadline| deadline <= now) {
            self.inner.node().handle_timeout(now);
            let next = self.inner.node().poll_timeout();
            work.check(
                NOT_AGAIN,
                || next.is_none_or(|next| next > now),
                || format!("the node's timer that fired is due again at {next:?}"),
            );
        }
        if self.inner.alarm.is_some_and(|at| at <= now) {
            self.inner.alarm = None;
            self.application.timer(&mut Context(&mut self.inner));
        }
        self.inner.slots.expire(now);
    }

    /// Arms the timer for whatever comes first. True if that is now.
    fn arm(&mut self, cx: &mut TaskContext<'_>) -> bool {
        let Inner { node_deadline, slots, alarm, .. } = &self.inner;
        let next = node_deadline.iter().copied().chain(slots.next_deadline()).chain(*alarm).min();
        // A timer that was pending wakes the task at its deadline, unasked, if that is the task that it knows.
        if next == self.armed && !self.has_moved && next.is_none_or(|next| next > self.inner.now) {
            return false;
        }
        (self.armed, self.has_moved) = (next, false);
        self.timer.reset(next);
        let is_due = self.timer.poll_expired(cx).is_ready();
        if is_due {
            self.armed = None;
        }
        is_due
    }

    /// Passes the node's events on and does what it wants, until it wants nothing.
    fn obey(&mut self, work: &mut Work) {
        if !self.inner.has_touched_node {
            return;
        }
        loop {
            while let Some(event) = self.inner.node().poll_event() {
                self.enter(work, |ledger| ledger.hear(&event));
                self.application.node_event(&mut Context(&mut self.inner), event);
            }
            let Some(action) = self.inner.node().poll_action() else { break };
            self.act(action);
        }
        let now = self.inner.now;
        let node = self.inner.node();
        work.check(
            NOTHING_LEFT,
            || node.poll_action().is_none() && node.poll_event().is_none(),
            || "the node wants something behind the last that it wanted".to_owned(),
        );
        work.require(NOT_TOO_EARLY, || check_early_timeout(node, now));
        self.inner.node_deadline = node.poll_timeout();
        self.inner.has_touched_node = false;
    }

    /// Has something written into the ledger. What the node has dropped leaves gaps in it, of which nobody is to blame:
    /// then it is not kept any longer.
    fn enter(&mut self, work: &mut Work, entry: impl FnOnce(&mut Ledger) -> Result<(), String>) {
        let Some(checks) = &mut self.checks else { return };
        if self.inner.has_lost_events() {
            checks.ledger = Ledger::default();
        } else {
            work.require(ONCE, || entry(&mut checks.ledger));
        }
    }

    fn act(&mut self, action: Action) {
        let now = self.inner.now;
        match action {
            // Names belong to the driver; here all addresses are numbers.
            Action::Resolve { id, .. } => self.inner.node().handle_dial_failed(now, id, DialFailure::ResolveFailed),
            Action::StartDial { id, addr } => match addr.socket_addr() {
                Some(socket_addr) => {
                    let connecting = self.inner.runtime.connect(socket_addr);
                    self.inner.slots.insert(Slot::Dialing(Box::new(Dial { id, addr, connecting })));
                }
                None => self.inner.node().handle_dial_failed(now, id, DialFailure::Other),
            },
            Action::AbortDial { id } => self.inner.slots.abort(id),
            // A message to a connection that is over comes too late.
            Action::Send { to, message } => {
                if let Some(connection) = self.inner.slots.connection(to) {
                    connection.handle_node(now, message);
                }
            }
            // Actions of versions to come.
            _ => {}
        }
    }

    fn take_turn(&mut self, index: usize, work: &mut Work) {
        let (slot, is_woken) = self.inner.slots.take(index);
        match slot {
            Slot::Open(transport) => self.move_bytes(index, transport, is_woken, work),
            Slot::Dialing(dial) => self.go_on_dialing(index, dial, work),
            Slot::Listening(listener) => self.accept(index, listener, work),
            Slot::Free | Slot::Away => {}
        }
    }

    fn move_bytes(&mut self, index: usize, mut transport: Box<Transport>, is_woken: bool, work: &mut Work) {
        let Some(waker) = self.inner.slots.waker(index) else { return };
        let why = Why { is_woken, is_due: self.inner.slots.is_due(index, self.inner.now) };
        let cx = &mut TaskContext::from_waker(&waker);
        let turn = transport.take_turn(cx, why, work, &mut *self.application, &mut self.inner);
        if let Some(checks) = &self.checks {
            work.require(HOLDS, || transport.check_memory(&checks.memory));
        }
        let slots = &mut self.inner.slots;
        if turn == Turn::Over {
            return slots.remove(index, &Slot::Open(transport));
        }
        slots.arm(index, transport.poll_timeout());
        slots.put_back(index, Slot::Open(transport));
        if turn == Turn::Busy {
            slots.mark(index);
        }
    }

    fn go_on_dialing(&mut self, index: usize, mut dial: Box<Dial>, work: &mut Work) {
        let Some(waker) = self.inner.slots.waker(index) else { return };
        let now = self.inner.now;
        let Poll::Ready(outcome) = dial.connecting.as_mut().poll(&mut TaskContext::from_waker(&waker)) else {
            return self.inner.slots.put_back(index, Slot::Dialing(dial));
        };
        let (id, dialed) = (dial.id, dial.addr.clone());
        self.inner.slots.remove(index, &Slot::Dialing(dial));
        match outcome {
            // Not wanted any more if there is no link.
            Ok(socket) => {
                let remote = multiaddr(socket.remote, Some(dialed));
                let endpoints = Endpoints { local: multiaddr(socket.local, None), remote };
                if let Some(link) = self.inner.node().handle_dialed(now, id, endpoints) {
                    self.begin(link, socket, work);
                }
            }
            Err(error) => self.inner.node().handle_dial_failed(now, id, failure(&error)),
        }
    }

    /// Accepts until nothing waits.
    fn accept(&mut self, index: usize, mut listener: Box<Listener>, work: &mut Work) {
        let Some(waker) = self.inner.slots.waker(index) else { return };
        let now = self.inner.now;
        let mut again_at = None;
        while let Poll::Ready(accepted) = listener.acceptor.poll_accept(&mut TaskContext::from_waker(&waker)) {
            match accepted {
                // What the node does not want is dropped here, before it has cost anything.
                Ok(socket) => {
                    let local = multiaddr(socket.local, listener.accepted_at.take());
                    listener.accepted_at = Some(local.clone());
                    let endpoints = Endpoints { local, remote: multiaddr(socket.remote, None) };
                    if let Ok(link) = self.inner.node().handle_incoming(now, endpoints) {
                        self.begin(link, socket, work);
                    }
                }
                Err(_) => {
                    again_at = Some(now.saturating_add(ACCEPT_PAUSE));
                    break;
                }
            }
        }
        self.inner.slots.arm(index, again_at);
        self.inner.slots.put_back(index, Slot::Listening(listener));
    }

    /// Makes a connection of a link and a socket.
    fn begin(&mut self, link: Link, socket: Socket, work: &mut Work) {
        let Some(id) = link.id() else { return };
        work.counts.connections += 1;
        self.enter(work, |ledger| ledger.begin(id));
        let connection = Connection::new(link, self.config.clone(), self.credentials.clone(), self.inner.now);
        self.inner.slots.insert(Slot::Open(Box::new(Transport::new(id, connection, socket))));
    }
}

impl Future for EventLoop {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let event_loop = self.get_mut();
        let mut work = event_loop.shared.take_work();
        let outcome = event_loop.run(cx, &mut work);
        let Inner { runtime, reports, .. } = &mut event_loop.inner;
        event_loop.shared.put_work(runtime, work);
        reports.drain(..).for_each(|what| event_loop.shared.violated(runtime, Violation::REPORTED, what));
        outcome
    }
}

/// Telling the node the time before its time changes nothing.
fn check_early_timeout(node: &mut Node, now: Instant) -> Result<(), String> {
    let deadline = node.poll_timeout();
    if deadline.is_some_and(|deadline| deadline <= now) {
        return Ok(());
    }
    node.handle_timeout(now);
    let after = node.poll_timeout();
    if deadline != after {
        return Err(format!("telling the node the time before {deadline:?} has made that {after:?}"));
    }
    match (node.poll_action(), node.poll_event()) {
        (None, None) => Ok(()),
        wanted => Err(format!("telling the node the time before {deadline:?} has made it want {wanted:?}")),
    }
}

/// An address as the node keeps it for each connection, in the memory of the one that is `known` if that is the same.
fn multiaddr(addr: SocketAddr, known: Option<Multiaddr>) -> Multiaddr {
    let own = Multiaddr::from_socket_addr(addr);
    known.filter(|known| *known == own).unwrap_or(own)
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
