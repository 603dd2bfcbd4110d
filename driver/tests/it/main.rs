//! The driver in the deterministic world: many seeds, both task orders, several cuts, no sleep.

mod cancel;
mod channel;
mod close;
mod connect;
mod faults;
mod flush;
mod identify_push;
mod limits;
mod node;
mod perf;
mod requests;
mod services;
mod socket_calls;
mod streams;
mod throughput;
mod world;
