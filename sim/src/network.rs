//! Hosts, listeners and connections of the simulated network.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll, Waker},
};

use septa_core::{Instant, Seed};
use septa_driver::runtime::{Acceptor, Socket};

use crate::{
    draws::Draws,
    fired::{Fired, FiredBetween},
    link::LinkOptions,
    observer::{Event, Observer},
    pipe::Pipe,
    plan::{DialFault, FaultKind},
    schedule::Schedule,
    socket::{self, with},
    stats::Counters,
    trace::Trace,
};

/// Connections that wait for an accept, per listener; further ones are refused.
const BACKLOG: usize = 128;
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
    options: Arc<LinkOptions>,
    listeners: BTreeMap<(HostId, u16), Listening>,
    names: BTreeMap<String, Vec<IpAddr>>,
    next_port: BTreeMap<HostId, u16>,
    wires: Vec<Wire>,
    last_connection: u64,
    is_cut: bool,
    /// What keeps bytes from one host from arriving at another, once for each fault.
    stalls: Vec<Stall>,
    /// What keeps hosts from being dialed, once for each fault.
    dial_faults: Vec<(HostId, DialFault)>,
}

/// One direction of a connection.
struct Wire {
    from: HostId,
    to: HostId,
    pipe: Weak<Mutex<Pipe>>,
}

/// Nothing arrives from one host at another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stall {
    pub(crate) from: HostId,
    pub(crate) to: HostId,
    pub(crate) why: FaultKind,
}

/// What became of a dial.
pub(crate) enum Dialed {
    Connected(Socket),
    /// Nobody answers, ever.
    Hanging,
}

#[derive(Default)]
struct Listening {
    bound: Option<IpAddr>,
    backlog: VecDeque<Socket>,
    errors: VecDeque<io::ErrorKind>,
    waker: Option<Waker>,
}

/// What is done about a dial when no lock is held any more.
enum Behind {
    /// Somebody accepts it.
    Wake(Waker),
    /// There is no room for it at the other end.
    Reset(Socket),
}

impl Network {
    pub(crate) fn new(
        schedule: Arc<Schedule>,
        trace: Arc<Trace>,
        observer: Arc<Observer>,
        fired: Arc<Fired>,
        counters: Arc<Counters>,
        seed: Seed,
    ) -> Self {
        let state = State {
            seed,
            options: Arc::default(),
            listeners: BTreeMap::new(),
            names: BTreeMap::new(),
            next_port: BTreeMap::new(),
            wires: Vec::new(),
            last_connection: 0,
            is_cut: false,
            stalls: Vec::new(),
            dial_faults: Vec::new(),
        };
        Self { schedule, trace, observer, fired, counters, state: Mutex::new(state) }
    }

    /// True time.
    pub(crate) fn now(&self) -> Instant {
        self.schedule.now()
    }

    pub(crate) fn set_options(&self, options: LinkOptions) {
        self.lock(|state| state.options = Arc::new(options));
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
        for pipe in self.pipes(|_| true) {
            with(&pipe, |pipe| if is_cut { pipe.stall(None) } else { pipe.resume() });
        }
    }

    /// Resets every connection.
    pub(crate) fn reset_all(&self) {
        self.pipes(|_| true).iter().for_each(|pipe| with(pipe, Pipe::reset));
    }

    /// Nothing arrives from one host at another, on any connection, until it is [resumed](Self::resume).
    pub(crate) fn stall(&self, stall: Stall) {
        self.lock(|state| state.stalls.push(stall));
        self.between(stall.from, stall.to).iter().for_each(|pipe| with(pipe, |pipe| pipe.stall(Some(stall.why))));
    }

