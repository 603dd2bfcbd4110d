//! What faults do to a pipe.

use crate::{plan::FaultKind, tampering::Tampering};

/// What faults do to a pipe now, and what they are to do later. Those that no fault has met have none of this.
#[derive(Default)]
pub(super) struct Faults {
    /// How many keep everything from arriving now. Nothing says so to either end.
    pub(super) stalls: u32,
    /// Those that have not held anything back yet.
    pub(super) idle_stalls: Vec<StallId>,
    pub(super) tampering: Tampering,
    /// After so many bytes a plan resets the connection.
    pub(super) planned_reset: Option<u64>,
}

/// A fault that stalls pipes. Others of its kind may do so at the same time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct StallId {
    pub(crate) number: u64,
    pub(crate) kind: FaultKind,
}
