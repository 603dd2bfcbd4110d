//! Which connection to a peer a message belongs to.

use core::fmt;

use crate::ConnectionId;

/// The number of a connection to a peer, from 1 on.
///
/// Messages of one epoch arrive in order and without a gap until it ends. Between two epochs messages may be
/// missing: those that were under way when the connection was lost. Where one connection takes the place of another,
/// what is left of the old one may arrive behind what came first on the new one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Epoch(u64);

impl Epoch {
    /// The first connection.
    pub const FIRST: Self = Self(1);

    /// The number of a connection of a [`Node`](crate::node::Node): grows from each connection to the next, with gaps.
    pub const fn of(connection: ConnectionId) -> Self {
        Self(connection.0.saturating_add(1))
    }

    /// The connection after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
