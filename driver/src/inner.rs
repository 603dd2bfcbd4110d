//! The state of one connection under its lock.

use std::{
    collections::{BTreeMap, VecDeque},
    task::Waker,
};

use septa_core::{
    Connection as Core, Instant, PeerId, ProtocolId, ProtocolSet,
    buf::SpareBlocks,
    connection::{CloseReason, Event, RefuseReason, StreamId, codes},
    link::{ToConnection, ToNode},
};

use crate::{
    listener::Upgrade,
    output::Filled,
    services::{Service, ServiceState},
    waiters::{Waiters, Woken},
};

/// Inbound streams that wait for the application. Stops a peer that opens streams faster than they
/// are accepted; one more is reset with [`codes::stream::RESOURCE_LIMIT`].
const INBOUND_BACKLOG: usize = 256;

/// Who made a connection and hears how it comes along.
pub(crate) enum Owner {
    /// Whoever waits for the dial.
    Dialer,
    Listener(Upgrade),
    Node,
}

/// What the connection's lock guards: the core, who waits for it, and what is to be done for it.
pub(crate) struct Inner {
    core: Core,
    /// The core panicked, and what it says cannot be trusted.
    broken: bool,
    /// The task will ask the core for output before it sleeps, or waits for the socket to take some.
    active: bool,
    /// The deadline for which the task's timer is armed.
    armed: Option<Instant>,
    task: Option<Waker>,
    /// The socket did not take all of the last buffer, or failed under a handle that flushed.
    unsent: bool,
    upgrade: Option<Upgrade>,
    /// What is due to the node to which the connection belongs, if to one.
    node: Option<NodeDue>,
    /// The application has said what this peer may use: changes of what all may use are not for it.
    prepared: bool,
    opened: bool,
    /// No stream is opened here any more.
    giving_way: bool,
    ending: bool,
    /// Nothing more happens on the connection.
    over: bool,
    killed: bool,
    streams: BTreeMap<StreamId, StreamState>,
    inbound: VecDeque<StreamId>,
    services: ServiceState,
    /// Who waits for an inbound stream.
    pub(crate) accepting: Waiters,
    /// Who waits until a stream can be opened.
    pub(crate) opening: Waiters,
    /// Who waits for the connection to open, to be ready or to end.
    pub(crate) phase: Waiters,
    /// Who waits for a message of the application handshake.
    pub(crate) handshaking: Waiters,
}

/// What a connection has for its node, which fetches it.
#[derive(Default)]
struct NodeDue {
    /// The node was told to come, and has not come yet.
    called: bool,
    /// The task of the connection is gone: nothing follows what there is.
    is_last: bool,
}

/// What the task does before it sleeps.
pub(crate) struct Settled {
    /// What its timer is to be armed for.
    pub(crate) deadline: Option<Instant>,
    /// Memory can be given back.
    pub(crate) is_idle: bool,
}

/// The futures that wait for one stream, and what its negotiation came to.
#[derive(Default)]
pub(crate) struct StreamState {
    reader: Option<Waker>,
    writer: Option<Waker>,
    negotiator: Option<Waker>,
    refused: Option<RefuseReason>,
}

/// What is done when the lock is released.
#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) woken: Woken,
    /// `None` behind nearly every call.
    pub(crate) others: Option<Box<OtherEffects>>,
}

/// What is done but waking.
#[derive(Default)]
pub(crate) struct OtherEffects {
    pub(crate) services: Vec<(StreamId, Service)>,
    pub(crate) upgrade: Option<(Upgrade, Result<PeerId, CloseReason>)>,
    pub(crate) node: NodeEffects,
}

/// What a node hears of one of its connections when the lock is released.
#[derive(Default)]
pub(crate) struct NodeEffects {
    /// There is something to [fetch](Inner::fetch).
    pub(crate) call: bool,
    /// The application is to begin its handshake.
    pub(crate) handshake: bool,
    pub(crate) streams: Vec<(StreamId, ProtocolId)>,
}

impl Effects {
    fn others(&mut self) -> &mut OtherEffects {
        self.others.get_or_insert_default()
    }
}

