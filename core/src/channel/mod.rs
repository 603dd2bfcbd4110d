//! What two applications say to each other in messages: the handshake with which they decide whether they
//! want each other, named channels of messages, and requests with their answers.
//!
//! The machines here know no stream and no connection: bytes go in, bytes and messages come out.

mod broadcast;
mod config;
mod drops;
mod encoded_queue;
mod epoch;
mod gate;
pub mod handshake;
mod inbox;
pub mod message;
mod name;
mod outbox;
pub mod rpc;
#[cfg(test)]
mod tests;

pub use broadcast::Broadcast;
pub use config::{Config, ConfigError, ConfigErrors, MAX_MESSAGE_LEN, Watermarks, WhenFull};
pub use drops::{DropCounts, DropReason};
pub use encoded_queue::Payload;
pub use epoch::Epoch;
pub use gate::Ticket;
pub use inbox::{Inbox, InboxStats, Message, RecvError};
pub use name::{ChannelName, InvalidChannelName, MAX_NAME_LEN, Variant};
pub use outbox::{Lost, Outbox, OutboxStats, PushError, Pushed};
