//! What a node says of its connections, and whether that can be.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use septa_core::{
    ConnectionId, Instant, PeerId,
    connection::{CloseReason, ProtocolError, codes::connection as codes},
    node::{Event, LimitName, PeerState},
    noise,
};
use septa_driver::node::Subscription;

use super::{party::Member, sights};
use crate::Journal;

const ONE_CLOSED: &str = "exactly one Closed for each connection";
const LASTING: &str = "when all is well, connections last";
const DECIDES: &str = "of two connections the side with the larger peer id chooses";
const ACCUSED: &str = "nobody who keeps the rules is accused of breaking them";

/// Watches a node to its end.
pub(super) async fn watch(
    member: &Member,
    mut events: Subscription,
    journal: &Journal,
    on_event: &(dyn Fn(&Member, &Event) + Send + Sync),
) {
    let (node, referee) = (&member.node, member.referee());
    let mut told = Told::default();
    while let Some(event) = events.next().await {
        note(journal, &event);
        note_sight(member, &event);
        on_event(member, &event);
        let now = node.runtime().now();
        let was_right = match &event {
            Event::Opened { connection, peer, .. } => {
                set_witnesses(member, peer);
                told.open(*connection, now)
            }
            Event::Closed { connection, was_open, peer, reason, .. } => {
                if let Some(peer) = peer {
                    let since = told.open.get(connection);
                    judge(member, peer, reason, since.map(|since| now.saturating_duration_since(*since)));
                }
                told.close(*connection, *was_open)
            }
            _ => true,
        };
        // Of those of which the beginning was lost nothing can be said.
        if !was_right && events.lost_events() == 0 {
            referee.blame(ONE_CLOSED, format!("{event:?}"));
        }
    }
    let counters = node.stats().counters;
    let counted = [counters.connections_opened, counters.connections_closed, counters.connections_failed];
    if events.lost_events() == 0 && (counted != told.counts || !told.open.is_empty()) {
        let why = format!("{:?} ended with {counted:?}, and has told {:?}", node.peer_id(), told.counts);
        referee.blame(ONE_CLOSED, format!("{why}, and {} are open", told.open.len()));
    }
}

/// The connections of which a node has told.
#[derive(Default)]
struct Told {
    /// Those that are open, and since when.
    open: BTreeMap<ConnectionId, Instant>,
    over: BTreeSet<ConnectionId>,
    /// How many have opened, were open and are over, and were over before they opened.
    counts: [u64; 3],
}

impl Told {
    /// False if that cannot be.
    fn open(&mut self, id: ConnectionId, now: Instant) -> bool {
        self.counts[0] += 1;
        self.open.insert(id, now).is_none() && !self.over.contains(&id)
    }

    /// The same.
    fn close(&mut self, id: ConnectionId, was_open: bool) -> bool {
        self.counts[if was_open { 1 } else { 2 }] += 1;
        let is_first = self.over.insert(id);
        self.open.remove(&id).is_some() == was_open && is_first
    }
}

/// Whether a connection that was open for so long, if it was, may have ended so.
fn judge(member: &Member, peer: &PeerId, reason: &CloseReason, lasted: Option<Duration>) {
    let invariant = match reason {
        CloseReason::Protocol(error) if member.knows(peer) && is_unjust(error, member.is_tampered()) => ACCUSED,
        CloseReason::Remote { code: codes::SUPPLANTED }
            if member.node.peer_id() > *peer
                && member.is_punctual()
                && lasted.is_some_and(|lasted| lasted < member.half_of_settling()) =>
        {
            DECIDES
        }
        _ if lasted.is_some() && member.is_well() && member.is_there(peer) => LASTING,
        _ => return,
    };
    member.referee().blame(invariant, format!("{} has lost {peer} behind {lasted:?}: {reason}", member.node.peer_id()));
}

/// Two wait for the end of the connection and must both hear of it: their tasks are not to outlive the node.
fn set_witnesses(member: &Member, peer: &PeerId) {
    for connection in std::iter::repeat_n(member.node.connection(peer), 2).flatten() {
        member.spawn("witness", async move {
            let _reason = connection.closed().await;
        });
    }
}

fn note_sight(member: &Member, event: &Event) {
    match event {
        Event::Closed { was_open: true, reason: CloseReason::KeepAliveTimeout | CloseReason::WriteStall, .. } => {
            member.saw(sights::SILENT);
        }
        Event::Closed { was_open: true, reason: CloseReason::Remote { code: codes::SUPPLANTED }, .. } => {
            member.saw(sights::SUPPLANTED);
        }
        Event::LimitReached { name: LimitName::Connections | LimitName::Inbound | LimitName::PendingInbound } => {
            member.saw(sights::LIMIT);
        }
        _ => {}
    }
}

/// Of nodes that keep the rules. Noise lets nothing pass that was changed; and at the address of a node that has come back
/// as another one, its peers find somebody else.
pub(super) fn is_unjust(error: &ProtocolError, is_tampered: bool) -> bool {
    match error {
        ProtocolError::Yamux(_) => true,
        ProtocolError::Noise(noise::Error::WrongPeer { .. }) => false,
        _ => !is_tampered,
    }
}

fn note(journal: &Journal, event: &Event) {
    match event {
        Event::State { peer, state } if *state != PeerState::Connecting => {
            journal.note(&format!("{peer} is {state:?}"))
        }
        Event::Closed { peer: Some(peer), reason, .. } => journal.note(&format!("{peer} closed: {reason}")),
        Event::Closed { peer: None, reason, .. } => journal.note(&format!("somebody closed: {reason}")),
        Event::Denied { remote, reason, .. } => journal.note(&format!("{remote} denied: {reason}")),
        Event::LimitReached { name } => journal.note(&format!("limit reached: {name:?}")),
        _ => {}
    }
}
