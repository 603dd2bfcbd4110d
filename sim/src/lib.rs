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

mod clock;
mod executor;
mod fired;
mod host;
mod link;
mod network;
mod pipe;
pub mod plan;
mod player;
mod shrink;
mod simulation;
mod socket;
mod trace;

pub use executor::Order;
pub use link::{Cut, LinkOptions};
pub use player::Unplayable;
pub use shrink::minimize;
pub use simulation::{Panicked, Simulation, Stalled};
pub use trace::TraceHash;
