//! `septa listen`.

use septa_core::ProtocolId;
use septa_driver::{AcceptError, Connection, Listener, Stream};
use serde_json::json;
use tokio::sync::mpsc;

use crate::{
    args::{ListenArgs, seconds},
    echo,
    failure::Failure,
    output::{Output, untrusted},
    signals,
    world::World,
};

/// Accepts connections and prints what happens on them until told to stop.
pub(crate) async fn run(world: &World, args: ListenArgs) -> Result<(), Failure> {
    let timeout = args.timeout.map(seconds).transpose()?;
    let output = world.output;
    let builder = world.builder(world.identity(args.identity.as_deref())?, &args.echo);
    let mut builder = world.log_keys(builder, args.keylog.as_deref())?;
    if args.perf {
        builder = builder.serve_perf(u64::MAX);
    }
    let endpoint = world.build(builder)?;
    // Dropped by whoever serves a connection once it has said how that ended.
    let (serving, mut all_served) = mpsc::channel::<()>(1);
    for address in &args.listen {
        let listener =
            endpoint.listen(address).await.map_err(|error| Failure::new(error, "choose another --listen address"))?;
        let address = super::with_peer(listener.local_addr(), endpoint.peer_id())?;
        output.print(
            format_args!("LISTENING {address}"),
            json!({ "event": "listening", "address": address.to_string() }),
        );
        tokio::spawn(accept(listener, output, serving.clone()));
    }
    drop(serving);
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
    endpoint.shutdown(super::SHUTDOWN).await;
    let _ = tokio::time::timeout(super::SHUTDOWN, all_served.recv()).await;
    Ok(())
}

async fn accept(listener: Listener, output: Output, serving: mpsc::Sender<()>) {
    loop {
        match listener.accept().await {
            Ok(connection) => {
                let serving = serving.clone();
                tokio::spawn(async move {
                    serve(connection, output).await;
                    drop(serving);
                });
            }
            Err(AcceptError::ShutDown) => return,
            Err(error) => output
                .print(format_args!("refused: {error}"), json!({ "event": "refused", "error": error.to_string() })),
        }
    }
}

async fn serve(connection: Connection, output: Output) {
    let peer = connection.peer_id();
    let address = connection.remote_addr().to_string();
    output.print(
        format_args!("connected {peer} from {address}"),
        json!({ "event": "connected", "peer": peer.to_string(), "address": address }),
    );
    tokio::spawn(identify(connection.clone(), output));
    while let Ok(stream) = connection.accept_stream().await {
        tokio::spawn(serve_stream(connection.clone(), stream, output));
    }
    let reason = connection.closed().await;
    output.print(
        format_args!("disconnected {peer}: {reason}"),
        json!({ "event": "disconnected", "peer": peer.to_string(), "reason": reason.to_string() }),
    );
}

async fn identify(connection: Connection, output: Output) {
    let peer = connection.peer_id();
    // A peer need not serve identify; then there is nothing to tell.
    if let Ok(received) = connection.identify().await {
        let agent = received.info.agent_version.unwrap_or_else(|| "no agent name".to_owned());
        output.print(
            format_args!("identified {peer}: {agent}"),
            json!({ "event": "identified", "peer": peer.to_string(), "agent": agent }),
        );
    }
}

async fn serve_stream(connection: Connection, stream: Stream, output: Output) {
    let peer = connection.peer_id().to_string();
    let protocol = stream.protocol().map_or_else(String::new, |protocol: ProtocolId| untrusted(protocol.as_str()));
    output.print(
        format_args!("stream opened by {peer}: {protocol}"),
        json!({ "event": "stream opened", "peer": peer, "protocol": protocol }),
    );
    match echo::serve(stream).await {
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