impl Inner {
    pub(crate) fn new(core: Core, owner: Owner, serves_perf: bool) -> Self {
        let (upgrade, node) = match owner {
            Owner::Dialer => (None, None),
            Owner::Listener(upgrade) => (Some(upgrade), None),
            Owner::Node => (None, Some(NodeDue::default())),
        };
        Self {
            core,
            broken: false,
            active: true,
            armed: None,
            task: None,
            unsent: false,
            upgrade,
            node,
            prepared: false,
            opened: false,
            giving_way: false,
            ending: false,
            over: false,
            killed: false,
            streams: BTreeMap::new(),
            inbound: VecDeque::new(),
            services: ServiceState::new(serves_perf),
            accepting: Waiters::default(),
            opening: Waiters::default(),
            phase: Waiters::default(),
            handshaking: Waiters::default(),
        }
    }

    /// Takes a message of the node to which the connection belongs.
    pub(crate) fn handle_node(&mut self, now: Instant, message: ToConnection) {
        if let Ok(core) = self.core() {
            core.handle_node(now, message);
        }
    }

    /// Adds what there is for the node to `messages`; the node is called again when there is more. True if there
    /// will be none: the task is gone.
    pub(crate) fn fetch(&mut self, messages: &mut Vec<ToNode>) -> bool {
        if let Ok(core) = self.core() {
            messages.extend(std::iter::from_fn(|| core.poll_node()));
        }
        let is_last = self.node.as_ref().is_none_or(|due| due.is_last);
        self.node = (!is_last).then(NodeDue::default);
        is_last
    }

    /// The task is gone.
    pub(crate) fn set_last(&mut self) {
        if let Some(due) = &mut self.node {
            due.is_last = true;
        }
    }

    /// The core has panicked under the lock.
    #[cold]
    pub(crate) fn panicked(&mut self) {
        self.broken = true;
    }

    pub(crate) fn kill(&mut self) {
        self.killed = true;
    }

    pub(crate) fn task(&mut self) -> Option<Waker> {
        self.task.clone()
    }

    pub(crate) fn take_task(&mut self) -> Option<Waker> {
        self.task.take()
    }

    /// The core, unless it has panicked.
    pub(crate) fn core(&mut self) -> Result<&mut Core, CloseReason> {
        if self.broken { Err(CloseReason::Io) } else { Ok(&mut self.core) }
    }

    /// The authenticated peer, once the connection has opened.
    pub(crate) fn opened(&self) -> Option<PeerId> {
        if self.opened && !self.broken { self.core.peer() } else { None }
    }

    /// Why the connection is ending or has ended.
    pub(crate) fn reason(&self) -> Option<CloseReason> {
        if self.broken { Some(CloseReason::Io) } else { self.core.close_reason().cloned() }
    }

    /// Why the connection has ended, once nothing more happens on it.
    pub(crate) fn over(&self) -> Option<CloseReason> {
        self.over.then(|| self.reason().unwrap_or(CloseReason::Io))
    }

    /// Whether the task should end.
    pub(crate) fn is_done(&self) -> bool {
        self.broken || self.killed || self.core.is_closed()
    }

    /// The application has said what this peer may use once the handshake is done.
    pub(crate) fn set_prepared(&mut self) {
        self.prepared = true;
    }

    /// Serves what all peers may use, unless this one was prepared for something else.
    pub(crate) fn serve(&mut self, protocols: impl FnOnce() -> ProtocolSet) {
        if !self.prepared
            && let Ok(core) = self.core()
        {
            core.serve(protocols());
        }
    }

    /// The next inbound stream for the application.
    pub(crate) fn next_inbound(&mut self) -> Option<StreamId> {
        self.inbound.pop_front()
    }

    pub(crate) fn services(&mut self) -> &mut ServiceState {
        &mut self.services
    }

    pub(crate) fn stream_state(&mut self, id: StreamId) -> &mut StreamState {
        self.streams.entry(id).or_default()
    }

    pub(crate) fn forget_stream(&mut self, id: StreamId) {
        self.streams.remove(&id);
    }

    /// Whom to wake when the task has something to do.
    pub(crate) fn set_task(&mut self, waker: &Waker) {
        set_waker(&mut self.task, waker);
    }

    /// Tells the core the time, if a timer of its is due.
    pub(crate) fn expire(&mut self, now: Instant) {
        if let Ok(core) = self.core()
            && core.poll_timeout().is_some_and(|deadline| deadline <= now)
        {
            core.handle_timeout(now);
        }
    }

