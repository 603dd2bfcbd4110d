//! Septa on tokio: [`build_node`] makes a [`Node`] over the current runtime, [`build`] an [`Endpoint`], the level
//! below, and [`TokioStream`] gives a
//! [`Stream`](septa_driver::Stream) tokio's I/O traits.
//!
//! `examples/node.rs` is a whole program, and `examples/echo.rs` the same one level below.
//!
//! The feature `aws-lc-rs`, on by default, makes AWS-LC the cryptography of endpoints whose builder names
//! none; it needs a C compiler. Without it they use pure Rust.
#![forbid(unsafe_code)]

mod runtime;
mod stream;

pub use runtime::TokioRuntime;
pub use septa_driver::adapter::BuildError;
use septa_driver::{Endpoint, EndpointBuilder, Node, NodeBuilder, adapter};
pub use stream::TokioStream;

/// Makes the endpoint on the tokio runtime in whose context this is called.
///
/// # Errors
/// See [`BuildError`].
pub fn build(builder: EndpointBuilder) -> Result<Endpoint, BuildError> {
    adapter::build(builder, TokioRuntime::current())
}

/// Makes the node on the tokio runtime in whose context this is called, and starts its task. Reads its storage, which
/// blocks.
///
/// # Errors
/// See [`BuildError`].
pub fn build_node(builder: NodeBuilder) -> Result<Node, BuildError> {
    adapter::build_node(builder, TokioRuntime::current())
}
