//! A connection in a bare blocking loop: no runtime, no threads but one for each end.
//!
//! One thread listens and echoes, the other dials, sends a line and prints what comes back:
//!
//! ```text
//! cargo run --release -p septa-core --example blocking
//! ```
//!
//! The loop in `drive` is all that an embedder has to write. It suits request and answer; a program
//! that sends much in both directions at once should use non-blocking sockets, because a blocking
//! write to a peer that is itself writing can stall both.
#![allow(clippy::disallowed_methods, reason = "an example is the boundary where clocks and threads are real")]
#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used)]

use std::{
    error::Error,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant as Clock},
};

use septa_core::{
    Connection, ExpectedPeer, Identity, Instant, Link, ProtocolId, Seed,
    connection::{Config, Event, ReadError, StreamId, TRANSMIT_BUFFER},
    crypto::RustCrypto,
    noise::Credentials,
};

const ECHO: ProtocolId = ProtocolId::from_static("/example/echo/1.0.0");

fn main() -> Result<(), Box<dyn Error>> {
    let server = Identity::generate(seed()?);
    let server_id = server.peer_id();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    println!("listening on {address} as {server_id}");

    let server = thread::spawn(move || -> Result<(), String> {
        let (socket, _) = listener.accept().map_err(|error| error.to_string())?;
        let config = Config { protocols: [ECHO].into_iter().collect(), ..Config::default() };
        let seed = seed().map_err(|error| error.to_string())?;
        let connection = connection(Link::listener(seed), &server, config).map_err(|error| error.to_string())?;
        drive(connection, socket, echo).map_err(|error| error.to_string())
    });

    let socket = TcpStream::connect(address)?;
    let link = Link::dialer(ExpectedPeer::Exactly(server_id), seed()?);
    let connection = connection(link, &Identity::generate(seed()?), Config::default())?;
    drive(connection, socket, ask)?;
    server.join().map_err(|_| "the server panicked")??;
    Ok(())
}

/// Moves bytes between `connection` and `socket` until the connection is over, and hands each event
/// to `application`.
fn drive(
    mut connection: Connection,
    mut socket: TcpStream,
    mut application: impl FnMut(&mut Connection, Instant, Event),
) -> Result<(), Box<dyn Error>> {
    let epoch = Clock::now();
    let now = || Instant::EPOCH.saturating_add(epoch.elapsed());
    let mut output = vec![0; TRANSMIT_BUFFER];
    let mut input = vec![0; 64 * 1024];
    let mut half_closed = false;
    socket.set_nodelay(true)?;
    // A blocking write keeps this loop from reporting `handle_transmit_blocked`: the socket watches for a stall.
    socket.set_write_timeout(Some(Duration::from_secs(30)))?;
    loop {
        // Events make output, and output that has left makes events: go on until neither is left.
        let mut settled = false;
        while !settled {
            settled = true;
            while let Some(event) = connection.poll_event() {
                application(&mut connection, now(), event);
            }
            while connection.wants_transmit() {
                settled = false;
                let n = connection.poll_transmit(now(), &mut output)?;
                if socket.write_all(&output[..n]).is_err() {
                    connection.handle_io_error(now());
                }
            }
        }
        // Only now: what arrived together with the end was an event, too.
        if connection.is_closed() {
            break;
        }
        if connection.wants_shutdown() && !half_closed {
            half_closed = true;
            // The peer may have closed first; then there is nothing left to half-close.
            let _ = socket.shutdown(Shutdown::Write);
        }
        let wait = connection.poll_timeout().map(|at| at.saturating_duration_since(now()));
        socket.set_read_timeout(wait.map(|wait| wait.max(Duration::from_millis(1))))?;
        // Never 0 here. With manual admission it can be: then do not read, an empty read looks like the end.
        let room = connection.recv_room().min(input.len());
        match socket.read(&mut input[..room]) {
            Ok(0) => connection.handle_recv_eof(now()),
            Ok(n) => connection.handle_recv(now(), &mut input[..n])?,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => connection.handle_io_error(now()),
        }
        connection.handle_timeout(now());
    }
    if let Some(reason) = connection.close_reason() {
        println!("{:?}: {reason}", connection.role());
    }
    Ok(())
}

/// The listening application: sends back whatever arrives, then its own end of stream.
fn echo(connection: &mut Connection, _now: Instant, event: Event) {
    match event {
        Event::Incoming => while connection.accept().is_some() {},
        Event::Readable { id } => {
            let mut buffer = [0; 1024];
            // What does not fit the send quota is lost here; an echo of more than a line keeps it until
            // `Writable`.
            while let Ok(n) = connection.stream(id).read(&mut buffer) {
                if n == 0 {
                    let _ = connection.stream(id).finish();
                    return connection.stream(id).release();
                }
                let _ = connection.stream(id).write(&buffer[..n]);
            }
        }
        _ => {}
    }
}

/// The dialing application: asks once, prints the answer, closes.
fn ask(connection: &mut Connection, now: Instant, event: Event) {
    match event {
        Event::Open => {
            let id = connection.open(now, &[ECHO]).unwrap();
            connection.stream(id).write(b"Is anybody there?").unwrap();
            connection.stream(id).finish().unwrap();
        }
        Event::Refused { reason, .. } => {
            println!("refused: {reason}");
            connection.close(now, 0);
        }
        Event::Readable { id } => print_answer(connection, now, id),
        _ => {}
    }
}

fn print_answer(connection: &mut Connection, now: Instant, id: StreamId) {
    let mut buffer = [0; 1024];
    loop {
        match connection.stream(id).read(&mut buffer) {
            Ok(0) => {
                connection.stream(id).release();
                return connection.close(now, 0);
            }
            Ok(n) => println!("the echo says: {}", String::from_utf8_lossy(&buffer[..n])),
            Err(ReadError::Blocked) => return,
            Err(error) => {
                println!("{error}");
                return connection.close(now, 0);
            }
        }
    }
}

fn connection(link: Link, identity: &Identity, config: Config) -> Result<Connection, Box<dyn Error>> {
    config.validate()?;
    let credentials = Credentials::new(identity, Arc::new(RustCrypto), seed()?);
    Ok(Connection::new(link, Arc::new(config), Arc::new(credentials), Instant::EPOCH))
}

/// 32 bytes from the operating system.
fn seed() -> std::io::Result<Seed> {
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(Seed::from_bytes(bytes))
}
