//! What the application wants with a peer.

/// Whether a node dials a peer by itself, and for how long it tries.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Intent {
    /// Dialed when it is wanted or lost, and given up after 10 attempts.
    #[default]
    Transient,
    /// Dialed for ever. Never leaves the address book by itself.
    Persistent,
    /// Not dialed by itself; an inbound connection is welcome.
    Dormant,
}
