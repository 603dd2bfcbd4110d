//! Requests and answers: each end against bytes, and both against each other.

use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use crate::{
    Instant,
    channel::{
        Watermarks,
        message::encode,
        rpc::{Answer, Asked, Client, Config, Outcome, RequestId, Server},
    },
};

mod client;
mod exchange;
mod pair;
mod server;

const TIMEOUT: Duration = Duration::from_secs(5);
const NEVER: Duration = Duration::MAX;

const REQUEST: u8 = 0;
const RESPONSE: u8 = 1;
const ERROR: u8 = 2;
const CANCEL: u8 = 3;

fn config() -> Config {
    let watermarks = Watermarks { high_messages: 8, low_messages: 4, ..Watermarks::default() };
    Config {
        max_message_len: 300,
        watermarks,
        max_pending: 4,
        max_answering: 3,
        max_held: 2,
        max_held_bytes: 400,
        max_waiting: 3,
    }
}

fn at(seconds: u64) -> Instant {
    Instant::EPOCH.saturating_add(Duration::from_secs(seconds))
}

/// A message whose number is below 128.
fn frame(kind: u8, number: u8, body: &[u8]) -> Vec<u8> {
    encode(&[&[kind, number], body], usize::MAX).unwrap()
}

fn sent_by_client(client: &mut Client) -> Vec<u8> {
    let mut sent = Vec::new();
    while client.wants_transmit() {
        let piece = client.peek_transmit().to_vec();
        client.transmitted(piece.len());
        sent.extend(piece);
    }
    sent
}

fn sent_by_server(server: &mut Server) -> Vec<u8> {
    let mut sent = Vec::new();
    while server.wants_transmit() {
        let piece = server.peek_transmit().to_vec();
        server.transmitted(piece.len());
        sent.extend(piece);
    }
    sent
}

fn answers(client: &mut Client) -> Vec<Answer> {
    core::iter::from_fn(|| client.poll_answer()).collect()
}

fn tell_client(client: &mut Client, bytes: &[u8]) {
    assert!(client.wants_input());
    client.handle_chunk(&mut Bytes::copy_from_slice(bytes));
}

fn tell_server(server: &mut Server, bytes: &[u8]) {
    assert!(server.wants_input());
    server.handle_chunk(&mut Bytes::copy_from_slice(bytes));
}

fn response(id: RequestId, body: &'static [u8]) -> Answer {
    Answer { id, outcome: Outcome::Response(Bytes::from_static(body)) }
}

fn asked(server: &mut Server) -> Option<(u64, Bytes)> {
    match server.poll_asked()? {
        Asked::Request { id, body } => Some((id.get(), body)),
        Asked::Cancelled { id } => panic!("{id} was cancelled"),
    }
}

/// The numbers and bodies of all that is asked now.
fn all_asked(server: &mut Server) -> Vec<RequestId> {
    let next = || match server.poll_asked()? {
        Asked::Request { id, .. } => Some(id),
        Asked::Cancelled { id } => panic!("{id} was cancelled"),
    };
    core::iter::from_fn(next).collect()
}
