//! Two nodes in one tokio program: one echoes, the other sends a message and reads it back.
//!
//! `cargo run -p septa-tokio --example echo`

use std::{error::Error, time::Duration};

use septa_core::{Identity, ProtocolId};
use septa_driver::{AcceptError, Connection, Endpoint, Runtime as _, expected_peer};
use septa_tokio::{TokioRuntime, TokioStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, split};

const ECHO: ProtocolId = ProtocolId::from_static("/example/echo/1.0.0");

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The seed of an identity comes from the operating system; a real node stores its identity.
    let seeds = TokioRuntime::current()?;
    let server = septa_tokio::build(Endpoint::builder(Identity::generate(seeds.seed())).serve([ECHO]))?;
    let client = septa_tokio::build(Endpoint::builder(Identity::generate(seeds.seed())))?;

    let listener = server.listen(&"/ip4/127.0.0.1/tcp/0".parse()?).await?;
    let addr = listener.local_addr().with_peer(server.peer_id())?;
    println!("listening on {addr}");
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok(connection) => {
                    println!("connected: {}", connection.peer_id());
                    tokio::spawn(serve(connection));
                }
                Err(AcceptError::ShutDown) => break,
                // A failed handshake concerns nobody else.
                Err(error) => eprintln!("{error}"),
            }
        }
    });

    // The address names the peer, so that nobody else can answer in its place.
    let connection = client.connect(&addr, expected_peer(&addr)?).await?;
    println!("round trip: {:?}", connection.ping().await?);

    let mut stream = TokioStream::from(connection.open_stream(&[ECHO]).await?);
    stream.write_all(b"hello, septum").await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    println!("echoed: {answer}");

    client.shutdown(Duration::from_secs(5)).await;
    server.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

async fn serve(connection: Connection) {
    while let Ok(stream) = connection.accept_stream().await {
        tokio::spawn(async move {
            let (mut reader, mut writer) = split(TokioStream::from(stream));
            if copy(&mut reader, &mut writer).await.is_ok() {
                let _ = writer.shutdown().await;
            }
        });
    }
}
