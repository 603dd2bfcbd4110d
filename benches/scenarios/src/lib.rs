//! What the variants of a race do, written once for all of them.
//!
//! A variant brings a [`Network`]; [`node::main`] makes a process of it that serves or dials, and that the
//! program `race` starts, instructs and reads over standard input and output. The code that moves and
//! counts bytes is the same for Septa, for rust-libp2p and for plain TCP.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod client;
mod measure;
mod messages;
mod network;
pub mod node;
mod scenario;
mod server;

pub use messages::{Messages, StreamMessages};
pub use network::{Failure, Network};
pub use scenario::Scenario;
pub use server::{READ_LEN, ServedConnection, Server, read_to_end};
