//! The async glue around [`septa_core`], written once for every runtime.
//!
//! An [`Endpoint`] listens and connects over a [`Runtime`](runtime::Runtime) and hands out
//! [`Connection`]s, which hand out [`Stream`]s. The same types serve tokio, other runtimes and the
//! deterministic simulator: nothing here reads a clock, draws randomness, sleeps or spawns except
//! through the runtime, and nothing depends on the order in which a hash map iterates. Under a
//! deterministic runtime the whole node is deterministic.
#![forbid(unsafe_code)]

pub mod runtime;
