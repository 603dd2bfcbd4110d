//! A ban by hand on each node, which ends when it should whatever the clocks do.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use septa_core::node::{Event, Prefix};

use super::{
    party::{Member, Options, Party},
    sights,
};
use crate::Failed;

const TOO_EARLY: &str = "a ban lasts as long as was said";
const OVER: &str = "a ban ends";

/// The ban outlasts crashes, and is over when everything has rested.
const LENGTH: Duration = Duration::from_secs(30);
/// Nobody is there (RFC 5737).
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));

/// Each life of each node begins with a ban, if it does not remember one.
pub(super) fn begin(options: &mut Options) {
    options.pastime = Arc::new(|member: Member| {
        let node = &member.node;
        if node.bans().is_empty() && !member.is_quiet() {
            let banned = node.ban(Prefix::host(NOBODY), Some(LENGTH));
            if let Err(error) = banned {
                member.referee().blame("an address can be banned", error.to_string());
            }
        }
    });
    options.on_event = Arc::new(|member, event| {
        let Event::Unbanned { ban } = event else { return };
        member.saw(sights::UNBANNED);
        let now = member.node.runtime().now();
        if ban.ends.is_none_or(|ends| now < ends) {
            member.referee().blame(TOO_EARLY, format!("it is {now:?} on node {}: {ban:?}", member.place + 1));
        }
    });
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
