//! One module for each command, and what the dialing ones share.

pub(crate) mod demo;
pub(crate) mod echo;
pub(crate) mod id;
pub(crate) mod identify;
pub(crate) mod listen;
pub(crate) mod perf;
pub(crate) mod ping;

use std::{future::Future, time::Duration};

use septa_core::{ExpectedPeer, Multiaddr, PeerId, connection::codes};
use septa_driver::{Connection, Endpoint};

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
    let expected = expected_peer(args)?;
    let builder = world.builder(world.identity(args.identity.as_deref())?, &[]);
    let endpoint = world.build(world.log_keys(builder, args.keylog.as_deref())?)?;
    let outcome = tokio::select! {
        biased;
        () = signals::stop_requested() => Err(Failure::new("interrupted", "nothing else is wrong")),
        outcome = tokio::time::timeout(timeout, connect_and(&endpoint, args, expected, work)) => {
            outcome.unwrap_or_else(|_| Err(timed_out(timeout)))
        }
    };
    endpoint.shutdown(SHUTDOWN).await;
    outcome
}

async fn connect_and<T, W>(
    endpoint: &Endpoint,
    args: &DialArgs,
    expected: ExpectedPeer,
    work: impl FnOnce(Connection) -> W,
) -> Result<T, Failure>
where
    W: Future<Output = Result<T, Failure>>,
{
    let connection = endpoint
        .connect(&args.address, expected)
        .await
        .map_err(|error| Failure::new(error, "check the address and that the peer is running"))?;
    let outcome = work(connection.clone()).await;
    connection.close(codes::connection::NO_ERROR);
    outcome
}

/// `address` with the peer that listens there.
fn with_peer(address: Multiaddr, peer: PeerId) -> Result<Multiaddr, Failure> {
    address.with_peer(peer).map_err(|error| Failure::new(error, "report this as a bug of septa"))
}

fn expected_peer(args: &DialArgs) -> Result<ExpectedPeer, Failure> {
    match args.address.peer_id() {
        Some(peer) => Ok(ExpectedPeer::Exactly(peer)),
        None if args.any_peer => Ok(ExpectedPeer::Any),
        None => Err(Failure::usage(format_args!(
            "{} does not say which peer is expected; append /p2p/<peer id>, or pass --any-peer to talk to whoever answers",
            args.address
        ))),
    }
}

fn timed_out(timeout: Duration) -> Failure {
    Failure::new(format_args!("not done within {} s", timeout.as_secs_f64()), "pass a longer --timeout")
}
