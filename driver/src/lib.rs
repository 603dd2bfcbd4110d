//! The async glue around [`septa_core`], written once for every runtime.
//!
//! A [`Node`] reaches peers and keeps them, lets others in, and hands out [`Stream`]s. An [`Endpoint`] is the level
//! below: it listens and connects over a [`Runtime`] and hands out [`Connection`]s, and leaves the rest to the
//! application. The same types serve tokio, other runtimes and the
//! deterministic simulator: nothing here but the [parts of adapters](adapter) reads a clock, draws randomness, sleeps or
//! spawns except through the runtime, and nothing depends on the order in which a hash map iterates. Under a
//! deterministic runtime the whole node is deterministic.
//!
//! Each connection has one task, which owns the input of the socket and shares its output with handles that
//! flush. Handles lock the connection briefly and read or write directly; there is no channel and no second
//! task between a stream and its connection.
#![forbid(unsafe_code)]

pub mod adapter;
mod broadcast;
mod builder;
pub mod channel;
mod connection;
#[cfg(feature = "contract")]
#[doc(hidden)]
pub mod contract;
mod dial;
mod endpoint;
mod error;
mod handshake;
mod inner;
mod listener;
pub mod node;
mod output;
mod profile;
pub mod requests;
pub mod runtime;
mod services;
mod shared;
pub mod storage;
mod stream;
mod target;
mod task;
mod time;
mod waiters;
mod worker;

pub use builder::{EndpointBuilder, Limits, PROTOCOL_VERSION};
pub use channel::Channel;
pub use connection::Connection;
pub use dial::expected_peer;
pub use endpoint::{Endpoint, EndpointStats};
pub use error::{
    AcceptError, ConfigError, ConfigErrors, ConnectError, IdentifyError, ListenError, OpenStreamError, PerfError,
    PingError,
};
pub use listener::Listener;
pub use node::{Node, NodeBuilder};
pub use requests::Requests;
pub use runtime::Runtime;
pub use septa_core::connection::{CloseReason, Priority, ReadError, RefuseReason, StreamId, WriteError};
pub use storage::{FileStorage, Storage};
pub use stream::Stream;
