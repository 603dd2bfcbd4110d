//! What a connection has carried can be read from a capture with a key log, and not without.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test")]

use std::sync::{Arc, Mutex};

use septa_core::{
    Connection, ExpectedPeer, Instant, Link, ProtocolId, Seed,
    connection::Config,
    crypto::Provider,
    noise::{Credentials, KeyLog, TransportKeys},
    testing::{identity, providers},
};

#[path = "../examples/read_capture/capture.rs"]
mod capture;

use capture::Frame;

const ECHO: ProtocolId = ProtocolId::from_static("/test/echo/1");

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl KeyLog for Log {
    fn log(&self, keys: &TransportKeys) {
        self.0.lock().unwrap().push(keys.to_string());
    }
}

impl Log {
    fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

struct Captured {
    dialer: Vec<u8>,
    listener: Vec<u8>,
    dialer_log: String,
    listener_log: String,
}

/// A connection over which `data` went there and back, in which both ends, or none, log their keys.
fn captured(provider: &Arc<dyn Provider>, logging: bool, data: &[u8]) -> Captured {
    let logs: [Arc<Log>; 2] = Default::default();
    let [dialer, listener] = [0, 1].map(|index: u8| {
        let seed = Seed::from_bytes([index + 10; 32]);
        let credentials = Credentials::new(&identity(index + 1), provider.clone(), seed);
        let log = logs[usize::from(index)].clone();
        Arc::new(if logging { credentials.dangerous_key_log(log) } else { credentials })
    });
    let link = Link::dialer(ExpectedPeer::Exactly(listener.peer_id()), Seed::from_bytes([3; 32]));
    let config = Arc::new(Config { protocols: [ECHO].into_iter().collect(), ..Config::default() });
    let mut dialer = Connection::new(link, config.clone(), dialer, Instant::EPOCH);
    let mut listener = Connection::new(Link::listener(Seed::from_bytes([4; 32])), config, listener, Instant::EPOCH);
    let mut sent = [Vec::new(), Vec::new()];

    settle(&mut dialer, &mut listener, &mut sent);
    let id = dialer.open(Instant::EPOCH, &[ECHO]).unwrap();
    assert_eq!(dialer.stream(id).write(data), Ok(data.len()));
    settle(&mut dialer, &mut listener, &mut sent);
    assert_eq!(listener.accept(), Some(id));
    let mut arrived = vec![0; data.len()];
    assert_eq!(listener.stream(id).read(&mut arrived), Ok(data.len()));
    assert_eq!(listener.stream(id).write(&arrived), Ok(data.len()));
    settle(&mut dialer, &mut listener, &mut sent);
    let [dialer, listener] = sent;
    let [dialer_log, listener_log] = logs.map(|log| log.text());
    Captured { dialer, listener, dialer_log, listener_log }
}

fn settle(dialer: &mut Connection, listener: &mut Connection, sent: &mut [Vec<u8>; 2]) {
    let [from_dialer, from_listener] = sent;
    while dialer.wants_transmit() || listener.wants_transmit() {
        transmit(dialer, listener, from_dialer);
        transmit(listener, dialer, from_listener);
    }
}

fn transmit(from: &mut Connection, to: &mut Connection, sent: &mut Vec<u8>) {
    let mut wire = vec![0; septa_core::connection::TRANSMIT_BUFFER];
    while from.wants_transmit() {
        let len = from.poll_transmit(Instant::EPOCH, &mut wire).unwrap();
        sent.extend_from_slice(&wire[..len]);
        to.handle_recv(Instant::EPOCH, &mut wire[..len]).unwrap();
        while from.poll_event().is_some() || to.poll_event().is_some() {}
    }
}

/// What the frames of one stream carry, together.
fn carried(frames: &[Frame]) -> Vec<u8> {
    frames.iter().filter(|frame| frame.kind == 0 && frame.stream == 1).flat_map(|frame| frame.body.clone()).collect()
}

#[test]
fn a_captured_connection_is_read_with_the_log_of_either_end() {
    let data: Vec<u8> = (0..50_000_u32).map(|index| (index % 251) as u8).collect();
    for provider in providers() {
        let captured = captured(&provider, true, &data);
        assert_eq!(captured.dialer_log, captured.listener_log);
        assert_eq!(captured.dialer_log.lines().count(), 1);

        // The line is found among others.
        let other = format!("NOISE_XX_25519_ChaChaPoly_SHA256 {0} {0} {0}", "00".repeat(32));
        let log = format!("# a comment\n{other}\n{}\n", captured.listener_log);
        let read = capture::read(&captured.dialer, &captured.listener, &log).unwrap();
        assert!(captured.dialer_log.contains(&hex::encode(read.handshake_hash)));
        for frames in [&read.dialer, &read.listener] {
            let carried = carried(frames);
            let (negotiation, carried) = carried.split_at(carried.len() - data.len());
            assert!(carried == data);
            assert!(negotiation.windows(ECHO.as_str().len()).any(|window| window == ECHO.as_str().as_bytes()));
        }
    }
}

#[test]
fn a_capture_is_read_as_far_as_it_goes_or_says_why_not() {
    let captured = captured(&providers()[0], true, b"hello");
    let whole = capture::read(&captured.dialer, &captured.listener, &captured.dialer_log).unwrap();
    for cut in 0..captured.dialer.len() {
        match capture::read(&captured.dialer[..cut], &captured.listener, &captured.dialer_log) {
            Ok(read) => {
                assert!(whole.dialer.starts_with(&read.dialer), "cut at {cut}");
                assert_eq!(read.listener, whole.listener);
            }
            Err(error) => assert!(error.starts_with("the capture ends before"), "cut at {cut}: {error}"),
        }
    }
    let swapped = capture::read(&captured.listener, &captured.dialer, &captured.dialer_log);
    assert!(swapped.is_err());
}

#[test]
fn without_the_option_nothing_is_logged_and_nothing_can_be_read() {
    let captured = captured(&providers()[0], false, b"hello");
    assert_eq!((captured.dialer_log.as_str(), captured.listener_log.as_str()), ("", ""));
    let unread = capture::read(&captured.dialer, &captured.listener, "").unwrap_err();
    assert_eq!(unread, "the key log has no such connection");
}

#[test]
fn a_damaged_record_is_not_read() {
    let mut captured = captured(&providers()[0], true, b"hello");
    *captured.dialer.last_mut().unwrap() ^= 1;
    let damaged = capture::read(&captured.dialer, &captured.listener, &captured.dialer_log).unwrap_err();
    assert_eq!(damaged, "a message is not authentic");
}
