//! Thousands of peers around a few hubs, which mostly say nothing.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use septa_core::{
    Connection, ConnectionId, Instant, Multiaddr, PeerId, ProtocolId, Role,
    connection::Event,
    crypto::Provider,
    node::{self, Intent, Rate, RateLimits},
    yamux::MemoryPool,
};

use super::{direct, identity};
use crate::{
    FastCrypto, Simulation, Stalled,
    direct::{Application, Context, Counts, Direct, Setup},
};

const HELLO: ProtocolId = ProtocolId::from_static("/septa-sim/hello");
/// What the world is run for at once.
const SLICE: Duration = Duration::from_secs(1);

/// How many peers there are, and how long they stay.
#[derive(Clone, Debug)]
pub struct Options {
    /// Nodes that listen, at least 1. Each peer keeps a connection to one of them.
    pub hubs: usize,
    /// Nodes that dial.
    pub peers: usize,
    /// Virtual time from the first dial until all shut down.
    pub length: Duration,
    /// The ciphers of all nodes.
    pub provider: Arc<dyn Provider>,
    /// Whether the nodes are [checked](Direct::checked) on the way.
    pub is_checked: bool,
    /// What the connections of all nodes receive into.
    pub memory: MemoryPool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hubs: 4,
            peers: 1000,
            length: Duration::from_secs(120),
            provider: Arc::new(FastCrypto),
            is_checked: false,
            memory: MemoryPool::default(),
        }
    }
}

/// What the hubs have seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// Peers that have said hello, which each does once, when it is connected.
    pub hellos: u64,
    /// Bytes that the connections of nodes held that have shut down, just before: the sum of their
    /// [`memory_used`](Connection::memory_used).
    pub held: usize,
    /// What has happened to the connections.
    pub counts: Counts,
}

/// Lets the peers connect, say hello once, and stay until all are to shut down.
///
/// # Errors
/// A connection was lost.
pub fn run(simulation: &Simulation, options: &Options) -> Result<Outcome, Stalled> {
    let crowd = Crowd::start(simulation, options);
    let until = simulation.now().saturating_add(options.length);
    while simulation.now() < until {
        simulation.run_for(SLICE.min(until.saturating_duration_since(simulation.now())))?;
    }
    Ok(crowd.outcome())
}

/// A crowd that runs in a world.
#[derive(Debug)]
pub struct Crowd {
    direct: Direct,
    hellos: Arc<AtomicU64>,
    held: Arc<AtomicUsize>,
}

impl Crowd {
    /// Starts hubs and peers. They find each other as the world runs.
    pub fn start(simulation: &Simulation, options: &Options) -> Self {
        let direct = direct(simulation, options.is_checked);
        let (hellos, held) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
        let addr = |number: usize| {
            let host = u32::try_from(number + 1).unwrap_or(u32::MAX);
            SocketAddr::new(simulation.ip(host), 4001)
        };
        let ends = simulation.now().saturating_add(options.length);
        let setup = |number: usize| {
            let mut setup = Setup::serving(identity(number), &[HELLO]);
            setup.provider = simulation.readable(options.provider.clone());
            Arc::make_mut(&mut setup.connection.yamux).memory = options.memory.clone();
            setup
        };
        let hubs: Vec<PeerId> = (0..options.hubs).map(|number| identity(number).peer_id()).collect();
        for number in 0..options.hubs {
            let setup = Setup { listen: vec![addr(number)], node: for_crowds(options.peers), ..setup(number) };
            let host = simulation.host(&format!("hub {number}"));
            let member = Member { hub: None, hellos: hellos.clone(), held: held.clone(), ends };
            direct.start(&host, setup, member).expect("there is room");
        }
        for number in options.hubs..options.hubs + options.peers {
            let hub = number % options.hubs;
            let hub = Some((hubs[hub], Multiaddr::from_socket_addr(addr(hub))));
            let member = Member { hub, hellos: hellos.clone(), held: held.clone(), ends };
            direct
                .start(&simulation.host(&format!("peer {number}")), setup(number), member)
                .expect("the defaults are valid");
        }
        Self { direct, hellos, held }
    }

    /// What has happened until now.
    pub fn outcome(&self) -> Outcome {
        let (hellos, held) = (self.hellos.load(Ordering::Relaxed), self.held.load(Ordering::Relaxed));
        Outcome { hellos, held, counts: self.direct.counts() }
    }
}

/// Room for so many connections.
fn for_crowds(peers: usize) -> node::Config {
    let all = peers.saturating_mul(2).max(1024);
    let crowds = |limits: RateLimits| RateLimits {
        overall: Rate { burst: u32::try_from(all).unwrap_or(u32::MAX), interval: Duration::from_millis(1) },
        max_prefixes: all,
        ..limits
    };
    let config = node::Config::default();
    node::Config {
        max_connections: all,
        max_inbound: all,
        max_pending_inbound: all,
        max_prefixes: all,
        high_watermark: all,
        low_watermark: all,
        connect_rates: crowds(config.connect_rates),
        handshake_rates: crowds(config.handshake_rates),
        ..config
    }
}

/// A hub, or a peer that has one.
struct Member {
    hub: Option<(PeerId, Multiaddr)>,
    hellos: Arc<AtomicU64>,
    held: Arc<AtomicUsize>,
    /// When it shuts down.
    ends: Instant,
}

impl Application for Member {
    fn started(&mut self, cx: &mut Context<'_>) {
        let now = cx.now();
        cx.set_timer(Some(self.ends));
        if let Some((peer, addr)) = self.hub.take()
            && let Err(error) = cx.node().add_peer(now, peer, &[addr], Intent::Persistent)
        {
            cx.report(format!("the peer cannot be added: {error}"));
        }
    }

    fn connection_event(&mut self, cx: &mut Context<'_>, _id: ConnectionId, connection: &mut Connection, event: Event) {
        match event {
            Event::Ready if connection.role() == Role::Dialer => {
                let said = connection.open(cx.now(), &[HELLO]).map(|stream| {
                    let finished = connection.stream(stream).finish();
                    connection.stream(stream).release();
                    finished
                });
                if !matches!(said, Ok(Ok(()))) {
                    cx.report(format!("hello cannot be said: {said:?}"));
                }
            }
            Event::Incoming => {
                while let Some(stream) = connection.accept() {
                    let _ = connection.stream(stream).finish();
                    connection.stream(stream).release();
                    self.hellos.fetch_add(1, Ordering::Relaxed);
                }
            }
            Event::Closed if cx.now() >= self.ends => {}
            Event::Closed => cx.report(format!("the connection was closed: {:?}", connection.close_reason())),
            _ => {}
        }
    }

    fn timer(&mut self, cx: &mut Context<'_>) {
        for id in cx.connections() {
            let held = cx.connection(id).map_or(0, |connection| connection.memory_used());
            self.held.fetch_add(held, Ordering::Relaxed);
        }
        cx.end();
    }
}
