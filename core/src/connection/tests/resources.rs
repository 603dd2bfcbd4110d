//! What streams share: the way out and the receive memory.

use super::*;
use crate::yamux::{MemoryLimits, MemoryPool};

const KIB: usize = 1024;

/// A configuration whose connections share so much receive memory.
fn capped(hard_cap: usize) -> Config {
    let mut config = serving(&[ECHO]);
    Arc::make_mut(&mut config.yamux).memory = MemoryPool::new(MemoryLimits { window_loans: 0, hard_cap });
    config
}

fn pair_with_listener(config: &Config) -> Pair {
    Pair::open(PairConfig { dialer: serving(&[ECHO]), listener: config.clone(), ..PairConfig::default() })
}

/// The dialer sends this much on the stream, and the listener's application does not read.
fn fill(pair: &mut Pair, id: StreamId, bytes: usize) {
    assert_eq!(pair.dialer.connection.stream(id).write(&alloc::vec![7; bytes]), Ok(bytes));
    pair.settle();
}

#[test]
fn a_stream_that_memory_has_no_room_for_says_so_at_both_ends() {
    let config = capped(300 * KIB);
    let mut pair = pair_with_listener(&config);
    let fat = open_stream(&mut pair, End::Dialer);
    let thin = open_stream(&mut pair, End::Dialer);
    assert_eq!(pair.listener.connection.stream(fat).read(&mut [0]), Err(ReadError::Blocked));
    fill(&mut pair, fat, 200 * KIB);
    assert_eq!(events(&mut pair, End::Listener), [Event::Readable { id: fat }]);
    fill(&mut pair, thin, 90 * KIB);
    let listener = &mut pair.listener.connection;
    assert_eq!(listener.stats().yamux.streams_shed, 1);
    assert_eq!(listener.stream(fat).read(&mut [0]), Err(ReadError::ResourceLimit));
    assert_eq!(listener.stream(fat).read_chunk(1), Err(ReadError::ResourceLimit));
    assert_eq!(listener.stream(fat).write(b"x"), Err(WriteError::ResourceLimit));
    assert_eq!(listener.stream(fat).finish(), Err(WriteError::ResourceLimit));
    assert_eq!(read_all(listener, thin).0.len(), 90 * KIB);
    let dialer = &mut pair.dialer.connection;
    assert_eq!(dialer.stream(fat).read(&mut [0]), Err(ReadError::Reset(codes::stream::RESOURCE_LIMIT)));
    assert!(pair.dialer.connection.is_open() && pair.listener.connection.is_open());
    pair.listener.connection.stream(fat).release();
    pair.settle();
    assert_eq!(pair.listener.connection.stats().streams, 1);
    drop(pair);
    assert_eq!(config.yamux.memory.used(), 0);
}

#[test]
fn an_outbound_stream_is_refused_when_memory_has_no_room_for_the_answer() {
    // Besides the hoard there is room for a block, which is kept in hand, and less than an answer.
    let config = capped(240 * KIB + 16 * KIB + 20);
    let (mut hoarder, mut pair) = (pair_with_listener(&config), pair_with_listener(&config));
    let now = pair.now;
    let id = pair.listener.connection.open(now, &[ECHO]).unwrap();
    pair.transmit(End::Listener);
    pair.deliver(End::Dialer);
    pair.transmit(End::Dialer);
    let hoard = open_stream(&mut hoarder, End::Dialer);
    fill(&mut hoarder, hoard, 240 * KIB);
    assert_eq!(config.yamux.memory.used(), 240 * KIB);
    events(&mut pair, End::Listener);
    pair.deliver(End::Listener);
    pair.settle();
    let refused = Event::Refused { id, reason: RefuseReason::ResourceLimit };
    assert_eq!(events(&mut pair, End::Listener).first(), Some(&refused));
    assert_eq!(
        pair.listener.connection.stream(id).read(&mut [0]),
        Err(ReadError::Refused(RefuseReason::ResourceLimit))
    );
    assert_eq!(hoarder.listener.connection.stats().yamux.streams_shed, 0);
}

#[test]
fn a_stream_of_higher_priority_gets_more_of_each_write() {
    let mut pair = open_pair();
    let [low, high] = [Priority::Low, Priority::High].map(|priority| {
        let id = open_stream(&mut pair, End::Dialer);
        pair.dialer.connection.stream(id).set_priority(priority);
        id
    });
    for id in [low, high] {
        pair.dialer.connection.stream(id).write(&[0; 200 * KIB]).unwrap();
    }
    let (now, mut out) = (pair.now, alloc::vec![0; TRANSMIT_BUFFER]);
    let written = pair.dialer.connection.poll_transmit(now, &mut out).unwrap();
    pair.listener.connection.handle_recv(now, &mut out[..written]).unwrap();
    let [low, high] = [low, high].map(|id| read_all(&mut pair.listener.connection, id).0.len());
    assert!(low > 0 && (14 * low..18 * low).contains(&high), "{high} to {low}");
    assert!(low + high > 4 * 16 * KIB - 200, "the rest is headers");
}
