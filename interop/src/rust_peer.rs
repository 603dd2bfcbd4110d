//! A rust-libp2p node: TCP, Noise, Yamux, with ping, identify and the protocols of [`crate::serve`].
//!
//! # What this release does on the wire
//!
//! Read in the sources of libp2p 0.57 (libp2p-swarm 0.48, libp2p-yamux 0.48 on yamux 0.14.1, libp2p-noise
//! 0.47). Tests rely on it; `tests/wire_facts.rs` pins most of what concerns Yamux frame by frame, and the
//! rest needs a second look with a new release.
//!
//! Handshake:
//! * The dialer negotiates security and muxer with multistream-select's lazy version: header, proposal and
//!   the first Noise message arrive together.
//! * Noise extensions never carry a muxer: Yamux is always negotiated after the handshake.
//! * The dialer sends message 3, with its identity, before it verifies the responder's signature, and
//!   compares the peer id only when Yamux is agreed. A node that is dialed by mistake sees a complete
//!   connection that closes.
//! * A Noise record carries at most 64,511 bytes of plaintext.
//!
//! Yamux, sending:
//! * A stream is opened with Data SYN: the flag rides on the first data. A stream that is closed or dropped
//!   before it wrote sends FIN or RST for an id that was never opened.
//! * ACK rides on the first frame out, be it data, a window update or the FIN: Data ACK+FIN occurs.
//! * A dropped stream sends Data RST, or Data FIN if the other side had finished; nothing if it had itself
//!   finished, and then ignores what still comes without returning credit, so that a writer stalls.
//! * Data frames hold at most 16 KiB. 256 streams may await their ACK.
//! * A ping goes out at once, then 10 s after each pong.
//!
//! Yamux, receiving:
//! * A window update with SYN adds to the 256 KiB; one past `u32::MAX` is answered with GoAway 1.
//! * A Data body over 1 MiB ends the connection without GoAway, whatever the credit.
//! * The 513th stream gets GoAway 2 if opened with Data, GoAway 1 if with a window update; a pong that was
//!   not asked for gets GoAway 1. After sending either, it goes on until the other side closes.
//! * RST makes the reader see the buffered data and then the *end*, not an error.
//! * Frames for unknown streams are ignored, without RST.
//! * GoAway with any code ends the connection and all its streams at once; what is buffered stays readable.
//!
//! Identify: one message of at most 4096 bytes, with a signed peer record in the format of RFC 0003 only;
//! one in the format of go and js is passed over. What is absent in a push is unchanged.
//!
//! Closing: [`RustPeer::disconnect`] sends GoAway 0. The idle timeout (10 s unless raised, counted while no
//! stream is open; ping's streams do not count) drops the connection: the other side sees the end of the
//! TCP stream and no GoAway.

use std::{fmt, time::Duration};

use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder,
    core::transport::ListenerId,
    identify,
    identity::Keypair,
    noise, ping,
    swarm::{
        ConnectionId, DialError, NetworkBehaviour, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
    tcp, yamux,
};
use libp2p_stream::{Control, OpenStreamError};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::serve;

/// The bound of every wait in this crate; far above what loopback needs on a busy machine.
pub const WAIT: Duration = Duration::from_secs(30);

/// How a [`RustPeer`] is set up.
#[derive(Clone, Debug, Default)]
pub struct RustPeerConfig {
    /// How long a connection without streams is kept; `None` is libp2p's default, 10 s.
    pub idle_timeout: Option<Duration>,
    /// Time between pings; `None` is libp2p's default, 15 s. The first goes out at once.
    pub ping_interval: Option<Duration>,
    /// The seed of an Ed25519 key; `None` takes a random one.
    pub seed: Option<[u8; 32]>,
    /// A key of any type, instead of the seed.
    pub keypair: Option<Keypair>,
}

/// What went wrong in a call to a [`RustPeer`].
#[derive(Debug, thiserror::Error)]
pub enum RustPeerError {
    /// The dialed node proved another identity than the expected one.
    #[error("the dialed node is {obtained}, not the expected peer")]
    WrongPeer {
        /// Who it is.
        obtained: PeerId,
    },
    /// The dial failed otherwise; the text is libp2p's.
    #[error("the dial failed: {0}")]
    Dial(String),
    /// No listener could be opened; the text is libp2p's.
    #[error("cannot listen: {0}")]
    Listen(String),
    /// The remote does not serve the protocol.
    #[error("the remote does not serve {0}")]
    UnsupportedProtocol(StreamProtocol),
    /// The stream could not be opened; the text is libp2p's.
    #[error("the stream could not be opened: {0}")]
    Open(String),
    /// Nothing within the limit. Holds what was seen instead.
    #[error("nothing within {limit:?}; events so far: {seen:#?}")]
    TimedOut {
        /// The limit.
        limit: Duration,
        /// All events so far.
        seen: Vec<Event>,
    },
    /// The task of the peer has ended.
    #[error("the peer has stopped")]
    Stopped,
}

