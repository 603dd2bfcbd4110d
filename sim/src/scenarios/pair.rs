//! Two nodes that move bytes both ways over one connection, and compare every one.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use septa_core::{
    Connection, ConnectionId, Multiaddr, PeerId, ProtocolId, Role,
    connection::{Event, ReadError, StreamId, WriteError},
    crypto::Provider,
    node::Intent,
};

use super::{Done, direct, identity};
use crate::{
    FastCrypto, Simulation, Stalled,
    direct::{Application, Context, Counts, Setup},
};

const TRANSFER: ProtocolId = ProtocolId::from_static("/septa-sim/transfer");
/// Length of the pattern that is sent again and again; a prime, so that what is lost, doubled or moved does not fit.
const PATTERN_LEN: usize = 65_521;
/// How much further in the pattern each stream begins than the one before.
const SHIFT: usize = 4_099;
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
    /// Whether the nodes are [checked](crate::direct::Direct::checked) on the way.
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
    let direct = direct(simulation, options.is_checked);
    let hosts = ["dialer", "listener"].map(|name| simulation.host(name));
    let [dialer, listener] = [1, 2].map(|number| Setup {
        provider: simulation.readable(options.provider.clone()),
        ..Setup::serving(identity(number), &[TRANSFER])
    });
    let pattern: Arc<[u8]> = (0..PATTERN_LEN).map(|i| ((i % 251) ^ (i / 251)) as u8).collect();
    let done = Done::after(2 * options.streams);
    let end = |target| End {
        target,
        streams: options.streams,
        bytes: options.bytes,
        pattern: pattern.clone(),
        done: done.clone(),
        transfers: BTreeMap::new(),
        buffer: vec![0; READ].into(),
    };
    let addr = SocketAddr::new(simulation.ip(2), 4001);
    let target = (listener.identity.peer_id(), Multiaddr::from_socket_addr(addr));
    direct.start(&hosts[1], Setup { listen: vec![addr], ..listener }, end(None)).expect("the defaults are valid");
    direct.start(&hosts[0], dialer, end(Some(target))).expect("the defaults are valid");
    simulation.block_on(done.wait())?;
    Ok(direct.counts())
}

/// One of the two nodes.
struct End {
    /// Whom to dial.
    target: Option<(PeerId, Multiaddr)>,
    streams: usize,
    bytes: u64,
    pattern: Arc<[u8]>,
    done: Done,
    transfers: BTreeMap<StreamId, Transfer>,
    buffer: Box<[u8]>,
}

/// How far one end is with a stream.
struct Transfer {
    written: u64,
    read: u64,
    has_ended: bool,
}

impl End {
    fn begin(&mut self, id: StreamId) {
        self.transfers.insert(id, Transfer { written: 0, read: 0, has_ended: false });
    }

    /// Writes and reads until both are blocked.
    fn go_on(&mut self, cx: &mut Context<'_>, connection: &mut Connection, id: StreamId) {
        let Some(transfer) = self.transfers.get_mut(&id) else { return };
        let source = Source { pattern: &self.pattern, start: id.get() as usize * SHIFT };
        let outcome = transfer
            .write(&source, connection, id, self.bytes)
            .and_then(|()| transfer.read(&source, connection, id, &mut self.buffer));
        if let Err(what) = outcome {
            cx.report(what);
        }
        if transfer.read >= self.bytes && transfer.written >= self.bytes && transfer.has_ended {
            connection.stream(id).release();
            self.transfers.remove(&id);
            self.done.count_down();
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
    fn write(
        &mut self,
        source: &Source<'_>,
        connection: &mut Connection,
        id: StreamId,
        total: u64,
    ) -> Result<(), String> {
        while self.written < total {
            let data = source.from(self.written);
            let left = usize::try_from(total - self.written).unwrap_or(usize::MAX);
            match connection.stream(id).write(&data[..data.len().min(left)]) {
                Ok(count) => self.written += count as u64,
                Err(WriteError::Blocked) => return Ok(()),
                Err(error) => return Err(format!("stream {id} cannot be written: {error}")),
            }
            if self.written == total {
                connection.stream(id).finish().map_err(|error| format!("stream {id} cannot be ended: {error}"))?;
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
    ) -> Result<(), String> {
        while !self.has_ended {
            let count = match connection.stream(id).read(buffer) {
                Ok(count) => count,
                Err(ReadError::Blocked) => return Ok(()),
                Err(error) => return Err(format!("stream {id} cannot be read: {error}")),
            };
            self.has_ended = count == 0;
            let mut rest = &buffer[..count];
            while !rest.is_empty() {
                let expected = source.from(self.read);
                let len = rest.len().min(expected.len());
                if rest[..len] != expected[..len] {
                    return Err(format!("stream {id} brings other bytes behind {}", self.read));
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
    }

    fn connection_event(&mut self, cx: &mut Context<'_>, _id: ConnectionId, connection: &mut Connection, event: Event) {
        match event {
            Event::Ready if connection.role() == Role::Dialer => {
                for _ in 0..self.streams {
                    match connection.open(cx.now(), &[TRANSFER]) {
                        Ok(id) => {
                            self.begin(id);
                            self.go_on(cx, connection, id);
                        }
                        Err(error) => cx.report(format!("no stream can be opened: {error}")),
                    }
                }
            }
            Event::Incoming => {
                while let Some(id) = connection.accept() {
                    self.begin(id);
                    self.go_on(cx, connection, id);
                }
            }
            Event::Readable { id } | Event::Writable { id } => self.go_on(cx, connection, id),
            Event::Refused { id, reason } => cx.report(format!("stream {id} was refused: {reason}")),
            Event::Closed => cx.report(format!("the connection was closed: {:?}", connection.close_reason())),
            _ => {}
        }
    }
}
