//! What an honest connection keeps of its throughput while a hostile peer attacks the same node.
//!
//! One node, on tokio with two workers over loopback TCP, takes bulk data from an honest peer. Rounds
//! without and with an attacker alternate, and medians are compared. The attacker is a thread of the same
//! process: it takes its share of the two cores too, so the node does better than the figures say. It dials
//! again, up to a hundred times a second, whenever it is thrown out.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock and runs threads")]

use std::{
    error::Error,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{AsyncReadExt, AsyncWriteExt};
use septa_core::{
    ExpectedPeer, ProtocolId, Seed,
    connection::YAMUX,
    noise::{Handshake, RECORD_OVERHEAD, Sealer},
    testing::{credentials, identity},
};
use septa_driver::{Connection, Endpoint};
use septa_tokio::TokioRuntime;

const SINK: ProtocolId = ProtocolId::from_static("/bench/sink/1");
const ROUNDS: usize = 9;
const BYTES: usize = 16 << 20;
/// What the attacker seals into one record.
const BODY: usize = 12 * 1000;
const HELLO: &[u8] = b"\x13/multistream/1.0.0\n\x07/noise\n";

type Attack = fn(SocketAddr, &AtomicBool) -> Result<(), Box<dyn Error>>;

const ATTACKS: [(&str, Attack); 9] = [
    ("random bytes", random_bytes),
    ("oversized lengths", |to, stop| repeat(to, stop, b"\x13/multistream/1.0.0\n\x07/noise\n\xff\xff")),
    ("stops after the greeting", stopping),
    ("ping flood", |to, stop| frames(to, stop, |n| frame(2, 1, 0, n))),
    ("SYN flood", |to, stop| frames(to, stop, |n| frame(1, 1, 2 * n + 1, 0))),
    ("RST storm", |to, stop| frames(to, stop, |n| frame(1, if n % 2 == 0 { 1 } else { 8 }, (n | 1) + 2, 0))),
    ("window overflow", |to, stop| frames(to, stop, |n| frame(1, u8::from(n == 0), 1, u32::MAX))),
    ("empty frames", |to, stop| frames(to, stop, |n| frame(0, u8::from(n == 0), 1, 0))),
    ("data for no stream", |to, stop| frames(to, stop, |_| frame(0, 0, 7, 1 << 20))),
];

fn main() -> Result<(), Box<dyn Error>> {
    let rounds = if septa_benches::measures() { ROUNDS } else { 1 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let node = runtime.block_on(async { node(2) })?;
    let honest = runtime.block_on(async { node_of(1, &[]) })?;
    let listener = runtime.block_on(node.listen(&"/ip4/127.0.0.1/tcp/0".parse()?))?;
    let address = listener.local_addr();
    let socket = address.socket_addr().ok_or("a TCP address")?;
    runtime.spawn(async move { while !matches!(accept(&listener).await, Err(septa_driver::AcceptError::ShutDown)) {} });
    let connection = runtime.block_on(honest.connect(&address, ExpectedPeer::Exactly(identity(2).peer_id())))?;
    runtime.block_on(bulk(&connection))?;
    for (name, attack) in ATTACKS {
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        let dialed = AtomicUsize::new(0);
        for _ in 0..rounds {
            alone.push(runtime.block_on(bulk(&connection))?);
            beside.push(under_attack(socket, attack, &dialed, || runtime.block_on(bulk(&connection)))?);
        }
        let [alone, beside] = [alone, beside].map(median);
        println!(
            "{name:26} {:4.0} MB/s alone, {:4.0} beside {} attacks: {:3.0} % kept",
            rate(alone),
            rate(beside),
            dialed.load(Ordering::Relaxed),
            100.0 * rate(beside) / rate(alone)
        );
    }
    if let Some(reason) = connection.close_reason() {
        return Err(format!("the honest connection was lost: {reason}").into());
    }
    runtime.block_on(async {
        honest.shutdown(Duration::from_secs(1)).await;
        node.shutdown(Duration::from_secs(1)).await;
    });
    Ok(())
}

fn node(number: u8) -> Result<Endpoint, Box<dyn Error>> {
    node_of(number, &[SINK])
}

fn node_of(number: u8, protocols: &[ProtocolId]) -> Result<Endpoint, Box<dyn Error>> {
    let builder = Endpoint::builder(identity(number)).serve(protocols.iter().cloned());
    Ok(builder.build(Arc::new(TokioRuntime::current()?))?)
}

async fn accept(listener: &septa_driver::Listener) -> Result<(), septa_driver::AcceptError> {
    let connection = listener.accept().await?;
    tokio::spawn(async move {
        while let Ok(mut stream) = connection.accept_stream().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(1..) = stream.read(&mut buffer).await {}
                let _ = stream.close().await;
            });
        }
    });
    Ok(())
}

