//! Connections over an in-memory transport in virtual time.

mod answers;
mod app;
mod chaos;
mod close;
mod detached;
mod handshake;
mod hostile;
mod providers;
mod races;
mod resources;
mod streams;
mod upgrade;

use super::*;
use crate::ExpectedPeer;
use crate::testing::{Cuts, End, Pair, PairConfig};

const ECHO: ProtocolId = ProtocolId::from_static("/test/echo/1");
const OTHER: ProtocolId = ProtocolId::from_static("/test/other/1");

/// A configuration that serves the test protocol and sends no pings, so that quiet means quiet.
fn serving(protocols: &[ProtocolId]) -> Config {
    let mut config = Config { protocols: protocols.iter().cloned().collect(), ..Config::default() };
    Arc::make_mut(&mut config.yamux).keep_alive = None;
    config
}

fn echo_pair() -> PairConfig {
    PairConfig { dialer: serving(&[ECHO]), listener: serving(&[ECHO]), ..PairConfig::default() }
}

fn open_pair() -> Pair {
    Pair::open(echo_pair())
}

/// Takes the events of one end.
fn events(pair: &mut Pair, end: End) -> Vec<Event> {
    pair.side(end).events.drain(..).collect()
}

/// Opens a stream at `end`, accepts it at the other, and returns its id with all events taken.
fn open_stream(pair: &mut Pair, end: End) -> StreamId {
    let now = pair.now;
    let id = pair.connection(end).open(now, &[ECHO]).unwrap();
    pair.settle();
    assert_eq!(pair.connection(end.other()).accept(), Some(id));
    pair.settle();
    for end in End::BOTH {
        pair.side(end).events.clear();
    }
    id
}

/// Reads everything that is there and says whether the end of the stream was reached.
fn read_all(connection: &mut Connection, id: StreamId) -> (Vec<u8>, Result<(), ReadError>) {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match connection.stream(id).read(&mut buffer) {
            Ok(0) => return (all, Ok(())),
            Ok(n) => all.extend_from_slice(&buffer[..n]),
            Err(error) => return (all, Err(error)),
        }
    }
}

fn pseudo_random(len: usize, seed: u8) -> Vec<u8> {
    let mut bytes = alloc::vec![0; len];
    crate::Seed::from_bytes([seed; 32]).public_stream().fill(&mut bytes);
    bytes
}

#[test]
fn handles_of_a_connection_can_move_between_threads() {
    fn send<T: Send + 'static>() {}
    send::<Connection>();
    send::<Event>();
    send::<CloseReason>();
    send::<ReadError>();
}
