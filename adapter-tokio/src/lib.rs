//! Septa on tokio.
#![forbid(unsafe_code)]

mod runtime;

pub use runtime::TokioRuntime;