    pub(crate) fn resume(&self, stall: Stall) {
        let was_stalled = self.lock(|state| {
            let place = state.stalls.iter().position(|other| *other == stall)?;
            Some(state.stalls.remove(place))
        });
        if was_stalled.is_some() {
            self.between(stall.from, stall.to).iter().for_each(|pipe| with(pipe, Pipe::resume));
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
    pub(crate) fn between(&self, from: HostId, to: HostId) -> Vec<Arc<Mutex<Pipe>>> {
        self.pipes(|wire| (wire.from, wire.to) == (from, to))
    }

    fn pipes(&self, which: impl Fn(&Wire) -> bool) -> Vec<Arc<Mutex<Pipe>>> {
        self.lock(|state| {
            state.wires.retain(|wire| wire.pipe.strong_count() > 0);
            state.wires.iter().filter(|wire| which(wire)).filter_map(|wire| wire.pipe.upgrade()).collect()
        })
    }

    /// What plans were to do to connections later does not happen.
    pub(crate) fn call_off(&self) {
        self.pipes(|_| true).iter().for_each(|pipe| with(pipe, |pipe| pipe.call_off()));
    }

    /// The next accepts on `addr` fail with `kind`, `count` times.
    pub(crate) fn fail_accepts(&self, addr: SocketAddr, kind: io::ErrorKind, count: usize) {
        let waker = self.lock(|state| {
            let host = host_at(addr.ip())?;
            let listening = state.listeners.get_mut(&(host, addr.port()))?;
            listening.errors.extend(std::iter::repeat_n(kind, count));
            listening.waker.take()
        });
        waker.into_iter().for_each(Waker::wake);
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
        Ok(SimAcceptor { network: self.clone(), host, local: SocketAddr::new(ip, port) })
    }

    pub(crate) fn connect(self: &Arc<Self>, host: HostId, remote: SocketAddr) -> io::Result<Dialed> {
        let (dialed, behind) = self.lock(|state| {
            let to = if remote.ip().is_loopback() { Some(host) } else { host_at(remote.ip()) };
            let to = to.ok_or(io::ErrorKind::HostUnreachable)?;
            // Nothing stands between a host and itself.
            let strikes = |(faulty, _): &&(HostId, DialFault)| *faulty == to && host != to;
            let fault = state.dial_faults.iter().find(strikes).map(|(_, how)| *how);
            if let Some(how) = fault {
                self.fired.add_between(how.kind(), host, to);
            }
            match fault {
                Some(DialFault::Refused) => return Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
                Some(DialFault::Unreachable) => return Err(io::ErrorKind::HostUnreachable.into()),
                Some(DialFault::Hanging | DialFault::Nat) => return Ok((Dialed::Hanging, None)),
                Some(DialFault::BacklogFull) | None => {}
            }
            let local_ip = if remote.ip().is_loopback() { remote.ip() } else { ip_of(host, remote.is_ipv6()) };
            let local = SocketAddr::new(local_ip, state.free_port(host)?);
            let accepts = |bound: IpAddr| bound == remote.ip() || bound.is_unspecified();
            let listening = state.listeners.get(&(to, remote.port()));
            if !listening.is_some_and(|l| l.bound.is_some_and(accepts) && l.backlog.len() < BACKLOG) {
                return Err(io::Error::from(io::ErrorKind::ConnectionRefused));
            }
            let (near, far) = state.pair(self, (host, local), (to, remote));
            if fault.is_some() {
                return Ok((Dialed::Connected(near), Some(Behind::Reset(far))));
            }
            let listening = state.listeners.get_mut(&(to, remote.port())).ok_or(io::ErrorKind::ConnectionRefused)?;
            listening.backlog.push_back(far);
            Ok((Dialed::Connected(near), listening.waker.take().map(Behind::Wake)))
        })?;
        match behind {
            Some(Behind::Wake(waker)) => waker.wake(),
            Some(Behind::Reset(socket)) => drop(socket),
            None => {}
        }
        Ok(dialed)
    }

    fn lock<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
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
    ) -> (Socket, Socket) {
        self.last_connection += 2;
        network.counters.add_connection();
        let (there, back) = (self.pipe(network, from, to), self.pipe(network, to, from));
        self.wires.retain(|wire| wire.pipe.strong_count() > 0);
        let id = self.last_connection;
        network.observer.tell(Event::Connected { socket: id, dialer: from, listener: to });
        let near = socket::new(network, id, (back.clone(), there.clone()), (local, remote));
        let far = socket::new(network, id + 1, (there, back), (remote, local));
        (near, far)
    }
}

impl State {
    fn pipe(&mut self, network: &Network, from: HostId, to: HostId) -> Arc<Mutex<Pipe>> {
        let mut pipe = Pipe::new(
            network.schedule.clone(),
            self.options.clone(),
            Draws::new(self.seed.child("pipe")),
            FiredBetween { fired: network.fired.clone(), from, to },
        );
        if self.is_cut {
            pipe.stall(None);
        }
        for stall in self.stalls.iter().filter(|stall| (stall.from, stall.to) == (from, to)) {
            pipe.stall(Some(stall.why));
        }
        let pipe = Arc::new(Mutex::new(pipe));
        self.wires.push(Wire { from, to, pipe: Arc::downgrade(&pipe) });
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

pub(crate) struct SimAcceptor {
    network: Arc<Network>,
    host: HostId,
    local: SocketAddr,
}

impl Acceptor for SimAcceptor {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Socket>> {
        self.network.lock(|state| {
            let Some(listening) = state.listeners.get_mut(&(self.host, self.local.port())) else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            if let Some(kind) = listening.errors.pop_front() {
                return Poll::Ready(Err(kind.into()));
            }
            match listening.backlog.pop_front() {
                Some(socket) => Poll::Ready(Ok(socket)),
                None => {
                    listening.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

impl Drop for SimAcceptor {
    fn drop(&mut self) {
        // Waiting connections are dropped after the lock is released.
        drop(self.network.lock(|state| state.listeners.remove(&(self.host, self.local.port()))));
    }
}
