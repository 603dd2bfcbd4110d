//! A node that keeps rust-libp2p as its peer: lost and found, taken for somebody else, banned, and doubly connected.

use std::time::Duration;

use septa_core::{
    Identity, PeerId, Role, Seed,
    connection::{Config as ConnectionConfig, DenyReason, ProtocolError},
    noise,
};
use septa_driver::{
    CloseReason, Node,
    node::{
        Config, DialFailure, Event, EventFilter, EventKind, FailedAttempt, IncomingStreams, Intent, PeerState,
        Subscription,
    },
};
use septa_interop::{ECHO, Event as RustEvent, RustPeer, RustPeerConfig, WAIT};

use crate::support::{echo, echo_back, id, listen_addr, patient, payload, rust_addr, rust_id, septa_id, within};

/// How late a busy machine may be.
const SLACK: Duration = Duration::from_secs(5);
/// The longest first and second delay of the default backoff, which spreads 1 s and 2 s by a quarter.
const FIRST_DELAY: Duration = Duration::from_millis(1250);
const SECOND_DELAY: Duration = Duration::from_millis(2500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_persistent_peer_that_dies_and_comes_back_is_found_again_within_its_backoff() {
    let node = node(Identity::generate(Seed::from_bytes([21; 32])));
    let rust = RustPeer::spawn(known_as(1));
    let peer = septa_id(rust.peer_id());
    let addr = listen_addr(&rust).await;
    let (mut states, mut failures) = (states(&node, peer), failures(&node, peer));
    node.add_peer(peer, std::slice::from_ref(&addr), Intent::Persistent).unwrap();
    until(&mut states, PeerState::Established).await;
    echo_to(&node, peer).await;

    rust.kill().await;
    assert_eq!(until(&mut states, PeerState::Backoff).await, [PeerState::Backoff]);
    let lost_at = node.runtime().now();
    assert_eq!(until(&mut states, PeerState::Connecting).await, [PeerState::Connecting]);
    let waited = node.runtime().now().saturating_duration_since(lost_at);
    assert!(waited <= FIRST_DELAY + SLACK, "{waited:?}");

    // Nobody is there yet.
    let failed = next_failure(&mut failures).await;
    assert!(failed.attempts.iter().all(|attempt| attempt.why == DialFailure::Refused), "{failed:?}");
    let delay = failed.retry_at.saturating_duration_since(node.runtime().now());
    assert!(delay <= SECOND_DELAY, "{delay:?}");

    let back = RustPeer::spawn(known_as(1));
    back.listen_on(rust_addr(&addr)).await.unwrap();
    let on_the_way = until(&mut states, PeerState::Connecting).await;
    let retried_at = node.runtime().now();
    assert_eq!(on_the_way, [PeerState::Backoff, PeerState::Connecting]);
    assert!(failed.retry_at <= retried_at && retried_at <= failed.retry_at.saturating_add(SLACK));
    assert_eq!(until(&mut states, PeerState::Established).await, [PeerState::Established]);
    echo_to(&node, peer).await;
    assert_eq!(states.lost_events(), 0);
    node.shutdown(WAIT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_else_on_the_port_of_a_persistent_peer_is_refused_until_it_is_back() {
    let node = node(Identity::generate(Seed::from_bytes([22; 32])));
    let rust = RustPeer::spawn(known_as(2));
    let peer = septa_id(rust.peer_id());
    let addr = listen_addr(&rust).await;
    let (mut states, mut failures) = (states(&node, peer), failures(&node, peer));
    node.add_peer(peer, std::slice::from_ref(&addr), Intent::Persistent).unwrap();
    until(&mut states, PeerState::Established).await;
    echo_to(&node, peer).await;
    rust.kill().await;

    let impostor = RustPeer::spawn(known_as(3));
    impostor.listen_on(rust_addr(&addr)).await.unwrap();
    // A busy machine may have given the node the time to try before that.
    let wrong = loop {
        let failed = next_failure(&mut failures).await;
        if failed.attempts.iter().any(|attempt| attempt.why != DialFailure::Refused) {
            break failed;
        }
    };
    assert!(wrong.attempts.iter().all(is_wrong_peer), "{wrong:?}");
    let mut seen = std::iter::from_fn(|| states.try_next());
    assert!(!seen.any(|event| matches!(event, Event::State { state: PeerState::Established, .. })));
    assert!(node.connection(&peer).is_none() && node.connection(&septa_id(impostor.peer_id())).is_none());
    impostor.wait_for(WAIT, |event| matches!(event, RustEvent::InboundFailed { .. }).then_some(())).await.unwrap();
    assert_eq!(established(&impostor), 0);
    impostor.kill().await;

    let back = RustPeer::spawn(known_as(2));
    back.listen_on(rust_addr(&addr)).await.unwrap();
    until(&mut states, PeerState::Established).await;
    echo_to(&node, peer).await;
    node.shutdown(WAIT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_dialed_us_uses_both_directions_until_it_is_banned() {
    let node = node(Identity::generate(Seed::from_bytes([23; 32])));
    let mut incoming = node.accept(id(&ECHO)).unwrap();
    let addr = rust_addr(&node.listen(&"/ip4/127.0.0.1/tcp/0".parse().unwrap()).await.unwrap());
    let rust = RustPeer::spawn(patient());
    let (us, peer) = (rust_id(node.peer_id()), septa_id(rust.peer_id()));
    let mut events = node.subscribe(EventFilter::new().peer(peer).kind(EventKind::Opened).kind(EventKind::Denied));
    rust.dial(addr.clone(), Some(us)).await.unwrap();
    let Some(Event::Opened { connection, role: Role::Listener, .. }) = within(events.next()).await else { panic!() };

    let (theirs, ours) = tokio::join!(rust.open_stream(us, ECHO), within(incoming.next()));
    let ours = ours.unwrap();
    assert_eq!((ours.peer, ours.connection), (peer, connection));
    let sent = payload(1 << 20, 3);
    let (back, ()) = tokio::join!(echo_back(ours.stream), echo(theirs.unwrap(), &sent));
    back.unwrap();
    echo_to(&node, peer).await;
    let info = node.peer_info(&peer).unwrap();
    assert_eq!(info.connections.iter().map(|used| used.id).collect::<Vec<_>>(), [connection]);

    node.ban(peer, None).unwrap();
    let closed = |event: &RustEvent| matches!(event, RustEvent::ConnectionClosed { .. }).then_some(());
    rust.wait_for(WAIT, closed).await.unwrap();
    // They may take the connection for open until they hear from us.
    if rust.dial(addr, Some(us)).await.is_ok() {
        rust.wait_for_nth(WAIT, 1, closed).await.unwrap();
    }
    let denied = within(events.next()).await;
    assert!(matches!(denied, Some(Event::Denied { reason: DenyReason::Banned, .. })), "{denied:?}");
    assert!(node.connection(&peer).is_none());
    node.shutdown(WAIT).await;
}

/// rust-libp2p never closes one of two connections. The side with the larger peer id is to choose, so the node does at
/// once, or when the peer has not done it in time. Which it is makes no difference to the application.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_connections_that_were_dialed_at_once_become_one_without_flapping() {
    tokio::join!(both_dial(|us, them| us > them), both_dial(|us, them| us < them));
}

async fn both_dial(is_wanted: fn(PeerId, PeerId) -> bool) {
    let rust = RustPeer::spawn(patient());
    let peer = septa_id(rust.peer_id());
    let identities = (0..=u8::MAX).map(|seed| Identity::generate(Seed::from_bytes([seed; 32])));
    let node = node(identities.into_iter().find(|identity| is_wanted(identity.peer_id(), peer)).unwrap());
    serve_echo(node.accept(id(&ECHO)).unwrap());
    let us = rust_id(node.peer_id());
    let our_addr = rust_addr(&node.listen(&"/ip4/127.0.0.1/tcp/0".parse().unwrap()).await.unwrap());
    let their_addr = listen_addr(&rust).await.with_peer(peer).unwrap();
    let opened = EventFilter::new().peer(peer).kind(EventKind::Opened).kind(EventKind::DialFailed);
    let (mut states, mut opened) = (states(&node, peer), node.subscribe(opened));

    let (ours, theirs) = tokio::join!(within(node.connect_to(&their_addr)), rust.dial(our_addr, Some(us)));
    ours.unwrap();
    theirs.unwrap();
    let mut roles = Vec::new();
    while roles.len() < 2 {
        let Some(Event::Opened { role, .. }) = within(opened.next()).await else { panic!("a dial failed") };
        roles.push(role);
    }
    roles.sort_unstable_by_key(|role| *role == Role::Listener);
    assert_eq!(roles, [Role::Dialer, Role::Listener]);
    until(&mut states, PeerState::Established).await;
    echo(rust.open_stream(us, ECHO).await.unwrap(), &payload(10_000, 5)).await;

    // Longer than it takes either side to settle.
    for _ in 0..15 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        echo_to(&node, peer).await;
        assert_eq!(node.state(&peer), PeerState::Established);
    }
    echo(rust.open_stream(us, ECHO).await.unwrap(), &payload(10_000, 5)).await;
    assert_eq!((states.try_next(), opened.try_next()), (None, None));
    assert_eq!(established(&rust), 2);
    assert_eq!(node.peer_info(&peer).unwrap().connections.len(), 1);
    let closed = rust.events().iter().filter(|event| matches!(event, RustEvent::ConnectionClosed { .. })).count();
    assert_eq!(closed, 1);
    node.shutdown(WAIT).await;
}

fn node(identity: Identity) -> Node {
    // Shorter than the time that a test watches two connections.
    let config = Config { settle_timeout: Duration::from_secs(3), ..Config::default() };
    let connection = ConnectionConfig { retire_timeout: Duration::from_secs(3), ..ConnectionConfig::default() };
    septa_tokio::build_node(Node::builder(identity).config(config).connection_config(connection)).unwrap()
}

/// A peer that can come back.
fn known_as(seed: u8) -> RustPeerConfig {
    RustPeerConfig { seed: Some([seed; 32]), ..patient() }
}

fn serve_echo(mut incoming: IncomingStreams) {
    tokio::spawn(async move {
        while let Some(inbound) = incoming.next().await {
            tokio::spawn(echo_back(inbound.stream));
        }
    });
}

async fn echo_to(node: &Node, peer: PeerId) {
    echo(node.open_stream(&peer, &[id(&ECHO)]).await.unwrap(), &payload(1000, 17)).await;
}

fn states(node: &Node, peer: PeerId) -> Subscription {
    node.subscribe(EventFilter::new().peer(peer).kind(EventKind::State))
}

fn failures(node: &Node, peer: PeerId) -> Subscription {
    node.subscribe(EventFilter::new().peer(peer).kind(EventKind::DialFailed))
}

/// The states up to `wanted`.
async fn until(states: &mut Subscription, wanted: PeerState) -> Vec<PeerState> {
    let mut seen = Vec::new();
    while seen.last() != Some(&wanted) {
        let Some(Event::State { state, .. }) = within(states.next()).await else { panic!("the node has ended") };
        seen.push(state);
    }
    seen
}

#[derive(Debug)]
struct Failed {
    attempts: Vec<FailedAttempt>,
    retry_at: septa_core::Instant,
}

async fn next_failure(failures: &mut Subscription) -> Failed {
    match within(failures.next()).await {
        Some(Event::DialFailed { attempts, retry_at: Some(retry_at), .. }) if !attempts.is_empty() => {
            Failed { attempts, retry_at }
        }
        other => panic!("{other:?}"),
    }
}

fn is_wrong_peer(attempt: &FailedAttempt) -> bool {
    let DialFailure::Closed(CloseReason::Protocol(ProtocolError::Noise(error))) = &attempt.why else { return false };
    matches!(error, noise::Error::WrongPeer { .. })
}

fn established(rust: &RustPeer) -> usize {
    rust.events().iter().filter(|event| matches!(event, RustEvent::ConnectionEstablished { .. })).count()
}
