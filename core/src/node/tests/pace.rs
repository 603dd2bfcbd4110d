//! Many peers that are lost or restored at once do not come back at once.

use core::time::Duration;
use std::{boxed::Box, collections::BTreeMap, vec::Vec};

use proptest::prelude::*;

use crate::{
    ConnectionId, Identity, Instant, PeerId, Seed,
    connection::CloseReason,
    link::{NodeMessage, ToNode},
    node::tests::driver::{addr, ordered},
    node::{Action, AttemptId, Config, DialFailure, Endpoints, Intent, Node, PeerState, WallTime},
};

const WINDOW: Duration = Duration::from_millis(100);

fn peer(number: u64) -> PeerId {
    let mut key = [7; 32];
    key[..8].copy_from_slice(&number.to_be_bytes());
    Identity::from_ed25519_seed(key).peer_id()
}

fn config(count: usize) -> Config {
    let max_connections = 2 * count;
    Config { max_connections, max_inbound: count, high_watermark: count, low_watermark: count, ..Config::default() }
}

/// A node whose dials all end in the same way, a moment after they began.
struct Crowd {
    node: Node,
    now: Instant,
    begun: Vec<Instant>,
    open: BTreeMap<PeerId, ConnectionId>,
}

/// How long a dial takes.
const MOMENT: Duration = Duration::from_millis(3);

impl Crowd {
    /// A node that has just been restored with so many persistent peers.
    fn restored(count: usize, seed: u8) -> Self {
        let (local, now) = (ordered().1, Instant::from_nanos(1_000_000_000));
        let mut before = Node::new(config(count), local, now, Seed::from_bytes([1; 32])).unwrap();
        for number in 0..count as u64 {
            before.add_peer(now, peer(number), &[addr(1)], Intent::Persistent).unwrap();
        }
        let wall = WallTime::from_secs(0);
        let snapshot = before.snapshot(now, wall);
        let seed = Seed::from_bytes([seed; 32]);
        let (node, restored) = Node::restored(config(count), local, now, seed, snapshot, wall).unwrap();
        assert_eq!(restored.peers, count);
        Self { node, now, begun: Vec::new(), open: BTreeMap::new() }
    }

    /// Lets time pass until nothing is to be done by itself, or until `end`. `answer` says whether dials are answered.
    fn run(&mut self, answer: bool, end: Instant) {
        let mut under_way: BTreeMap<(Instant, AttemptId), ()> = BTreeMap::new();
        loop {
            while let Some(action) = self.node.poll_action() {
                if let Action::StartDial { id, .. } = action {
                    self.begun.push(self.now);
                    under_way.insert((self.now.saturating_add(MOMENT), id), ());
                }
            }
            while self.node.poll_event().is_some() {}
            let answered = under_way.keys().next().map(|(at, _)| *at);
            let Some(next) = answered.into_iter().chain(self.node.poll_timeout()).min() else { return };
            if next > end {
                return;
            }
            self.now = self.now.max(next);
            while let Some(((_, id), ())) = under_way.first_key_value().filter(|((at, _), ())| *at <= self.now) {
                let id = *id;
                under_way.pop_first();
                self.end(id, answer);
            }
            self.node.handle_timeout(self.now);
        }
    }

    fn end(&mut self, id: AttemptId, answer: bool) {
        if !answer {
            return self.node.handle_dial_failed(self.now, id, DialFailure::Refused);
        }
        let peer = self.node.attempts[&id];
        let endpoints = Endpoints { local: addr(200), remote: addr(1) };
        let connection = self.node.handle_dialed(self.now, id, endpoints).unwrap().id().unwrap();
        for message in [NodeMessage::Secured { peer }, NodeMessage::Opened { is_ready: true }] {
            self.node.handle_connection(self.now, connection, ToNode(message));
        }
        self.open.insert(peer, connection);
    }

    /// Every connection is lost in this instant.
    fn lose_all(&mut self) {
        for (_, id) in core::mem::take(&mut self.open) {
            let closed = NodeMessage::Closed { reason: CloseReason::Eof, last: Box::default() };
            self.node.handle_connection(self.now, id, ToNode(closed));
        }
    }

    /// The most dials that began in one window, wherever it begins.
    fn most_in_a_window(&self) -> usize {
        let within = |start: &Instant| {
            let end = start.saturating_add(WINDOW);
            self.begun.iter().filter(|at| *start <= **at && **at < end).count()
        };
        self.begun.iter().map(within).max().unwrap_or(0)
    }
}

fn after(crowd: &Crowd, seconds: u64) -> Instant {
    crowd.now.saturating_add(Duration::from_secs(seconds))
}

#[test]
fn a_thousand_peers_that_are_lost_at_once_come_back_spread() {
    let mut crowd = Crowd::restored(1000, 2);
    let end = after(&crowd, 10);
    crowd.run(true, end);
    assert_eq!((crowd.open.len(), crowd.begun.len()), (1000, 1000));
    assert!(crowd.most_in_a_window() <= 50, "{} of them restored", crowd.most_in_a_window());
    crowd.begun.clear();
    crowd.lose_all();
    let lost_at = crowd.now;
    crowd.run(true, Instant::NEVER);
    assert_eq!((crowd.open.len(), crowd.begun.len()), (1000, 1000));
    assert!(crowd.most_in_a_window() <= 50, "{} of them lost", crowd.most_in_a_window());
    assert!(
        crowd.now.saturating_duration_since(lost_at) < Duration::from_secs(6),
        "the last one waits for {:?}",
        crowd.now
    );
    assert_eq!(crowd.node.poll_timeout(), None);
}

#[test]
fn a_thousand_peers_that_do_not_answer_are_dialed_spread() {
    let mut crowd = Crowd::restored(1000, 3);
    let end = after(&crowd, 20);
    crowd.run(false, end);
    assert!(crowd.begun.len() > 3000);
    assert!(crowd.most_in_a_window() <= 50, "{}", crowd.most_in_a_window());
}

#[test]
fn one_of_many_that_is_lost_alone_is_not_delayed() {
    let mut crowd = Crowd::restored(200, 4);
    crowd.run(true, Instant::NEVER);
    let (other, id) = crowd.open.pop_first().unwrap();
    crowd.now = after(&crowd, 60);
    let closed = NodeMessage::Closed { reason: CloseReason::Eof, last: Box::default() };
    crowd.node.handle_connection(crowd.now, id, ToNode(closed));
    let due = crowd.node.poll_timeout().unwrap();
    crowd.begun.clear();
    crowd.run(true, Instant::NEVER);
    assert_eq!((&crowd.begun[..], crowd.node.state(&other)), (&[due][..], PeerState::Established));
}

#[test]
fn a_few_peers_are_dialed_at_once() {
    let mut crowd = Crowd::restored(39, 5);
    let now = crowd.now;
    crowd.run(true, now);
    assert_eq!(crowd.begun.len(), 39);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_window_holds_more_than_a_twentieth_of_the_dials(count in 40_usize..400, seed: u8, answer: bool) {
        let mut crowd = Crowd::restored(count, seed);
        crowd.run(true, Instant::NEVER);
        prop_assert_eq!(crowd.open.len(), count);
        prop_assert!(crowd.most_in_a_window() * 20 <= count, "{} of {count} restored", crowd.most_in_a_window());
        crowd.begun.clear();
        crowd.lose_all();
        let end = after(&crowd, 15);
        crowd.run(answer, end);
        prop_assert!(crowd.begun.len() >= count);
        prop_assert!(crowd.most_in_a_window() * 20 <= count, "{} of {count} lost", crowd.most_in_a_window());
    }
}
