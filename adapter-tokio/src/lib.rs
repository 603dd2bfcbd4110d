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

use std::{io, sync::Arc};

pub use runtime::TokioRuntime;
use septa_driver::{ConfigErrors, Endpoint, EndpointBuilder, Node, NodeBuilder, node};
pub use stream::TokioStream;

/// Makes the endpoint on the tokio runtime in whose context this is called.
///
/// # Errors
/// See [`BuildError`].
pub fn build(builder: EndpointBuilder) -> Result<Endpoint, BuildError> {
    Ok(builder.build(Arc::new(TokioRuntime::current()?))?)
}

/// Makes the node on the tokio runtime in whose context this is called, and starts its task. Reads its storage, which
/// blocks.
///
/// # Errors
/// See [`BuildError`].
pub fn build_node(builder: NodeBuilder) -> Result<Node, BuildError> {
    builder.build(Arc::new(TokioRuntime::current()?)).map_err(|error| match error {
        node::BuildError::Config(error) => BuildError::Config(error),
        error => BuildError::Node(error),
    })
}

/// No endpoint or node was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// There is no tokio runtime here, or the operating system gives no randomness.
    #[error("cannot use the tokio runtime: {0}")]
    Runtime(#[from] io::Error),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The storage of the node cannot be used.
    #[error(transparent)]
    Node(node::BuildError),
}
