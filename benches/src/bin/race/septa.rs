//! Septa on tokio, with its defaults.

use std::{io, sync::Arc};

use septa_core::{Identity, ProtocolId};
use septa_driver::{AcceptError, CloseReason, Connection, Endpoint, Listener, Runtime as _, Stream, expected_peer};
use septa_race_scenarios::{Failure, Network, Server, StreamMessages};
use septa_tokio::TokioRuntime;

const PROTOCOL: ProtocolId = ProtocolId::from_static("/race/1");

pub(crate) struct Septa(Endpoint);

impl Network for Septa {
    type Connection = Connection;
    type Stream = Stream;
    type Messages = StreamMessages<Self>;

    fn new() -> Result<Self, Failure> {
        let identity = Identity::generate(TokioRuntime::current()?.seed());
        Ok(Self(septa_tokio::build(Endpoint::builder(identity).serve([PROTOCOL]))?))
    }

    async fn listen(&self, server: Arc<Server>) -> Result<String, Failure> {
        let listener = self.0.listen(&"/ip4/127.0.0.1/tcp/0".parse()?).await?;
        let address = listener.local_addr().with_peer(self.0.peer_id())?;
        tokio::spawn(accept(listener, server));
        Ok(address.to_string())
    }

    async fn dial(&self, address: &str) -> Result<Connection, Failure> {
        let address = address.parse()?;
        Ok(self.0.connect(&address, expected_peer(&address)?).await?)
    }

    async fn open(connection: &Connection) -> Result<Stream, Failure> {
        Ok(connection.open_stream(&[PROTOCOL]).await?)
    }

    async fn send(stream: &mut Stream, message: &[u8]) -> io::Result<()> {
        stream.send(message).await.map_err(io::Error::other)
    }

    async fn messages(&self, address: &str) -> Result<StreamMessages<Self>, Failure> {
        StreamMessages::dial(self, address).await
    }

    async fn close(connection: Connection) -> Result<(), Failure> {
        connection.close(0);
        match connection.closed().await {
            CloseReason::Local => Ok(()),
            reason => Err(format!("the connection was lost: {reason}").into()),
        }
    }
}

async fn accept(listener: Listener, server: Arc<Server>) {
    loop {
        match listener.accept().await {
            Ok(connection) => drop(tokio::spawn(serve(connection, server.clone()))),
            Err(AcceptError::ShutDown) => return,
            Err(error) => server.failed(error),
        }
    }
}

async fn serve(connection: Connection, server: Arc<Server>) {
    let _counted = server.connection();
    let reason = loop {
        match connection.accept_stream().await {
            Ok(stream) => {
                let server = server.clone();
                tokio::spawn(async move { server.serve::<Septa>(stream).await });
            }
            Err(reason) => break reason,
        }
    };
    if !matches!(reason, CloseReason::Remote { code: 0 }) {
        server.failed(format_args!("a connection was lost: {reason}"));
    }
}
