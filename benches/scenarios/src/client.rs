//! The dialing side of every scenario.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    measure::percentile,
    messages::{MESSAGE_LEN, Messages as _},
    network::{Failure, Network},
    scenario::Scenario,
    server::{ANSWER, ASK, READ_LEN},
};

/// How many messages are written between two looks at the clock.
const MESSAGES_PER_LOOK: usize = 1000;
const ROUND_TRIP_LEN: usize = 32;
const CONNECTIONS_AT_ONCE: usize = 64;
/// A port that was used cannot be used again for a second, and there are 28,000 of them.
const MAX_CONNECTIONS: u64 = 20_000;
const IDLE_CONNECTIONS: usize = 1000;

/// What one run of a scenario came to, by name.
pub(crate) type Results = Vec<(&'static str, f64)>;

/// A node that dials `address`.
pub(crate) struct Client<N: Network> {
    pub(crate) network: N,
    pub(crate) address: String,
}

impl<N: Network> Client<N> {
    /// Makes sure that everything was done once before it is measured.
    pub(crate) async fn warm_up(self: &Arc<Self>, scenario: Scenario, length: Duration) -> Result<(), Failure> {
        match scenario {
            Scenario::Idle => self.connect_and_echo().await,
            _ => self.run(scenario, length / 4).await.map(drop),
        }
    }

    /// Runs for about `length`. The connections that come back are to be held until all is measured.
    pub(crate) async fn run(
        self: &Arc<Self>,
        scenario: Scenario,
        length: Duration,
    ) -> Result<(Results, Vec<N::Connection>), Failure> {
        let results = match scenario {
            Scenario::Bulk => self.push(&[7; READ_LEN], 1, length).await?,
            Scenario::Messages => self.push(&[7; MESSAGE_LEN], MESSAGES_PER_LOOK, length).await?,
            Scenario::Channel => self.messages(length).await?,
            Scenario::RoundTrip | Scenario::RoundTripOneProcess => self.round_trips(length).await?,
            Scenario::Connections => self.connections(length).await?,
            Scenario::Streams1 => self.streams(1, length).await?,
            Scenario::Streams16 => self.streams(16, length).await?,
            Scenario::Idle => return Ok((Vec::new(), self.idle().await?)),
        };
        Ok((results, Vec::new()))
    }

    /// Writes `piece` again and again, each in a call of its own. What counts is what the server says that it
    /// has read, and the time until it says so.
    async fn push(&self, piece: &[u8], pieces_per_look: usize, length: Duration) -> Result<Results, Failure> {
        let connection = self.network.dial(&self.address).await?;
        let mut stream = N::open(&connection).await?;
        let started = Instant::now();
        let mut pieces: u64 = 0;
        while started.elapsed() < length {
            for _ in 0..pieces_per_look {
                stream.write_all(piece).await?;
            }
            pieces += pieces_per_look as u64;
        }
        stream.close().await?;
        let mut received = [0; 8];
        stream.read_exact(&mut received).await?;
        let elapsed = started.elapsed();
        let (received, sent) = (u64::from_be_bytes(received), pieces * piece.len() as u64);
        if received != sent {
            return Err(format!("sent {sent} bytes, the server read {received}").into());
        }
        drop(stream);
        N::close(connection).await?;
        Ok(vec![("count", pieces as f64), ("bytes", sent as f64), ("seconds", elapsed.as_secs_f64())])
    }

    /// Sends messages, and counts those that the server says it has received until it says so.
    async fn messages(&self, length: Duration) -> Result<Results, Failure> {
        let mut messages = self.network.messages(&self.address).await?;
        let started = Instant::now();
        let mut sent: u64 = 0;
        while started.elapsed() < length {
            for _ in 0..MESSAGES_PER_LOOK {
                messages.send(&[7; MESSAGE_LEN]).await?;
            }
            sent += MESSAGES_PER_LOOK as u64;
        }
        let received = messages.finish().await?;
        if received != sent {
            return Err(format!("sent {sent} messages, the server has {received}").into());
        }
        Ok(vec![("count", sent as f64), ("seconds", started.elapsed().as_secs_f64())])
    }

    async fn round_trips(&self, length: Duration) -> Result<Results, Failure> {
        let connection = self.network.dial(&self.address).await?;
        let mut stream = N::open(&connection).await?;
        let mut trips = Vec::with_capacity(1 << 20);
        let (mut sent, mut received) = ([0; ROUND_TRIP_LEN], [0; ROUND_TRIP_LEN]);
        let started = Instant::now();
        let mut before = started;
        while before - started < length {
            sent[..8].copy_from_slice(&trips.len().to_be_bytes());
            N::send(&mut stream, &sent).await?;
            stream.read_exact(&mut received).await?;
            let after = Instant::now();
            trips.push(after - before);
            before = after;
            if sent != received {
                return Err("another message came back than was sent".into());
            }
        }
        stream.close().await?;
        expect_end(&mut stream, &[]).await?;
        drop(stream);
        N::close(connection).await?;
        trips.sort_unstable();
        let micros = |percent| percentile(&trips, percent).map_or(f64::NAN, |trip| trip.as_secs_f64() * 1e6);
        Ok(vec![("count", trips.len() as f64), ("p50_us", micros(50)), ("p99_us", micros(99))])
    }

    /// One byte there and back. What comes back is to be held as long as nothing may be closed.
    pub(crate) async fn echo_once(&self) -> Result<(N::Connection, N::Stream), Failure> {
        let connection = self.network.dial(&self.address).await?;
        let mut stream = N::open(&connection).await?;
        N::send(&mut stream, ANSWER).await?;
        let mut echoed = [0; ANSWER.len()];
        stream.read_exact(&mut echoed).await?;
        if echoed != ANSWER {
            return Err("another byte came back than was sent".into());
        }
        Ok((connection, stream))
    }

    async fn connections(self: &Arc<Self>, length: Duration) -> Result<Results, Failure> {
        let started = Instant::now();
        let begun = Arc::new(AtomicU64::new(0));
        let tasks: Vec<_> = (0..CONNECTIONS_AT_ONCE)
            .map(|_| {
                let (client, begun) = (self.clone(), begun.clone());
                tokio::spawn(async move {
                    let (mut done, mut failed) = (0, 0);
                    while started.elapsed() < length && begun.fetch_add(1, Relaxed) < MAX_CONNECTIONS {
                        match client.connect_and_echo().await {
                            Ok(()) => done += 1,
                            Err(error) => {
                                eprintln!("client: {error}");
                                failed += 1;
                            }
                        }
                    }
                    (done, failed)
                })
            })
            .collect();
        let (mut done, mut failed) = (0_u64, 0_u64);
        for task in tasks {
            let counts = task.await?;
            done += counts.0;
            failed += counts.1;
        }
        Ok(vec![("count", done as f64), ("failed", failed as f64), ("seconds", started.elapsed().as_secs_f64())])
    }

    async fn connect_and_echo(&self) -> Result<(), Failure> {
        let connection = self.network.dial(&self.address).await?;
        let mut stream = N::open(&connection).await?;
        stream.write_all(ANSWER).await?;
        stream.close().await?;
        expect_end(&mut stream, ANSWER).await?;
        drop(stream);
        N::close(connection).await
    }

    async fn streams(&self, at_once: usize, length: Duration) -> Result<Results, Failure> {
        let connection = Arc::new(self.network.dial(&self.address).await?);
        let started = Instant::now();
        let tasks: Vec<_> = (0..at_once)
            .map(|_| {
                let connection = connection.clone();
                tokio::spawn(async move {
                    let mut done = 0_u64;
                    while started.elapsed() < length {
                        ask::<N>(&connection).await?;
                        done += 1;
                    }
                    Ok::<_, Failure>(done)
                })
            })
            .collect();
        let mut done = 0;
        for task in tasks {
            done += task.await??;
        }
        let elapsed = started.elapsed();
        let connection = Arc::into_inner(connection).ok_or("a task still has the connection")?;
        N::close(connection).await?;
        Ok(vec![("count", done as f64), ("seconds", elapsed.as_secs_f64())])
    }

    /// One after the other, so that what is measured is what connections keep, and not how much memory
    /// many handshakes at once leave behind in the allocator.
    async fn idle(&self) -> Result<Vec<N::Connection>, Failure> {
        let mut held = Vec::with_capacity(IDLE_CONNECTIONS);
        for _ in 0..IDLE_CONNECTIONS {
            held.push(self.network.dial(&self.address).await?);
        }
        Ok(held)
    }
}

async fn ask<N: Network>(connection: &N::Connection) -> Result<(), Failure> {
    let mut stream = N::open(connection).await?;
    stream.write_all(ASK).await?;
    stream.close().await?;
    expect_end(&mut stream, ANSWER).await
}

/// Reads to the end; nothing but `expected` may come before it.
async fn expect_end(stream: &mut (impl AsyncReadExt + Unpin), expected: &[u8]) -> Result<(), Failure> {
    let mut rest = Vec::with_capacity(8);
    stream.read_to_end(&mut rest).await?;
    if rest != expected {
        return Err(format!("expected {expected:?}, read {rest:?}").into());
    }
    Ok(())
}