    /// Notes what the core had to send, and whether anybody will look again.
    pub(crate) fn filled(&mut self, length: usize) -> Filled {
        let (rest, shut_down) =
            self.core().map_or((false, false), |core| (core.wants_transmit(), core.wants_shutdown()));
        // The first ping may be leaving, and its answer is waited for.
        let filled = Filled::new(length, rest, shut_down, self.concerns_task());
        self.active = !filled.is_last();
        filled
    }

    pub(crate) fn set_unsent(&mut self, unsent: bool) {
        self.unsent = unsent;
    }

    /// The task looks whether there is work for the output. If not, handles wake it when there is.
    pub(crate) fn has_output(&mut self) -> bool {
        let unsent = self.unsent;
        self.active = unsent || self.core().is_ok_and(|core| core.wants_transmit() || core.wants_shutdown());
        self.active
    }

    /// The task will sleep unless there is input, and `task` wakes it. Blocks that the core does not need go to
    /// `spares`.
    pub(crate) fn settle(&mut self, task: &Waker, spares: Option<&mut SpareBlocks>) -> Settled {
        self.set_task(task);
        if let (Some(spares), Ok(core)) = (spares, self.core()) {
            core.reclaim_spare_blocks(spares);
        }
        self.armed = if self.broken { None } else { self.core.poll_timeout() };
        Settled { deadline: self.armed, is_idle: self.core().is_ok_and(|core| core.is_idle()) }
    }

    pub(crate) fn wake_to_transmit(&mut self, woken: &mut Woken) {
        if !self.active && !self.broken && self.core.wants_transmit() {
            self.active = true;
            woken.extend(self.task.clone());
        }
    }

    /// A handle has transmitted. What came up meanwhile, and what it could not do, is the task's.
    pub(crate) fn flushed(&mut self, needs_task: bool, woken: &mut Woken) {
        self.active = needs_task;
        #[cfg(not(septa_mutant = "wake-up-lost"))]
        if needs_task {
            woken.extend(self.task.clone());
        }
        self.wake_to_transmit(woken);
    }

    pub(crate) fn wake_for_command(&mut self, woken: &mut Woken) {
        if self.concerns_task() {
            woken.extend(self.task.clone());
        }
    }

    /// The task has to end, or to arm its timer earlier.
    fn concerns_task(&self) -> bool {
        let earlier = |deadline: Instant| self.armed.is_none_or(|armed| deadline < armed);
        self.is_done() || self.core.wants_shutdown() || self.core.poll_timeout().is_some_and(earlier)
    }

    /// Turns the core's events into wake-ups. There is mostly nothing to tell.
    #[inline]
    pub(crate) fn dispatch(&mut self, effects: &mut Effects) {
        if self.broken || self.core.may_have_event() || !self.core.takes_streams() || self.node.is_some() {
            self.dispatch_all(effects);
        }
    }

    fn dispatch_all(&mut self, effects: &mut Effects) {
        if self.broken {
            self.ended(CloseReason::Io, effects);
            return self.call_node(effects);
        }
        while let Some(event) = self.core.poll_event() {
            self.handle_event(event, effects);
        }
        if !self.core.takes_streams() {
            self.note_end(effects);
        }
        self.call_node(effects);
    }

    fn handle_event(&mut self, event: Event, effects: &mut Effects) {
        match event {
            Event::Open => {
                self.opened = true;
                self.phase.wake_into(&mut effects.woken);
                if self.node.is_some() && self.core.is_open() && !self.core.is_ready() {
                    effects.others().node.handshake = true;
                }
                if let (Some(upgrade), Some(peer)) = (self.upgrade.take(), self.core.peer()) {
                    effects.others().upgrade = Some((upgrade, Ok(peer)));
                }
                self.take_inbound(effects);
            }
            Event::Incoming => self.take_inbound(effects),
            Event::Negotiated { id } => self.stream_event(id, |state| state.wake_all(&mut effects.woken)),
            Event::Refused { id, reason } => {
                // Somebody may ask later.
                let state = self.stream_state(id);
                state.refused = Some(reason);
                state.wake_all(&mut effects.woken);
            }
            Event::Readable { id } => self.stream_event(id, |state| effects.woken.extend(state.reader.take())),
            Event::Writable { id } => self.stream_event(id, |state| effects.woken.extend(state.writer.take())),
            Event::OpenUnblocked => self.opening.wake_into(&mut effects.woken),
            Event::Ready => {
                self.phase.wake_into(&mut effects.woken);
                self.handshaking.wake_into(&mut effects.woken);
            }
            Event::HandshakeReadable => self.handshaking.wake_into(&mut effects.woken),
            Event::Closed => {
                let reason = self.core.close_reason().cloned().unwrap_or(CloseReason::Io);
                self.ended(reason, effects);
            }
            _ => {}
        }
    }

