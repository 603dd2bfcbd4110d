//! Plain TCP through tokio: the floor. A connection is its only stream.

use std::sync::{Arc, Mutex, PoisonError};

use septa_race_scenarios::{Failure, Network, Server};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

pub(crate) struct Tcp;

impl Network for Tcp {
    type Connection = Mutex<Option<TcpStream>>;
    type Stream = Compat<TcpStream>;

    fn new() -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn listen(&self, server: Arc<Server>) -> Result<String, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(tokio::spawn(serve(stream, server.clone()))),
                    Err(error) => server.failed(error),
                }
            }
        });
        Ok(address.to_string())
    }

    async fn dial(&self, address: &str) -> Result<Self::Connection, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Mutex::new(Some(stream)))
    }

    async fn open(connection: &Self::Connection) -> Result<Self::Stream, Failure> {
        let stream = connection.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(stream.ok_or("TCP has only one stream")?.compat())
    }

    /// Its stream, which is the connection, was dropped.
    async fn close(_: Self::Connection) -> Result<(), Failure> {
        Ok(())
    }
}

async fn serve(stream: TcpStream, server: Arc<Server>) {
    let _counted = server.connection();
    match stream.set_nodelay(true) {
        Ok(()) => server.serve::<Tcp>(stream.compat()).await,
        Err(error) => server.failed(error),
    }
}
