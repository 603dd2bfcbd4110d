//! Both ends of an echo: the server sends back what it reads, the client checks every byte.

use std::time::{Duration, Instant};

use futures_util::{
    AsyncReadExt, AsyncWriteExt,
    future::{try_join, try_join_all},
};
use septa_core::{ProtocolId, Seed};
use septa_driver::{Connection, Stream};

use crate::failure::Failure;

/// What one read or write moves.
const STEP: usize = 64 * 1024;

/// What an echo came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    bytes: u64,
    took: Duration,
}

impl Report {
    /// Payload sent (and received back) in millions of bytes per second.
    pub(crate) fn megabytes_per_second(self) -> f64 {
        self.bytes as f64 / self.took.as_secs_f64().max(1e-9) / 1e6
    }
}

/// Spreads `bytes` over `streams` streams of `connection` and compares what comes back.
#[allow(clippy::disallowed_methods, reason = "the binary measures with the real clock")]
pub(crate) async fn run(
    connection: &Connection,
    protocol: &ProtocolId,
    bytes: u64,
    streams: u16,
    mut seed: Seed,
) -> Result<Report, Failure> {
    let start = Instant::now();
    let share = bytes / u64::from(streams);
    let rest = bytes % u64::from(streams);
    let mut clients = Vec::new();
    for number in 0..streams {
        let len = share + u64::from(u64::from(number) < rest);
        clients.push(client(connection, protocol, seed.child("echo stream"), len));
    }
    try_join_all(clients).await?;
    Ok(Report { bytes, took: start.elapsed() })
}

/// One stream: writes pseudo-random bytes while reading them back, finishes, and waits for the end.
async fn client(connection: &Connection, protocol: &ProtocolId, seed: Seed, len: u64) -> Result<(), Failure> {
    let stream = connection.open_stream(std::slice::from_ref(protocol)).await.map_err(|error| {
        Failure::new(format_args!("cannot open a stream: {error}"), "check that the peer serves the protocol")
    })?;
    let (mut reader, mut writer) = stream.split();
    let (mut sent, mut expected) = twins(seed);
    let write = async {
        let mut buffer = vec![0; STEP];
        let mut left = len;
        while left > 0 {
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(STEP);
            sent.fill(&mut buffer[..step]);
            writer.write_all(&buffer[..step]).await.map_err(broken)?;
            left -= step as u64;
        }
        writer.close().await.map_err(broken)
    };
    let read = async {
        let (mut buffer, mut wanted) = (vec![0; STEP], vec![0; STEP]);
        let mut received = 0_u64;
        loop {
            let n = reader.read(&mut buffer).await.map_err(broken)?;
            if n == 0 {
                break;
            }
            expected.fill(&mut wanted[..n]);
            if buffer[..n] != wanted[..n] {
                return Err(Failure::new(
                    format_args!("the echo differs from what was sent, after {received} bytes"),
                    "check that the protocol is an echo",
                ));
            }
            received += n as u64;
        }
        if received == len {
            Ok(())
        } else {
            let what = format_args!("{received} of {len} bytes came back").to_string();
            Err(Failure::new(what, "check that the protocol is an echo"))
        }
    };
    try_join(write, read).await.map(|_| ())
}

/// Two streams of the same pseudo-random bytes: one to send and one to compare with.
fn twins(mut seed: Seed) -> (Pattern, Pattern) {
    let key = seed.secret_stream().next_key();
    (Pattern::new(key), Pattern::new(key))
}

/// Pseudo-random bytes that do not depend on how they are cut into pieces.
struct Pattern {
    stream: septa_core::SeedStream,
    block: [u8; 64],
    used: usize,
}

impl Pattern {
    fn new(key: [u8; 32]) -> Self {
        Self { stream: Seed::from_bytes(key).public_stream(), block: [0; 64], used: 64 }
    }

    fn fill(&mut self, out: &mut [u8]) {
        let mut rest = out;
        while !rest.is_empty() {
            if self.used == self.block.len() {
                self.stream.fill(&mut self.block);
                self.used = 0;
            }
            let n = rest.len().min(self.block.len() - self.used);
            let (head, tail) = rest.split_at_mut(n);
            head.copy_from_slice(&self.block[self.used..self.used + n]);
            self.used += n;
            rest = tail;
        }
    }
}

fn broken(error: std::io::Error) -> Failure {
    Failure::new(format_args!("the stream broke: {error}"), "check the peer's log")
}

/// Sends back what arrives on `stream` until its end, then ends this side too; returns the byte count.
pub(crate) async fn serve(mut stream: Stream) -> std::io::Result<u64> {
    let mut echoed = 0;
    while let Some(mut chunk) = stream.read_chunk().await.map_err(std::io::Error::other)? {
        echoed += chunk.len() as u64;
        stream.write_chunk(&mut chunk).await.map_err(std::io::Error::other)?;
    }
    stream.close().await?;
    Ok(echoed)
}
