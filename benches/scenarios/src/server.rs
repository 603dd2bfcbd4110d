//! The serving side of every scenario.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use futures_util::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{messages::MESSAGE_LEN, network::Network, scenario::Scenario};

/// What readers read at once.
pub const READ_LEN: usize = 64 * 1024;
/// What a client sends on a short stream, and what it gets back.
pub(crate) const ASK: &[u8] = b"ex";
pub(crate) const ANSWER: &[u8] = b"!";

/// Serves streams and counts.
pub struct Server {
    scenario: Scenario,
    accepted: AtomicU64,
    open: AtomicU64,
    served: AtomicU64,
    failed: AtomicU64,
}

/// A connection that counts as open while this exists.
pub struct ServedConnection(Arc<Server>);

impl Drop for ServedConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

impl Server {
    pub(crate) fn new(scenario: Scenario) -> Arc<Self> {
        let [accepted, open, served, failed] = [const { AtomicU64::new(0) }; 4];
        Arc::new(Self { scenario, accepted, open, served, failed })
    }

    /// Counts a new connection.
    pub fn connection(self: &Arc<Self>) -> ServedConnection {
        self.accepted.fetch_add(1, Relaxed);
        self.open.fetch_add(1, Relaxed);
        ServedConnection(self.clone())
    }

    /// Counts something that should not have happened, and says what.
    pub fn failed(&self, error: impl fmt::Display) {
        if self.failed.fetch_add(1, Relaxed) < 3 {
            eprintln!("server: {error}");
        }
    }

    /// Does with a stream what the scenario asks for.
    pub async fn serve<N: Network>(&self, mut stream: N::Stream) {
        let outcome = match self.scenario {
            Scenario::Bulk | Scenario::Messages => self.sink(&mut stream).await,
            Scenario::Channel => self.count::<N>(&mut stream).await,
            Scenario::Streams1 | Scenario::Streams16 => self.answer(&mut stream).await,
            _ => self.echo::<N>(&mut stream).await,
        };
        if let Err(error) = outcome {
            self.failed(error);
        }
        // The client may have read the end and closed the connection before this returns.
        let _ = stream.close().await;
    }

    pub(crate) fn counts(&self) -> [(&'static str, u64); 4] {
        [("accepted", &self.accepted), ("open", &self.open), ("served", &self.served), ("failed", &self.failed)]
            .map(|(name, count)| (name, count.load(Relaxed)))
    }

    async fn sink(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
        let total = read_to_end(stream, |_| {}).await?;
        self.served.fetch_add(1, Relaxed);
        stream.write_all(&total.to_be_bytes()).await
    }

    async fn count<N: Network>(&self, stream: &mut N::Stream) -> io::Result<()> {
        let count = N::count_messages(stream, MESSAGE_LEN).await?;
        self.served.fetch_add(1, Relaxed);
        stream.write_all(&count.to_be_bytes()).await
    }

    async fn echo<N: Network>(&self, stream: &mut N::Stream) -> io::Result<()> {
        let mut buffer = [0; 256];
        loop {
            match stream.read(&mut buffer).await? {
                0 => break,
                count => N::send(stream, &buffer[..count]).await?,
            }
        }
        self.served.fetch_add(1, Relaxed);
        Ok(())
    }

    async fn answer(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
        let mut asked = Vec::with_capacity(ASK.len());
        stream.read_to_end(&mut asked).await?;
        if asked != ASK {
            return Err(io::Error::other(format!("asked {asked:?}")));
        }
        self.served.fetch_add(1, Relaxed);
        stream.write_all(ANSWER).await
    }
}

/// Reads to the end, in pieces of at most [`READ_LEN`], shows each of them and returns how many bytes there were.
///
/// # Errors
/// Those of the stream.
pub async fn read_to_end(stream: &mut (impl AsyncRead + Unpin), mut seen: impl FnMut(&[u8])) -> io::Result<u64> {
    let mut buffer = vec![0; READ_LEN];
    let mut total: u64 = 0;
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(total),
            count => {
                seen(&buffer[..count]);
                total += count as u64;
            }
        }
    }
}
