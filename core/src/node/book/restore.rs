//! A book from what was stored.

use alloc::vec::Vec;
use core::cmp::Reverse;

use super::{Book, BookLimits, Clocks, Entry, KnownPeer, Moment, entry::Address, without_peer};
use crate::{
    Instant,
    node::{Intent, Provenance, WallTime},
};

/// What became of a stored book.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Restored {
    /// Peers that are in the book now.
    pub peers: usize,
    /// Peers for which the limits leave no room.
    pub peers_left_out: usize,
    /// Addresses past the limit, of peers that are in the book.
    pub addrs_left_out: usize,
    /// Pieces of metadata past the limits, of peers that are in the book.
    pub metadata_left_out: usize,
    /// Entries that mean nothing: a peer or address that occurs twice, an address of another peer or of none,
    /// metadata without a value.
    pub invalid: usize,
}

impl Book {
    /// A book with what [`snapshot`](Book::snapshot) gave, and how much of that could not be used.
    ///
    /// Times in the future count as now. Where the limits are smaller than what is given, the protected and
    /// persistent peers come first, then those of which the application has said something, of equals those
    /// that were seen last, and then those with the smaller id; of a peer the addresses that would be dialed
    /// first and the smallest metadata keys. Nothing in `peers` makes this fail. O(n log n).
    pub fn restore(limits: BookLimits, peers: Vec<KnownPeer>, now: Instant, wall: WallTime) -> (Self, Restored) {
        let mut book = Self::new(limits);
        book.tell(now);
        let clocks = Clocks { now, wall };
        let mut restored = Restored::default();
        let mut entries: Vec<_> =
            peers.into_iter().map(|known| (known.peer, Moment::from_wall(known.last_seen, clocks), known)).collect();
        // A stable sort: of a peer that occurs twice in the same rank, the first one counts.
        entries
            .sort_by_key(|(peer, last_seen, known)| (!is_kept(known), !is_chosen(known), Reverse(*last_seen), *peer));
        for (peer, last_seen, known) in entries {
            if book.contains(&peer) {
                restored.invalid = restored.invalid.saturating_add(1);
                continue;
            }
            let (entry, report) = book.entry_from(known, last_seen, clocks);
            if book.has_room(1, entry.cost()) {
                book.insert(peer, entry);
                restored.add(report);
            } else {
                restored.peers_left_out = restored.peers_left_out.saturating_add(1);
                restored.invalid = restored.invalid.saturating_add(report.invalid);
            }
        }
        (book, restored)
    }

    fn entry_from(&self, known: KnownPeer, last_seen: Moment, clocks: Clocks) -> (Entry, Restored) {
        let mut report = Restored { peers: 1, ..Restored::default() };
        let mut entry = Entry::new(last_seen);
        (entry.protected, entry.intent) = (known.protected, known.intent);
        let mut addrs: Vec<Address> = Vec::new();
        for stored in known.addrs {
            match without_peer(&stored.addr, &known.peer) {
                Ok(addr) => addrs.push(Address {
                    addr,
                    provenance: stored.provenance,
                    last_success: stored.last_success.map(|then| Moment::from_wall(then, clocks)),
                    failures: stored.failures,
                }),
                Err(_) => report.invalid = report.invalid.saturating_add(1),
            }
        }
        addrs.sort_unstable_by(Address::compare);
        for address in addrs {
            if entry.addr_mut(&address.addr).is_some() {
                report.invalid = report.invalid.saturating_add(1);
            } else if entry.addrs.len() < self.limits.max_addrs {
                entry.addrs.push(address);
            } else {
                report.addrs_left_out = report.addrs_left_out.saturating_add(1);
            }
        }
        let mut bytes: usize = 0;
        for (key, value) in known.metadata {
            let after = bytes.saturating_add(key.len()).saturating_add(value.len());
            if value.is_empty() {
                report.invalid = report.invalid.saturating_add(1);
            } else if after <= self.limits.max_metadata_bytes && entry.metadata.len() < self.limits.max_metadata_keys {
                bytes = after;
                entry.metadata.insert(key, value);
            } else {
                report.metadata_left_out = report.metadata_left_out.saturating_add(1);
            }
        }
        (entry, report)
    }
}

impl Restored {
    fn add(&mut self, other: Self) {
        self.peers = self.peers.saturating_add(other.peers);
        self.addrs_left_out = self.addrs_left_out.saturating_add(other.addrs_left_out);
        self.metadata_left_out = self.metadata_left_out.saturating_add(other.metadata_left_out);
        self.invalid = self.invalid.saturating_add(other.invalid);
    }
}

fn is_kept(known: &KnownPeer) -> bool {
    known.protected || known.intent == Intent::Persistent
}

fn is_chosen(known: &KnownPeer) -> bool {
    !known.metadata.is_empty() || known.addrs.iter().any(|stored| stored.provenance == Provenance::Manual)
}
