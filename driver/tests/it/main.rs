//! The driver in the deterministic world: many seeds, both task orders, several cuts, no sleep.

mod cancel;
mod close;
mod connect;
mod faults;
mod limits;
mod services;
mod streams;
mod world;
