//! Streams over links with bandwidth and latency.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use septa_core::{
    connection::Config,
    yamux::{self, MemoryPool},
};
use septa_driver::{Connection, Priority, Stream};
use septa_sim::LinkOptions;

use crate::world::{Conditions, ECHO, World, calm};

/// 1 Gbit/s.
const FAST: u64 = 125_000_000;
/// Round trips until a stream has to fill the line, the making of the connection included.
const WARM_UP: usize = 20;
/// Round trips for which it has to do so.
const MEASURED: usize = 5;

fn conditions(bandwidth: u64, round_trip: Duration) -> Conditions {
    // What TCP keeps under way when its own windows do not limit it.
    let capacity = usize::try_from(u128::from(bandwidth) * round_trip.as_nanos() / 1_000_000_000).unwrap();
    let link = LinkOptions { bandwidth: Some(bandwidth), latency: round_trip / 2, capacity, ..LinkOptions::default() };
    Conditions { link, ..calm() }
}

/// Writes until the stream ends.
async fn flood(mut stream: Stream) {
    let block = Bytes::from(vec![7; 64 * 1024]);
    while stream.write_chunk(&mut block.clone()).await.is_ok() {}
}

/// A stream that bob accepts and alice floods.
async fn flooded(world: &World, near: &Connection, far: &Connection, priority: Priority) -> Stream {
    let mut stream = near.open_stream(&[ECHO]).await.unwrap();
    stream.set_priority(priority);
    world.simulation.spawn("flood", flood(stream));
    far.accept_stream().await.unwrap()
}

/// Which part of the line's rate one bulk stream gets in each round trip from the first dial on, in
/// percent.
fn ramp(round_trip: Duration) -> Vec<u64> {
    let memory = MemoryPool::default();
    let yamux = yamux::Config { memory: memory.clone(), ..yamux::Config::default() };
    let limits = memory.limits();
    let most_extra = yamux.memory_budget - yamux.max_streams * yamux::INITIAL_WINDOW as usize;
    let config = Config { yamux: yamux.into(), ..Config::default() };
    let world = World::with(conditions(FAST, round_trip), |alice| alice, |bob| bob.connection_config(config));
    let mut received = vec![0; WARM_UP + MEASURED];
    world.run(async {
        let (near, far, _listener) = world.connected().await;
        let mut stream = flooded(&world, &near, &far, Priority::Normal).await;
        loop {
            let chunk = stream.read_chunk().await.unwrap().unwrap();
            let trip = u128::from(world.simulation.now().as_nanos()) / round_trip.as_nanos();
            let Some(bytes) = received.get_mut(usize::try_from(trip).unwrap()) else { break };
            *bytes += chunk.len() as u64;
            assert!(memory.lent() <= most_extra && memory.lent() <= limits.window_loans);
            assert!(memory.used() <= yamux::INITIAL_WINDOW as usize + memory.lent());
        }
    });
    world.end();
    assert_eq!((memory.lent(), memory.used()), (0, 0));
    let full = u128::from(FAST) * round_trip.as_nanos() / 1_000_000_000;
    received.into_iter().map(|bytes: u64| u64::try_from(u128::from(bytes) * 100 / full).unwrap()).collect()
}

#[track_caller]
fn fills_the_line_in_time(round_trip: Duration) {
    let ramp = ramp(round_trip);
    let reached = ramp.iter().rposition(|percent| *percent < 90).map_or(0, |last| last + 1);
    println!("{round_trip:?}: 90 % from round trip {reached} on: {ramp:?}");
    assert!(reached <= WARM_UP, "{ramp:?}");
}

#[test]
fn a_stream_fills_1_gbit_within_20_round_trips_of_20_ms() {
    fills_the_line_in_time(Duration::from_millis(20));
}

#[test]
fn a_stream_fills_1_gbit_within_20_round_trips_of_60_ms() {
    fills_the_line_in_time(Duration::from_millis(60));
}

#[test]
fn a_stream_fills_1_gbit_within_20_round_trips_of_200_ms() {
    fills_the_line_in_time(Duration::from_millis(200));
}

#[test]
fn three_priorities_share_a_slow_line_16_to_4_to_1() {
    let world = World::new(conditions(2_000_000, Duration::from_millis(20)));
    let received = Arc::new(Mutex::new([0; 3]));
    world.run(async {
        let (near, far, _listener) = world.connected().await;
        for (place, priority) in [Priority::High, Priority::Normal, Priority::Low].into_iter().enumerate() {
            let mut stream = flooded(&world, &near, &far, priority).await;
            let received = received.clone();
            world.simulation.spawn("reader", async move {
                while let Ok(Some(chunk)) = stream.read_chunk().await {
                    received.lock().unwrap()[place] += chunk.len();
                }
            });
        }
        world.simulation.sleep(Duration::from_secs(1)).await;
        *received.lock().unwrap() = [0; 3];
        world.simulation.sleep(Duration::from_secs(10)).await;
    });
    let shares = *received.lock().unwrap();
    let total: usize = shares.iter().sum();
    println!("{shares:?} of {total}");
    assert!(total > 19_000_000, "the line is full");
    for (share, part) in shares.iter().zip([16, 4, 1]) {
        let expected = total * part / 21;
        assert!(share.abs_diff(expected) <= expected / 10, "{shares:?}");
    }
    world.end();
}
