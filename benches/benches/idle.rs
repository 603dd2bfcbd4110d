//! How much heap an idle connection holds, counted by the allocator.
//!
//! What C code allocates by itself is not in it: the contexts of AWS-LC's keys. The race `idle` measures all
//! that is resident, with driver and socket.

use std::time::Duration;

use septa_benches::{Bulk, CountingAllocator, Ends};
use septa_core::{
    ProtocolId,
    testing::{Pair, providers},
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const PROTOCOL: ProtocolId = ProtocolId::from_static("/bench/idle/1");

fn main() {
    for provider in providers() {
        let fresh = Ends::new(provider.clone(), PROTOCOL).pair;
        let mut bulk = Bulk::new(provider.clone(), 1, 64 * 1024);
        bulk.transfer(8 << 20);
        for (what, pair) in [("never used", fresh), ("after 8 MiB on one stream", bulk.end())] {
            let [dialer, listener] = held(pair);
            println!("{provider:?}, {what}: dialer {dialer} bytes of heap, listener {listener}");
        }
    }
}

/// What each end frees when it is dropped, after a minute without streams.
fn held(mut pair: Pair) -> [isize; 2] {
    pair.run_for(Duration::from_secs(60));
    [pair.dialer.connection, pair.listener.connection].map(|connection| {
        let before = CountingAllocator::live_bytes();
        drop(connection);
        before - CountingAllocator::live_bytes()
    })
}