/// What a [`RustPeer`] saw, in order.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A connection is open: secured, authenticated, multiplexed.
    ConnectionEstablished {
        /// The remote.
        peer: PeerId,
        /// Whether this side dialed.
        dialed: bool,
    },
    /// A connection has closed.
    ConnectionClosed {
        /// The remote.
        peer: PeerId,
        /// libp2p's text; `None` after [`RustPeer::disconnect`].
        cause: Option<String>,
    },
    /// An inbound connection failed before it was established.
    InboundFailed {
        /// libp2p's text, with its sources.
        error: String,
    },
    /// The remote answered a ping.
    PingSuccess {
        /// The remote.
        peer: PeerId,
        /// The round trip.
        rtt: Duration,
    },
    /// A ping failed.
    PingFailed {
        /// The remote.
        peer: PeerId,
        /// libp2p's text.
        error: String,
    },
    /// The remote has told who it is, asked or by a push.
    IdentifyReceived {
        /// The remote.
        peer: PeerId,
        /// All of it.
        info: Box<identify::Info>,
    },
    /// Identify failed.
    IdentifyFailed {
        /// The remote.
        peer: PeerId,
        /// libp2p's text.
        error: String,
    },
    /// A stream of [`ECHO`](crate::ECHO), [`SINK`](crate::SINK), [`RESET`](crate::RESET) or [`PERF`](crate::PERF) was served.
    StreamServed {
        /// The remote.
        peer: PeerId,
        /// Which one.
        protocol: StreamProtocol,
        /// Bytes read (sink, perf) or echoed (echo).
        bytes: u64,
        /// What ended it early.
        error: Option<String>,
    },
}

/// All events so far, shared by those who add and those who wait.
#[derive(Clone)]
pub(crate) struct EventLog(watch::Sender<Vec<Event>>);

impl EventLog {
    fn new() -> Self {
        Self(watch::Sender::new(Vec::new()))
    }

    pub(crate) fn push(&self, event: Event) {
        self.0.send_modify(|events| events.push(event));
    }
}

/// A running rust-libp2p node. Dropping it cuts its connections.
pub struct RustPeer {
    peer_id: PeerId,
    commands: mpsc::Sender<Command>,
    streams: Control,
    events: EventLog,
    task: JoinHandle<()>,
}

