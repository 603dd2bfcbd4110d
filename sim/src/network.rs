//! Hosts, listeners and connections of the simulated network.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll, Waker},
};

use septa_core::{Instant, Seed};
use septa_driver::runtime::Socket;

use crate::{
    acceptor::SimAcceptor,
    draws::Draws,
    fired::Fired,
    growth,
    link::LinkOptions,
    observer::{Event, Observer},
    pipe::{Common, Pipe, StallId},
    plan::{DialFault, FaultKind},
    schedule::Schedule,
    socket::{Direction, Wire},
    stats::Counters,
    trace::{Kind, Trace},
};

/// Connections that wait for an accept, per listener; further ones are refused.
const BACKLOG: usize = 128;
/// As many hosts as there are addresses.
pub(crate) const MAX_HOSTS: u32 = 65_535;
/// The first of the ports that are chosen for those who ask for port 0.
const FIRST_FREE_PORT: u16 = 49152;

pub(crate) type HostId = u32;

pub(crate) struct Network {
    /// True time: what is on its way knows no other.
    schedule: Arc<Schedule>,
    pub(crate) trace: Arc<Trace>,
    pub(crate) observer: Arc<Observer>,
    pub(crate) fired: Arc<Fired>,
    pub(crate) counters: Arc<Counters>,
    state: Mutex<State>,
}

struct State {
    seed: Seed,
    /// Of new connections.
    common: Arc<Common>,
    listeners: BTreeMap<(HostId, u16), Listening>,
    names: BTreeMap<String, Vec<IpAddr>>,
    next_port: BTreeMap<HostId, u16>,
    connections: Vec<Between>,
    last_connection: u64,
    is_cut: bool,
    /// What keeps bytes from one host from arriving at another, once for each fault.
    stalls: Vec<Stall>,
    /// What keeps hosts from being dialed, once for each fault.
    dial_faults: Vec<(HostId, DialFault)>,
    /// Dials that stalls hold up, in the order in which they came to be so.
    held_dials: BTreeMap<u64, Waker>,
    last_held_dial: u64,
    /// Of dials.
    luck: Draws,
}

/// A connection between two hosts.
struct Between {
    dialer: HostId,
    listener: HostId,
    wire: Weak<Wire>,
}

/// Nothing arrives from one host at another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stall {
    pub(crate) from: HostId,
    pub(crate) to: HostId,
    pub(crate) why: StallId,
}

/// What the network knows of a dial that may be held up.
#[derive(Default)]
pub(crate) struct Held {
    /// Its place among those that are.
    pub(crate) place: Option<u64>,
    /// The kinds of faults that have held it up and were counted.
    counted: BTreeSet<FaultKind>,
}

#[derive(Default)]
struct Listening {
    bound: Option<IpAddr>,
    backlog: VecDeque<Socket>,
    errors: VecDeque<io::ErrorKind>,
    waker: Option<Waker>,
}

impl Network {
    pub(crate) fn new(
        schedule: Arc<Schedule>,
        trace: Arc<Trace>,
        observer: Arc<Observer>,
        fired: Arc<Fired>,
        counters: Arc<Counters>,
        mut seed: Seed,
    ) -> Self {
        let luck = Draws::new(seed.child("dials"));
        let common = Common { schedule: schedule.clone(), fired: fired.clone(), options: LinkOptions::default() };
        let state = State {
            seed,
            common: Arc::new(common),
            listeners: BTreeMap::new(),
            names: BTreeMap::new(),
            next_port: BTreeMap::new(),
            connections: Vec::new(),
            last_connection: 0,
            is_cut: false,
            stalls: Vec::new(),
            dial_faults: Vec::new(),
            held_dials: BTreeMap::new(),
            last_held_dial: 0,
            luck,
        };
        Self { schedule, trace, observer, fired, counters, state: Mutex::new(state) }
    }

    pub(crate) fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// True time.
    pub(crate) fn now(&self) -> Instant {
        self.schedule.now()
    }

    pub(crate) fn set_options(&self, options: LinkOptions) {
        let common = Common { schedule: self.schedule.clone(), fired: self.fired.clone(), options };
        self.lock(|state| state.common = Arc::new(common));
    }

    pub(crate) fn add_name(&self, name: &str, addrs: Vec<IpAddr>) {
        self.lock(|state| state.names.insert(name.to_owned(), addrs));
    }

