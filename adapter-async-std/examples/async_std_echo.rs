//! Two nodes in one async-std program: one echoes, the other sends a message and reads it back.
//!
//! `cargo run -p septa-async-std --example async_std_echo`

use std::{error::Error, time::Duration};

use async_std::{
    io::{ReadExt, WriteExt},
    task,
};
use septa_async_std::AsyncStdRuntime;
use septa_core::{Identity, ProtocolId};
use septa_driver::{AcceptError, Connection, Endpoint, Runtime as _, Stream, expected_peer};

const ECHO: ProtocolId = ProtocolId::from_static("/example/echo/1.0.0");

fn main() -> Result<(), Box<dyn Error>> {
    task::block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    // The seed of an identity comes from the operating system; a real node stores its identity.
    let seeds = AsyncStdRuntime::new()?;
    let server = septa_async_std::build(Endpoint::builder(Identity::generate(seeds.seed())).serve([ECHO]))?;
    let client = septa_async_std::build(Endpoint::builder(Identity::generate(seeds.seed())))?;

    let listener = server.listen(&"/ip4/127.0.0.1/tcp/0".parse()?).await?;
    let addr = listener.local_addr().with_peer(server.peer_id())?;
    println!("listening on {addr}");
    let accepting = task::spawn(async move {
        loop {
            match listener.accept().await {
                Ok(connection) => {
                    println!("connected: {}", connection.peer_id());
                    task::spawn(serve(connection));
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

    let mut stream = connection.open_stream(&[ECHO]).await?;
    stream.write_all(b"hello, septum").await?;
    stream.finish()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    println!("echoed: {answer}");

    client.shutdown(Duration::from_secs(5)).await;
    server.shutdown(Duration::from_secs(5)).await;
    accepting.await;
    Ok(())
}

async fn serve(connection: Connection) {
    while let Ok(stream) = connection.accept_stream().await {
        task::spawn(echo(stream));
    }
}

async fn echo(mut stream: Stream) {
    while let Ok(Some(mut chunk)) = stream.read_chunk().await {
        if stream.write_chunk(&mut chunk).await.is_err() {
            return;
        }
    }
    let _ = stream.finish();
}