impl RustPeer {
    /// Starts a node on the current tokio runtime.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn spawn(config: RustPeerConfig) -> Self {
        let keypair = match (&config.keypair, config.seed) {
            (Some(keypair), _) => keypair.clone(),
            (None, Some(seed)) => Keypair::ed25519_from_bytes(seed).expect("any 32 bytes are an Ed25519 seed"),
            (None, None) => Keypair::generate_ed25519(),
        };
        let events = EventLog::new();
        let swarm = build(keypair, &config, events.clone());
        let peer_id = *swarm.local_peer_id();
        let streams = swarm.behaviour().streams.new_control();
        let (commands, inbox) = mpsc::channel(16);
        let task = Task { swarm, inbox, events: events.clone(), dials: Vec::new(), listeners: Vec::new() };
        Self { peer_id, commands, streams, events, task: tokio::spawn(task.run()) }
    }

    /// Its identity.
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// Listens on a free port of `127.0.0.1`; the address comes without `/p2p/`.
    pub async fn listen(&self) -> Result<Multiaddr, RustPeerError> {
        self.listen_on("/ip4/127.0.0.1/tcp/0".parse().expect("an address")).await
    }

    /// Listens on `address`, say that of a peer that was there before; it comes back without `/p2p/`.
    pub async fn listen_on(&self, address: Multiaddr) -> Result<Multiaddr, RustPeerError> {
        self.call(|reply| Command::Listen(address, reply)).await?
    }

    /// Dials `address` and waits until the connection is established. With `peer`, anybody else there is
    /// refused with [`RustPeerError::WrongPeer`]. Returns who it is.
    pub async fn dial(&self, address: Multiaddr, peer: Option<PeerId>) -> Result<PeerId, RustPeerError> {
        self.call(|reply| Command::Dial(address, peer, reply)).await?
    }

    /// Closes all connections to `peer`, with GoAway 0. Unread data is lost.
    pub async fn disconnect(&self, peer: PeerId) -> Result<(), RustPeerError> {
        self.call(|reply| Command::Disconnect(peer, reply)).await
    }

    /// Pushes to `peer` who this node is now.
    pub async fn push_identify(&self, peer: PeerId) -> Result<(), RustPeerError> {
        self.call(|reply| Command::PushIdentify(peer, reply)).await
    }

    /// Waits for a connection to `peer`, opens a stream on it and waits until `protocol` is agreed.
    pub async fn open_stream(&self, peer: PeerId, protocol: StreamProtocol) -> Result<Stream, RustPeerError> {
        // The other side may have seen the connection earlier; libp2p would dial a peer it does not know yet.
        self.wait_for(WAIT, |event| match event {
            Event::ConnectionEstablished { peer: connected, .. } if *connected == peer => Some(()),
            _ => None,
        })
        .await?;
        match timeout(WAIT, self.streams.clone().open_stream(peer, protocol)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(OpenStreamError::UnsupportedProtocol(protocol))) => {
                Err(RustPeerError::UnsupportedProtocol(protocol))
            }
            Ok(Err(error)) => Err(RustPeerError::Open(error.to_string())),
            Err(_) => Err(self.timed_out(WAIT)),
        }
    }

    /// Drops the node and all its sockets, as if the process had died. When this returns, nobody listens any more.
    pub async fn kill(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Event> {
        self.events.0.borrow().clone()
    }

    /// Waits at most `limit` until `pick` takes an event, of those that were and those to come. An event
    /// is not used up: the next call sees it again.
    pub async fn wait_for<T>(
        &self,
        limit: Duration,
        pick: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T, RustPeerError> {
        self.wait_for_nth(limit, 0, pick).await
    }

    /// Like [`wait_for`](Self::wait_for), for the event that `pick` takes after `skip` others.
    pub async fn wait_for_nth<T>(
        &self,
        limit: Duration,
        skip: usize,
        mut pick: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T, RustPeerError> {
        let mut found = None;
        let mut seen = self.events.0.subscribe();
        let arrived = seen.wait_for(|events| {
            found = events.iter().filter_map(&mut pick).nth(skip);
            found.is_some()
        });
        let _ = timeout(limit, arrived).await.map(|arrived| arrived.map(drop));
        found.ok_or_else(|| self.timed_out(limit))
    }

    async fn call<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, RustPeerError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| RustPeerError::Stopped)?;
        match timeout(WAIT, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(RustPeerError::Stopped),
            Err(_) => Err(self.timed_out(WAIT)),
        }
    }

    fn timed_out(&self, limit: Duration) -> RustPeerError {
        RustPeerError::TimedOut { limit, seen: self.events() }
    }
}

impl Drop for RustPeer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for RustPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RustPeer").field(&self.peer_id).finish()
    }
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    ping: ping::Behaviour,
    identify: identify::Behaviour,
    /// Opens streams.
    streams: libp2p_stream::Behaviour,
    /// Accepts them.
    serve: serve::Behaviour,
}

fn build(keypair: Keypair, config: &RustPeerConfig, events: EventLog) -> Swarm<Behaviour> {
    let mut ping = ping::Config::new();
    if let Some(interval) = config.ping_interval {
        ping = ping.with_interval(interval);
    }
    SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .expect("a fresh key signs")
        .with_behaviour(|key| Behaviour {
            ping: ping::Behaviour::new(ping),
            identify: identify::Behaviour::new(identify::Config::new_with_signed_peer_record(
                "/septa-interop/1.0.0".into(),
                key,
            )),
            streams: libp2p_stream::Behaviour::new(),
            serve: serve::Behaviour::new(events),
        })
        .expect("no behaviour fails")
        .with_swarm_config(|swarm| {
            // The default of 128 drops the streams that exceed it, in silence.
            let swarm = swarm.with_max_negotiating_inbound_streams(512);
            match config.idle_timeout {
                Some(idle) => swarm.with_idle_connection_timeout(idle),
                None => swarm,
            }
        })
        .build()
}

