//! Two nodes that move bytes both ways over one connection, and compare every one.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use septa_core::{
    Connection, ConnectionId, Instant, Multiaddr, PeerId, ProtocolId, Role,
    connection::{CloseReason, Event, OpenError, ProtocolError, ReadError, RefuseReason, StreamId, WriteError, codes},
    crypto::Provider,
    node::Intent,
    yamux::INITIAL_WINDOW,
};

use super::{Done, direct, identity};
use crate::{
    FastCrypto, Simulation, Stalled,
    direct::{Application, Context, Counts, Direct, Setup},
};

const TRANSFER: ProtocolId = ProtocolId::from_static("/septa-sim/transfer");
/// Length of the pattern that is sent again and again; a prime, so that what is lost, doubled or moved does not fit.
const PATTERN_LEN: usize = 65_521;
/// How much further in the pattern each stream begins than the one before.
const SHIFT: usize = 4_099;
/// From the end of one round of transfers to the beginning of the next.
const PAUSE: Duration = Duration::from_millis(100);
/// What is read at once.
const READ: usize = 16 * 1024;

/// How much is moved, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Streams. Each carries data both ways.
    pub streams: usize,
    /// Bytes of each stream, each way. At least 1.
    pub bytes: u64,
    /// The ciphers of both ends.
    pub provider: Arc<dyn Provider>,
    /// Whether the nodes are [checked](Direct::checked) on the way.
    pub is_checked: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { streams: 4, bytes: 1024 * 1024, provider: Arc::new(FastCrypto), is_checked: false }
    }
}

/// Runs until both ends have read all that the other one has sent, and closed the streams.
///
/// Links are as the simulation has them: cuts and delays are set by the caller.
///
/// # Errors
/// Bytes were lost or changed, or did not come.
pub fn run(simulation: &Simulation, options: &Options) -> Result<Counts, Stalled> {
    let done = Done::after(2 * options.streams);
    let pair = Pair::begin(simulation, options, &done, false);
    simulation.block_on(done.wait())?;
    Ok(pair.direct.counts())
}

/// Two nodes that move bytes in rounds, one behind the other, until they are [told](Self::end) to end. If their
/// connection is lost they make another one, and begin a round anew.
#[derive(Debug)]
pub struct Pair {
    direct: Direct,
    rounds: Arc<AtomicU64>,
    finished: Arc<[AtomicU64; 2]>,
    is_over: Arc<AtomicBool>,
}

impl Pair {
    /// Starts them on two new hosts. They find each other as the world runs. Bytes that were lost or changed break an
    /// invariant.
    pub fn start(simulation: &Simulation, options: &Options) -> Self {
        Self::begin(simulation, options, &Done::after(0), true)
    }

    fn begin(simulation: &Simulation, options: &Options, done: &Done, goes_on: bool) -> Self {
        let direct = direct(simulation, options.is_checked);
        let hosts = ["dialer", "listener"].map(|name| simulation.host(name));
        let [dialer, listener] = [1, 2].map(|number| {
            let mut setup = Setup::serving(identity(number), &[TRANSFER]);
            setup.provider = simulation.readable(options.provider.clone());
            if goes_on {
                setup.node.backoff.max = Duration::from_secs(4);
                // So small that whatever is not given back shows before long. Twice as many streams as a round has: the end
                // of one and the begin of the next may arrive together, before the listener has let go of anything.
                let yamux = Arc::make_mut(&mut setup.connection.yamux);
                (yamux.max_streams, yamux.send_quota, yamux.spare_blocks) = (2 * options.streams.max(1), 32 * 1024, 4);
                yamux.max_window = INITIAL_WINDOW;
                yamux.memory_budget = yamux.max_streams.saturating_mul(INITIAL_WINDOW as usize);
            }
            setup
        });
        let pattern: Arc<[u8]> = (0..PATTERN_LEN).map(|i| ((i % 251) ^ (i / 251)) as u8).collect();
        let pair = Self { direct, rounds: Arc::default(), finished: Arc::default(), is_over: Arc::default() };
        let end = |target| End {
            target,
            streams: options.streams,
            bytes: options.bytes,
            pattern: pattern.clone(),
            done: done.clone(),
            goes_on,
            rounds: pair.rounds.clone(),
            finished: pair.finished.clone(),
            is_over: pair.is_over.clone(),
            left: BTreeMap::new(),
            transfers: BTreeMap::new(),
            buffer: vec![0; READ].into(),
            wrong: Vec::new(),
        };
        let addr = SocketAddr::new(simulation.ip(2), 4001);
        let target = (listener.identity.peer_id(), Multiaddr::from_socket_addr(addr));
        pair.direct
            .start(&hosts[1], Setup { listen: vec![addr], ..listener }, end(None))
            .expect("the defaults are valid");
        pair.direct.start(&hosts[0], dialer, end(Some(target))).expect("the defaults are valid");
        pair
    }

