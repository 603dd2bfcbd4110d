//! Peers that are lost and found again.

use std::time::Duration;

use septa_core::Identity;
use septa_driver::{
    Node,
    node::{Backoff, Config, DialFailure, Event, EventFilter, EventKind, Intent, PeerState},
};

use super::{LONG, Nodes, echo_to, states, until};
use crate::world::{calm, conditions};

#[test]
fn a_persistent_peer_whose_connection_is_cut_comes_back_and_no_event_is_lost() {
    for conditions in conditions(4) {
        let nodes = Nodes::new(conditions, 2);
        let (alice, bob) = (nodes.nodes[0].clone(), nodes.nodes[1].clone());
        nodes.serve_echo(&bob);
        nodes.run(async {
            let addr = bob.listen(&nodes.addr(1)).await.unwrap();
            let mut seen = states(&alice, bob.peer_id());
            alice.add_peer(bob.peer_id(), std::slice::from_ref(&addr), Intent::Persistent).unwrap();
            until(&mut seen, PeerState::Established).await;
            // Sooner, and without a word from the listener, it would look like a denial.
            nodes.sleep(Duration::from_secs(5)).await;
            let lost_at = nodes.simulation.now();
            nodes.simulation.reset_connections();
            let on_the_way = until(&mut seen, PeerState::Established).await;
            assert_eq!(
                on_the_way,
                [PeerState::Backoff, PeerState::Connecting, PeerState::Established],
                "{conditions:?}"
            );
            let took = nodes.simulation.now().saturating_duration_since(lost_at);
            assert!(took >= Duration::from_secs(1) && took < Duration::from_millis(1500), "{took:?}");
            assert_eq!(seen.lost_events(), 0);
            echo_to(&alice, &bob.peer_id(), b"back again").await;
        });
        nodes.end();
    }
}

#[test]
fn a_peer_that_restarts_is_found_again_and_an_impostor_at_its_address_is_not() {
    let mut nodes = Nodes::new(calm(), 2);
    let alice = nodes.nodes[0].clone();
    let bob = nodes.nodes.pop().unwrap();
    let bob_id = bob.peer_id();
    let host = nodes.hosts[1].clone();
    let again = |seed: u8| Node::builder(Identity::from_ed25519_seed([seed; 32])).build(host.clone()).unwrap();
    let impostor = nodes.run(async {
        let addr = bob.listen(&nodes.addr(1)).await.unwrap();
        let mut seen = states(&alice, bob_id);
        let mut failures = alice.subscribe(EventFilter::new().kind(EventKind::DialFailed));
        alice.add_peer(bob_id, &[addr], Intent::Persistent).unwrap();
        until(&mut seen, PeerState::Established).await;
        bob.shutdown(LONG).await;
        until(&mut seen, PeerState::Backoff).await;
        let Some(Event::DialFailed { attempts, retry_at: Some(_), .. }) = failures.next().await else { panic!() };
        assert_eq!(attempts[0].why, DialFailure::Refused);

        let impostor = again(9);
        impostor.listen(&nodes.addr(1)).await.unwrap();
        let Some(Event::DialFailed { attempts, failures: count, .. }) = failures.next().await else { panic!() };
        assert!(count >= 2);
        assert!(attempts[0].why.to_string().contains("peer"), "{}", attempts[0].why);
        assert_ne!(alice.state(&bob_id), PeerState::Established);
        impostor.shutdown(LONG).await;

        let back = again(2);
        back.listen(&nodes.addr(1)).await.unwrap();
        let mut found = states(&back, alice.peer_id());
        until(&mut seen, PeerState::Established).await;
        until(&mut found, PeerState::Established).await;
        back
    });
    nodes.nodes.push(impostor);
    drop(bob);
    nodes.end();
}

#[test]
fn a_peer_of_its_own_patience_and_one_that_is_given_up() {
    let nodes = Nodes::new(calm(), 3);
    let alice = nodes.nodes[0].clone();
    let (bob, carol) = (nodes.peer(1), nodes.peer(2));
    nodes.run(async {
        let mut failures = alice.subscribe(EventFilter::new().kind(EventKind::DialFailed).peer(bob));
        alice.add_peer(bob, &[nodes.addr(1)], Intent::Dormant).unwrap();
        let quick =
            Backoff { initial: Duration::from_millis(50), max: Duration::from_millis(100), ..Backoff::default() };
        alice.set_backoff(bob, Some(quick)).unwrap();
        alice.add_peer(bob, &[], Intent::Persistent).unwrap();
        let begin = nodes.simulation.now();
        for _ in 0..10 {
            failures.next().await.unwrap();
        }
        let took = nodes.simulation.now().saturating_duration_since(begin);
        assert!(took < Duration::from_secs(2), "{took:?}");
        alice.cancel_reconnect(bob).unwrap();
        assert_eq!(alice.state(&bob), PeerState::Disconnected);

        // Nobody listens there, ever. A transient peer is given up after its attempts.
        let mut failures = alice.subscribe(EventFilter::new().kind(EventKind::DialFailed).peer(carol));
        alice.add_peer(carol, &[nodes.addr(2)], Intent::Transient).unwrap();
        assert!(alice.connect(carol).await.is_err());
        let mut last = None;
        for _ in 0..Config::default().transient_attempts {
            last = failures.next().await;
        }
        assert!(matches!(last, Some(Event::DialFailed { retry_at: None, .. })), "{last:?}");
        assert_eq!(alice.state(&carol), PeerState::Disconnected);
    });
    nodes.end();
}

#[test]
fn names_are_resolved_each_time_and_the_addresses_tried_in_turn() {
    let nodes = Nodes::new(calm(), 2);
    let (alice, bob) = (nodes.nodes[0].clone(), nodes.nodes[1].clone());
    nodes.run(async {
        bob.listen(&nodes.addr(1)).await.unwrap();
        let name = format!("/dns4/bob.example/tcp/4001/p2p/{}", bob.peer_id()).parse().unwrap();
        let error = alice.connect_to(&name).await.unwrap_err();
        assert!(error.to_string().contains("the name leads nowhere"), "{error}");
        // The first address is dead.
        nodes.simulation.add_name("bob.example", vec![nodes.simulation.ip(77), nodes.simulation.ip(2)]);
        alice.connect_to(&name).await.unwrap();
    });
    nodes.end();
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_the_same_order() {
    let run = |conditions| {
        let nodes = Nodes::new(conditions, 3);
        nodes.serve_echo(&nodes.nodes[0]);
        nodes.run(async {
            let addr = nodes.nodes[0].listen(&nodes.addr(0)).await.unwrap();
            for node in &nodes.nodes[1..] {
                node.add_peer(nodes.peer(0), std::slice::from_ref(&addr), Intent::Persistent).unwrap();
                until(&mut states(node, nodes.peer(0)), PeerState::Established).await;
                echo_to(node, &nodes.peer(0), b"data").await;
            }
            nodes.sleep(Duration::from_secs(5)).await;
            nodes.simulation.reset_connections();
            nodes.sleep(Duration::from_secs(5)).await;
        });
        let trace = nodes.simulation.trace();
        nodes.end();
        trace
    };
    let traces: Vec<_> = conditions(4).map(run).collect();
    assert_eq!(traces, conditions(4).map(run).collect::<Vec<_>>());
    assert!(traces.iter().any(|trace| *trace != traces[0]), "the seed matters");
}