enum Command {
    Listen(Multiaddr, Reply<Multiaddr>),
    Dial(Multiaddr, Option<PeerId>, Reply<PeerId>),
    Disconnect(PeerId, oneshot::Sender<()>),
    PushIdentify(PeerId, oneshot::Sender<()>),
}

type Reply<T> = oneshot::Sender<Result<T, RustPeerError>>;

struct Task {
    swarm: Swarm<Behaviour>,
    inbox: mpsc::Receiver<Command>,
    events: EventLog,
    dials: Vec<(ConnectionId, Reply<PeerId>)>,
    listeners: Vec<(ListenerId, Reply<Multiaddr>)>,
}

impl Task {
    async fn run(mut self) {
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_event(event),
                command = self.inbox.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => return,
                },
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Listen(address, reply) => match self.swarm.listen_on(address) {
                Ok(listener) => self.listeners.push((listener, reply)),
                Err(error) => answer(reply, Err(RustPeerError::Listen(error.to_string()))),
            },
            Command::Dial(address, peer, reply) => {
                let options = match peer {
                    Some(peer) => {
                        DialOpts::peer_id(peer).addresses(vec![address]).condition(PeerCondition::Always).build()
                    }
                    None => DialOpts::unknown_peer_id().address(address).build(),
                };
                let connection = options.connection_id();
                match self.swarm.dial(options) {
                    Ok(()) => self.dials.push((connection, reply)),
                    Err(error) => answer(reply, Err(dial_error(error))),
                }
            }
            Command::Disconnect(peer, reply) => {
                // An error means that there is no connection left, which is what was asked for.
                let _ = self.swarm.disconnect_peer_id(peer);
                let _ = reply.send(());
            }
            Command::PushIdentify(peer, reply) => {
                self.swarm.behaviour_mut().identify.push([peer]);
                let _ = reply.send(());
            }
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::NewListenAddr { listener_id, address } => {
                if let Some(reply) = take(&mut self.listeners, listener_id) {
                    answer(reply, Ok(address));
                }
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                if let Some(reply) = take(&mut self.listeners, listener_id) {
                    answer(reply, Err(RustPeerError::Listen(format!("{reason:?}"))));
                }
            }
            SwarmEvent::ConnectionEstablished { peer_id: peer, connection_id, endpoint, .. } => {
                self.events.push(Event::ConnectionEstablished { peer, dialed: endpoint.is_dialer() });
                if let Some(reply) = take(&mut self.dials, connection_id) {
                    answer(reply, Ok(peer));
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                if let Some(reply) = take(&mut self.dials, connection_id) {
                    answer(reply, Err(dial_error(error)));
                }
            }
            SwarmEvent::ConnectionClosed { peer_id: peer, cause, .. } => {
                self.events.push(Event::ConnectionClosed { peer, cause: cause.map(|cause| with_sources(&cause)) });
            }
            SwarmEvent::IncomingConnectionError { error, .. } => {
                self.events.push(Event::InboundFailed { error: with_sources(&error) });
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { peer, result, .. })) => {
                self.events.push(match result {
                    Ok(rtt) => Event::PingSuccess { peer, rtt },
                    Err(error) => Event::PingFailed { peer, error: with_sources(&error) },
                });
            }
            SwarmEvent::Behaviour(BehaviourEvent::Identify(event)) => self.on_identify(event),
            _ => {}
        }
    }

    fn on_identify(&mut self, event: identify::Event) {
        match event {
            identify::Event::Received { peer_id: peer, info, .. } => {
                self.events.push(Event::IdentifyReceived { peer, info: Box::new(info) });
            }
            identify::Event::Error { peer_id: peer, error, .. } => {
                self.events.push(Event::IdentifyFailed { peer, error: with_sources(&error) });
            }
            identify::Event::Sent { .. } | identify::Event::Pushed { .. } => {}
        }
    }
}

fn take<K: PartialEq, V>(waiting: &mut Vec<(K, V)>, key: K) -> Option<V> {
    let index = waiting.iter().position(|(candidate, _)| *candidate == key)?;
    Some(waiting.swap_remove(index).1)
}

/// The asker may have given up.
fn answer<T>(reply: Reply<T>, result: Result<T, RustPeerError>) {
    let _ = reply.send(result);
}

fn dial_error(error: DialError) -> RustPeerError {
    match error {
        DialError::WrongPeerId { obtained, .. } => RustPeerError::WrongPeer { obtained },
        other => RustPeerError::Dial(with_sources(&other)),
    }
}

/// libp2p keeps the reason in the sources of an error.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
