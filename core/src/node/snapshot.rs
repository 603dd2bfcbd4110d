//! What a node remembers, as plain data to store and to show.
//!
//! Everything here is owned: what is handed out cannot change a node. Times are told in wall time, the only
//! one that means something after a restart. With the feature `serde` all of it can be written and read;
//! peers, addresses and networks are text, metadata is base64url, and fields that are not known are ignored.

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use super::{BanRecord, Intent, WallTime};
use crate::{Multiaddr, PeerId};

/// All that a node remembers. Whoever stores it adds a version.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Snapshot {
    /// The address book, ordered by peer id.
    pub peers: Vec<KnownPeer>,
    /// Who is banned, and whose offences still count.
    #[cfg_attr(feature = "serde", serde(default))]
    pub bans: Vec<BanRecord>,
}

/// One peer of the address book.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct KnownPeer {
    /// Who it is.
    pub peer: PeerId,
    /// Where it may be, the best first: as they would be dialed.
    #[cfg_attr(feature = "serde", serde(default))]
    pub addrs: Vec<KnownAddr>,
    /// What the application noted. No value is empty.
    #[cfg_attr(feature = "serde", serde(default, with = "super::text::metadata"))]
    pub metadata: BTreeMap<String, Vec<u8>>,
    /// It is never evicted to make room.
    #[cfg_attr(feature = "serde", serde(default))]
    pub protected: bool,
    /// What the application wants with it.
    #[cfg_attr(feature = "serde", serde(default))]
    pub intent: Intent,
    /// When it last gave a sign of life, or when it was added if it never did.
    pub last_seen: WallTime,
}

/// One address of a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct KnownAddr {
    /// The address, without `/p2p` of the peer at its end.
    pub addr: Multiaddr,
    /// Who told it.
    pub provenance: Provenance,
    /// When the peer was last reached there.
    #[cfg_attr(feature = "serde", serde(default))]
    pub last_success: Option<WallTime>,
    /// Dials that failed since the peer was last reached there.
    #[cfg_attr(feature = "serde", serde(default))]
    pub failures: u32,
}

/// Who told an address, ordered from the least to the most trusted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Provenance {
    /// The peer connected from there. Its port is rarely one that listens.
    Inbound,
    /// The peer said so, in identify.
    Identify,
    /// The peer signed it, in a peer record.
    PeerRecord,
    /// The user said so.
    Manual,
}
