//! Two nodes that dial each other at once: both must keep the same connection, whatever comes first.

use core::time::Duration;
use std::{boxed::Box, collections::VecDeque, vec, vec::Vec};

use super::driver::{Driver, addr, endpoints, ordered};
use crate::{
    ConnectionId, PeerId,
    connection::CloseReason,
    link::{ConnectionMessage, Mailbox, NodeMessage, Query, Report, ToConnection, ToNode},
    node::{Config, Event, Intent, PeerState},
};

/// Says which of several things that could happen next does.
trait Schedule {
    fn choose(&mut self, among: usize) -> usize;
}

/// Runs through every order of the first choices, one run after the other.
#[derive(Default)]
struct Every {
    choices: Vec<(usize, usize)>,
    at: usize,
}

impl Every {
    const DEPTH: usize = 8;

    /// Prepares the next run; false if there is none.
    fn advance(&mut self) -> bool {
        self.at = 0;
        while let Some((choice, among)) = self.choices.pop() {
            if choice + 1 < among {
                self.choices.push((choice + 1, among));
                return true;
            }
        }
        false
    }
}

impl Schedule for Every {
    fn choose(&mut self, among: usize) -> usize {
        if self.at >= Self::DEPTH {
            return 0;
        }
        if self.at == self.choices.len() {
            self.choices.push((0, among));
        }
        self.at += 1;
        self.choices[self.at - 1].0
    }
}

struct Random(u64);

impl Schedule for Random {
    fn choose(&mut self, among: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % among
    }
}

/// A connection as its two ends see it; what they tell each other takes its time.
struct Wire {
    ends: [End; 2],
    /// To each end, what the other one has said.
    notes: [VecDeque<Note>; 2],
}

struct End {
    id: ConnectionId,
    to_node: Mailbox<ToNode>,
    to_connection: Mailbox<ToConnection>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Secured,
    Open,
    Closing,
    Closed,
}

#[derive(Clone, Copy)]
enum Note {
    Goodbye(u32),
    End,
}

#[derive(Clone, Copy)]
enum Thing {
    Dial(usize),
    ToNode(usize, usize),
    ToConnection(usize, usize),
    Note(usize, usize),
}

struct Pair {
    nodes: [Driver; 2],
    peers: [PeerId; 2],
    wires: Vec<Wire>,
    /// The most messages that were in flight between one node and one connection, one way.
    most_in_flight: usize,
}

impl Pair {
    fn new() -> Self {
        let (small, large) = ordered();
        let nodes = [Driver::of(small, Config::default()), Driver::of(large, Config::default())];
        Self { nodes, peers: [small, large], wires: vec![], most_in_flight: 0 }
    }

    fn dial(&mut self, from: usize) {
        let to = self.peers[1 - from];
        let address = addr(1 + from as u8);
        self.nodes[from].call(|node, now| node.add_peer(now, to, &[address], Intent::Persistent)).unwrap();
    }

    fn things(&mut self) -> Vec<Thing> {
        let mut things = vec![];
        for side in 0..2 {
            for (id, message) in core::mem::take(&mut self.nodes[side].sent) {
                let end = self.wires.iter_mut().find_map(|wire| Some(&mut wire.ends[side]).filter(|end| end.id == id));
                end.unwrap().to_connection.put(message);
            }
            things.extend((!self.nodes[side].dials.is_empty()).then_some(Thing::Dial(side)));
        }
        for (number, wire) in self.wires.iter().enumerate() {
            for side in 0..2 {
                let end = &wire.ends[side];
                self.most_in_flight = self.most_in_flight.max(end.to_node.len()).max(end.to_connection.len());
                things.extend((!end.to_node.is_empty()).then_some(Thing::ToNode(number, side)));
                things.extend((!end.to_connection.is_empty()).then_some(Thing::ToConnection(number, side)));
                things.extend((!wire.notes[side].is_empty()).then_some(Thing::Note(number, side)));
            }
        }
        things
    }

    fn happen(&mut self, thing: Thing) {
        match thing {
            Thing::Dial(side) => self.connect(side),
            Thing::ToNode(wire, side) => {
                let end = &mut self.wires[wire].ends[side];
                let (id, message) = (end.id, end.to_node.take().unwrap());
                self.nodes[side].call(|node, now| node.handle_connection(now, id, message));
            }
            Thing::ToConnection(wire, side) => self.obey(wire, side),
            Thing::Note(wire, side) => self.hear(wire, side),
        }
    }

