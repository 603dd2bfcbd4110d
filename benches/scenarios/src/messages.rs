//! Flows of messages.

use futures_util::io::{AsyncReadExt, AsyncWriteExt};

use crate::network::{Failure, Network};

/// How long a message is.
pub(crate) const MESSAGE_LEN: usize = 100;

/// A flow of messages to the other node.
pub trait Messages: Send + Sized + 'static {
    /// Sends one.
    fn send(&mut self, message: &[u8]) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Ends the flow, and returns how many messages the other node says that it has received.
    fn finish(self) -> impl Future<Output = Result<u64, Failure>> + Send;
}

/// Messages written to a stream, which arrive as bytes.
pub struct StreamMessages<N: Network> {
    connection: N::Connection,
    stream: N::Stream,
}

impl<N: Network> StreamMessages<N> {
    /// On a connection of its own.
    ///
    /// # Errors
    /// There is no connection, or no stream on it.
    pub async fn dial(network: &N, address: &str) -> Result<Self, Failure> {
        let connection = network.dial(address).await?;
        let stream = N::open(&connection).await?;
        Ok(Self { connection, stream })
    }
}

impl<N: Network> Messages for StreamMessages<N> {
    async fn send(&mut self, message: &[u8]) -> Result<(), Failure> {
        Ok(self.stream.write_all(message).await?)
    }

    async fn finish(mut self) -> Result<u64, Failure> {
        self.stream.close().await?;
        let mut received = [0; 8];
        self.stream.read_exact(&mut received).await?;
        drop(self.stream);
        N::close(self.connection).await?;
        Ok(u64::from_be_bytes(received))
    }
}
