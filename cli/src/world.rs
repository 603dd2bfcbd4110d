//! What every command needs: the runtime, and where to print.

use std::{path::Path, sync::Arc};

use septa_core::{Identity, Seed};
use septa_driver::{Endpoint, Node, NodeBuilder, node::BuildError, runtime::Runtime};
use septa_tokio::TokioRuntime;

use crate::{failure::Failure, identity_file, key_log::KeyLogFile, output::Output};

/// What identify says about this program.
const AGENT: &str = concat!("septa/", env!("CARGO_PKG_VERSION"));

/// The runtime, and where to print.
pub(crate) struct World {
    runtime: Arc<TokioRuntime>,
    pub(crate) output: Output,
}

impl World {
    /// Must be called within a tokio runtime.
    pub(crate) fn new(output: Output) -> Result<Self, Failure> {
        let runtime = TokioRuntime::current()
            .map_err(|error| Failure::new(format_args!("cannot start: {error}"), "check the limits of this process"))?;
        Ok(Self { runtime: Arc::new(runtime), output })
    }

    /// Randomness of the operating system.
    pub(crate) fn seed(&self) -> Seed {
        self.runtime.seed()
    }

    /// The identity in `file`, or a new one that lasts as long as the process.
    pub(crate) fn identity(&self, file: Option<&Path>) -> Result<Identity, Failure> {
        match file {
            Some(file) => identity_file::load(file),
            None => Ok(Identity::generate(self.seed())),
        }
    }

    /// The configuration of a node with `identity`, whose keys go to `keylog` if there is one.
    pub(crate) fn node(&self, identity: Identity, keylog: Option<&Path>) -> Result<NodeBuilder, Failure> {
        let builder = Node::builder(identity).agent_version(AGENT);
        Ok(match keylog {
            Some(file) => builder.dangerous_key_log(KeyLogFile::open(file)?),
            None => builder,
        })
    }

    pub(crate) fn build_node(&self, builder: NodeBuilder) -> Result<Node, Failure> {
        builder.build(self.runtime.clone()).map_err(|error| {
            let hint = match &error {
                BuildError::Storage(_) => "choose another --book file",
                _ => "report this as a bug of septa",
            };
            Failure::new(error, hint)
        })
    }

    /// The level below a node, for connections to whoever answers.
    pub(crate) fn endpoint(&self, identity: Identity, keylog: Option<&Path>) -> Result<Endpoint, Failure> {
        let mut builder = Endpoint::builder(identity).agent_version(AGENT);
        if let Some(file) = keylog {
            builder = builder.dangerous_key_log(KeyLogFile::open(file)?);
        }
        builder.build(self.runtime.clone()).map_err(|error| Failure::new(error, "report this as a bug of septa"))
    }
}
