//! Subscriptions: what they get, and what they get when they are slow.

use std::{collections::BTreeMap, time::Duration};

use septa_core::node::{Rate, RateLimits};
use septa_driver::node::{Config, Event, EventFilter, EventKind, Intent, MAX_WAITING_EVENTS, PeerState};

use super::{LONG, Nodes, states, until};
use crate::world::calm;

#[test]
fn a_filter_lets_through_what_it_names() {
    let nodes = Nodes::new(calm(), 3);
    let alice = nodes.nodes[0].clone();
    nodes.run(async {
        let mut all = alice.events();
        let mut of_bob = alice.subscribe(EventFilter::new().peer(nodes.peer(1)));
        let mut established = alice.subscribe(EventFilter::new().kind(EventKind::State).state(PeerState::Established));
        let mut opened = alice.subscribe(EventFilter::new().kind(EventKind::Opened).kind(EventKind::Closed));
        for number in [1, 2] {
            let addr = nodes.nodes[number].listen(&nodes.addr(number as u32)).await.unwrap();
            alice.connect_to(&addr).await.unwrap();
        }
        alice.disconnect(nodes.peer(1)).unwrap();
        until(&mut of_bob, PeerState::Disconnected).await;
        for number in [1, 2] {
            let event = established.try_next();
            assert_eq!(event, Some(Event::State { peer: nodes.peer(number), state: PeerState::Established }));
        }
        assert_eq!(established.try_next(), None);
        let kinds: Vec<EventKind> = std::iter::from_fn(|| opened.try_next()).map(|event| event.kind()).collect();
        assert_eq!(kinds, [EventKind::Opened, EventKind::Opened, EventKind::Closed]);
        assert_eq!(of_bob.try_next(), None);
        let count = std::iter::from_fn(|| all.try_next()).count();
        assert!(count >= 9, "{count}");
    });
    nodes.end();
}

/// As often as one likes.
const MANY: Rate = Rate { burst: 100_000, interval: Duration::from_millis(1) };

#[test]
fn a_slow_subscriber_loses_its_oldest_events_but_no_latest_state() {
    let often = RateLimits { prefix: MANY, overall: MANY, ..RateLimits::inbound_connects() };
    let config = Config { connect_rates: often, handshake_rates: often, ..Config::default() };
    let nodes = Nodes::with(calm(), 12, |_, builder| builder.config(config.clone()));
    let alice = nodes.nodes[0].clone();
    nodes.run(async {
        let mut slow = alice.events();
        let mut quick = alice.events();
        let bob = nodes.nodes[1].listen(&nodes.addr(1)).await.unwrap();
        for number in 2..12 {
            let addr = nodes.nodes[number].listen(&nodes.addr(number as u32)).await.unwrap();
            alice.connect_to(&addr).await.unwrap();
        }
        let mut seen = states(&alice, nodes.peer(1));
        let mut heard = 0_usize;
        while heard <= MAX_WAITING_EVENTS + 100 {
            alice.connect_to(&bob).await.unwrap();
            alice.disconnect(nodes.peer(1)).unwrap();
            until(&mut seen, PeerState::Disconnected).await;
            heard += std::iter::from_fn(|| quick.try_next()).count();
        }
        let mut latest = BTreeMap::new();
        let mut taken = 0;
        while let Some(event) = slow.try_next() {
            taken += 1;
            if let Event::State { peer, state } = event {
                latest.insert(peer, state);
            }
        }
        assert_eq!(quick.lost_events(), 0);
        assert_eq!(slow.lost_events(), (heard - MAX_WAITING_EVENTS) as u64);
        // Ten states came on top of those that waited, and perhaps an older one of the eleventh peer.
        assert!((10..=11).contains(&(taken - MAX_WAITING_EVENTS)), "{taken}");
        for number in 2..12 {
            assert_eq!(latest[&nodes.peer(number)], PeerState::Established);
        }
        assert_eq!(latest[&nodes.peer(1)], PeerState::Disconnected);
    });
    nodes.end();
}

#[test]
fn subscriptions_end_with_the_node_and_tell_all_until_then() {
    let nodes = Nodes::new(calm(), 2);
    let (alice, bob) = (nodes.nodes[0].clone(), nodes.nodes[1].clone());
    nodes.run(async {
        let addr = bob.listen(&nodes.addr(1)).await.unwrap();
        let mut events = alice.events();
        drop(alice.events());
        alice.add_peer(bob.peer_id(), &[addr], Intent::Persistent).unwrap();
        until(&mut events, PeerState::Established).await;
        alice.shutdown(LONG).await;
        let mut last = Vec::new();
        while let Some(event) = events.next().await {
            last.push(event.kind());
        }
        assert!(last.contains(&EventKind::Closed), "{last:?}");
        assert_eq!(events.next().await, None);
    });
    nodes.end();
}
