//! `septa demo`: two nodes in one process, over loopback TCP.

mod reconnect;

use std::time::{Duration, Instant};

use septa_core::{Multiaddr, PeerId, ProtocolId, connection::codes};
use septa_driver::{
    Connection, Node,
    node::{Config, EventFilter, EventKind, IncomingStreams, PeerState},
};
use serde_json::{Value, json};

use super::ping::milliseconds;
use crate::{args::seconds, echo, failure::Failure, signals, world::World};

const ECHO: ProtocolId = ProtocolId::from_static("/septa/demo/echo/1.0.0");
const BYTES: u64 = 64 << 20;
const STREAMS: u16 = 8;
const PINGS: usize = 5;

/// Runs the demonstration and prints what a newcomer wants to know.
pub(crate) async fn run(world: &World, timeout: f64) -> Result<(), Failure> {
    let timeout = seconds(timeout)?;
    let config = Config { backoff: reconnect::BACKOFF, ..Config::default() };
    let alice = world.build_node(world.node(world.identity(None)?, None)?.config(config))?;
    let bob = world.build_node(world.node(world.identity(None)?, None)?)?;
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

async fn show(world: &World, alice: &Node, bob: &Node) -> Result<(), Failure> {
    let output = world.output;
    tokio::spawn(serve(bob.accept(ECHO).map_err(|error| works_or(&error))?));
    let address = bob.listen(&super::loopback()?).await.map_err(|error| works_or(&error))?;
    output.note(format_args!("Two nodes in this process, joined by loopback TCP:"));
    output.note(format_args!("  dialer    {}", alice.peer_id()));
    output.note(format_args!("  listener  {}", bob.peer_id()));
    output.note(format_args!("            {address}"));
    let mut result = talk(world, alice, bob.peer_id(), &address).await?;
    result["reconnect"] = reconnect::show(world, alice, bob.peer_id(), &address).await?;
    result["dialer"] = json!(alice.peer_id().to_string());
    result["listener"] = json!(bob.peer_id().to_string());
    result["address"] = json!(address.to_string());
    output.print("closed in good order: that is all", result);
    Ok(())
}

/// Echoes every stream.
async fn serve(mut streams: IncomingStreams) {
    while let Some(inbound) = streams.next().await {
        tokio::spawn(echo::serve(inbound.stream));
    }
}

/// Shows what a connection can do, and closes it.
#[allow(clippy::disallowed_methods, reason = "the binary measures with the real clock")]
async fn talk(world: &World, alice: &Node, bob: PeerId, address: &Multiaddr) -> Result<Value, Failure> {
    let output = world.output;
    let mut gone = alice.subscribe(EventFilter::new().peer(bob).kind(EventKind::State).state(PeerState::Disconnected));
    let start = Instant::now();
    let connection = alice.connect_to(address).await.map_err(|error| works_or(&error))?;
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
    gone.next().await;
    output.note(format_args!("closed in good order: {reason}"));
    Ok(json!({
        "ok": true,
        "handshake_ms": milliseconds(handshake),
        "agent": agent,
        "rtt_ms": milliseconds(rtt),
        "bytes": BYTES,
        "streams": STREAMS,
        "MBps": rate,
    }))
}

/// What fails here can only be the machine's fault.
fn works_or(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(error, "check that loopback TCP works here")
}

async fn median_ping(connection: &Connection) -> Result<Duration, Failure> {
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
