//! How an endpoint is configured.

use std::{fmt, sync::Arc, time::Duration};

use septa_core::{
    Identity, ProtocolId,
    connection::{Admission, Config},
    crypto::Provider,
    noise::{Credentials, KeyLog},
    protocol::{identify, perf, ping},
};

use crate::{
    endpoint::{Endpoint, EndpointInner},
    error::{ConfigError, ConfigErrors},
    profile::Profile,
    runtime::Runtime,
};

/// What identify says about the family of protocols that this node belongs to.
pub const PROTOCOL_VERSION: &str = "ipfs/0.1.0";

/// Bounds of an endpoint.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections in total, those that are being made included. Stops strangers from filling memory;
    /// further inbound ones are dropped, further outbound ones refused. Default 1024.
    pub max_connections: usize,
    /// Inbound handshakes at the same time, per listener. Stops a peer that connects and says nothing
    /// from costing more than this; others wait in the queue of the operating system. Default 64.
    pub max_pending_upgrades: usize,
    /// Inbound connections that wait for [`Listener::accept`](crate::Listener::accept), handshakes
    /// included. Beyond it nothing is accepted until the application accepts. Default 128.
    pub accept_backlog: usize,
    /// From [`Endpoint::connect`] to an open connection, over all addresses tried. Default 10 s.
    pub connect_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_pending_upgrades: 64,
            accept_backlog: 128,
            connect_timeout: Duration::from_secs(10),
        }
    }
}

/// Collects the configuration of an [`Endpoint`].
pub struct EndpointBuilder {
    identity: Identity,
    provider: Option<Arc<dyn Provider>>,
    config: Config,
    protocols: Vec<ProtocolId>,
    agent_version: String,
    max_perf_download: Option<u64>,
    key_log: Option<Arc<dyn KeyLog>>,
    limits: Limits,
}

impl EndpointBuilder {
    pub(crate) fn new(identity: Identity) -> Self {
        Self {
            identity,
            provider: None,
            config: Config::default(),
            protocols: Vec::new(),
            agent_version: concat!("septa/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_perf_download: None,
            key_log: None,
            limits: Limits::default(),
        }
    }

    /// Limits and timeouts of each connection. Its protocols are served in addition to those given to
    /// [`serve`](Self::serve); every authenticated peer is admitted.
    #[must_use]
    pub fn connection_config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Adds protocols that the application serves: inbound streams may negotiate them and wait for
    /// [`Connection::accept_stream`](crate::Connection::accept_stream). Ping, identify and identify push
    /// are always served, by the endpoint itself. [`Endpoint::serve`] changes them later.
    #[must_use]
    pub fn serve(mut self, protocols: impl IntoIterator<Item = ProtocolId>) -> Self {
        self.protocols.extend(protocols);
        self
    }

    /// Serves perf, with which every peer can measure how fast it sends to and gets from this node: up
    /// to `max_download` bytes a run, and any number of runs.
    ///
    /// Off unless asked for: it lets strangers use up the line.
    #[must_use]
    pub fn serve_perf(mut self, max_download: u64) -> Self {
        self.max_perf_download = Some(max_download);
        self
    }

    /// What identify says about this program, by default `septa/` and the version.
    #[must_use]
    pub fn agent_version(mut self, agent_version: &str) -> Self {
        agent_version.clone_into(&mut self.agent_version);
        self
    }

    /// The cryptography to use, by default the [runtime's](Runtime::provider).
    #[must_use]
    pub fn provider(mut self, provider: Arc<dyn Provider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Tells `log` the keys of every connection; see [`Credentials::dangerous_key_log`].
    ///
    /// Dangerous: whoever reads the log can read everything that the connections have carried.
    #[must_use]
    pub fn dangerous_key_log(mut self, log: Arc<dyn KeyLog>) -> Self {
        self.key_log = Some(log);
        self
    }

    /// Bounds of the endpoint.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Makes the endpoint. It does nothing until it is told to listen or connect.
    ///
    /// # Errors
    /// All values that are wrong.
    pub fn build(self, runtime: Arc<dyn Runtime>) -> Result<Endpoint, ConfigErrors> {
        self.validate()?;
        let provider = self.provider.unwrap_or_else(|| runtime.provider());
        let credentials = Credentials::new(&self.identity, provider, runtime.seed());
        let credentials = match self.key_log {
            Some(log) => credentials.dangerous_key_log(log),
            None => credentials,
        };
        let own = [ping::PROTOCOL, identify::PROTOCOL, identify::PUSH_PROTOCOL].into_iter();
        let own = own.chain(self.max_perf_download.map(|_| perf::PROTOCOL)).collect();
        let profile = Profile::new(self.identity, self.agent_version, own);
        profile.serve(self.protocols.into_iter().chain(self.config.protocols.iter().cloned()));
        let config = Config { admission: Admission::Automatic, protocols: profile.protocols(), ..self.config };
        let inner = EndpointInner::new(runtime, credentials, config, profile, self.max_perf_download, self.limits);
        Ok(Endpoint::new(inner))
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigErrors> {
        let limits = &self.limits;
        let values = [
            ("max_connections", limits.max_connections == 0),
            ("max_pending_upgrades", limits.max_pending_upgrades == 0),
            ("accept_backlog", limits.accept_backlog == 0),
            ("connect_timeout", limits.connect_timeout.is_zero()),
        ];
        let zero = values.into_iter().filter(|(_, zero)| *zero).map(|(name, _)| ConfigError::Zero { name });
        let mut errors: Vec<ConfigError> = zero.collect();
        errors.extend(self.config.validate().map_err(ConfigError::Connection).err());
        let len = self.agent_version.len();
        if len > identify::MAX_TEXT_LEN {
            errors.push(ConfigError::AgentVersionTooLong { len });
        }
        if errors.is_empty() { Ok(()) } else { Err(ConfigErrors(errors)) }
    }
}

impl fmt::Debug for EndpointBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointBuilder")
            .field("identity", &self.identity)
            .field("config", &self.config)
            .field("protocols", &self.protocols)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
