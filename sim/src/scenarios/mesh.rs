//! Many nodes, each of which sends a message to one of its neighbours now and then.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use septa_core::{
    Connection, ConnectionId, Instant, Multiaddr, PeerId, ProtocolId, Role, Seed, SeedStream,
    connection::{Event, ReadError, StreamId},
    crypto::Provider,
    node::Intent,
};

use super::{direct, identity};
use crate::{
    FastCrypto, Simulation, Stalled,
    direct::{Application, Context, Counts, Direct, Setup},
};

const MESSAGES: ProtocolId = ProtocolId::from_static("/septa-sim/messages");
/// Bytes of each message: who sends it, which of those to this neighbour it is, and a filling that follows from both.
const MESSAGE_LEN: usize = 64;
/// What the world is run for at once.
const SLICE: Duration = Duration::from_secs(1);

/// How large the mesh is, and what it does.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many nodes there are; more than [`degree`](Self::degree).
    pub nodes: usize,
    /// Neighbours of each node, an even number. Each node dials half of them.
    pub degree: usize,
    /// Time from one message of a node to its next.
    pub interval: Duration,
    /// How long messages are sent, in virtual time.
    pub length: Duration,
    /// The ciphers of all nodes.
    pub provider: Arc<dyn Provider>,
    /// Whether the nodes are [checked](Direct::checked) on the way.
    pub is_checked: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 50,
            degree: 8,
            interval: Duration::from_millis(100),
            length: Duration::from_secs(60),
            provider: Arc::new(FastCrypto),
            is_checked: false,
        }
    }
}

/// What a mesh has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// Messages that were sent.
    pub sent: u64,
    /// Messages that arrived, whole and in order.
    pub received: u64,
    /// What has happened to the connections.
    pub counts: Counts,
}

/// Connects the nodes, lets them send for as long as they shall, and gives what is on its way then a second to arrive.
/// Whether all of it has, the [outcome](Outcome) says. Each message goes over a stream that lasts as long as its
/// connection.
///
/// Links are as the simulation has them.
///
/// # Errors
/// A message was changed, or came out of order; a connection was lost.
pub fn run(simulation: &Simulation, options: &Options) -> Result<Outcome, Stalled> {
    let mesh = Mesh::start(simulation, options);
    let until = simulation.now().saturating_add(options.length);
    while simulation.now() < until {
        simulation.run_for(SLICE.min(until.saturating_duration_since(simulation.now())))?;
    }
    mesh.board.stop();
    simulation.run_for(SLICE)?;
    Ok(mesh.outcome())
}

/// A mesh that runs in a world.
#[derive(Debug)]
pub struct Mesh {
    direct: Direct,
    board: Arc<Board>,
}

/// What all nodes write to.
#[derive(Debug, Default)]
struct Board {
    sent: AtomicU64,
    received: AtomicU64,
    has_stopped: AtomicBool,
}

impl Board {
    fn stop(&self) {
        self.has_stopped.store(true, Ordering::Relaxed);
    }

