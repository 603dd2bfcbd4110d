//! What nodes that are driven directly can be made to do.

mod done;
pub mod idle;
pub mod mesh;
pub mod pair;

use septa_core::{Identity, node::InvalidValues};

pub use done::Done;

use crate::{
    Stalled,
    direct::{Counts, Direct, Violation},
};

/// A scenario did not end as it should.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failed {
    /// The world stood still.
    #[error(transparent)]
    Stalled(#[from] Stalled),
    /// A node could not be made.
    #[error(transparent)]
    Config(#[from] InvalidValues),
    /// Something happened that never should.
    #[error(transparent)]
    Violation(#[from] Violation),
}

/// The identity of the node with this number.
pub(crate) fn identity(number: usize) -> Identity {
    let mut seed = [0x5e; 32];
    seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
    Identity::from_ed25519_seed(seed)
}

/// What has happened, if nothing went wrong. What first broke a rule says more than that the world stands still since.
pub(crate) fn outcome(direct: &Direct, ran: Result<(), Stalled>) -> Result<Counts, Failed> {
    if let Some(violation) = direct.violations().into_iter().next() {
        return Err(violation.into());
    }
    ran?;
    Ok(direct.counts())
}