/// Sends [`BYTES`] on a new stream and waits until the other end has read them all.
async fn bulk(connection: &Connection) -> Result<Duration, Box<dyn Error>> {
    let start = Instant::now();
    let mut stream = connection.open_stream(&[SINK]).await?;
    let data = vec![7; 64 * 1024];
    for _ in 0..BYTES / data.len() {
        stream.write_all(&data).await?;
    }
    stream.close().await?;
    let end = stream.read(&mut [0]).await?;
    assert_eq!(end, 0, "the sink sends nothing");
    Ok(start.elapsed())
}

fn under_attack<T>(to: SocketAddr, attack: Attack, dialed: &AtomicUsize, work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                dialed.fetch_add(1, Ordering::Relaxed);
                // Being thrown out is what the attacker must expect.
                let _ = attack(to, &stop);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let result = work();
        stop.store(true, Ordering::Relaxed);
        result
    })
}

fn random_bytes(to: SocketAddr, stop: &AtomicBool) -> Result<(), Box<dyn Error>> {
    let mut bytes = vec![0; BODY];
    Seed::from_bytes([5; 32]).public_stream().fill(&mut bytes);
    repeat(to, stop, &bytes)
}

fn repeat(to: SocketAddr, stop: &AtomicBool, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut socket = dial(to)?;
    while !stop.load(Ordering::Relaxed) {
        socket.write_all(bytes)?;
    }
    Ok(())
}

/// Takes connections and says no more than hello on each.
fn stopping(to: SocketAddr, stop: &AtomicBool) -> Result<(), Box<dyn Error>> {
    let mut held = Vec::new();
    while !stop.load(Ordering::Relaxed) && held.len() < 256 {
        let mut socket = dial(to)?;
        socket.write_all(HELLO)?;
        held.push(socket);
    }
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Completes the handshake, then sends the n-th frame that `make` makes, for all n.
fn frames(to: SocketAddr, stop: &AtomicBool, make: impl Fn(u32) -> [u8; 12]) -> Result<(), Box<dyn Error>> {
    let (mut socket, mut sealer) = handshake(to)?;
    let mut record = vec![0; BODY + RECORD_OVERHEAD];
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        for place in record[2..2 + BODY].chunks_exact_mut(12) {
            place.copy_from_slice(&make(n));
            n += 1;
        }
        sealer.seal_in_place(&mut record, BODY)?;
        socket.write_all(&record)?;
    }
    Ok(())
}

fn frame(kind: u8, flags: u8, id: u32, length: u32) -> [u8; 12] {
    let [i0, i1, i2, i3] = id.to_be_bytes();
    let [l0, l1, l2, l3] = length.to_be_bytes();
    [0, kind, 0, flags, i0, i1, i2, i3, l0, l1, l2, l3]
}

fn dial(to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpStream::connect(to)?;
    socket.set_write_timeout(Some(Duration::from_millis(100)))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    Ok(socket)
}

fn handshake(to: SocketAddr) -> Result<(TcpStream, Sealer), Box<dyn Error>> {
    let mut socket = dial(to)?;
    let mut seed = Seed::from_bytes([3; 32]);
    let mut handshake = Handshake::initiator(credentials(3), ExpectedPeer::Any, &[YAMUX], seed.child("attacker"));
    socket.write_all(HELLO)?;
    let mut greeting = vec![0; HELLO.len()];
    socket.read_exact(&mut greeting)?;
    let mut buffer = [0; 1024];
    loop {
        let n = handshake.poll_transmit(&mut buffer);
        socket.write_all(&buffer[..n])?;
        handshake = match handshake.finish() {
            Ok(finished) => return Ok((socket, finished.sealer)),
            Err(unfinished) => unfinished,
        };
        let n = socket.read(&mut buffer)?;
        if n == 0 {
            return Err("the node closed".into());
        }
        handshake.handle_recv(&buffer[..n])?;
    }
}

fn median(mut rounds: Vec<Duration>) -> Duration {
    rounds.sort();
    rounds[rounds.len() / 2]
}

fn rate(round: Duration) -> f64 {
    BYTES as f64 / round.as_secs_f64() / 1e6
}
