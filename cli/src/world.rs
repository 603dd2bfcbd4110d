//! What every command needs: the runtime, and where to print.

use std::{path::Path, sync::Arc};

use septa_core::{Identity, ProtocolId, Seed};
use septa_driver::{Endpoint, EndpointBuilder, runtime::Runtime};
use septa_tokio::TokioRuntime;

use crate::{failure::Failure, identity_file, key_log::KeyLogFile, output::Output};

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

    /// A node that serves `protocols` besides ping and identify.
    pub(crate) fn endpoint(&self, identity: Identity, protocols: &[ProtocolId]) -> Result<Endpoint, Failure> {
        self.build(self.builder(identity, protocols))
    }

    /// The configuration of such a node.
    pub(crate) fn builder(&self, identity: Identity, protocols: &[ProtocolId]) -> EndpointBuilder {
        Endpoint::builder(identity)
            .serve(protocols.iter().cloned())
            .agent_version(concat!("septa/", env!("CARGO_PKG_VERSION")))
    }

    /// The same node, whose keys go to `file` if there is one.
    pub(crate) fn log_keys(&self, builder: EndpointBuilder, file: Option<&Path>) -> Result<EndpointBuilder, Failure> {
        match file {
            Some(file) => Ok(builder.dangerous_key_log(KeyLogFile::open(file)?)),
            None => Ok(builder),
        }
    }

    pub(crate) fn build(&self, builder: EndpointBuilder) -> Result<Endpoint, Failure> {
        builder.build(self.runtime.clone()).map_err(|error| Failure::new(error, "report this as a bug of septa"))
    }
}