    /// The transport of a dial is there, and both ends make their handshake.
    fn connect(&mut self, from: usize) {
        let attempt = *self.nodes[from].dials.keys().next().unwrap();
        self.nodes[from].dials.remove(&attempt);
        let Some(dialer) = self.nodes[from].call(|node, now| node.handle_dialed(now, attempt, endpoints(1))) else {
            return;
        };
        let listener = self.nodes[1 - from].call(|node, now| node.handle_incoming(now, endpoints(2))).unwrap();
        let end = |side: usize| {
            let link = if side == from { &dialer } else { &listener };
            let mut to_node = Mailbox::default();
            to_node.put(ToNode(NodeMessage::Secured { peer: self.peers[1 - side] }));
            End { id: link.id().unwrap(), to_node, to_connection: Mailbox::default(), state: State::Secured }
        };
        self.wires.push(Wire { ends: [end(0), end(1)], notes: Default::default() });
    }

    fn obey(&mut self, wire: usize, side: usize) {
        let Wire { ends, notes } = &mut self.wires[wire];
        let end = &mut ends[side];
        match (end.to_connection.take().unwrap().0, end.state) {
            (ConnectionMessage::Admission(Ok(())), State::Secured) => {
                end.state = State::Open;
                end.to_node.put(ToNode(NodeMessage::Opened { is_ready: true }));
            }
            (ConnectionMessage::Admission(Err(reason)), State::Secured) => {
                end.state = State::Closed;
                end.to_node.put(closed(CloseReason::Denied(reason)));
                notes[1 - side].push_back(Note::Goodbye(0));
            }
            (ConnectionMessage::Query(Query::Probe(probe)), State::Open) => {
                end.to_node.put(ToNode(NodeMessage::Report(Box::new(Report { probe, ..Report::default() }))));
            }
            (ConnectionMessage::Close { code } | ConnectionMessage::Retire { code }, State::Secured | State::Open) => {
                end.state = State::Closing;
                notes[1 - side].push_back(Note::Goodbye(code));
            }
            _ => {}
        }
    }

    fn hear(&mut self, wire: usize, side: usize) {
        let Wire { ends, notes } = &mut self.wires[wire];
        let end = &mut ends[side];
        match (notes[side].pop_front().unwrap(), end.state) {
            (_, State::Closed) => {}
            (Note::Goodbye(_) | Note::End, State::Closing) => {
                end.state = State::Closed;
                end.to_node.put(closed(CloseReason::Local));
                notes[1 - side].push_back(Note::End);
            }
            (Note::Goodbye(code), _) => {
                end.state = State::Closed;
                end.to_node.put(closed(CloseReason::Remote { code }));
                notes[1 - side].push_back(Note::End);
            }
            (Note::End, _) => panic!("an end that nobody asked for"),
        }
    }

    /// Lets everything happen, and time pass when nothing else does, until both are at rest.
    fn settle(&mut self, schedule: &mut impl Schedule) {
        for _ in 0..500 {
            let things = self.things();
            if !things.is_empty() {
                let thing = things[schedule.choose(things.len())];
                self.happen(thing);
                continue;
            }
            let next = self.nodes.iter().filter_map(|driver| driver.node.poll_timeout()).min();
            let Some(next) = next else { return };
            for driver in &mut self.nodes {
                driver.now = driver.now.max(next);
                driver.call(|node, now| node.handle_timeout(now));
            }
        }
        panic!("the two never come to rest");
    }

    fn check(&mut self) {
        let open: Vec<_> =
            self.wires.iter().map(|wire| [0, 1].map(|side| wire.ends[side].state == State::Open)).collect();
        let survivors = open.iter().filter(|wire| **wire == [true, true]).count();
        assert_eq!(survivors, 1, "one connection stays, on both sides: {open:?}");
        assert!(open.iter().all(|wire| wire[0] == wire[1]), "{open:?}");
        for side in 0..2 {
            assert_eq!(self.nodes[side].node.state(&self.peers[1 - side]), PeerState::Established);
            for wire in &self.wires {
                let id = wire.ends[side].id;
                let is_closed = |event: &&Event| matches!(event, Event::Closed { connection, .. } if *connection == id);
                let told = self.nodes[side].events.iter().filter(is_closed).count();
                assert_eq!(told, usize::from(wire.ends[side].state == State::Closed), "exactly one Closed for each");
            }
        }
        assert!(self.most_in_flight <= crate::link::SLOTS);
    }
}

