//! The second half of the demonstration: the TCP connection is cut, and one node finds the other again by itself.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use septa_core::{Multiaddr, PeerId};
use septa_driver::{
    Node,
    node::{Backoff, Event, EventFilter, Intent, PeerState, Subscription},
};
use serde_json::{Value, json};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
};

use super::{ECHO, works_or};
use crate::{commands::ping::milliseconds, echo, failure::Failure, output::Output, world::World};

/// Shorter than the usual second: somebody is watching.
pub(super) const BACKOFF: Backoff =
    Backoff { initial: Duration::from_millis(200), max: Duration::from_secs(2), reset_after: Duration::from_secs(60) };
const BYTES: u64 = 4 << 20;

/// Everything that the dialer's node must have told, in this order and nothing beside it.
const COMPLETE: [&str; 8] =
    ["connecting", "opened", "established", "closed", "backoff", "connecting", "opened", "established"];

/// Lets `alice` keep the peer at `address`, cuts the connection under them, and waits until they are back.
pub(super) async fn show(world: &World, alice: &Node, bob: PeerId, address: &Multiaddr) -> Result<Value, Failure> {
    let output = world.output;
    let target = address.socket_addr().ok_or_else(|| lost("the address has no port"))?;
    let proxy = Proxy::start(target).await.map_err(|error| works_or(&error))?;
    let events = alice.subscribe(EventFilter::new().peer(bob));
    // Only the way through the proxy is known from now on.
    alice.remove_peer(bob).map_err(|error| works_or(&error))?;
    let mut watch =
        Watch { events, node: alice.clone(), output, start: None, told: Vec::new(), backoff: Duration::ZERO };
    alice.add_peer(bob, &[proxy.address()], Intent::Persistent).map_err(|error| works_or(&error))?;
    watch.until(PeerState::Established).await?;
    exchange(world, alice, bob).await?;

    output.note("the TCP connection between them is cut:");
    watch.cut(&proxy);
    watch.until(PeerState::Backoff).await?;
    let back = watch.until(PeerState::Established).await?;

    exchange(world, alice, bob).await?;
    let lost_events = watch.check()?;
    output.note(format_args!(
        "{} events, {lost_events} lost; {} MiB echoed over the new connection and compared",
        watch.told.len(),
        BYTES >> 20
    ));
    // In good order, before the proxy goes.
    watch.start = None;
    alice.disconnect(bob).map_err(|error| works_or(&error))?;
    watch.until(PeerState::Disconnected).await?;
    Ok(json!({
        "backoff_ms": milliseconds(watch.backoff),
        "back_after_ms": milliseconds(back),
        "events": &watch.told[..COMPLETE.len()],
        "lost_events": lost_events,
        "bytes": BYTES,
    }))
}

/// Sends bytes to the peer and compares what comes back.
async fn exchange(world: &World, alice: &Node, bob: PeerId) -> Result<(), Failure> {
    let connection = alice.connection(&bob).ok_or_else(|| lost("the connection is gone"))?;
    echo::run(&connection, &ECHO, BYTES, 1, world.seed()).await.map(drop)
}

/// What the dialer's node tells of its peer.
struct Watch {
    events: Subscription,
    node: Node,
    output: Output,
    /// When the connection was cut.
    start: Option<Instant>,
    told: Vec<&'static str>,
    backoff: Duration,
}

impl Watch {
    #[allow(clippy::disallowed_methods, reason = "the binary measures with the real clock")]
    fn cut(&mut self, proxy: &Proxy) {
        self.start = Some(Instant::now());
        proxy.cut.notify_one();
    }

    /// Shows events until the peer is in `state`; returns the time since the cut.
    async fn until(&mut self, state: PeerState) -> Result<Duration, Failure> {
        loop {
            let event = self.events.next().await.ok_or_else(|| lost("the node has ended"))?;
            let since = self.start.map_or(Duration::ZERO, |start| start.elapsed());
            self.told.push(name(&event));
            if self.start.is_some() {
                self.show(&event, since);
            }
            if matches!(event, Event::State { state: now, .. } if now == state) {
                return Ok(since);
            }
        }
    }

    fn show(&mut self, event: &Event, since: Duration) {
        let what = match event {
            Event::Closed { reason, .. } => format!("lost: {reason}"),
            Event::State { peer, state: PeerState::Backoff } => {
                self.backoff = self.node.peer_info(peer).and_then(|info| info.retry_in).unwrap_or_default();
                format!("backoff: the next attempt begins in {:.0} ms", milliseconds(self.backoff))
            }
            Event::State { .. } => name(event).to_owned(),
            _ => return,
        };
        self.output.note(format_args!("  {:8.2} ms  {what}", milliseconds(since)));
    }

    /// That nothing is missing and nothing was lost.
    fn check(&self) -> Result<u64, Failure> {
        let lost_events = self.events.lost_events();
        if self.told == COMPLETE && lost_events == 0 {
            return Ok(lost_events);
        }
        Err(lost(format_args!("{lost_events} events were lost, and these came: {}", self.told.join(", "))))
    }
}

fn name(event: &Event) -> &'static str {
    match event {
        Event::State { state, .. } => match state {
            PeerState::Disconnected => "disconnected",
            PeerState::Connecting => "connecting",
            PeerState::Connected => "connected",
            PeerState::Established => "established",
            PeerState::Backoff => "backoff",
            PeerState::Draining => "draining",
            _ => "another state",
        },
        Event::Opened { .. } => "opened",
        Event::Closed { .. } => "closed",
        _ => "something else",
    }
}

fn lost(what: impl std::fmt::Display) -> Failure {
    Failure::new(format_args!("the reconnect went wrong: {what}"), "run it again; if it fails again, report it")
}

/// A TCP proxy on loopback whose connection can be cut without either end having a say in it.
struct Proxy {
    address: SocketAddr,
    cut: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Proxy {
    async fn start(to: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, cut) = (listener.local_addr()?, Arc::new(Notify::new()));
        let task = tokio::spawn(carry(listener, to, cut.clone()));
        Ok(Self { address, cut, task })
    }

    fn address(&self) -> Multiaddr {
        Multiaddr::from_socket_addr(self.address)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection at a time.
async fn carry(listener: TcpListener, to: SocketAddr, cut: Arc<Notify>) {
    while let Ok((mut near, _)) = listener.accept().await {
        let Ok(mut far) = TcpStream::connect(to).await else { continue };
        tokio::select! {
            _ = copy_bidirectional(&mut near, &mut far) => {}
            () = cut.notified() => {}
        }
    }
}
