//! `septa listen`.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use septa_core::{ConnectionId, Multiaddr, PeerId, ProtocolId};
use septa_driver::{
    CloseReason, FileStorage, Node,
    node::{Event, InboundStream, IncomingStreams, Subscription},
};
use serde_json::json;
use tokio::task::JoinSet;

use super::kept_peers::{KeptPeers, named_peer};
use crate::{
    args::{ListenArgs, seconds},
    echo,
    failure::Failure,
    output::{Output, untrusted},
    signals,
    world::World,
};

/// Accepts connections, keeps those to chosen peers, and prints what happens until told to stop.
pub(crate) async fn run(world: &World, args: ListenArgs) -> Result<(), Failure> {
    let timeout = args.timeout.map(seconds).transpose()?;
    args.peer.iter().try_for_each(|address| named_peer(address).map(drop))?;
    let mut builder = world.node(world.identity(args.identity.as_deref())?, args.keylog.as_deref())?;
    if args.perf {
        builder = builder.serve_perf(u64::MAX);
    }
    if let Some(file) = &args.book {
        builder = builder.storage(Arc::new(open_book(file)?));
    }
    let node = world.build_node(builder)?;
    let mut tasks = JoinSet::new();
    let begun = begin(&node, args, world.output, &mut tasks).await;
    if begun.is_ok() {
        let elapsed = async {
            match timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = signals::stop_requested() => {}
            () = elapsed => {}
        }
    }
    node.shutdown(super::SHUTDOWN).await;
    // They end with the node, once they have said how each connection ended.
    let _ = tokio::time::timeout(super::SHUTDOWN, tasks.join_all()).await;
    begun
}

fn open_book(file: &Path) -> Result<FileStorage, Failure> {
    FileStorage::open(file).map_err(|error| Failure::new(error, "choose another --book file"))
}

/// Starts all that the arguments ask for.
async fn begin(node: &Node, args: ListenArgs, output: Output, tasks: &mut JoinSet<()>) -> Result<(), Failure> {
    let events = node.events();
    if let Some((path, why)) = &node.recollection().set_aside {
        let path = path.display();
        output.print(
            format_args!("the book could not be read ({why}) and is now {path}; bans in it do not hold"),
            json!({ "event": "book set aside", "path": path.to_string(), "error": why }),
        );
    }
    let mut kept = KeptPeers::remembered(node, output);
    // What is served must be known before the first peer asks.
    for protocol in args.echo.into_iter().collect::<BTreeSet<ProtocolId>>() {
        let streams = node.accept(protocol).map_err(|error| Failure::new(error, "choose another --echo protocol"))?;
        tasks.spawn(serve(streams, output));
    }
    for address in listen_addresses(args.listen, args.peer.is_empty())? {
        let address =
            node.listen(&address).await.map_err(|error| Failure::new(error, "choose another --listen address"))?;
        output.print(
            format_args!("LISTENING {address}"),
            json!({ "event": "listening", "address": address.to_string() }),
        );
    }
    args.peer.iter().try_for_each(|address| kept.add(address))?;
    tasks.spawn(report(node.clone(), events, kept, output));
    Ok(())
}

/// Those that were given. With none, a free port of this machine, unless the node is to dial only.
fn listen_addresses(given: Vec<Multiaddr>, must_listen: bool) -> Result<Vec<Multiaddr>, Failure> {
    if given.is_empty() && must_listen { Ok(vec![super::loopback()?]) } else { Ok(given) }
}

/// Prints what happens until the node has ended.
async fn report(node: Node, mut events: Subscription, mut kept: KeptPeers, output: Output) {
    while let Some(event) = events.next().await {
        kept.hear(&event);
        match event {
            Event::Opened { peer, connection, endpoints, .. } => {
                let address = endpoints.remote.to_string();
                output.print(
                    format_args!("connected {peer} from {address}"),
                    json!({ "event": "connected", "peer": peer.to_string(), "address": address }),
                );
                tokio::spawn(identify(node.clone(), peer, connection, output));
            }
            Event::Closed { peer: Some(peer), was_open: true, reason, .. } => output.print(
                format_args!("disconnected {peer}: {reason}"),
                json!({ "event": "disconnected", "peer": peer.to_string(), "reason": reason.to_string() }),
            ),
            Event::Denied { remote, reason, .. } => refused(&format!("{remote}: {reason}"), output),
            // Told by `Denied`, or by the state of the peer.
            Event::Closed { reason: CloseReason::Denied(_), .. } => {}
            Event::Closed { peer: Some(peer), .. } if kept.contains(&peer) => {}
            Event::Closed { was_open: false, reason, .. } => refused(&reason.to_string(), output),
            _ => {}
        }
    }
}

fn refused(why: &str, output: Output) {
    output.print(format_args!("refused: {why}"), json!({ "event": "refused", "error": why }));
}

async fn identify(node: Node, peer: PeerId, id: ConnectionId, output: Output) {
    let Some(connection) = node.connection(&peer).filter(|connection| connection.id() == Some(id)) else { return };
    // The node asks each new peer. One need not answer; then there is nothing to tell.
    if let Ok(remote) = connection.remote_identify_after(0).await {
        let agent = remote.info().agent_version.clone().unwrap_or_else(|| "no agent name".to_owned());
        output.print(
            format_args!("identified {peer}: {}", untrusted(&agent)),
            json!({ "event": "identified", "peer": peer.to_string(), "agent": agent }),
        );
    }
}

async fn serve(mut streams: IncomingStreams, output: Output) {
    let protocol = untrusted(streams.protocol().as_str());
    while let Some(inbound) = streams.next().await {
        tokio::spawn(serve_stream(inbound, protocol.clone(), output));
    }
}

async fn serve_stream(inbound: InboundStream, protocol: String, output: Output) {
    let peer = inbound.peer.to_string();
    output.print(
        format_args!("stream opened by {peer}: {protocol}"),
        json!({ "event": "stream opened", "peer": peer, "protocol": protocol }),
    );
    match echo::serve(inbound.stream).await {
        Ok(bytes) => output.print(
            format_args!("echo finished for {peer}: {bytes} bytes"),
            json!({ "event": "echo finished", "peer": peer, "protocol": protocol, "bytes": bytes }),
        ),
        Err(error) => output.print(
            format_args!("echo broken for {peer}: {error}"),
            json!({ "event": "echo broken", "peer": peer, "protocol": protocol, "error": error.to_string() }),
        ),
    }
}
