//! Placeholder.
/// Placeholder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Multiaddr;
