//! Messages and requests between two nodes.
//!
//! `cargo run -p septa-tokio --example messages`

use std::{error::Error, time::Duration};

use septa_core::Identity;
use septa_driver::{
    Node, Runtime as _,
    channel::{Channel, Received},
    requests::{RequestOptions, Requests},
};
use septa_tokio::TokioRuntime;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The seed of an identity comes from the operating system; a real node stores its identity.
    let seeds = TokioRuntime::current()?;
    let server = septa_tokio::build_node(Node::builder(Identity::generate(seeds.seed())))?;
    let client = septa_tokio::build_node(Node::builder(Identity::generate(seeds.seed())))?;

    // Both ends open the channel; what comes is taken with `recv`.
    tokio::spawn(greet(server.channel("greetings")?));
    tokio::spawn(count(server.requests("letters", RequestOptions::default())?));
    let greetings = client.channel("greetings")?;
    let letters = client.requests("letters", RequestOptions::default())?;

    // A message may be sent before there is a connection: it waits for one. The channel itself dials nobody.
    let peer = server.peer_id();
    greetings.send(peer, b"hello").await?;
    let addr = server.listen(&"/ip4/127.0.0.1/tcp/0".parse()?).await?;
    client.connect_to(&addr).await?;
    if let Some(Received::Message { epoch, body, .. }) = greetings.recv().await {
        println!("{} (on connection {})", String::from_utf8_lossy(&body), epoch.get());
    }

    // Five seconds for everything, from waiting for room to the answer.
    let answer = letters.request(peer, b"septum", Duration::from_secs(5)).await?;
    println!("septum has {} letters", String::from_utf8_lossy(&answer));

    client.shutdown(Duration::from_secs(5)).await;
    server.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

async fn greet(channel: Channel) {
    while let Some(received) = channel.recv().await {
        // Waits while too much waits for that peer; others have their turn in other tasks.
        if let Received::Message { peer, body, .. } = received
            && channel.send(peer, &[&body[..], b" to you, too"].concat()).await.is_err()
        {
            return;
        }
    }
}

async fn count(requests: Requests) {
    while let Some(request) = requests.next().await {
        let count = request.body().len().to_string();
        // Whoever asked may have given up.
        let _ = request.respond(count.as_bytes());
    }
}