    fn has_stopped(&self) -> bool {
        self.has_stopped.load(Ordering::Relaxed)
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

impl Mesh {
    /// Starts the nodes. They find each other as the world runs.
    pub fn start(simulation: &Simulation, options: &Options) -> Self {
        let direct = direct(simulation, options.is_checked);
        let board = Arc::new(Board::default());
        let hosts: Vec<_> = (0..options.nodes).map(|number| simulation.host(&format!("node {number}"))).collect();
        let addr = |number: usize| {
            let host = u32::try_from(number + 1).unwrap_or(u32::MAX);
            SocketAddr::new(simulation.ip(host), 4001)
        };
        let peers: Vec<PeerId> = (0..options.nodes).map(|number| identity(number).peer_id()).collect();
        for (number, host) in hosts.iter().enumerate() {
            let setup = Setup {
                provider: simulation.readable(options.provider.clone()),
                listen: vec![addr(number)],
                ..Setup::serving(identity(number), &[MESSAGES])
            };
            let targets =
                neighbours(number, options).map(|other| (peers[other], Multiaddr::from_socket_addr(addr(other))));
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
            let member = Member {
                number: number as u64,
                interval: options.interval,
                // Not all at the same time.
                next: simulation.now().saturating_add(options.interval.mul_f64(number as f64 / options.nodes as f64)),
                targets: targets.collect(),
                luck: Seed::from_bytes(seed).public_stream(),
                // Of the right size from the start, as there are thousands of nodes.
                talks: Vec::with_capacity(options.degree),
                board: board.clone(),
            };
            direct.start(host, setup, member).expect("the defaults are valid");
        }
        Self { direct, board }
    }

    /// What has happened until now.
    pub fn outcome(&self) -> Outcome {
        Outcome { sent: self.board.sent(), received: self.board.received(), counts: self.direct.counts() }
    }
}

/// Whom a node dials: those at half of the distances at which it has neighbours. From the other half it is dialed.
fn neighbours(number: usize, options: &Options) -> impl Iterator<Item = usize> {
    let (nodes, half) = (options.nodes, options.degree / 2);
    // All differ, and none is so large that it is the way back of another one.
    (0..half).map(move |k| (number + 1 + k * (nodes / (options.degree + 1))) % nodes)
}

/// One node of the mesh.
struct Member {
    number: u64,
    interval: Duration,
    next: Instant,
    targets: Vec<(PeerId, Multiaddr)>,
    luck: SeedStream,
    /// With those to whom messages can be sent: so few that looking through them is no effort.
    talks: Vec<Talk>,
    board: Arc<Board>,
}

/// What is said on one connection, both ways on one stream, which the dialer has opened.
struct Talk {
    connection: ConnectionId,
    stream: StreamId,
    sent: u64,
    received: u64,
    /// Who its first message was from, and so all others must be, once there is one.
    sender: u64,
    partial: Box<[u8]>,
}

impl Member {
    fn begin(&mut self, cx: &mut Context<'_>, id: ConnectionId, connection: &mut Connection, stream: StreamId) {
        self.talks.push(Talk { connection: id, stream, sent: 0, received: 0, sender: 0, partial: Box::default() });
        self.read(cx, id, connection, stream);
    }

    fn read(&mut self, cx: &mut Context<'_>, id: ConnectionId, connection: &mut Connection, stream: StreamId) {
        let Some(talk) = self.talks.iter_mut().find(|talk| talk.connection == id) else { return };
        let mut buffer = [0; 16 * MESSAGE_LEN];
        loop {
            let kept = talk.partial.len();
            buffer[..kept].copy_from_slice(&talk.partial);
            let count = match connection.stream(stream).read(&mut buffer[kept..]) {
                Ok(count @ 1..) => kept + count,
                Err(ReadError::Blocked) => return,
                other => return cx.report(format!("stream {stream} cannot be read: {other:?}")),
            };
            let (messages, rest) = buffer[..count].as_chunks::<MESSAGE_LEN>();
            for message in messages {
                let claimed = u64::from_le_bytes(*message.first_chunk().unwrap_or(&[0; 8]));
                if talk.received == 0 {
                    talk.sender = claimed;
                }
                talk.received += 1;
                if *message != encode(talk.sender, talk.received) {
                    cx.report(format!("message {} of a neighbour is another one: {message:?}", talk.received));
                }
            }
            self.board.received.fetch_add(messages.len() as u64, Ordering::Relaxed);
            talk.partial = rest.into();
        }
    }

    fn send(&mut self, cx: &mut Context<'_>) {
        let Some(count) = (self.talks.len() as u64).checked_sub(1) else { return };
        let chosen = usize::try_from(self.luck.next_u64() % (count + 1)).unwrap_or(0);
        let talk = &mut self.talks[chosen];
        let Some(connection) = cx.connection(talk.connection) else { return };
        talk.sent += 1;
        match connection.stream(talk.stream).write(&encode(self.number, talk.sent)) {
            Ok(MESSAGE_LEN) => drop(self.board.sent.fetch_add(1, Ordering::Relaxed)),
            other => cx.report(format!("a message cannot be sent: {other:?}")),
        }
    }
}

fn encode(sender: u64, number: u64) -> [u8; MESSAGE_LEN] {
    let mut message = [0; MESSAGE_LEN];
    let mut word = sender;
    for place in message.as_chunks_mut::<8>().0 {
        *place = word.to_le_bytes();
        word = word.rotate_left(17).wrapping_add(number);
    }
    message
}

impl Application for Member {
    fn started(&mut self, cx: &mut Context<'_>) {
        let now = cx.now();
        for (peer, addr) in std::mem::take(&mut self.targets) {
            if let Err(error) = cx.node().add_peer(now, peer, &[addr], Intent::Persistent) {
                cx.report(format!("the peer cannot be added: {error}"));
            }
        }
        cx.set_timer(Some(self.next));
    }

    fn connection_event(&mut self, cx: &mut Context<'_>, id: ConnectionId, connection: &mut Connection, event: Event) {
        match event {
            Event::Ready if connection.role() == Role::Dialer => match connection.open(cx.now(), &[MESSAGES]) {
                Ok(stream) => self.begin(cx, id, connection, stream),
                Err(error) => cx.report(format!("no stream can be opened: {error}")),
            },
            Event::Incoming => {
                while let Some(stream) = connection.accept() {
                    self.begin(cx, id, connection, stream);
                }
            }
            Event::Readable { id: stream } => self.read(cx, id, connection, stream),
            Event::Closed => cx.report(format!("the connection was closed: {:?}", connection.close_reason())),
            _ => {}
        }
    }

    fn timer(&mut self, cx: &mut Context<'_>) {
        if self.board.has_stopped() {
            return;
        }
        self.send(cx);
        self.next = self.next.saturating_add(self.interval);
        cx.set_timer(Some(self.next));
    }
}
