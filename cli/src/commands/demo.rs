//! `septa demo`: two nodes in one process, over loopback TCP.

use std::time::{Duration, Instant};

use septa_core::{ExpectedPeer, Multiaddr, ProtocolId, connection::codes};
use septa_driver::Endpoint;
use serde_json::json;

use super::ping::milliseconds;
use crate::{args::seconds, echo, failure::Failure, signals, world::World};

const ECHO: ProtocolId = ProtocolId::from_static("/septa/demo/echo/1.0.0");
const BYTES: u64 = 64 << 20;
const STREAMS: u16 = 8;
const PINGS: usize = 5;

/// Runs the demonstration and prints what a newcomer wants to know.
pub(crate) async fn run(world: &World, timeout: f64) -> Result<(), Failure> {
    let timeout = seconds(timeout)?;
    let alice = world.endpoint(world.identity(None)?, &[])?;
    let bob = world.endpoint(world.identity(None)?, &[ECHO])?;
    let outcome = tokio::select! {
        biased;
        () = signals::stop_requested() => Err(Failure::new("interrupted", "nothing else is wrong")),
        outcome = tokio::time::timeout(timeout, show(world, &alice, &bob)) => {
            outcome.unwrap_or_else(|_| Err(super::timed_out(timeout)))
        }
    };
    for node in [alice, bob] {
        node.shutdown(super::SHUTDOWN).await;
    }
    outcome
}

#[allow(clippy::disallowed_methods, reason = "the binary measures with the real clock")]
async fn show(world: &World, alice: &Endpoint, bob: &Endpoint) -> Result<(), Failure> {
    let output = world.output;
    let loopback: Multiaddr =
        "/ip4/127.0.0.1/tcp/0".parse().map_err(|error| Failure::new(error, "this is a bug in septa"))?;
    let listener =
        bob.listen(&loopback).await.map_err(|error| Failure::new(error, "check that loopback TCP works here"))?;
    let address = super::with_peer(listener.local_addr(), bob.peer_id())?;
    tokio::spawn(async move {
        while let Ok(connection) = listener.accept().await {
            while let Ok(stream) = connection.accept_stream().await {
                tokio::spawn(echo::serve(stream));
            }
        }
    });
    output.note(format_args!("Two nodes in this process, joined by loopback TCP:"));
    output.note(format_args!("  dialer    {}", alice.peer_id()));
    output.note(format_args!("  listener  {}", bob.peer_id()));
    output.note(format_args!("            {address}"));

    let start = Instant::now();
    let connection = alice
        .connect(&address, ExpectedPeer::Exactly(bob.peer_id()))
        .await
        .map_err(|error| Failure::new(error, "check that loopback TCP works here"))?;
    let handshake = start.elapsed();
    output.note(format_args!("connected and encrypted (TCP, Noise, Yamux) in {:.2} ms", milliseconds(handshake)));

    let failed = |error: &dyn std::fmt::Display| Failure::new(error, "run it again; if it fails again, report it");
    let info = connection.identify().await.map_err(|error| failed(&error))?.info;
    let agent = info.agent_version.unwrap_or_default();
    output.note(format_args!("the listener says it is {agent} and serves {} protocols", info.protocols.len()));

    let rtt = median_ping(&connection).await?;
    output.note(format_args!("ping: median round trip {:.3} ms of {PINGS}", milliseconds(rtt)));

    let report = echo::run(&connection, &ECHO, BYTES, STREAMS, world.seed()).await?;
    let rate = report.megabytes_per_second();
    output.note(format_args!(
        "echo: {} MiB over {STREAMS} streams, every byte compared: {rate:.0} MB/s each way",
        BYTES >> 20
    ));
    connection.close(codes::connection::NO_ERROR);
    let reason = connection.closed().await;
    output.print(
        format_args!("closed in good order: {reason}"),
        json!({
            "ok": true,
            "dialer": alice.peer_id().to_string(),
            "listener": bob.peer_id().to_string(),
            "address": address.to_string(),
            "handshake_ms": milliseconds(handshake),
            "agent": agent,
            "rtt_ms": milliseconds(rtt),
            "bytes": BYTES,
            "streams": STREAMS,
            "MBps": rate,
        }),
    );
    Ok(())
}

async fn median_ping(connection: &septa_driver::Connection) -> Result<Duration, Failure> {
    let mut times = Vec::new();
    for _ in 0..PINGS {
        let rtt = connection.ping().await.map_err(|error| {
            Failure::new(format_args!("ping failed: {error}"), "run it again; if it fails again, report it")
        })?;
        times.push(rtt);
    }
    times.sort();
    Ok(times[PINGS / 2])
}
