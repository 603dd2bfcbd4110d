//! Septa on async-std: [`build_node`] makes a [`Node`] whose tasks run on async-std's executor, [`build`] an
//! [`Endpoint`], the level below. A [`Stream`](septa_driver::Stream) has the I/O traits that async-std uses.
//!
//! async-std is discontinued. This crate is for programs that are on it already; its authors advise new ones to use
//! smol, for which there is `septa-smol`.
//!
//! ```
//! use std::{error::Error, time::Duration};
//!
//! use septa_async_std::AsyncStdRuntime;
//! use septa_core::Identity;
//! use septa_driver::{Node, Runtime as _};
//!
//! fn main() -> Result<(), Box<dyn Error>> {
//!     async_std::task::block_on(async {
//!         // A real node stores its identity.
//!         let identity = Identity::generate(AsyncStdRuntime::new()?.seed());
//!         let node = septa_async_std::build_node(Node::builder(identity))?;
//!         let addr = node.listen(&"/ip4/127.0.0.1/tcp/0".parse()?).await?;
//!         println!("listening on {addr}");
//!         node.shutdown(Duration::from_secs(5)).await;
//!         Ok(())
//!     })
//! }
//! ```
//!
//! `examples/async_std_echo.rs` is a whole program.
//!
//! The feature `aws-lc-rs`, on by default, makes AWS-LC the cryptography of endpoints whose builder names
//! none; it needs a C compiler. Without it they use pure Rust.
#![forbid(unsafe_code)]

mod runtime;

pub use runtime::AsyncStdRuntime;
pub use septa_driver::adapter::BuildError;
use septa_driver::{Endpoint, EndpointBuilder, Node, NodeBuilder, adapter};

/// Makes the endpoint on async-std's executor.
///
/// # Errors
/// See [`BuildError`].
pub fn build(builder: EndpointBuilder) -> Result<Endpoint, BuildError> {
    adapter::build(builder, AsyncStdRuntime::new())
}

/// Makes the node on async-std's executor, and starts its task. Reads its storage, which blocks.
///
/// # Errors
/// See [`BuildError`].
pub fn build_node(builder: NodeBuilder) -> Result<Node, BuildError> {
    adapter::build_node(builder, AsyncStdRuntime::new())
}