    pub(crate) fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let addrs = match name.parse() {
            Ok(ip) => Some(vec![ip]),
            Err(_) => self.lock(|state| state.names.get(name).cloned()),
        };
        let addrs = addrs.ok_or(io::ErrorKind::NotFound)?;
        Ok(addrs.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
    }

    /// Cuts every connection, now and in future, without telling anybody, or heals them all.
    pub(crate) fn set_cut(&self, is_cut: bool) {
        if self.lock(|state| std::mem::replace(&mut state.is_cut, is_cut)) == is_cut {
            return;
        }
        for direction in self.directions(|_| true) {
            direction.with(|pipe| if is_cut { pipe.stall(None) } else { pipe.resume(None, self.now()) });
        }
        self.wake_held_dials();
    }

    /// Resets every connection.
    pub(crate) fn reset_all(&self) {
        self.directions(|_| true).iter().for_each(|way| way.with(|pipe| pipe.reset_at_once(self.now())));
    }

    /// Nothing arrives from one host at another, on any connection nor to make one, until it is [resumed](Self::resume).
    pub(crate) fn stall(&self, stall: Stall) {
        self.lock(|state| state.stalls.push(stall));
        self.between(stall.from, stall.to).iter().for_each(|way| way.with(|pipe| pipe.stall(Some(stall.why))));
    }

    pub(crate) fn resume(&self, stall: Stall) {
        let was_stalled = self.lock(|state| {
            let place = state.stalls.iter().position(|other| *other == stall)?;
            Some(state.stalls.remove(place))
        });
        if was_stalled.is_some() {
            let directions = self.between(stall.from, stall.to);
            directions.iter().for_each(|way| way.with(|pipe| pipe.resume(Some(stall.why), self.now())));
            self.wake_held_dials();
        }
    }

    /// Whoever dials a host does not reach it, until it is [healed](Self::heal_dials).
    pub(crate) fn fail_dials(&self, to: HostId, how: DialFault) {
        self.lock(|state| state.dial_faults.push((to, how)));
    }

    pub(crate) fn heal_dials(&self, to: HostId, how: DialFault) {
        self.lock(|state| {
            if let Some(place) = state.dial_faults.iter().position(|fault| *fault == (to, how)) {
                state.dial_faults.remove(place);
            }
        });
    }

    /// The directions that lead from one host to another, on every connection.
    pub(crate) fn between(&self, from: HostId, to: HostId) -> Vec<Direction> {
        self.directions(|way| way == (from, to))
    }

    /// The directions of all connections, by the hosts from and to which they lead.
    fn directions(&self, which: impl Fn((HostId, HostId)) -> bool) -> Vec<Direction> {
        self.lock(|state| {
            state.connections.retain(|between| between.wire.strong_count() > 0);
            let mut directions = Vec::new();
            for Between { dialer, listener, wire } in &state.connections {
                if which((*dialer, *listener)) {
                    directions.extend(wire.upgrade().map(Wire::there));
                }
                if which((*listener, *dialer)) {
                    directions.extend(wire.upgrade().map(Wire::back));
                }
            }
            directions
        })
    }

    /// What plans were to do to connections later does not happen.
    pub(crate) fn call_off(&self) {
        self.directions(|_| true).iter().for_each(|way| way.with(Pipe::call_off));
    }

    /// The next accepts on `addr` fail with `kind`, `count` times. False if nobody listens there.
    pub(crate) fn fail_accepts(&self, addr: SocketAddr, kind: io::ErrorKind, count: usize) -> bool {
        let accepting = self.lock(|state| {
            let host = host_at(addr.ip())?;
            let listening = state.listeners.get_mut(&(host, addr.port()))?;
            listening.errors.extend(std::iter::repeat_n(kind, count));
            Some(listening.waker.take())
        });
        accepting.inspect(|waker| waker.iter().for_each(Waker::wake_by_ref)).is_some()
    }

