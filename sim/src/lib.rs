//! A deterministic [`Runtime`](septa_driver::runtime::Runtime): virtual time, one thread, TCP in memory.
//!
//! A [`Simulation`] runs futures until the one that was asked for is done. When no task can run, time
//! jumps to the next timer; when there is none either, the simulation says which tasks are stalled
//! instead of hanging. The same seed gives the same schedule, the same bytes and the same
//! [trace](Simulation::trace), on every platform.
//!
//! ```
//! use septa_sim::Simulation;
//!
//! let simulation = Simulation::new(7);
//! let host = simulation.host("alice");
//! let mut timer = host.timer();
//! timer.reset(Some(host.now().saturating_add(std::time::Duration::from_secs(3600))));
//! // An hour passes, in no time.
//! simulation.block_on(std::future::poll_fn(|cx| timer.poll_expired(cx))).unwrap();
//! assert_eq!(simulation.now().as_nanos(), 3_600_000_000_000);
//! ```
#![forbid(unsafe_code)]

mod acceptor;
mod campaign;
mod check;
mod clock;
mod crypto;
mod dial;
pub mod direct;
mod draws;
mod executor;
mod export;
mod failure;
mod fast_crypto;
mod fired;
mod growth;
mod host;
mod invariant;
mod link;
mod machine;
mod menu;
mod network;
mod observer;
mod pipe;
pub mod plan;
mod player;
mod recorder;
pub mod report;
mod scenario;
pub mod scenarios;
mod schedule;
mod shrink;
mod sights;
mod simulation;
mod socket;
mod stats;
mod storage;
pub mod suite;
mod tampering;
mod timer;
mod trace;
mod world;

pub use campaign::{Campaign, RUNS_THAT_PROVE, Summary};
pub use check::{PLAN_VARIABLE, SEED_VARIABLE, check};
pub use crypto::Crypto;
pub use export::Exported;
pub use failure::Failure;
pub use fast_crypto::FastCrypto;
pub use invariant::{Broken, Referee};
pub use link::{Cut, LinkOptions};
pub use machine::{Boot, Journal};
pub use menu::Menu;
pub use player::Unplayable;
pub use scenario::{Failed, Outcome, Run, Scenario, plan_of, play, play_exported, play_recorded};
pub use schedule::Order;
pub use shrink::minimize;
pub use sights::Sights;
pub use simulation::{DEFAULT_MAX_STEPS, Panicked, Simulation, Stalled};
pub use stats::Stats;
pub use trace::TraceHash;
