//! What a peer has said of itself so far: the one place where its messages are joined.

use super::{Info, Received};
use crate::{Multiaddr, SignedPeerRecord};

/// What a peer has said of itself over one connection: its answer to identify and its pushes, joined.
///
/// The latest wins. Which message is later is decided by when its stream began, for which a
/// [`Ticket`] is drawn, not by when it was read to its end: of an identify answer and a push that
/// cross, the one that began later was made later or tells the same. A message that comes late only
/// fills in what nobody has said since. Each message is bounded by the limits of this module, so all
/// of this is at most one address list, one protocol list and one record.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RemoteInfo {
    said: Said,
    tickets: u64,
    latest: Ticket,
    revision: u64,
}

/// The place of one stream in the order in which streams began.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Ticket(u64);

/// One message, or several joined.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Said {
    info: Info,
    record: Option<SignedPeerRecord>,
}

impl RemoteInfo {
    /// Draws a ticket: as soon as an inbound push is accepted, and before identify is asked.
    pub fn ticket(&mut self) -> Ticket {
        self.tickets = self.tickets.saturating_add(1);
        Ticket(self.tickets)
    }

    /// Takes an answer to identify, which is complete: what it does not name, the peer does not have.
    pub fn identified(&mut self, ticket: Ticket, received: &Received) {
        let new = Said::new(received);
        let (known, late) = (&self.said, ticket < self.latest);
        let joined = if late { known.over(&new) } else { Said { record: new.record_over(known), ..new } };
        self.replace(ticket, joined);
    }

    /// Takes a push, in which a list that is empty and a value that is absent are unchanged: js leaves
    /// out all but addresses, record and protocols. A list that is there replaces the old one.
    pub fn pushed(&mut self, ticket: Ticket, received: &Received) {
        let new = Said::new(received);
        let (known, late) = (&self.said, ticket < self.latest);
        let joined = if late { known.over(&new) } else { new.over(known) };
        self.replace(ticket, joined);
    }

    /// All but the record. `listen_addrs` are what the peer claimed without a signature.
    pub fn info(&self) -> &Info {
        &self.said.info
    }

    /// The peer's own record, if it has sent a valid one and no other addresses after it. Whoever
    /// shows it to others proves that the peer has said so.
    pub fn peer_record(&self) -> Option<&SignedPeerRecord> {
        self.said.record.as_ref()
    }

    /// The peer's addresses: those that it has signed, without a record those that it merely claims.
    pub fn addrs(&self) -> &[Multiaddr] {
        self.peer_record().map_or(&self.info().listen_addrs, SignedPeerRecord::addrs)
    }

    /// How often this has changed: 0 if the peer has said nothing yet.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    fn replace(&mut self, ticket: Ticket, joined: Said) {
        self.latest = self.latest.max(ticket);
        // The first message counts even if it says nothing.
        if self.revision == 0 || joined != self.said {
            self.said = joined;
            self.revision = self.revision.saturating_add(1);
        }
    }
}

impl Said {
    fn new(received: &Received) -> Self {
        Self { info: received.info.clone(), record: received.peer_record.valid().cloned() }
    }

    /// This, and what it leaves open from `older`.
    fn over(&self, older: &Self) -> Self {
        let names_addrs = self.record.is_some() || !self.info.listen_addrs.is_empty();
        // Claimed and signed addresses go together: old ones must not show through new ones.
        let (listen_addrs, record) = if names_addrs {
            (self.info.listen_addrs.clone(), self.record_over(older))
        } else {
            (older.info.listen_addrs.clone(), older.record.clone())
        };
        let protocols = if self.info.protocols.is_empty() { &older.info.protocols } else { &self.info.protocols };
        let (new, old) = (&self.info, &older.info);
        let info = Info {
            public_key: new.public_key.as_ref().or(old.public_key.as_ref()).cloned(),
            listen_addrs,
            protocols: protocols.clone(),
            observed_addr: new.observed_addr.as_ref().or(old.observed_addr.as_ref()).cloned(),
            protocol_version: new.protocol_version.as_ref().or(old.protocol_version.as_ref()).cloned(),
            agent_version: new.agent_version.as_ref().or(old.agent_version.as_ref()).cloned(),
            signed_peer_record: None,
        };
        Self { info, record }
    }

    /// The record of this message, unless the one of `older` has a greater number.
    fn record_over(&self, older: &Self) -> Option<SignedPeerRecord> {
        match (&self.record, &older.record) {
            (Some(new), Some(old)) if old.is_newer_than(new) => Some(old.clone()),
            (new, _) => new.clone(),
        }
    }
}