fn closed(reason: CloseReason) -> ToNode {
    ToNode(NodeMessage::Closed { reason, last: Box::default() })
}

#[test]
fn simultaneous_dials_end_with_the_same_survivor_in_every_order() {
    let mut every = Every::default();
    let mut runs = 0;
    loop {
        let mut pair = Pair::new();
        pair.dial(0);
        pair.dial(1);
        pair.settle(&mut every);
        pair.check();
        runs += 1;
        if !every.advance() {
            break;
        }
    }
    std::println!("{runs} orders");
    assert!(runs > 1000);
}

#[test]
fn simultaneous_dials_end_with_the_same_survivor_in_random_orders() {
    for seed in 0..3000 {
        let mut random = Random(seed);
        let mut pair = Pair::new();
        pair.dial((seed % 2) as usize);
        for _ in 0..seed % 7 {
            let things = pair.things();
            if !things.is_empty() {
                let thing = things[random.choose(things.len())];
                pair.happen(thing);
            }
        }
        pair.dial(1 - (seed % 2) as usize);
        pair.settle(&mut random);
        pair.check();
    }
}

#[test]
fn a_second_connection_from_the_same_side_replaces_the_first_at_once() {
    let (small, large) = ordered();
    let mut driver = Driver::of(large, Config::default());
    let old = driver.incoming(1);
    driver.open(old, small);
    let new = driver.incoming(1);
    driver.open(new, small);
    assert_eq!(driver.take(old), Some(ConnectionMessage::Retire { code: 0x1004 }));
    assert_eq!(driver.take(new), None);
    assert_eq!(driver.node.state(&small), PeerState::Established);
}

#[test]
fn a_silent_connection_gives_way_to_a_new_one() {
    let (small, large) = ordered();
    let mut driver = Driver::of(large, Config::default());
    driver.call(|node, now| node.add_peer(now, small, &[addr(1)], Intent::Persistent)).unwrap();
    let attempt = driver.only_dial();
    let old = driver.dialed(attempt).unwrap().id().unwrap();
    driver.open(old, small);
    let new = driver.incoming(1);
    driver.open(new, small);
    let Some(ConnectionMessage::Query(Query::Probe(probe))) = driver.take(old) else { panic!("it is not asked") };
    assert_eq!(driver.sleep(), Some(Duration::from_secs(1)));
    assert_eq!(driver.take(old), Some(ConnectionMessage::Retire { code: 0x1004 }));
    // An answer that comes late does not bring it back.
    driver.tell(old, NodeMessage::Report(Box::new(Report { probe, ..Report::default() })));
    assert_eq!(driver.take(new), None);
}

#[test]
fn a_slow_connection_is_given_four_round_trips() {
    let (small, large) = ordered();
    let mut driver = Driver::of(large, Config::default());
    driver.call(|node, now| node.add_peer(now, small, &[addr(1)], Intent::Persistent)).unwrap();
    let attempt = driver.only_dial();
    let old = driver.dialed(attempt).unwrap().id().unwrap();
    driver.open(old, small);
    let rtt = Some(Duration::from_millis(400));
    driver.tell(old, NodeMessage::Report(Box::new(Report { rtt, ..Report::default() })));
    let new = driver.incoming(1);
    driver.open(new, small);
    assert_eq!(driver.sleep(), Some(Duration::from_millis(1600)));
}

#[test]
fn the_smaller_side_waits_before_it_closes_what_is_too_much() {
    let (small, large) = ordered();
    let mut driver = Driver::of(small, Config::default());
    driver.call(|node, now| node.add_peer(now, large, &[addr(1)], Intent::Persistent)).unwrap();
    let attempt = driver.only_dial();
    let ours = driver.dialed(attempt).unwrap().id().unwrap();
    driver.open(ours, large);
    let theirs = driver.incoming(1);
    driver.open(theirs, large);
    assert_eq!((driver.take(ours), driver.take(theirs)), (None, None));
    assert_eq!(driver.sleep(), Some(Duration::from_secs(10)));
    assert_eq!(driver.take(ours), Some(ConnectionMessage::Retire { code: 0x1004 }), "the other side prefers its own");
    assert_eq!(driver.take(theirs), None);
}

