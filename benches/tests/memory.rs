//! What connections cost in heap, counted by the allocator and not by themselves.

use std::time::Duration;

use septa_benches::{Bulk, CountingAllocator};
use septa_core::{
    Connection, ProtocolId, Role,
    connection::Config,
    testing::{Pair, PairConfig, RawPeer},
    yamux::INITIAL_WINDOW,
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const BULK: ProtocolId = ProtocolId::from_static("/bench/bulk/1");

fn serving() -> Config {
    Config { protocols: [BULK].into_iter().collect(), ..Config::default() }
}

fn open_pair() -> Pair {
    Pair::open(PairConfig { dialer: serving(), listener: serving(), ..PairConfig::default() })
}

/// Heap bytes freed when `connection` is dropped: what it held.
fn heap_of(connection: Connection) -> isize {
    let before = CountingAllocator::live_bytes();
    drop(connection);
    before - CountingAllocator::live_bytes()
}

#[test]
fn an_idle_connection_holds_at_most_four_kibibytes() {
    let mut pair = open_pair();
    pair.run_for(Duration::from_secs(60));
    let Pair { dialer, listener, .. } = pair;
    for side in [dialer, listener] {
        let claimed = side.connection.memory_used();
        let held = heap_of(side.connection);
        println!("idle connection: {held} bytes of heap, {claimed} claimed");
        assert!(held > 0 && held <= 4096, "{held}");
    }
}

#[test]
fn a_connection_that_was_busy_is_small_again_when_it_is_idle() {
    let mut bulk = Bulk::default();
    bulk.transfer(8 << 20);
    let mut pair = bulk.end();
    pair.run_for(Duration::from_secs(60));
    let Pair { dialer, listener, .. } = pair;
    for side in [dialer, listener] {
        let held = heap_of(side.connection);
        println!("idle after 8 MiB: {held} bytes of heap");
        assert!(held <= 4096, "{held}");
    }
}

#[test]
fn in_steady_state_only_receive_blocks_are_allocated() {
    let mut bulk = Bulk::default();
    bulk.transfer(4 << 20);
    let before = CountingAllocator::allocations();
    let records = bulk.transfer(16 << 20);
    let allocations = CountingAllocator::allocations() - before;
    let per_record = allocations as f64 / records as f64;
    println!("{allocations} allocations for {records} records of 16 KiB: {per_record:.3} each");
    assert!(per_record <= 1.05, "{per_record}");
}

#[test]
fn no_hostile_peer_makes_a_connection_hold_more_than_its_budget() {
    // The peer answers no ping, so its windows do not grow.
    let guaranteed = Config::default().yamux.max_streams * INITIAL_WINDOW as usize;
    let budget = isize::try_from(guaranteed).unwrap();
    let slack = 64 * 1024;
    let frame = |kind: u8, flags: u8, id: u32, length: u32| {
        let mut header = vec![0, kind, 0, flags];
        header.extend(id.to_be_bytes());
        header.extend(length.to_be_bytes());
        header
    };
    let before = CountingAllocator::live_bytes();
    let mut peer = RawPeer::new(Role::Listener, serving());
    peer.upgrade();
    let mut most = 0;
    let body = vec![b'x'; 32 * 1024];
    // Every stream that is granted, each filled to its window, and then as many again.
    for stream in 0..512_u32 {
        let id = 1 + 2 * stream;
        peer.send(&frame(0, 1, id, 35));
        peer.send(b"\x13/multistream/1.0.0\n\x0e/bench/bulk/1\n");
        if !peer.connection.is_open() {
            break;
        }
        for _ in 0..7 {
            peer.send(&frame(0, 0, id, u32::try_from(body.len()).unwrap()));
            peer.send(&body);
        }
        most = most.max(CountingAllocator::live_bytes() - before);
        drop(peer.receive());
    }
    println!("most heap held under a flood of full streams: {most} bytes of {budget}");
    assert!(most > budget / 2, "the flood must come near the budget: {most}");
    assert!(most <= budget + budget / 8 + slack, "{most} of {budget}");
}
