//! `septa ping`.

use std::time::Duration;

use septa_driver::Connection;
use serde_json::json;

use crate::{
    args::{DialArgs, seconds},
    failure::Failure,
    output::Output,
    world::World,
};

/// Sends `count` pings, `interval` apart, and prints each round-trip time.
pub(crate) async fn run(world: &World, args: DialArgs, count: u64, interval: f64) -> Result<(), Failure> {
    let (interval, output) = (seconds(interval)?, world.output);
    super::dial(world, &args, |connection| ping(connection, count, interval, output)).await
}

async fn ping(connection: Connection, count: u64, interval: Duration, output: Output) -> Result<(), Failure> {
    let peer = connection.peer_id();
    let mut times = Vec::new();
    for sequence in 1..=count {
        if sequence > 1 {
            tokio::time::sleep(interval).await;
        }
        let rtt = connection.ping().await.map_err(|error| {
            Failure::new(
                format_args!("ping {sequence} failed: {error}"),
                "check that the peer is alive and serves ping",
            )
        })?;
        output.print(
            format_args!("{peer}: ping {sequence}: {:.3} ms", milliseconds(rtt)),
            json!({ "event": "ping", "peer": peer.to_string(), "seq": sequence, "rtt_ms": milliseconds(rtt) }),
        );
        times.push(rtt);
    }
    summarise(&mut times, output);
    Ok(())
}

fn summarise(times: &mut [Duration], output: Output) {
    times.sort();
    let (Some(min), Some(max), Some(median)) = (times.first(), times.last(), times.get(times.len() / 2)) else {
        return;
    };
    let [min, median, max] = [min, median, max].map(|time| milliseconds(*time));
    output.print(
        format_args!("{} pings: min {min:.3} ms, median {median:.3} ms, max {max:.3} ms", times.len()),
        json!({ "ok": true, "count": times.len(), "min_ms": min, "median_ms": median, "max_ms": max }),
    );
}

pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