    /// No stream is opened any more: the connection is not open yet, gives way to another one, or ends.
    fn note_end(&mut self, effects: &mut Effects) {
        if self.opened && !std::mem::replace(&mut self.giving_way, true) {
            self.phase.wake_into(&mut effects.woken);
        }
        if !self.ending && self.core.close_reason().is_some() {
            self.ending = true;
            self.wake_everybody(effects);
        }
    }

    /// Calls the node, once, if there is something for it.
    fn call_node(&mut self, effects: &mut Effects) {
        if let Some(due) = &mut self.node
            && !due.called
            && (due.is_last || (!self.broken && self.core.wants_node()))
        {
            due.called = true;
            effects.others().node.call = true;
        }
    }

    fn stream_event(&mut self, id: StreamId, f: impl FnOnce(&mut StreamState)) {
        if let Some(state) = self.streams.get_mut(&id) {
            f(state);
        }
    }

    /// Sorts inbound streams: ours are served at once, the others wait for the application.
    fn take_inbound(&mut self, effects: &mut Effects) {
        while let Some(id) = self.core.accept() {
            let mut stream = self.core.stream(id);
            let protocol = stream.protocol();
            let service = protocol.and_then(|protocol| self.services.of(protocol));
            let admitted = match service {
                Some(service) => self.services.begin(service),
                None => self.inbound.len() < INBOUND_BACKLOG,
            };
            match (service, protocol) {
                _ if !admitted => {
                    stream.reset(codes::stream::RESOURCE_LIMIT);
                    stream.release();
                }
                (Some(service), _) => effects.others().services.push((id, service)),
                (None, Some(protocol)) if self.node.is_some() => {
                    effects.others().node.streams.push((id, protocol.clone()));
                }
                (None, _) => {
                    self.inbound.push_back(id);
                    self.accepting.wake_into(&mut effects.woken);
                }
            }
        }
    }

    fn ended(&mut self, reason: CloseReason, effects: &mut Effects) {
        if !std::mem::replace(&mut self.over, true) {
            self.wake_everybody(effects);
            effects.woken.extend(self.task.take());
        }
        if let Some(upgrade) = self.upgrade.take() {
            effects.others().upgrade = Some((upgrade, Err(reason)));
        }
    }

    fn wake_everybody(&mut self, effects: &mut Effects) {
        let services = &mut self.services.informed;
        for list in [&mut self.accepting, &mut self.opening, &mut self.phase, &mut self.handshaking, services] {
            list.wake_into(&mut effects.woken);
        }
        self.streams.values_mut().for_each(|state| state.wake_all(&mut effects.woken));
    }
}

impl StreamState {
    pub(crate) fn wait_to_read(&mut self, waker: &Waker) {
        set_waker(&mut self.reader, waker);
    }

    pub(crate) fn wait_to_write(&mut self, waker: &Waker) {
        set_waker(&mut self.writer, waker);
    }

    pub(crate) fn wait_for_protocol(&mut self, waker: &Waker) {
        set_waker(&mut self.negotiator, waker);
    }

    pub(crate) fn refused(&self) -> Option<RefuseReason> {
        self.refused.clone()
    }

    fn wake_all(&mut self, woken: &mut Woken) {
        woken.extend([self.reader.take(), self.writer.take(), self.negotiator.take()].into_iter().flatten());
    }
}

fn set_waker(slot: &mut Option<Waker>, waker: &Waker) {
    match slot {
        Some(present) => present.clone_from(waker),
        None => *slot = Some(waker.clone()),
    }
}
