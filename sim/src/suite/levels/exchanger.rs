//! A node that is driven directly and takes part in the exchanges of a party.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use septa_core::{
    Connection, ConnectionId, Multiaddr, PeerId, SeedStream,
    connection::{CloseReason, Event, ReadError, StreamId, WriteError},
    node::{self, Intent, PeerInfo},
};

use super::super::{
    events::is_unjust,
    exchange::{self, EXCHANGE},
    party::{addr, draw_length, lock},
};
use crate::{
    Referee,
    direct::{Application, Context},
};

/// How often an exchange begins, and the node looks who its peers are.
const EVERY: Duration = Duration::from_millis(300);
/// The most bytes of one exchange.
const MOST: u64 = 50_000;

/// What the nodes of both levels know of each other.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// Who lives at each place of the party.
    pub(super) members: Mutex<BTreeMap<usize, PeerId>>,
    /// Exchanges that ended well, by place: those that the exchanger has begun, and those that it was sent.
    finished: Mutex<BTreeMap<usize, [u64; 2]>>,
    /// What the exchanger has to each that it knows: local and remote addresses of connections.
    connections: Mutex<BTreeMap<PeerId, Vec<(Multiaddr, Multiaddr)>>>,
    /// It begins no more.
    pub(super) is_quiet: AtomicBool,
    /// It shuts down.
    pub(super) is_over: AtomicBool,
}

impl Board {
    /// Exchanges with a place that ended well: those that the exchanger has begun, and those that it was sent.
    pub(super) fn finished(&self, place: usize) -> [u64; 2] {
        lock(&self.finished).get(&place).copied().unwrap_or_default()
    }

    /// What connections the exchanger has to a peer, and to how many peers it has any.
    pub(super) fn connections(&self, peer: &PeerId) -> (Vec<(Multiaddr, Multiaddr)>, usize) {
        let all = lock(&self.connections);
        (all.get(peer).cloned().unwrap_or_default(), all.values().filter(|to_one| !to_one.is_empty()).count())
    }
}

pub(super) struct Exchanger {
    pub(super) board: Arc<Board>,
    pub(super) referee: Referee,
    pub(super) luck: SeedStream,
    /// Whom it keeps a connection to, by place.
    pub(super) known: BTreeMap<usize, PeerId>,
    pub(super) streams: BTreeMap<(ConnectionId, StreamId), Half>,
    /// Bytes are changed on their way.
    pub(super) is_tampered: bool,
}

/// What is left to do on a stream.
pub(super) enum Half {
    /// This end has opened it: these bytes are to be sent, and then comes the answer.
    Sending { bytes: Vec<u8>, sent: usize, length: u64, answer: Vec<u8> },
    /// The other end has.
    Receiving { head: Vec<u8>, received: u64 },
}

/// How far a stream is.
enum Step {
    Blocked,
    /// All went well.
    Done,
    /// It ended early, which is what faults are for.
    Lost,
}

impl Half {
    fn send(key: u64, length: u64) -> Self {
        let mut bytes = [key.to_be_bytes(), length.to_be_bytes()].concat();
        bytes.resize(16 + usize::try_from(length).unwrap_or(0), 0);
        exchange::fill(key, 0, &mut bytes[16..]);
        Self::Sending { bytes, sent: 0, length, answer: Vec::new() }
    }

    fn go_on(&mut self, connection: &mut Connection, id: StreamId, referee: &Referee) -> Step {
        let mut buffer = [0; 16 * 1024];
        if let Self::Sending { bytes, sent, .. } = self {
            while *sent < bytes.len() {
                match connection.stream(id).write(&bytes[*sent..]) {
                    Ok(count) => *sent += count,
                    Err(WriteError::Blocked) => return Step::Blocked,
                    Err(_) => return Step::Lost,
                }
                if *sent == bytes.len() && connection.stream(id).finish().is_err() {
                    return Step::Lost;
                }
            }
        }
        loop {
            let count = match connection.stream(id).read(&mut buffer) {
                Ok(count) => count,
                Err(ReadError::Blocked) => return Step::Blocked,
                Err(_) => return Step::Lost,
            };
            match self {
                Self::Sending { answer, .. } if count > 0 => answer.extend_from_slice(&buffer[..count]),
                Self::Receiving { head, received } if count > 0 => {
                    let of_head = count.min(16 - head.len());
                    head.extend_from_slice(&buffer[..of_head]);
                    if let Some((key, length)) = exchange::read_head(head) {
                        exchange::verify(key, length, *received, &buffer[of_head..count], referee);
                        *received += (count - of_head) as u64;
                    }
                }
                _ => return self.end(connection, id, referee),
            }
        }
    }

