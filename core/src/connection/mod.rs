//! Placeholder.
/// Placeholder.
#[derive(Debug)]
pub struct Connection;
