//! A ban by hand on each node, which ends when it should whatever the clocks do.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use septa_core::{
    Instant,
    node::{Event, Prefix},
};

use super::{
    party::{Member, Options, Party, lock},
    sights,
};
use crate::Failed;

const TOO_EARLY: &str = "a ban lasts as long as was said";
const AS_SAID: &str = "a ban ends when it was said to";
const OVER: &str = "a ban ends";

/// The ban outlasts crashes, and is over when everything has rested.
const LENGTH: Duration = Duration::from_secs(30);
/// How late a node may see that a ban is over: its timer is late, and so is what it wakes.
const SLACK: Duration = Duration::from_secs(3);
/// Nobody is there (RFC 5737).
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));

/// The places and lives of which a ban was said to be over.
type Over = Arc<Mutex<BTreeSet<(usize, u32)>>>;

/// Each life of each node begins with a ban, if it does not remember one.
pub(super) fn begin(options: &mut Options) {
    let over: Over = Arc::default();
    let seen = over.clone();
    options.pastime = Arc::new(move |member: Member| {
        let (node, now) = (&member.node, member.node.runtime().now());
        let is_new = node.bans().is_empty();
        if is_new {
            // It may be shutting down.
            if member.is_quiet() {
                return;
            }
            if let Err(error) = node.ban(Prefix::host(NOBODY), Some(LENGTH)) {
                return member.referee().blame("an address can be banned", error.to_string());
            }
        }
        let (bans, latest) = (node.bans(), now.saturating_add(LENGTH));
        let ends = bans.first().and_then(|ban| ban.ends).filter(|_| bans.len() == 1);
        // What a former life has begun has run for a while.
        match ends.filter(|ends| if is_new { *ends == latest } else { *ends <= latest }) {
            Some(ends) => {
                member.tell_ban(ends);
                member.spawn("ban", see_end(member.clone(), ends, seen.clone()));
            }
            None => member.referee().blame(AS_SAID, format!("it is {now:?} on node {}: {bans:?}", member.place + 1)),
        }
    });
    options.on_event = Arc::new(move |member, event| {
        let Event::Unbanned { ban } = event else { return };
        lock(&over).insert((member.place, member.life));
        member.saw(sights::UNBANNED);
        let now = member.node.runtime().now();
        if ban.ends.is_none_or(|ends| now < ends) {
            member.referee().blame(TOO_EARLY, format!("it is {now:?} on node {}: {ban:?}", member.place + 1));
        }
    });
}

/// Looks soon behind the end by the clock of the node, so that no other wake makes up for a missing one for long.
async fn see_end(member: Member, ends: Instant, over: Over) {
    let left = ends.saturating_duration_since(member.node.runtime().now());
    member.sleep(left + SLACK).await;
    // A clock that has stood still makes up for it at once: then all timers are due in the same moment.
    member.sleep(SLACK).await;
    let (bans, is_told) = (member.node.bans(), lock(&over).contains(&(member.place, member.life)));
    if !(bans.is_empty() && is_told) && member.node.live_tasks() > 0 {
        let now = member.node.runtime().now();
        member.referee().blame(OVER, format!("it is {now:?} on node {}, told {is_told}: {bans:?}", member.place + 1));
    }
}

/// No calendar has made one longer.
pub(super) fn are_over(party: &Party<'_>) -> Result<(), Failed> {
    match party.nodes().find(|node| !node.bans().is_empty()) {
        Some(node) => {
            Err(Failed::Unmet { wish: OVER.to_owned(), why: format!("{} has {:?}", node.peer_id(), node.bans()) })
        }
        None => Ok(()),
    }
}