    /// The other end has ended its half.
    fn end(&self, connection: &mut Connection, id: StreamId, referee: &Referee) -> Step {
        let blame = |what: String| {
            referee.blame(exchange::WHOLE, what);
            Step::Lost
        };
        match self {
            Self::Sending { length, answer, .. } if *answer == length.to_be_bytes() => Step::Done,
            Self::Sending { length, answer, .. } => blame(format!("of {length} bytes the receiver says {answer:?}")),
            Self::Receiving { head, received } => match exchange::read_head(head) {
                Some((_, length)) if length == *received => {
                    let mut stream = connection.stream(id);
                    let answered = stream.write(&length.to_be_bytes()).is_ok_and(|count| count == 8);
                    if answered && stream.finish().is_ok() { Step::Done } else { Step::Lost }
                }
                head => blame(format!("of the exchange {head:?} came {received} bytes")),
            },
        }
    }
}

impl Exchanger {
    fn go_on(&mut self, id: ConnectionId, connection: &mut Connection, stream: StreamId) {
        let Some(half) = self.streams.get_mut(&(id, stream)) else { return };
        match half.go_on(connection, stream, &self.referee) {
            Step::Blocked => return,
            Step::Lost => {}
            Step::Done => {
                let way = usize::from(matches!(half, Half::Receiving { .. }));
                let peer = connection.peer();
                let place = self.known.iter().find(|(_, known)| Some(**known) == peer).map(|(place, _)| *place);
                // Whoever is not known any more has come back as somebody else.
                if let Some(place) = place {
                    lock(&self.board.finished).entry(place).or_default()[way] += 1;
                }
            }
        }
        connection.stream(stream).release();
        self.streams.remove(&(id, stream));
    }

    /// Finds out who its peers are now.
    fn look_around(&mut self, cx: &mut Context<'_>) {
        let now = cx.now();
        for (place, peer) in lock(&self.board.members).clone() {
            let before = self.known.insert(place, peer);
            if before == Some(peer) {
                continue;
            }
            if let Some(before) = before {
                cx.node().remove_peer(now, before);
            }
            if let Err(error) = cx.node().add_peer(now, peer, &[addr(place)], Intent::Persistent) {
                cx.report(format!("the peer cannot be added: {error}"));
            }
        }
    }

    fn tell_connections(&self, cx: &mut Context<'_>) {
        let snapshot = cx.node().debug_snapshot();
        let addrs =
            |peer: &PeerInfo| peer.connections.iter().map(|one| (one.local.clone(), one.remote.clone())).collect();
        *lock(&self.board.connections) = snapshot.peers.iter().map(|peer| (peer.peer, addrs(peer))).collect();
    }

    fn begin(&mut self, cx: &mut Context<'_>) {
        let (now, key) = (cx.now(), self.luck.next_u64());
        let ids = cx.connections();
        let Some(id) = ids.get(usize::try_from(key).unwrap_or(0) % ids.len().max(1)).copied() else { return };
        let Some(connection) = cx.connection(id).filter(|connection| connection.is_ready()) else { return };
        let Ok(stream) = connection.open(now, &[EXCHANGE]) else { return };
        self.streams.insert((id, stream), Half::send(key, draw_length(&mut self.luck, MOST)));
        self.go_on(id, connection, stream);
    }
}

impl Application for Exchanger {
    fn started(&mut self, cx: &mut Context<'_>) {
        self.timer(cx);
    }

    fn node_event(&mut self, cx: &mut Context<'_>, event: node::Event) {
        if let node::Event::Closed { peer, reason: CloseReason::Protocol(broken), .. } = event
            && is_unjust(&broken, self.is_tampered)
        {
            cx.report(format!("{peer:?} is accused of breaking a rule: {broken}"));
        }
    }

    fn connection_event(&mut self, _: &mut Context<'_>, id: ConnectionId, connection: &mut Connection, event: Event) {
        match event {
            Event::Incoming => {
                while let Some(stream) = connection.accept() {
                    self.streams.insert((id, stream), Half::Receiving { head: Vec::new(), received: 0 });
                    self.go_on(id, connection, stream);
                }
            }
            Event::Readable { id: stream } | Event::Writable { id: stream } => self.go_on(id, connection, stream),
            Event::Refused { id: stream, .. } => {
                connection.stream(stream).release();
                self.streams.remove(&(id, stream));
            }
            Event::Closed => self.streams.retain(|(of, _), _| *of != id),
            _ => {}
        }
    }

    fn timer(&mut self, cx: &mut Context<'_>) {
        if self.board.is_over.load(Ordering::Relaxed) {
            return cx.end();
        }
        cx.set_timer(Some(cx.now().saturating_add(EVERY)));
        self.look_around(cx);
        self.tell_connections(cx);
        if !self.board.is_quiet.load(Ordering::Relaxed) {
            self.begin(cx);
        }
    }
}