#[test]
fn what_is_new_goes_to_the_connection_that_will_stay() {
    let (small, large) = ordered();
    for (local, other) in [(large, small), (small, large)] {
        let mut driver = Driver::of(local, Config::default());
        assert_eq!(driver.node.connection_to(&other), None);
        driver.call(|node, now| node.add_peer(now, other, &[addr(1)], Intent::Persistent)).unwrap();
        let attempt = driver.only_dial();
        let ours = driver.dialed(attempt).unwrap().id().unwrap();
        driver.secure(ours, other);
        assert_eq!(driver.node.connection_to(&other), None, "it is not open yet");
        driver.tell(ours, NodeMessage::Opened { is_ready: false });
        assert_eq!(driver.node.connection_to(&other), Some(ours));
        // One that is ready comes first, whoever dialed it.
        let theirs = driver.incoming(1);
        driver.open(theirs, other);
        assert_eq!(driver.node.connection_to(&other), Some(theirs));
        // Else the side with the larger id prefers its own.
        driver.tell(ours, NodeMessage::Opened { is_ready: true });
        assert_eq!(driver.node.connection_to(&other), Some(if local == large { ours } else { theirs }));
        driver.call(|node, now| node.disconnect(now, other));
        assert_eq!(driver.node.connection_to(&other), None, "none that is being closed");
    }
}

#[test]
fn of_two_connections_from_the_same_side_the_newer_one_carries_what_is_new() {
    let (small, large) = ordered();
    let mut driver = Driver::of(small, Config::default());
    let [old, new] = [driver.incoming(1), driver.incoming(1)];
    driver.open(old, large);
    assert_eq!(driver.node.connection_to(&large), Some(old));
    driver.open(new, large);
    assert_eq!(driver.node.connection_to(&large), Some(new));
}

#[test]
fn an_open_connection_says_where_it_is_and_a_closed_one_whether_it_was_open() {
    let (small, large) = ordered();
    let mut driver = Driver::of(small, Config::default());
    let [opens, fails] = [driver.incoming(7), driver.incoming(8)];
    driver.open(opens, large);
    let opened = driver.take_events().into_iter().find_map(|event| match event {
        Event::Opened { endpoints, .. } => Some(endpoints),
        _ => None,
    });
    assert_eq!(opened, Some(endpoints(7)));
    driver.close(fails, CloseReason::UpgradeTimeout);
    driver.call(|node, now| node.disconnect(now, large));
    driver.close(opens, CloseReason::Local);
    let closed = |event| match event {
        Event::Closed { connection, was_open, .. } => Some((connection, was_open)),
        _ => None,
    };
    assert_eq!(
        driver.take_events().into_iter().filter_map(closed).collect::<Vec<_>>(),
        [(fails, false), (opens, true)]
    );
}

/// A node whose connection to a persistent peer gives way to another one, and both connections, the old one first.
fn giving_way() -> (Driver, PeerId, [ConnectionId; 2]) {
    let (small, large) = ordered();
    let mut driver = Driver::of(large, Config::default());
    driver.call(|node, now| node.add_peer(now, small, &[addr(1)], Intent::Persistent)).unwrap();
    let attempt = driver.only_dial();
    let old = driver.dialed(attempt).unwrap().id().unwrap();
    driver.open(old, small);
    let new = driver.incoming(1);
    driver.open(new, small);
    // The old one is silent and is to retire, which may take long.
    driver.sleep();
    (driver, small, [old, new])
}

#[test]
fn a_peer_whose_last_good_connection_dies_is_dialed_again_while_another_one_retires() {
    let (mut driver, peer, [old, new]) = giving_way();
    driver.close(new, CloseReason::Eof);
    assert!(driver.sleep().unwrap() <= Duration::from_millis(1250));
    let attempt = driver.only_dial();
    driver.close(old, CloseReason::Local);
    let newest = driver.dialed(attempt).unwrap().id().unwrap();
    driver.open(newest, peer);
    assert_eq!(driver.node.state(&peer), PeerState::Established);
}

#[test]
fn a_cancel_holds_when_the_connection_that_gave_way_ends_after_the_last_good_one() {
    let (mut driver, peer, [old, new]) = giving_way();
    driver.close(new, CloseReason::Eof);
    driver.call(|node, now| node.cancel_reconnect(now, peer));
    driver.close(old, CloseReason::Local);
    assert_eq!(driver.node.state(&peer), PeerState::Disconnected, "it was lost once, and that was called off");
    assert_eq!(driver.node.peer_info(&peer).unwrap().failures, 1);
}
