//! Nodes that are driven directly, as an embedder's event loop drives them.
//!
//! There are no handles and no driver here: one task holds a [`Node`](node::Node), its [`Connection`]s and their sockets, asks each
//! what it wants and tells it what happened. Its operating system is a [`Runtime`], such as a host of a
//! [`Simulation`](crate::Simulation); its program is an [`Application`].
//!
//! ```
//! use std::{net::SocketAddr, sync::Arc, time::Duration};
//!
//! use septa_core::{Connection, ConnectionId, Identity, Multiaddr, PeerId, Role, ProtocolId, connection::Event, node::Intent};
//! use septa_sim::{Simulation, direct::{Application, Context, Direct, Setup}};
//!
//! const HELLO: ProtocolId = ProtocolId::from_static("/example/hello");
//!
//! /// Says hello to every peer, after it has dialed the one that it knows.
//! struct Greeter(Option<(PeerId, Multiaddr)>);
//!
//! impl Application for Greeter {
//!     fn started(&mut self, cx: &mut Context<'_>) {
//!         let now = cx.now();
//!         if let Some((peer, addr)) = self.0.take() {
//!             cx.node().add_peer(now, peer, &[addr], Intent::Persistent).unwrap();
//!         }
//!     }
//!
//!     fn connection_event(&mut self, cx: &mut Context<'_>, _: ConnectionId, connection: &mut Connection, event: Event) {
//!         match event {
//!             Event::Ready if connection.role() == Role::Dialer => {
//!                 let id = connection.open(cx.now(), &[HELLO]).unwrap();
//!                 connection.stream(id).write(b"hello").unwrap();
//!                 connection.stream(id).finish().unwrap();
//!             }
//!             Event::Incoming => {
//!                 while let Some(id) = connection.accept() {
//!                     let mut hello = [0; 100];
//!                     assert_eq!(connection.stream(id).read(&mut hello), Ok(5));
//!                     connection.stream(id).release();
//!                     cx.end();
//!                 }
//!             }
//!             _ => {}
//!         }
//!     }
//! }
//!
//! let simulation = Simulation::new(1);
//! let (direct, addr) = (Direct::checked(), SocketAddr::new(simulation.ip(1), 4001));
//! let host = Identity::from_ed25519_seed([1; 32]);
//! let known = (host.peer_id(), Multiaddr::from_socket_addr(addr));
//! let host = Setup { listen: vec![addr], ..Setup::serving(host, &[HELLO]) };
//! direct.start(&simulation.host("host"), host, Greeter(None))?;
//! let visitor = Setup::serving(Identity::from_ed25519_seed([2; 32]), &[HELLO]);
//! direct.start(&simulation.host("visitor"), visitor, Greeter(Some(known)))?;
//!
//! simulation.block_on(simulation.sleep(Duration::from_secs(5))).unwrap();
//! assert_eq!(direct.violations(), []);
//! // The host has ended.
//! assert_eq!(simulation.live_tasks(), ["visitor: node"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod context;
mod contract;
mod event_loop;
mod memory;
mod ready;
mod slots;
mod transport;
mod work;

use std::{fmt, net::SocketAddr, sync::Arc};

use septa_core::{
    Connection, ConnectionId, Identity, ProtocolId, connection,
    crypto::Provider,
    node::{self, InvalidValues},
};
use septa_driver::runtime::Runtime;

pub use context::Context;
use event_loop::EventLoop;
use work::Shared;
pub use work::{Counts, Violation};

use crate::FastCrypto;

/// The rule of a node that was told to listen.
const LISTENS: &str = "a node listens where it is to";

/// The program of a node that is driven directly.
///
/// Calls come on the node's task, one at a time, and never wait: what is blocked goes on at the event that follows.
pub trait Application: Send + 'static {
    /// The node runs, and listens where it was to. Now is the time to add peers.
    fn started(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }

    /// The node has something to tell.
    fn node_event(&mut self, cx: &mut Context<'_>, event: node::Event) {
        let _ = (cx, event);
    }

    /// A connection has something to tell. [`Closed`](connection::Event::Closed) is the last of its events.
    fn connection_event(
        &mut self,
        cx: &mut Context<'_>,
        id: ConnectionId,
        connection: &mut Connection,
        event: connection::Event,
    );

    /// The instant has come that was [asked for](Context::set_timer).
    fn timer(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }
}

