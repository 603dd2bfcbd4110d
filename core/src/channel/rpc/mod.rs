//! Requests and their answers, many on one stream (`/septa/rpc/<name>/1.0.0`) or each on its own.
//!
//! On a shared stream the opener asks and the acceptor answers, in any order:
//! [`Client`] and [`Server`]. [`exchange`] holds one request and its answer on a stream of their own, as other
//! libp2p protocols do it.

mod client;
mod config;
pub mod exchange;
mod frame;
mod pending;
mod server;

pub use client::{Answer, Client, ClientStats, Outcome, RequestError};
pub use config::Config;
pub use frame::{Error, MAX_REASON_LEN, RequestId};
pub use server::{AnswerError, Asked, Server, ServerStats};
