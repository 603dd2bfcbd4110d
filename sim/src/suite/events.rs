//! What a node says of its connections, and whether that can be.

use std::collections::BTreeSet;

use septa_core::{
    ConnectionId,
    node::{Event, PeerState},
};
use septa_driver::node::Subscription;

use super::party::Member;
use crate::{Journal, Referee};

const ONE_CLOSED: &str = "exactly one Closed for each connection";

/// Watches a node to its end.
pub(super) async fn watch(
    member: &Member,
    mut events: Subscription,
    journal: &Journal,
    on_event: &(dyn Fn(&Member, &Event) + Send + Sync),
) {
    let (node, referee) = (&member.node, member.referee());
    let mut open = BTreeSet::new();
    while let Some(event) = events.next().await {
        note(journal, &event);
        judge(&mut open, &event, referee);
        on_event(member, &event);
    }
    if events.lost_events() == 0 && !open.is_empty() {
        referee.blame(ONE_CLOSED, format!("{:?} ended with {} connections open", node.peer_id(), open.len()));
    }
}

fn judge(open: &mut BTreeSet<ConnectionId>, event: &Event, referee: &Referee) {
    let (connection, is_as_it_must_be) = match event {
        Event::Opened { connection, .. } => (connection, open.insert(*connection)),
        Event::Closed { connection, was_open, .. } => (connection, open.remove(connection) == *was_open),
        _ => return,
    };
    if !is_as_it_must_be {
        referee.blame(ONE_CLOSED, format!("{connection:?}: {event:?}"));
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
