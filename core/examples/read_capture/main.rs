//! Decrypts a captured connection with a key log and prints its frames.
//!
//! `cargo run -p septa-core --example read_capture -- KEYLOG DIALER LISTENER`
//!
//! `KEYLOG` is what `septa --keylog` or [`Credentials::dangerous_key_log`] has written. `DIALER` and `LISTENER`
//! hold the raw bytes that each end has sent; the README says how to get them out of a packet capture. Without
//! arguments it captures and reads a connection of its own.
#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a program for a person's own files")]

mod capture;

use std::{
    env, fs,
    sync::{Arc, Mutex},
};

use septa_core::{
    Connection, ExpectedPeer, Identity, Instant, Link, ProtocolId, Seed,
    connection::{Config, TRANSMIT_BUFFER},
    crypto::RustCrypto,
    noise::{Credentials, KeyLog, TransportKeys},
};

use capture::{Conversation, Frame};

type Failure = Box<dyn std::error::Error>;

const GREETING: ProtocolId = ProtocolId::from_static("/greeting/1.0.0");

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let conversation = match arguments.as_slice() {
        [] => {
            let (dialer, listener, key_log) = demonstration()?;
            print!("{key_log}");
            let conversation = capture::read(&dialer, &listener, &key_log)?;
            let said = |frames: &[Frame], text: &[u8]| frames.iter().any(|frame| frame.body.ends_with(text));
            if !said(&conversation.dialer, b"good morning") || !said(&conversation.listener, b"good evening") {
                return Err("the connection carried something else".into());
            }
            conversation
        }
        [key_log, dialer, listener] => {
            capture::read(&fs::read(dialer)?, &fs::read(listener)?, &fs::read_to_string(key_log)?)?
        }
        _ => return Err("usage: read_capture [KEYLOG DIALER LISTENER]".into()),
    };
    print(&conversation);
    Ok(())
}

fn print(conversation: &Conversation) {
    let hash: String = conversation.handshake_hash.iter().map(|byte| format!("{byte:02x}")).collect();
    println!("connection {hash}");
    for (end, frames) in [("dialer", &conversation.dialer), ("listener", &conversation.listener)] {
        for frame in frames {
            println!("{end:8} {}", describe(frame));
        }
    }
}

fn describe(frame: &Frame) -> String {
    let kind = match frame.kind {
        0 => "data",
        1 => "window update",
        2 => "ping",
        3 => "go away",
        _ => "unknown",
    };
    let flags = ["SYN", "ACK", "FIN", "RST"].into_iter().enumerate();
    let flags: Vec<_> = flags.filter(|(bit, _)| frame.flags >> bit & 1 == 1).map(|(_, name)| name).collect();
    let body: String = frame.body.iter().take(64).flat_map(|byte| byte.escape_ascii()).map(char::from).collect();
    format!("stream {:<4} {kind:13} {:7} {:<8} {body}", frame.stream, flags.join("+"), frame.length)
}

/// Writes the keys down in memory.
#[derive(Default)]
struct MemoryLog(Mutex<String>);

impl KeyLog for MemoryLog {
    fn log(&self, keys: &TransportKeys) {
        if let Ok(mut text) = self.0.lock() {
            text.push_str(&format!("{keys}\n"));
        }
    }
}

/// A connection in memory: what each end has sent, and the dialer's key log.
fn demonstration() -> Result<(Vec<u8>, Vec<u8>, String), Failure> {
    let log = Arc::new(MemoryLog::default());
    let credentials = |number: u8| {
        let identity = Identity::generate(Seed::from_bytes([number; 32]));
        Credentials::new(&identity, Arc::new(RustCrypto), Seed::from_bytes([number; 32]))
    };
    let (here, there) = (credentials(1).dangerous_key_log(log.clone()), credentials(2));
    let link = Link::dialer(ExpectedPeer::Exactly(there.peer_id()), Seed::from_bytes([3; 32]));
    let config = Arc::new(Config { protocols: [GREETING].into_iter().collect(), ..Config::default() });
    let now = Instant::EPOCH;
    let mut dialer = Connection::new(link, config.clone(), Arc::new(here), now);
    let mut listener = Connection::new(Link::listener(Seed::from_bytes([4; 32])), config, Arc::new(there), now);
    let mut sent = [Vec::new(), Vec::new()];

    carry(&mut dialer, &mut listener, &mut sent)?;
    let stream = dialer.open(now, &[GREETING])?;
    dialer.stream(stream).write(b"good morning")?;
    carry(&mut dialer, &mut listener, &mut sent)?;
    listener.accept().ok_or("no stream was opened")?;
    listener.stream(stream).write(b"good evening")?;
    carry(&mut dialer, &mut listener, &mut sent)?;
    let [dialer, listener] = sent;
    let key_log = log.0.lock().map_err(|error| error.to_string())?.clone();
    Ok((dialer, listener, key_log))
}

/// Moves bytes both ways, and keeps a copy, until neither end has any.
fn carry(
    dialer: &mut Connection,
    listener: &mut Connection,
    [from_dialer, from_listener]: &mut [Vec<u8>; 2],
) -> Result<(), Failure> {
    while dialer.wants_transmit() || listener.wants_transmit() {
        transmit(dialer, listener, from_dialer)?;
        transmit(listener, dialer, from_listener)?;
    }
    Ok(())
}

fn transmit(from: &mut Connection, to: &mut Connection, sent: &mut Vec<u8>) -> Result<(), Failure> {
    let mut wire = vec![0; TRANSMIT_BUFFER];
    while from.wants_transmit() {
        let len = from.poll_transmit(Instant::EPOCH, &mut wire)?;
        sent.extend_from_slice(&wire[..len]);
        to.handle_recv(Instant::EPOCH, &mut wire[..len])?;
        while from.poll_event().is_some() || to.poll_event().is_some() {}
    }
    Ok(())
}
