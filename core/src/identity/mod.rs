//! Placeholder.
/// Placeholder.
#[derive(Debug)]
pub struct Identity;
/// Placeholder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicKey;
