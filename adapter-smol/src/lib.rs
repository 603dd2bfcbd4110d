//! Septa on smol: [`build_node`] makes a [`Node`] whose tasks run on smol's global executor, [`build`] an
//! [`Endpoint`], the level below. A [`Stream`](septa_driver::Stream) has the I/O traits that smol uses.
//!
//! ```
//! use std::{error::Error, time::Duration};
//!
//! use septa_core::Identity;
//! use septa_driver::{Node, Runtime as _};
//! use septa_smol::SmolRuntime;
//!
//! fn main() -> Result<(), Box<dyn Error>> {
//!     smol::block_on(async {
//!         // A real node stores its identity.
//!         let identity = Identity::generate(SmolRuntime::new()?.seed());
//!         let node = septa_smol::build_node(Node::builder(identity))?;
//!         let addr = node.listen(&"/ip4/127.0.0.1/tcp/0".parse()?).await?;
//!         println!("listening on {addr}");
//!         node.shutdown(Duration::from_secs(5)).await;
//!         Ok(())
//!     })
//! }
//! ```
//!
//! `examples/smol_echo.rs` is a whole program. The global executor has one thread unless the environment variable
//! `SMOL_THREADS` says how many.
//!
//! The feature `aws-lc-rs`, on by default, makes AWS-LC the cryptography of endpoints whose builder names
//! none; it needs a C compiler. Without it they use pure Rust.
#![forbid(unsafe_code)]

mod runtime;

pub use runtime::SmolRuntime;
pub use septa_driver::adapter::BuildError;
use septa_driver::{Endpoint, EndpointBuilder, Node, NodeBuilder, adapter};

/// Makes the endpoint on smol's global executor.
///
/// # Errors
/// See [`BuildError`].
pub fn build(builder: EndpointBuilder) -> Result<Endpoint, BuildError> {
    adapter::build(builder, SmolRuntime::new())
}

/// Makes the node on smol's global executor, and starts its task. Reads its storage, which blocks.
///
/// # Errors
/// See [`BuildError`].
pub fn build_node(builder: NodeBuilder) -> Result<Node, BuildError> {
    adapter::build_node(builder, SmolRuntime::new())
}