/// What a node is made of.
#[derive(Debug)]
pub struct Setup {
    /// Who it is.
    pub identity: Identity,
    /// The cryptography of its connections.
    pub provider: Arc<dyn Provider>,
    /// Its limits and delays.
    pub node: node::Config,
    /// Those of its connections, and what it serves.
    pub connection: connection::Config,
    /// Where it listens. That it cannot is reported as a violation, and then there is no node.
    pub listen: Vec<SocketAddr>,
}

impl Setup {
    /// A node that serves these protocols, listens nowhere and keeps to the defaults, with [`FastCrypto`].
    pub fn serving(identity: Identity, protocols: &[ProtocolId]) -> Self {
        let protocols = protocols.iter().cloned().collect();
        Self {
            identity,
            provider: Arc::new(FastCrypto),
            node: node::Config::default(),
            connection: connection::Config { protocols, ..connection::Config::default() },
            listen: Vec::new(),
        }
    }
}

/// The nodes of one world that are driven directly, and what they have in common: counters, buffers, and whether what
/// they are made of is checked on the way. Clones are the same.
#[derive(Clone)]
pub struct Direct(Arc<Shared>);

impl Default for Direct {
    fn default() -> Self {
        Self::new()
    }
}

impl Direct {
    /// Nothing is checked that costs time.
    pub fn new() -> Self {
        Self(Arc::new(Shared::new(false)))
    }

    /// Nodes and connections are also asked what they need not be asked: whether something is left when they have said
    /// that nothing is, whether a timer that has fired is due again at once, whether telling the time too early changes
    /// anything, whether `Closed` is said once and last, and whether a connection holds more than its limits promise.
    /// What is wrong is a [`Violation`].
    pub fn checked() -> Self {
        Self(Arc::new(Shared::new(true)))
    }

    /// Starts a node on a host, as a task of its own. It runs until its application [ends](Context::end) it.
    ///
    /// # Errors
    /// The configuration of the node cannot work. Nothing was started.
    pub fn start(
        &self,
        host: &Arc<dyn Runtime>,
        setup: Setup,
        application: impl Application,
    ) -> Result<(), InvalidValues> {
        let node = self.node(host.clone(), setup, application)?;
        host.spawn("node", Box::pin(node));
        Ok(())
    }

    /// A node on a host, for whoever has a task for it to run on.
    ///
    /// # Errors
    /// The configuration of the node cannot work.
    pub fn node(
        &self,
        host: Arc<dyn Runtime>,
        setup: Setup,
        application: impl Application,
    ) -> Result<impl Future<Output = ()> + Send + 'static, InvalidValues> {
        let (shared, listen) = (self.0.clone(), setup.listen.clone());
        // Boxed, as a future holds what it awaits beside what that was made of.
        let event_loop = EventLoop::new(host.clone(), self.0.clone(), setup, Box::new(application))?;
        let mut event_loop = Box::new(event_loop);
        // Boxed too, as it is soon over.
        let listening = Box::pin(async move {
            for addr in listen {
                match host.listen(addr).await {
                    Ok(acceptor) => event_loop.add_listener(acceptor),
                    Err(error) => {
                        let what = format!("it cannot listen at {addr}: {error}");
                        shared.violated(&host, LISTENS, what);
                        return None;
                    }
                }
            }
            Some(event_loop)
        });
        Ok(async move {
            // In two statements, or what was awaited would be kept.
            let event_loop = listening.await;
            if let Some(event_loop) = event_loop {
                event_loop.await;
            }
        })
    }

    /// What has happened until now.
    pub fn counts(&self) -> Counts {
        self.0.counts()
    }

    /// Has `report` called whenever something happens that never should.
    pub fn on_violation(&self, report: impl Fn(&Violation) + Send + Sync + 'static) {
        self.0.set_reporter(Arc::new(report));
    }

    /// What should never have happened, the first [`MAX_VIOLATIONS`](Self::MAX_VIOLATIONS) of it.
    pub fn violations(&self) -> Vec<Violation> {
        self.0.violations()
    }

    /// Violations that are kept. A rule that is broken once is often broken all the time.
    pub const MAX_VIOLATIONS: usize = 16;
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct").field("counts", &self.counts()).finish_non_exhaustive()
    }
}
