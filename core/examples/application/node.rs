//! What the application wants of its node.

use septa_core::{
    Instant, Multiaddr, PeerId,
    node::{DialError, Event, Intent, Node, PeerState},
};

use super::{BACKOFF, Session, VISITORS, VISITS, Word, session::Plan};

/// The application of one node: it hears the node's events, and ends the node when its part is done.
pub(crate) struct Application {
    name: String,
    part: Part,
    ended: bool,
}

enum Part {
    /// Waits until every visitor has come and gone as often as it wants.
    Host { gone: usize },
    /// Keeps a connection to the host.
    Visitor { host: PeerId, arrivals: usize, states: Vec<(Instant, PeerState)> },
}

impl Application {
    pub(crate) fn host() -> Self {
        Self { name: "host".to_owned(), part: Part::Host { gone: 0 }, ended: false }
    }

    /// Has the node keep a connection to the host from now on.
    pub(crate) fn visitor(
        number: usize,
        node: &mut Node,
        now: Instant,
        host: PeerId,
        addr: &Multiaddr,
    ) -> Result<Self, DialError> {
        node.add_peer(now, host, std::slice::from_ref(addr), Intent::Persistent)?;
        let part = Part::Visitor { host, arrivals: 0, states: Vec::new() };
        Ok(Self { name: format!("visitor {number}"), part, ended: false })
    }

    /// The application's part of a new connection.
    pub(crate) fn session(&self) -> Session {
        let is_last = matches!(self.part, Part::Visitor { arrivals, .. } if arrivals + 1 >= VISITS);
        Session::new(if is_last { Plan::Leave } else { Plan::AskToBeCutOff })
    }

    /// Takes an event of the node.
    pub(crate) fn handle(&mut self, node: &mut Node, now: Instant, event: &Event) {
        let name = &self.name;
        match event {
            Event::State { peer, state } => println!("{name}: {} is {state:?}", short(peer)),
            Event::Opened { peer, role, endpoints, .. } => {
                println!("{name}: open to {} at {} as {role:?}", short(peer), endpoints.remote);
            }
            Event::Closed { reason, .. } => println!("{name}: closed: {reason}"),
            other => println!("{name}: {other:?}"),
        }
        match (&mut self.part, event) {
            (Part::Host { gone }, Event::Closed { was_open: true, .. }) => {
                *gone += 1;
                if *gone == VISITORS * VISITS {
                    self.ended = true;
                    node.shutdown(now);
                }
            }
            (Part::Visitor { arrivals, .. }, Event::Opened { .. }) => *arrivals += 1,
            (Part::Visitor { host, states, .. }, Event::State { peer, state }) if peer == host => {
                states.push((now, *state));
            }
            _ => {}
        }
    }

    /// Takes what a session has to say.
    pub(crate) fn hear(&mut self, node: &mut Node, now: Instant, word: Word) {
        println!("{}: {word:?}, leaving", self.name);
        match word {
            Word::Finished => {
                self.ended = true;
                node.shutdown(now);
            }
        }
    }

    /// It has shut its node down, which is over as soon as it is idle.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The node has ended. Panics unless everything happened that was to.
    pub(crate) fn assert_is_done(&self) {
        match &self.part {
            Part::Host { gone } => assert_eq!(*gone, VISITORS * VISITS),
            Part::Visitor { arrivals, states, .. } => {
                assert_eq!(*arrivals, VISITS);
                assert!(has_come_back(states), "{}: {states:?}", self.name);
            }
        }
        println!("{}: done", self.name);
    }
}

/// The peer was established, lost, left alone for the backoff at least, and established again.
fn has_come_back(states: &[(Instant, PeerState)]) -> bool {
    let next = |from: usize, wanted: PeerState| {
        let found = states.iter().skip(from).position(|(_, state)| *state == wanted)?;
        Some((from + found, states[from + found].0))
    };
    let found = next(0, PeerState::Established)
        .and_then(|(at, _)| next(at, PeerState::Backoff))
        .and_then(|(at, lost)| next(at, PeerState::Connecting).map(|(at, redialed)| (at, lost, redialed)));
    found.is_some_and(|(at, lost, redialed)| {
        redialed.saturating_duration_since(lost) >= BACKOFF && next(at, PeerState::Established).is_some()
    })
}

/// The end of a peer id, in which peers differ.
fn short(peer: &PeerId) -> String {
    let text = peer.to_string();
    text[text.len().saturating_sub(6)..].to_owned()
}