    /// Rounds in which all bytes of all streams have come to the dialer, and nothing was lost or refused meanwhile.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Streams on which all bytes have come, to the dialer and to the listener.
    pub fn finished(&self) -> [u64; 2] {
        [&self.finished[0], &self.finished[1]].map(|count| count.load(Ordering::Relaxed))
    }

    /// Has both nodes shut down.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// One of the two nodes.
struct End {
    /// Whom to dial.
    target: Option<(PeerId, Multiaddr)>,
    streams: usize,
    bytes: u64,
    pattern: Arc<[u8]>,
    done: Done,
    /// A connection may be lost, and behind one round comes another.
    goes_on: bool,
    rounds: Arc<AtomicU64>,
    finished: Arc<[AtomicU64; 2]>,
    is_over: Arc<AtomicBool>,
    /// Streams of the dialer's round on a connection that have not ended well yet.
    left: BTreeMap<ConnectionId, usize>,
    transfers: BTreeMap<(ConnectionId, StreamId), Transfer>,
    buffer: Box<[u8]>,
    /// What never should be so.
    wrong: Vec<String>,
}

/// How far one end is with a stream.
struct Transfer {
    written: u64,
    read: u64,
    has_ended: bool,
}

/// Why a transfer does not go on.
enum Trouble {
    /// Its connection is gone.
    Lost,
    /// It is as it never should be.
    Wrong(String),
}

impl End {
    /// The dialer's next round.
    fn begin_round(&mut self, now: Instant, id: ConnectionId, connection: &mut Connection) {
        self.left.insert(id, self.streams);
        for _ in 0..self.streams {
            match connection.open(now, &[TRANSFER]) {
                Ok(stream) => self.begin(id, connection, stream),
                // The peer may turn it away when this end is ready already.
                Err(OpenError::ConnectionLost(_)) if self.goes_on => return,
                Err(error) => self.wrong.push(format!("no stream can be opened: {error}")),
            }
        }
    }

    fn begin(&mut self, id: ConnectionId, connection: &mut Connection, stream: StreamId) {
        self.transfers.insert((id, stream), Transfer { written: 0, read: 0, has_ended: false });
        self.go_on(id, connection, stream);
    }

    /// Writes and reads until both are blocked.
    fn go_on(&mut self, id: ConnectionId, connection: &mut Connection, stream: StreamId) {
        let key = (id, stream);
        let Some(transfer) = self.transfers.get_mut(&key) else { return };
        let source = Source { pattern: &self.pattern, start: stream.get() as usize * SHIFT };
        let outcome = transfer
            .write(&source, connection, stream, self.bytes)
            .and_then(|()| transfer.read(&source, connection, stream, &mut self.buffer));
        match outcome {
            Ok(()) => {}
            Err(Trouble::Lost) if self.goes_on => {
                self.transfers.remove(&key);
                return;
            }
            Err(Trouble::Lost) => self.wrong.push(format!("stream {stream} was lost with its connection")),
            Err(Trouble::Wrong(what)) => self.wrong.push(what),
        }
        self.wrong.extend(transfer.wrong_length(self.bytes).map(|what| format!("stream {stream} {what}")));
        if transfer.read >= self.bytes && transfer.written >= self.bytes && transfer.has_ended {
            connection.stream(stream).release();
            self.transfers.remove(&key);
            self.done.count_down();
            self.finished[usize::from(self.target.is_none())].fetch_add(1, Ordering::Relaxed);
            if let Some(left) = self.left.get_mut(&id) {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    self.rounds.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn has_transfers(&self, id: ConnectionId) -> bool {
        self.transfers.keys().any(|(of, _)| *of == id)
    }

    /// Says what is wrong.
    fn report(&mut self, cx: &mut Context<'_>) {
        self.wrong.drain(..).for_each(|what| cx.report(what));
    }

    /// Asks again in a while whether all is over, or the next round is due.
    fn set_timer(&self, cx: &mut Context<'_>) {
        if self.goes_on {
            let now = cx.now();
            cx.set_timer(Some(now.saturating_add(PAUSE)));
        }
    }
}

/// What is sent on one stream, in both directions.
struct Source<'a> {
    pattern: &'a [u8],
    start: usize,
}

impl Source<'_> {
    /// The bytes from an offset on, as many as lie side by side.
    fn from(&self, offset: u64) -> &[u8] {
        let place = (self.start as u64 + offset) % self.pattern.len() as u64;
        &self.pattern[usize::try_from(place).unwrap_or(0)..]
    }
}

impl Transfer {
    /// What is wrong with how much has come, if something is.
    fn wrong_length(&self, total: u64) -> Option<String> {
        match self.read {
            read if read > total => Some(format!("brings {read} bytes instead of {total}")),
            read if read < total && self.has_ended => Some(format!("ends behind {read} bytes of {total}")),
            _ => None,
        }
    }

