//! One module for each command, and what the dialing ones share.

pub(crate) mod demo;
pub(crate) mod echo;
pub(crate) mod id;
pub(crate) mod identify;
mod kept_peers;
pub(crate) mod listen;
pub(crate) mod perf;
pub(crate) mod ping;
pub(crate) mod sim;

use std::{future::Future, time::Duration};

use septa_core::{ExpectedPeer, Multiaddr, connection::codes, multiaddr::Protocol};
use septa_driver::{ConnectError, Connection, Endpoint, Node};

use crate::{
    args::{DialArgs, seconds},
    failure::Failure,
    signals,
    world::World,
};

/// How long a command waits for its connections to close when it is done or told to stop.
const SHUTDOWN: Duration = Duration::from_secs(3);

/// Connects as the arguments say, does `work` on the connection, and closes in good order, whether
/// the work succeeds, fails, takes too long or is interrupted.
async fn dial<T, W>(world: &World, args: &DialArgs, work: impl FnOnce(Connection) -> W) -> Result<T, Failure>
where
    W: Future<Output = Result<T, Failure>>,
{
    let timeout = seconds(args.timeout)?;
    let dialer = Dialer::new(world, args)?;
    let connect_and_work = async {
        let connection = dialer.connect(&args.address).await?;
        let outcome = work(connection.clone()).await;
        connection.close(codes::connection::NO_ERROR);
        outcome
    };
    let outcome = tokio::select! {
        biased;
        () = signals::stop_requested() => Err(Failure::new("interrupted", "nothing else is wrong")),
        outcome = tokio::time::timeout(timeout, connect_and_work) => {
            outcome.unwrap_or_else(|_| Err(timed_out(timeout)))
        }
    };
    dialer.shutdown().await;
    outcome
}

/// What a command connects with.
enum Dialer {
    /// To the peer that the address names.
    Node(Node),
    /// To whoever answers. A node keeps its peers by their ids, and here nobody knows the id before the handshake.
    Anybody(Endpoint),
}

impl Dialer {
    fn new(world: &World, args: &DialArgs) -> Result<Self, Failure> {
        let names_peer = args.address.peer_id().is_some();
        if !names_peer && !args.any_peer {
            return Err(Failure::usage(format_args!(
                "{} does not say which peer is expected; append /p2p/<peer id>, or pass --any-peer to talk to whoever answers",
                args.address
            )));
        }
        let (identity, keylog) = (world.identity(args.identity.as_deref())?, args.keylog.as_deref());
        if names_peer {
            Ok(Self::Node(world.build_node(world.node(identity, keylog)?)?))
        } else {
            Ok(Self::Anybody(world.endpoint(identity, keylog)?))
        }
    }

    async fn connect(&self, address: &Multiaddr) -> Result<Connection, Failure> {
        const HINT: &str = "check the address and that the peer is running";
        if !is_tcp(address) {
            return Err(Failure::new(ConnectError::Unsupported { addr: address.clone() }, HINT));
        }
        match self {
            Self::Node(node) => node.connect_to(address).await.map_err(|error| Failure::new(error, HINT)),
            Self::Anybody(endpoint) => {
                endpoint.connect(address, ExpectedPeer::Any).await.map_err(|error| Failure::new(error, HINT))
            }
        }
    }

    async fn shutdown(&self) {
        match self {
            Self::Node(node) => node.shutdown(SHUTDOWN).await,
            Self::Anybody(endpoint) => endpoint.shutdown(SHUTDOWN).await,
        }
    }
}

/// Whether an address leads somewhere over TCP. A node would only say that the transport failed.
fn is_tcp(address: &Multiaddr) -> bool {
    let mut protocols = address.protocols();
    let is_name = matches!(protocols.next(), Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)));
    let has_port = matches!(protocols.next(), Some(Protocol::Tcp(_)));
    address.socket_addr().is_some() || (is_name && has_port)
}

fn timed_out(timeout: Duration) -> Failure {
    Failure::new(format_args!("not done within {} s", timeout.as_secs_f64()), "pass a longer --timeout")
}

/// A free port of this machine.
fn loopback() -> Result<Multiaddr, Failure> {
    "/ip4/127.0.0.1/tcp/0".parse().map_err(|error| Failure::new(error, "report this as a bug of septa"))
}
