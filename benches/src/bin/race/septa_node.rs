//! Messages on a channel between two nodes of Septa on tokio, with their defaults.

use std::sync::Arc;

use septa_core::{Identity, PeerId, ProtocolId};
use septa_driver::{Channel, Connection, Node, Runtime as _, Stream, channel::Received};
use septa_race_scenarios::{Failure, Messages, Network, Server};
use septa_tokio::TokioRuntime;

use crate::septa;

const PROTOCOL: ProtocolId = ProtocolId::from_static("/race/1");

pub(crate) struct SeptaNode {
    node: Node,
    channel: Channel,
}

impl Network for SeptaNode {
    type Connection = Connection;
    type Stream = Stream;
    type Messages = ChannelMessages;

    fn new() -> Result<Self, Failure> {
        let identity = Identity::generate(TokioRuntime::current()?.seed());
        let node = septa_tokio::build_node(Node::builder(identity))?;
        Ok(Self { channel: node.channel("race")?, node })
    }

    async fn listen(&self, server: Arc<Server>) -> Result<String, Failure> {
        let address = self.node.listen(&"/ip4/127.0.0.1/tcp/0".parse()?).await?;
        tokio::spawn(count(self.channel.clone(), server));
        Ok(address.to_string())
    }

    async fn dial(&self, address: &str) -> Result<Connection, Failure> {
        Ok(self.node.connect_to(&address.parse()?).await?)
    }

    async fn open(connection: &Connection) -> Result<Stream, Failure> {
        Ok(connection.open_stream(&[PROTOCOL]).await?)
    }

    async fn messages(&self, address: &str) -> Result<ChannelMessages, Failure> {
        let peer = self.dial(address).await?.peer_id();
        Ok(ChannelMessages { channel: self.channel.clone(), peer })
    }

    async fn close(connection: Connection) -> Result<(), Failure> {
        septa::Septa::close(connection).await
    }
}

/// Messages on a channel. An empty one asks for the count.
pub(crate) struct ChannelMessages {
    channel: Channel,
    peer: PeerId,
}

impl Messages for ChannelMessages {
    async fn send(&mut self, message: &[u8]) -> Result<(), Failure> {
        self.channel.send(self.peer, message).await?;
        Ok(())
    }

    async fn finish(self) -> Result<u64, Failure> {
        self.channel.send(self.peer, &[]).await?;
        match self.channel.recv().await {
            Some(Received::Message { body, .. }) => Ok(u64::from_be_bytes(body.as_ref().try_into()?)),
            other => Err(format!("no count but {other:?}").into()),
        }
    }
}

async fn count(channel: Channel, server: Arc<Server>) {
    let mut count: u64 = 0;
    loop {
        match channel.recv().await {
            Some(Received::Message { peer, body, .. }) if body.is_empty() => {
                if let Err(error) = channel.send(peer, &count.to_be_bytes()).await {
                    server.failed(error);
                }
                count = 0;
            }
            Some(Received::Message { .. }) => count += 1,
            Some(other) => server.failed(format_args!("{other:?}")),
            None => return,
        }
    }
}
