//! Endpoints and nodes on a runtime that may not be there.

use std::{io, sync::Arc};

use crate::{
    builder::EndpointBuilder,
    endpoint::Endpoint,
    error::ConfigErrors,
    node::{self, Node, NodeBuilder},
    runtime::Runtime,
};

/// Makes the endpoint on `runtime`.
///
/// # Errors
/// See [`BuildError`].
pub fn build<R: Runtime>(builder: EndpointBuilder, runtime: io::Result<R>) -> Result<Endpoint, BuildError> {
    Ok(builder.build(Arc::new(runtime?))?)
}

/// Makes the node on `runtime` and starts its task. Reads its storage, which blocks.
///
/// # Errors
/// See [`BuildError`].
pub fn build_node<R: Runtime>(builder: NodeBuilder, runtime: io::Result<R>) -> Result<Node, BuildError> {
    builder.build(Arc::new(runtime?)).map_err(|error| match error {
        node::BuildError::Config(error) => BuildError::Config(error),
        error => BuildError::Node(error),
    })
}

/// No endpoint or node was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// There is no such runtime here, or the operating system gives no randomness.
    #[error("cannot use the runtime: {0}")]
    Runtime(#[from] io::Error),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The storage of the node cannot be used.
    #[error(transparent)]
    Node(node::BuildError),
}
