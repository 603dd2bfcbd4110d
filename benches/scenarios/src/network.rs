//! What a variant must be able to do.

use std::{io, sync::Arc};

use futures_util::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::{
    messages::Messages,
    server::{Server, read_to_end},
};

/// Why a node gives up, for people.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One node of a variant: it listens or dials.
///
/// Its methods are called on tokio workers. Reads and writes go through the traits of `futures-io`, which
/// are what both Septa and rust-libp2p offer; plain TCP is adapted to them.
pub trait Network: Send + Sync + Sized + 'static {
    /// An open connection: secured and multiplexed, if the variant does that.
    type Connection: Send + Sync + 'static;
    /// A stream of bytes on a connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// A flow of messages. Where a variant knows only bytes, [`StreamMessages`](crate::StreamMessages).
    type Messages: Messages;

    /// Makes a node within the current tokio runtime.
    ///
    /// # Errors
    /// The node cannot be made.
    fn new() -> Result<Self, Failure>;

    /// Listens on a free port of `127.0.0.1` and returns what [`dial`](Self::dial) takes. From then on each
    /// connection is announced with [`Server::connection`], and each of its streams is given to
    /// [`Server::serve`] in a task of its own.
    fn listen(&self, server: Arc<Server>) -> impl Future<Output = Result<String, Failure>> + Send;

    /// Connects and waits until streams are possible.
    fn dial(&self, address: &str) -> impl Future<Output = Result<Self::Connection, Failure>> + Send;

    /// Opens a stream, as far as that needs waiting in this variant.
    fn open(connection: &Self::Connection) -> impl Future<Output = Result<Self::Stream, Failure>> + Send;

    /// Writes all of a message and sees to it that it leaves.
    fn send(stream: &mut Self::Stream, message: &[u8]) -> impl Future<Output = io::Result<()>> + Send {
        async {
            stream.write_all(message).await?;
            stream.flush().await
        }
    }

    /// Opens a flow of messages to the node that listens at `address`.
    fn messages(&self, address: &str) -> impl Future<Output = Result<Self::Messages, Failure>> + Send;

    /// Reads messages of `len` bytes to the end of a stream and counts them.
    fn count_messages(stream: &mut Self::Stream, len: usize) -> impl Future<Output = io::Result<u64>> + Send {
        async move { Ok(read_to_end(stream, |_| {}).await? / len as u64) }
    }

    /// Closes the connection in good order and waits until it is gone.
    fn close(connection: Self::Connection) -> impl Future<Output = Result<(), Failure>> + Send;
}
