//! Two endpoints on two runtimes.

use std::{io, sync::Arc, time::Duration};

use futures_util::{
    AsyncReadExt, AsyncWriteExt,
    future::{join, join_all},
};
use septa_core::{ExpectedPeer, Identity, ProtocolId};

use super::ends::{Ends, any_addr};
use crate::{
    builder::EndpointBuilder, connection::Connection, endpoint::Endpoint, error::AcceptError, listener::Listener,
    runtime::Runtime, stream::Stream,
};

pub(super) const ECHO: ProtocolId = ProtocolId::from_static("/test/echo/1");
/// Nobody serves it.
pub(super) const OTHER: ProtocolId = ProtocolId::from_static("/test/other/1");

/// In which a shutdown ends by itself.
pub(super) const LONG: Duration = Duration::from_secs(60);

/// Alice dials, bob listens. Both serve [`ECHO`].
pub(super) struct World<'a> {
    pub(super) ends: &'a Ends,
    pub(super) alice: Endpoint,
    pub(super) bob: Endpoint,
}

impl<'a> World<'a> {
    pub(super) fn new(ends: &'a Ends) -> Self {
        Self::with(ends, |builder| builder, |builder| builder)
    }

    pub(super) fn with(
        ends: &'a Ends,
        alice: impl FnOnce(EndpointBuilder) -> EndpointBuilder,
        bob: impl FnOnce(EndpointBuilder) -> EndpointBuilder,
    ) -> Self {
        let alice = alice(builder(1)).build(ends.dialer.clone()).unwrap();
        let bob = bob(builder(2)).build(ends.listener.clone()).unwrap();
        Self { ends, alice, bob }
    }

    pub(super) async fn listen(&self) -> Listener {
        self.bob.listen(&any_addr()).await.unwrap()
    }

    pub(super) async fn connect(&self, listener: &Listener) -> Connection {
        self.alice.connect(&listener.local_addr(), self.bobs_id()).await.unwrap()
    }

    pub(super) fn bobs_id(&self) -> ExpectedPeer {
        ExpectedPeer::Exactly(self.bob.peer_id())
    }

    /// A connection from alice to bob, seen from both ends.
    pub(super) async fn connected(&self) -> (Connection, Connection, Listener) {
        let listener = self.listen().await;
        let (near, far) = join(self.connect(&listener), listener.accept()).await;
        (near, far.unwrap(), listener)
    }

    /// A stream from alice to bob on which a byte has gone by, seen from both ends.
    pub(super) async fn stream(&self, near: &Connection, far: &Connection) -> (Stream, Stream) {
        let mut stream = near.open_stream(&[ECHO]).await.unwrap();
        write_all(&mut stream, b"!").await.unwrap();
        let mut inbound = far.accept_stream().await.unwrap();
        inbound.read_exact(&mut [0]).await.unwrap();
        (stream, inbound)
    }

    /// Bob echoes whatever comes to `listener`, until that is shut down.
    pub(super) fn serve(&self, listener: Arc<Listener>) {
        let runtime = self.ends.listener.clone();
        let serving = runtime.clone();
        runtime.spawn(
            "echo server",
            Box::pin(async move {
                loop {
                    match listener.accept().await {
                        Ok(connection) => serve_echo(&serving, connection),
                        Err(AcceptError::ShutDown) => break,
                        Err(_) => {}
                    }
                }
            }),
        );
    }

    /// Shuts both ends down and checks that nothing is left.
    pub(super) async fn end(self) {
        self.end_after_panics(0, 0).await;
    }

    pub(super) async fn end_after_panics(self, of_alice: u64, of_bob: u64) {
        join(self.alice.shutdown(LONG), self.bob.shutdown(LONG)).await;
        for (endpoint, panics) in [(&self.alice, of_alice), (&self.bob, of_bob)] {
            let stats = endpoint.stats();
            assert_eq!((stats.live_tasks, stats.connections, stats.panicked_tasks), (0, 0, panics));
        }
    }
}

fn builder(seed: u8) -> EndpointBuilder {
    Endpoint::builder(identity(seed)).serve([ECHO])
}

pub(super) fn identity(seed: u8) -> Identity {
    Identity::from_ed25519_seed([seed; 32])
}

/// Echoes every stream of `connection` until it ends.
pub(super) fn serve_echo(runtime: &Arc<dyn Runtime>, connection: Connection) {
    let serving = runtime.clone();
    runtime.spawn(
        "echo server",
        Box::pin(async move {
            while let Ok(stream) = connection.accept_stream().await {
                serving.spawn("echo", Box::pin(echo(stream)));
            }
        }),
    );
}

/// Sends back what comes, then ends the stream.
pub(super) async fn echo(mut stream: Stream) {
    while let Ok(Some(mut chunk)) = stream.read_chunk().await {
        if stream.write_chunk(&mut chunk).await.is_err() {
            return;
        }
    }
    let _ = stream.close().await;
}

/// Writes `data` to an end that echoes, reads it back and compares.
pub(super) async fn exchange(connection: &Connection, data: &[u8]) {
    echoed(connection.open_stream(&[ECHO]).await.unwrap(), data).await;
}

/// [`exchange`] on a stream that is there.
pub(super) async fn echoed(stream: Stream, data: &[u8]) {
    let (mut reader, mut writer) = stream.split();
    let write = async {
        writer.write_all(data).await.unwrap();
        writer.close().await.unwrap();
    };
    let mut back = Vec::new();
    let (read, ()) = join(reader.read_to_end(&mut back), write).await;
    read.unwrap();
    assert!(back == data, "{} bytes were sent, {} came back", data.len(), back.len());
}

/// Several exchanges at once, all different.
pub(super) async fn exchanges(connection: &Connection, count: usize, length: usize) {
    join_all((0..count).map(|number| async move { exchange(connection, &pattern(length + number)).await })).await;
}

/// Bytes that are not all alike.
pub(super) fn pattern(length: usize) -> Vec<u8> {
    (0u32..).take(length).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

// As an application calls them: within this crate, methods of the stream itself have these names.

pub(super) async fn write_all(stream: &mut Stream, data: &[u8]) -> io::Result<()> {
    AsyncWriteExt::write_all(stream, data).await
}

pub(super) async fn read(stream: &mut Stream, buffer: &mut [u8]) -> io::Result<usize> {
    AsyncReadExt::read(stream, buffer).await
}

pub(super) async fn read_to_end(stream: &mut Stream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    AsyncReadExt::read_to_end(stream, &mut all).await?;
    Ok(all)
}