    fn write(
        &mut self,
        source: &Source<'_>,
        connection: &mut Connection,
        id: StreamId,
        total: u64,
    ) -> Result<(), Trouble> {
        while self.written < total {
            let data = source.from(self.written);
            let left = usize::try_from(total - self.written).unwrap_or(usize::MAX);
            match connection.stream(id).write(&data[..data.len().min(left)]) {
                Ok(count) => self.written += count as u64,
                Err(WriteError::Blocked) => return Ok(()),
                Err(WriteError::ConnectionLost(_)) => return Err(Trouble::Lost),
                Err(error) => return Err(Trouble::Wrong(format!("stream {id} cannot be written: {error}"))),
            }
            if self.written == total {
                match connection.stream(id).finish() {
                    Ok(()) => {}
                    Err(WriteError::ConnectionLost(_)) => return Err(Trouble::Lost),
                    Err(error) => return Err(Trouble::Wrong(format!("stream {id} cannot be ended: {error}"))),
                }
            }
        }
        Ok(())
    }

    fn read(
        &mut self,
        source: &Source<'_>,
        connection: &mut Connection,
        id: StreamId,
        buffer: &mut [u8],
    ) -> Result<(), Trouble> {
        while !self.has_ended {
            let count = match connection.stream(id).read(buffer) {
                Ok(count) => count,
                Err(ReadError::Blocked) => return Ok(()),
                Err(ReadError::ConnectionLost(_)) => return Err(Trouble::Lost),
                Err(error) => return Err(Trouble::Wrong(format!("stream {id} cannot be read: {error}"))),
            };
            self.has_ended = count == 0;
            let mut rest = &buffer[..count];
            while !rest.is_empty() {
                let expected = source.from(self.read);
                let len = rest.len().min(expected.len());
                if rest[..len] != expected[..len] {
                    return Err(Trouble::Wrong(format!("stream {id} brings other bytes behind {}", self.read)));
                }
                self.read += len as u64;
                rest = &rest[len..];
            }
        }
        Ok(())
    }
}

impl Application for End {
    fn started(&mut self, cx: &mut Context<'_>) {
        let now = cx.now();
        if let Some((peer, addr)) = self.target.clone()
            && let Err(error) = cx.node().add_peer(now, peer, &[addr], Intent::Persistent)
        {
            cx.report(format!("the peer cannot be added: {error}"));
        }
        self.set_timer(cx);
    }

    fn timer(&mut self, cx: &mut Context<'_>) {
        if self.is_over.load(Ordering::Relaxed) {
            return cx.end();
        }
        self.set_timer(cx);
        let now = cx.now();
        for id in cx.connections() {
            if self.target.is_some()
                && !self.has_transfers(id)
                && let Some(connection) = cx.connection(id)
                && connection.is_ready()
                && connection.close_reason().is_none()
                // What was written may not have left yet, although all has come that was waited for.
                && connection.stats().streams == 0
            {
                self.begin_round(now, id, connection);
            }
        }
        self.report(cx);
    }

    fn connection_event(&mut self, cx: &mut Context<'_>, id: ConnectionId, connection: &mut Connection, event: Event) {
        match event {
            Event::Ready if connection.role() == Role::Dialer => self.begin_round(cx.now(), id, connection),
            Event::Incoming => {
                while let Some(stream) = connection.accept() {
                    self.begin(id, connection, stream);
                }
            }
            Event::Readable { id: stream } | Event::Writable { id: stream } => self.go_on(id, connection, stream),
            // Faults can hold up an answer for too long, and then the other end closes while more is opened here.
            Event::Refused {
                id: stream,
                reason: RefuseReason::TimedOut | RefuseReason::Reset(codes::stream::SHUTDOWN),
            } if self.goes_on => {
                self.transfers.remove(&(id, stream));
                connection.close(cx.now(), codes::connection::NO_ERROR);
            }
            Event::Refused { id: stream, reason } => cx.report(format!("stream {stream} was refused: {reason}")),
            Event::Closed if self.goes_on => {
                self.transfers.retain(|(of, _), _| *of != id);
                self.left.remove(&id);
                // Whatever happens to bytes on their way, what is opened is what the other end has sealed.
                if let Some(CloseReason::Protocol(broken @ (ProtocolError::Yamux(_) | ProtocolError::MuxerMismatch))) =
                    connection.close_reason()
                {
                    cx.report(format!("who keeps the rules is accused of breaking them: {broken}"));
                }
            }
            Event::Closed => cx.report(format!("the connection was closed: {:?}", connection.close_reason())),
            _ => {}
        }
        self.report(cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_brings_as_many_bytes_as_it_is_to_and_no_more() {
        let wrong = |read, has_ended| Transfer { written: 0, read, has_ended }.wrong_length(10);
        assert_eq!(wrong(9, false), None);
        assert_eq!(wrong(10, false), None);
        assert_eq!(wrong(10, true), None);
        assert_eq!(wrong(9, true).unwrap(), "ends behind 9 bytes of 10");
        for has_ended in [false, true] {
            assert_eq!(wrong(11, has_ended).unwrap(), "brings 11 bytes instead of 10");
        }
    }
}
