//! A node that keeps a peer: it dials it, talks to it, and would dial it again whenever it is lost.
//!
//! `cargo run -p septa-tokio --example node`

use std::{error::Error, time::Duration};

use septa_core::{Identity, ProtocolId};
use septa_driver::{
    Node, Runtime as _,
    node::{Event, EventFilter, IncomingStreams, Intent, PeerState},
};
use septa_tokio::{TokioRuntime, TokioStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, split};

const ECHO: ProtocolId = ProtocolId::from_static("/example/echo/1.0.0");

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The seed of an identity comes from the operating system; a real node stores its identity.
    let seeds = TokioRuntime::current()?;
    let server = septa_tokio::build_node(Node::builder(Identity::generate(seeds.seed())))?;
    let client = septa_tokio::build_node(Node::builder(Identity::generate(seeds.seed())))?;

    // Inbound streams come sorted by protocol, whichever peer opened them.
    tokio::spawn(serve(server.accept(ECHO)?));
    let addr = server.listen(&"/ip4/127.0.0.1/tcp/0".parse()?).await?;
    println!("listening on {addr}");

    // From now on the client keeps a connection to the server, and tells what becomes of it.
    let peer = server.peer_id();
    let mut events = client.subscribe(EventFilter::new().peer(peer));
    client.add_peer(peer, &[addr], Intent::Persistent)?;
    while let Some(event) = events.next().await {
        println!("{event:?}");
        if matches!(event, Event::State { state: PeerState::Established, .. }) {
            break;
        }
    }

    let mut stream = TokioStream::from(client.open_stream(&peer, &[ECHO]).await?);
    stream.write_all(b"hello, septum").await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    println!("echoed: {answer}");

    client.shutdown(Duration::from_secs(5)).await;
    server.shutdown(Duration::from_secs(5)).await;
    // The events end with the node.
    while let Some(event) = events.next().await {
        println!("{event:?}");
    }
    Ok(())
}

async fn serve(mut streams: IncomingStreams) {
    while let Some(inbound) = streams.next().await {
        tokio::spawn(async move {
            let (mut reader, mut writer) = split(TokioStream::from(inbound.stream));
            if copy(&mut reader, &mut writer).await.is_ok() {
                let _ = writer.shutdown().await;
            }
        });
    }
}
