//! How a node is configured.

use std::{fmt, sync::Arc, time::Duration};

use septa_core::{
    Identity,
    connection::Config as ConnectionConfig,
    crypto::Provider,
    node::{Config, Node as Core, Snapshot},
    noise::KeyLog,
};

use super::{
    Node,
    error::BuildError,
    keeper::{Keeper, wall_time_of},
    shared::NodeShared,
    task::NodeTask,
};
use crate::{
    builder::{EndpointBuilder, Limits},
    endpoint::Endpoint,
    error::{ConfigError, ConfigErrors},
    runtime::Runtime,
    storage::{Loaded, Storage},
};

/// Limits of a node beside those of its [core](Config) and of its [connections](ConnectionConfig).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeLimits {
    /// Inbound streams of one protocol that wait to be accepted. Stops peers that open streams faster than the
    /// application takes them from filling memory; one more is reset. Default 1024.
    pub max_waiting_streams: usize,
    /// Of these, those of one connection. Stops one peer from taking all places. Default 128.
    pub max_waiting_streams_per_connection: usize,
    /// Connections that wait for [`Node::next_handshake`]. Stops strangers from filling memory; one more makes the node
    /// forget the one that has waited for the longest time, whose handshake then times out. Default 1024.
    pub max_waiting_handshakes: usize,
    /// How long changes of what is remembered are gathered before they are stored. Default 5 s.
    pub store_interval: Duration,
}

impl Default for NodeLimits {
    fn default() -> Self {
        Self {
            max_waiting_streams: 1024,
            max_waiting_streams_per_connection: 128,
            max_waiting_handshakes: 1024,
            store_interval: Duration::from_secs(5),
        }
    }
}

/// Collects the configuration of a [`Node`].
pub struct NodeBuilder {
    endpoint: EndpointBuilder,
    config: Config,
    limits: NodeLimits,
    storage: Option<Arc<dyn Storage>>,
}

impl NodeBuilder {
    pub(super) fn new(identity: Identity) -> Self {
        let endpoint = EndpointBuilder::new(identity);
        Self { endpoint, config: Config::default(), limits: NodeLimits::default(), storage: None }
    }

    /// Limits and delays of the node: how many connections and dials, to whom, how often.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Limits and timeouts of each connection, and whether the application makes a
    /// [handshake](ConnectionConfig::handshake) of its own. The node decides who is admitted.
    #[must_use]
    pub fn connection_config(mut self, config: ConnectionConfig) -> Self {
        self.endpoint = self.endpoint.connection_config(config);
        self
    }

    /// What else is limited.
    #[must_use]
    pub fn limits(mut self, limits: NodeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Where the node keeps what it remembers. Without it, it begins knowing nobody, bans included.
    #[must_use]
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.storage = Some(storage);
        self
    }

    /// Serves perf; see [`EndpointBuilder::serve_perf`].
    #[must_use]
    pub fn serve_perf(mut self, max_download: u64) -> Self {
        self.endpoint = self.endpoint.serve_perf(max_download);
        self
    }

    /// What identify says about this program, by default `septa/` and the version.
    #[must_use]
    pub fn agent_version(mut self, agent_version: &str) -> Self {
        self.endpoint = self.endpoint.agent_version(agent_version);
        self
    }

    /// The cryptography to use, by default the [runtime's](Runtime::provider).
    #[must_use]
    pub fn provider(mut self, provider: Arc<dyn Provider>) -> Self {
        self.endpoint = self.endpoint.provider(provider);
        self
    }

    /// Tells `log` the keys of every connection; see [`EndpointBuilder::dangerous_key_log`].
    ///
    /// Dangerous: whoever reads the log can read everything that the connections have carried.
    #[must_use]
    pub fn dangerous_key_log(mut self, log: Arc<dyn KeyLog>) -> Self {
        self.endpoint = self.endpoint.dangerous_key_log(log);
        self
    }

    /// Makes the node and starts its task. It dials the persistent peers that it remembers, and listens when it is
    /// told to. Reads the storage, which blocks.
    ///
    /// # Errors
    /// All values that are wrong, or the storage cannot be read.
    pub fn build(self, runtime: Arc<dyn Runtime>) -> Result<Node, BuildError> {
        let (config, limits) = (self.config, self.limits);
        // The core counts connections; nobody else refuses any.
        let endpoint = self.endpoint.limits(Limits { max_connections: usize::MAX, ..Limits::default() });
        let mut errors = endpoint.validate().err().unwrap_or_default();
        errors.0.extend(config.validate().map_err(ConfigError::Node).err());
        errors.0.extend(limits.errors());
        if !errors.0.is_empty() {
            return Err(BuildError::Config(errors));
        }
        let loaded = self.storage.as_ref().map_or(Ok(Loaded::Nothing), |storage| storage.load())?;
        let endpoint = endpoint.build(runtime.clone())?;
        let (core, loaded) = restore(config, &endpoint, &*runtime, loaded)?;
        let keeper = Keeper::new(self.storage, limits.store_interval, runtime.now(), core.revision());
        let node = Arc::new(NodeShared::new(endpoint.into_inner(), core, &keeper, limits));
        node.endpoint.spawn_unpin("node", NodeTask::new(node.clone(), keeper));
        Ok(Node::new(node, loaded))
    }
}

/// What a node found in its storage.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Recollection {
    /// Something that could not be read was set aside: where it is now, and what is wrong with it. Bans may be lost.
    pub set_aside: Option<(std::path::PathBuf, String)>,
    /// What came of the address book.
    pub restored: septa_core::node::Restored,
}

fn restore(
    config: Config,
    endpoint: &Endpoint,
    runtime: &dyn Runtime,
    loaded: Loaded,
) -> Result<(Core, Recollection), ConfigErrors> {
    let (snapshot, set_aside) = match loaded {
        Loaded::Nothing => (Snapshot::default(), None),
        Loaded::Snapshot(snapshot) => (*snapshot, None),
        Loaded::Corrupt { set_aside, why } => (Snapshot::default(), Some((set_aside, why))),
    };
    let (now, wall) = (runtime.now(), wall_time_of(runtime));
    let restored = Core::restored(config, endpoint.peer_id(), now, runtime.seed(), snapshot, wall);
    let (core, restored) = restored.map_err(|errors| ConfigErrors(vec![ConfigError::Node(errors)]))?;
    Ok((core, Recollection { set_aside, restored }))
}

impl NodeLimits {
    fn errors(&self) -> impl Iterator<Item = ConfigError> {
        let zero = [
            ("max_waiting_streams", self.max_waiting_streams == 0),
            ("max_waiting_streams_per_connection", self.max_waiting_streams_per_connection == 0),
            ("max_waiting_handshakes", self.max_waiting_handshakes == 0),
            ("store_interval", self.store_interval.is_zero()),
        ];
        zero.into_iter().filter(|(_, zero)| *zero).map(|(name, _)| ConfigError::Zero { name })
    }
}

impl fmt::Debug for NodeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeBuilder")
            .field("endpoint", &self.endpoint)
            .field("config", &self.config)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
