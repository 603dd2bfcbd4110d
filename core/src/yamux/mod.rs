//! Yamux: many streams over one ordered byte stream (`/yamux/1.0.0`, yamux spec).
//!
//! [`Session`] is usable alone, over any secure ordered transport.

mod access;
mod config;
mod error;
mod flood;
mod flow;
mod header;
mod keep_alive;
mod lifecycle;
mod memory;
mod owed;
mod receive;
mod scheduler;
mod session;
mod shedding;
mod stream;
#[cfg(test)]
mod tests;
mod transmit;

pub use config::{Config, ConfigError, ConfigErrors, INITIAL_WINDOW, KeepAlive};
pub use error::{KeepAliveTimeout, OpenError, ReadError, Violation, WriteError};
pub use flood::FLOOD_INTERVAL;
pub use header::HEADER_LEN;
pub(crate) use header::go_away_frame;
#[cfg(feature = "testing")]
pub(crate) use header::recode_header;
pub use keep_alive::MAX_RTT;
pub use memory::{MemoryLimits, MemoryPool};
pub use scheduler::Priority;
pub use session::{Event, Session, SessionStats};
pub use stream::{StreamId, StreamStats};
pub use transmit::MIN_TRANSMIT_LEN;