    pub(crate) fn listen(self: &Arc<Self>, host: HostId, addr: SocketAddr) -> io::Result<SimAcceptor> {
        let ip = addr.ip();
        let own = ip.is_unspecified() || ip.is_loopback() || host_at(ip) == Some(host);
        if !own {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let port = self.lock(|state| {
            let port = if addr.port() == 0 { state.free_port(host)? } else { addr.port() };
            if state.listeners.contains_key(&(host, port)) {
                return Err(io::Error::from(io::ErrorKind::AddrInUse));
            }
            state.listeners.insert((host, port), Listening { bound: Some(ip), ..Listening::default() });
            Ok(port)
        })?;
        Ok(SimAcceptor::new(self.clone(), host, SocketAddr::new(ip, port)))
    }

    pub(crate) fn poll_accept(&self, host: HostId, port: u16, cx: &mut Context<'_>) -> Poll<io::Result<Socket>> {
        self.lock(|state| {
            let Some(listening) = state.listeners.get_mut(&(host, port)) else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            if let Some(kind) = listening.errors.pop_front() {
                return Poll::Ready(Err(kind.into()));
            }
            match listening.backlog.pop_front() {
                Some(socket) => Poll::Ready(Ok(socket)),
                None => {
                    // Listeners mostly wait, and an empty queue would keep its memory.
                    listening.backlog = VecDeque::new();
                    listening.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
    }

    pub(crate) fn unlisten(&self, host: HostId, port: u16) {
        // Waiting connections are dropped after the lock is released.
        drop(self.lock(|state| state.listeners.remove(&(host, port))));
    }

    /// The host that answers to an address, as another one sees it.
    pub(crate) fn host_of(&self, host: HostId, ip: IpAddr) -> Option<HostId> {
        if ip.is_loopback() { Some(host) } else { host_at(ip) }
    }

    /// When a dial arrives that leaves now.
    pub(crate) fn draw_arrival(&self) -> Instant {
        let latency = self.lock(|state| state.common.options.draw_latency(&mut state.luck));
        self.now().saturating_add(latency)
    }

    /// Lets a dial pass in these directions, or has it woken when it is to ask again. Each kind of fault that holds it up
    /// counts, whether it did so from the start or began meanwhile.
    pub(crate) fn pass(&self, ways: &[(HostId, HostId)], held: &mut Held, waker: &Waker) -> Poll<()> {
        self.lock(|state| {
            let mut held_by = state.stalls.iter().filter(|stall| ways.contains(&(stall.from, stall.to))).peekable();
            if held_by.peek().is_none() && !state.is_cut {
                held.place.take().into_iter().for_each(|place| drop(state.held_dials.remove(&place)));
                return Poll::Ready(());
            }
            held_by
                .filter(|stall| held.counted.insert(stall.why.kind))
                .for_each(|stall| self.fired.add_between(stall.why.kind, stall.from, stall.to));
            let place = held.place.get_or_insert_with(|| {
                state.last_held_dial += 1;
                state.last_held_dial
            });
            state.held_dials.insert(*place, waker.clone());
            Poll::Pending
        })
    }

    /// Whoever was held up does not dial any more.
    pub(crate) fn forget_dial(&self, place: u64) {
        drop(self.lock(|state| state.held_dials.remove(&place)));
    }

    /// Something may have been held up that is not any more.
    fn wake_held_dials(&self) {
        let held = self.lock(|state| std::mem::take(&mut state.held_dials));
        held.into_values().for_each(Waker::wake);
    }

    /// The fault that a dial meets, if there is one. It counts if the dial would have come to something else without it.
    pub(crate) fn strike_dial(&self, host: HostId, to: HostId, remote: SocketAddr) -> Option<DialFault> {
        let (fault, is_accepting) = self.lock(|state| {
            // Nothing stands between a host and itself.
            let strikes = |(faulty, _): &&(HostId, DialFault)| *faulty == to && host != to;
            let fault = state.dial_faults.iter().find(strikes).map(|(_, how)| *how);
            (fault, state.is_accepting(to, remote))
        });
        let fault = fault?;
        match fault {
            // It is refused anyway.
            DialFault::Refused | DialFault::BacklogFull if !is_accepting => {}
            _ => self.fired.add_between(fault.kind(), host, to),
        }
        Some(fault)
    }

    /// Whether somebody listens there and has room for a connection.
    pub(crate) fn is_accepting(&self, to: HostId, remote: SocketAddr) -> bool {
        self.lock(|state| state.is_accepting(to, remote))
    }

    /// Makes a connection, which the listener has reset if it is full.
    pub(crate) fn connect(
        self: &Arc<Self>,
        (host, to): (HostId, HostId),
        remote: SocketAddr,
        is_full: bool,
    ) -> io::Result<Socket> {
        let (near, far, waker) = self.lock(|state| {
            if !state.is_accepting(to, remote) {
                return Err(io::Error::from(io::ErrorKind::ConnectionRefused));
            }
            let local_ip = if remote.ip().is_loopback() { remote.ip() } else { ip_of(host, remote.is_ipv6()) };
            let local = SocketAddr::new(local_ip, state.free_port(host)?);
            let (near, far) = state.pair(self, (host, local), (to, remote), is_full);
            let listening = state.listeners.get_mut(&(to, remote.port())).filter(|_| !is_full);
            match listening {
                Some(listening) => {
                    listening.backlog.push_back(far);
                    Ok((near, None, listening.waker.take()))
                }
                None => Ok((near, Some(far), None)),
            }
        })?;
        // Neither while the lock is held.
        drop(far);
        waker.into_iter().for_each(Waker::wake);
        Ok(near)
    }

    fn lock<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn is_accepting(&self, to: HostId, remote: SocketAddr) -> bool {
        let accepts = |bound: IpAddr| bound == remote.ip() || bound.is_unspecified();
        let listening = self.listeners.get(&(to, remote.port()));
        listening.is_some_and(|l| l.bound.is_some_and(accepts) && l.backlog.len() < BACKLOG)
    }

    fn free_port(&mut self, host: HostId) -> io::Result<u16> {
        let next = self.next_port.entry(host).or_insert(FIRST_FREE_PORT);
        for _ in FIRST_FREE_PORT..=u16::MAX {
            let port = *next;
            *next = next.checked_add(1).unwrap_or(FIRST_FREE_PORT);
            if !self.listeners.contains_key(&(host, port)) {
                return Ok(port);
            }
        }
        Err(io::ErrorKind::AddrNotAvailable.into())
    }

    fn pair(
        &mut self,
        network: &Arc<Network>,
        (from, local): (HostId, SocketAddr),
        (to, remote): (HostId, SocketAddr),
        is_reset: bool,
    ) -> (Socket, Socket) {
        self.last_connection += 2;
        network.counters.add_connection();
        let (there, mut back) = (self.pipe(from, to), self.pipe(to, from));
        let id = self.last_connection;
        if is_reset {
            back.reset(network.now());
        }
        let wire = Wire::new(network.clone(), id, there, back);
        self.connections.retain(|between| between.wire.strong_count() > 0);
        growth::make_room(&mut self.connections);
        self.connections.push(Between { dialer: from, listener: to, wire: Arc::downgrade(&wire) });
        let joined = [id, from.into(), to.into(), local.port().into(), remote.port().into()];
        let entry: Vec<u8> = joined.iter().flat_map(|number: &u64| number.to_be_bytes()).collect();
        network.trace.record(Kind::Dial, network.now(), from.into(), &entry);
        network.observer.tell(Event::Connected { socket: id, dialer: from, listener: to });
        wire.sockets(local, remote)
    }

    fn pipe(&mut self, from: HostId, to: HostId) -> Pipe {
        let mut pipe = Pipe::new(self.common.clone(), (from, to), Draws::new(self.seed.child("pipe")));
        if self.is_cut {
            pipe.stall(None);
        }
        for stall in self.stalls.iter().filter(|stall| (stall.from, stall.to) == (from, to)) {
            pipe.stall(Some(stall.why));
        }
        pipe
    }
}

/// The address of a host: `10.0.x.y` or `fd00::x`.
pub(crate) fn ip_of(host: HostId, v6: bool) -> IpAddr {
    let [_, _, high, low] = host.to_be_bytes();
    if v6 {
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from_be_bytes([high, low])))
    } else {
        IpAddr::V4(Ipv4Addr::new(10, 0, high, low))
    }
}

fn host_at(ip: IpAddr) -> Option<HostId> {
    match ip {
        IpAddr::V4(ip) => match ip.octets() {
            [10, 0, high, low] => Some(u32::from_be_bytes([0, 0, high, low])),
            _ => None,
        },
        IpAddr::V6(ip) => match ip.segments() {
            [0xfd00, 0, 0, 0, 0, 0, 0, host] => Some(u32::from(host)),
            _ => None,
        },
    }
}
