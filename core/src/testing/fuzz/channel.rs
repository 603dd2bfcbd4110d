//! Message channels and requests: what a peer may make of them with bytes.

use alloc::{
    collections::{BTreeSet, VecDeque},
    vec::Vec,
};
use core::time::Duration;

use bytes::Bytes;

use super::Input;
use crate::{
    Instant,
    channel::{
        Config, Epoch, Inbox, Outbox, Pushed, RecvError, Watermarks,
        rpc::{self, Asked, Client, Outcome, Server},
    },
    varint,
};

/// Input: the limits, the order of reading and receiving, then messages, each with its length or as they are.
///
/// Asserts that it does not matter where the input is cut and when the application reads, that no more is held
/// than the limits allow, that a verdict is final, and that what an outbox sends again reads the same.
pub fn channel_inbox(data: &[u8]) {
    let mut input = Input::new(data);
    let config = Config {
        max_message_len: input.size(),
        max_received_messages: 1 + input.below(20),
        max_received_bytes: 1 + input.size(),
        ..Config::default()
    };
    let framed = input.bool();
    let cuts_len = input.byte().into();
    let mut cuts = Input::new(input.bytes(cuts_len));
    let stream = if framed { framed_messages(&mut input) } else { input.rest().to_vec() };

    let (messages, end) = read_in_pieces(&config, &stream, &mut cuts);
    let whole = read_in_pieces(&config, &stream, &mut Input::new(&[]));
    assert_eq!((&messages, end), (&whole.0, whole.1), "the cuts make a difference");

    let mut outbox = Outbox::new(&config);
    outbox.stream_opened(Epoch::FIRST);
    let mut sent = Vec::new();
    for message in &messages {
        while outbox.push(message) != Ok(Pushed::Queued) {
            let piece = outbox.peek_transmit();
            let piece = piece[..piece.len().min(1 + cuts.below(100))].to_vec();
            outbox.transmitted(piece.len());
            sent.extend(piece);
        }
    }
    while outbox.wants_transmit() {
        let piece = outbox.peek_transmit().to_vec();
        outbox.transmitted(piece.len());
        sent.extend(piece);
    }
    assert_eq!(read_in_pieces(&config, &sent, &mut cuts), (messages, RecvError::Ended));
}

/// Messages with true lengths: the fuzzer need not find them.
fn framed_messages(input: &mut Input<'_>) -> Vec<u8> {
    let mut stream = Vec::new();
    while !input.is_empty() {
        let len = input.byte().into();
        let message = input.bytes(len);
        varint::encode_to(u64::try_from(message.len()).unwrap_or(u64::MAX), &mut stream);
        stream.extend_from_slice(message);
    }
    stream
}

/// Gives `stream` to an inbox in pieces, reading in between, until nothing more comes out.
fn read_in_pieces(config: &Config, stream: &[u8], cuts: &mut Input<'_>) -> (Vec<Bytes>, RecvError) {
    let mut inbox = Inbox::new(config, Epoch::FIRST);
    let (mut rest, mut messages) = (Bytes::copy_from_slice(stream), Vec::new());
    loop {
        let len = if cuts.is_empty() { rest.len() } else { rest.len().min(1 + cuts.below(100)) };
        let mut chunk = rest.slice(..len);
        let wanted = inbox.wants_input();
        let outcome = if rest.is_empty() { inbox.handle_eof() } else { inbox.handle_chunk(&mut chunk) };
        assert_eq!(outcome.err(), inbox.failure());
        assert!(chunk.is_empty() == (wanted || len == 0), "a chunk that is wanted is taken, and no other");
        rest = rest.slice(len - chunk.len()..);
        let (stats, max_bytes) = (inbox.stats(), config.max_received_bytes);
        assert!(stats.messages <= config.max_received_messages);
        assert!(stats.bytes < max_bytes + config.max_message_len);
        for _ in 0..1 + cuts.below(3) {
            match inbox.recv() {
                Ok(message) => messages.push(message.body),
                Err(RecvError::Blocked) => assert!(!inbox.is_readable()),
                Err(end) => {
                    assert!(inbox.is_readable() && !inbox.wants_input());
                    assert_eq!(inbox.recv(), Err(end), "an end is final");
                    return (messages, end);
                }
            }
        }
    }
}

/// Input: which end, what it does before, and then the other end's messages, each with its length or as they are.
///
/// Asserts of a client that each request ends exactly once, whatever comes, and of both ends that it does not
/// matter where the input is cut, that limits hold and that a failure is final. (Where it is cut decides whether a
/// server hears of a request before it is cancelled.)
pub fn channel_rpc(data: &[u8]) {
    let mut input = Input::new(data);
    let is_client = input.bool();
    let framed = input.bool();
    let count = input.below(12);
    let cuts_len = input.byte().into();
    let cuts = input.bytes(cuts_len);
    let stream = if framed { framed_messages(&mut input) } else { input.rest().to_vec() };
    let (mut cut, mut whole) = (Input::new(cuts), Input::new(&[]));
    if is_client {
        assert_eq!(run_client(count, &stream, &mut cut), run_client(count, &stream, &mut whole));
    } else {
        assert_eq!(run_server(count, &stream, &mut cut), run_server(count, &stream, &mut whole));
    }
}

fn rpc_config() -> rpc::Config {
    let watermarks = Watermarks { high_messages: 10, low_messages: 5, high_bytes: 1000, low_bytes: 500 };
    rpc::Config {
        max_message_len: 64,
        watermarks,
        max_pending: 8,
        max_answering: 4,
        max_held: 3,
        max_held_bytes: 100,
        max_waiting: 4,
    }
}

fn run_client(count: usize, stream: &[u8], cuts: &mut Input<'_>) -> (Vec<Outcome>, Option<rpc::Error>) {
    let mut client = Client::new(&rpc_config());
    let mut open = BTreeSet::new();
    for number in 0..count {
        let timeout = Duration::from_secs(number.try_into().unwrap_or(0));
        let outcome = client.request(Instant::EPOCH, b"ask", timeout);
        assert_eq!(outcome.is_ok(), number < 8, "eight may be pending");
        open.extend(outcome);
    }
    if let Some(first) = open.pop_first() {
        client.cancel(first);
    }
    let mut outcomes = Vec::new();
    let mut take = |client: &mut Client| {
        while let Some(answer) = client.poll_answer() {
            assert!(open.remove(&answer.id), "a request ends once");
            outcomes.push(answer.outcome);
        }
    };
    cuts.cut(stream, |piece| {
        let (mut chunk, wanted) = (Bytes::copy_from_slice(piece), client.wants_input());
        client.handle_chunk(&mut chunk);
        assert_eq!(chunk.is_empty(), wanted);
        take(&mut client);
    });
    client.handle_timeout(Instant::EPOCH.saturating_add(Duration::from_secs(3)));
    take(&mut client);
    client.handle_eof();
    take(&mut client);
    assert!(open.is_empty(), "{} requests have not ended", open.len());
    assert!(client.poll_timeout().is_none() && !client.wants_input() && !client.wants_transmit());
    (outcomes, client.failure())
}

/// Answers all requests but the last `kept` at any time, and returns how many came, taken or cancelled before. (Those that
/// waited when the peer broke a rule are neither.)
fn run_server(kept: usize, stream: &[u8], cuts: &mut Input<'_>) -> Result<u64, rpc::Error> {
    let mut server = Server::new(&rpc_config());
    let (mut answering, mut next, mut told) = (VecDeque::new(), 0, 0);
    let mut take = |server: &mut Server| {
        loop {
            match server.poll_asked() {
                Some(Asked::Request { id, body }) => {
                    assert!(id.get() >= next && body.len() <= 64 && answering.len() < 4);
                    next = id.get() + 1;
                    answering.push_back(id);
                }
                Some(Asked::Cancelled { id }) => {
                    let place = answering.iter().position(|other| *other == id).expect("it was being answered");
                    answering.remove(place);
                    told += 1;
                }
                None if answering.len() > kept % 4 => {
                    let id = answering.pop_front().expect("more than none");
                    assert_eq!(server.respond(id, b"answer").is_ok(), server.failure().is_none());
                }
                None if server.wants_transmit() => server.transmitted(server.peek_transmit().len()),
                None => return,
            }
        }
    };
    cuts.cut(stream, |piece| {
        let (mut chunk, wanted) = (Bytes::copy_from_slice(piece), server.wants_input());
        server.handle_chunk(&mut chunk);
        assert_eq!(chunk.is_empty(), wanted);
        take(&mut server);
        assert!(server.stats().waiting <= 3);
    });
    server.handle_eof();
    take(&mut server);
    assert!(!server.wants_input() && !server.wants_transmit());
    let stats = server.stats();
    assert_eq!(stats.waiting, 0);
    server.failure().map_or(Ok(stats.requests + (stats.cancelled - told)), Err)
}
