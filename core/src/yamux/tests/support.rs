//! A session under test and the raw frames of a remote that need not behave.

use std::{vec, vec::Vec};

use crate::{
    Instant, Role,
    yamux::{
        Config, Event, ReadError, Session, StreamId, Violation,
        header::{Flags, HEADER_LEN, Header, Kind},
    },
};

pub(super) const NOW: Instant = Instant::EPOCH;
pub(super) const SYN: Flags = Flags::SYN;
pub(super) const ACK: Flags = Flags::ACK;
pub(super) const FIN: Flags = Flags::FIN;
pub(super) const RST: Flags = Flags::RST;
pub(super) const NONE: Flags = Flags::NONE;

pub(super) fn id(n: u32) -> StreamId {
    StreamId::new(n).unwrap()
}

/// No pings, so that transcripts hold only what a test is about.
pub(super) fn quiet() -> Config {
    Config { keep_alive: None, ..Config::default() }
}

pub(super) fn dialer(config: Config) -> Session {
    Session::new(Role::Dialer, config, NOW)
}

pub(super) fn listener(config: Config) -> Session {
    Session::new(Role::Listener, config, NOW)
}

pub(super) fn frame(kind: Kind, flags: Flags, stream: u32, length: u32) -> Vec<u8> {
    Header { kind, flags, stream, length }.encode().to_vec()
}

pub(super) fn data(flags: Flags, stream: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = frame(Kind::Data, flags, stream, u32::try_from(body.len()).unwrap());
    bytes.extend_from_slice(body);
    bytes
}

pub(super) fn update(flags: Flags, stream: u32, delta: u32) -> Vec<u8> {
    frame(Kind::WindowUpdate, flags, stream, delta)
}

pub(super) fn recv(session: &mut Session, frames: &[Vec<u8>]) -> Result<(), Violation> {
    frames.iter().try_for_each(|frame| session.handle_recv(NOW, frame))
}

pub(super) fn transmit(session: &mut Session) -> Vec<u8> {
    let (mut sent, mut out) = (Vec::new(), vec![0; 70_000]);
    loop {
        let wanted = session.wants_transmit();
        let n = session.poll_transmit(NOW, &mut out);
        assert_eq!(wanted, n > 0, "wants_transmit must tell what poll_transmit does");
        if n == 0 {
            return sent;
        }
        sent.extend_from_slice(&out[..n]);
    }
}

/// What the session sends, as (kind, flags, stream, length), bodies skipped.
pub(super) fn sent(session: &mut Session) -> Vec<(Kind, Flags, u32, u32)> {
    parse(&transmit(session)).into_iter().map(|(h, _)| (h.kind, h.flags, h.stream, h.length)).collect()
}

pub(super) fn parse(mut bytes: &[u8]) -> Vec<(Header, Vec<u8>)> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let header = Header::decode(bytes[..HEADER_LEN].try_into().unwrap()).unwrap();
        let body = if header.kind == Kind::Data { header.length as usize } else { 0 };
        frames.push((header, bytes[HEADER_LEN..HEADER_LEN + body].to_vec()));
        bytes = &bytes[HEADER_LEN + body..];
    }
    frames
}

pub(super) fn events(session: &mut Session) -> Vec<Event> {
    core::iter::from_fn(|| session.poll_event()).collect()
}

/// Moves everything from one session to the other.
pub(super) fn deliver(from: &mut Session, to: &mut Session) {
    let bytes = transmit(from);
    to.handle_recv(NOW, &bytes).unwrap();
}

/// A listener whose only stream, id 1, was opened by the remote and accepted, its ACK sent.
pub(super) fn accepted() -> Session {
    let mut session = listener(quiet());
    recv(&mut session, &[update(SYN, 1, 0)]).unwrap();
    assert_eq!(session.accept(), Some(id(1)));
    assert_eq!(sent(&mut session), [(Kind::WindowUpdate, ACK, 1, 0)]);
    events(&mut session);
    session
}

/// A dialer whose only stream, id 1, has sent its SYN with one byte.
pub(super) fn syn_sent() -> Session {
    let mut session = dialer(quiet());
    let stream = session.open().unwrap();
    session.write(stream, b"x").unwrap();
    assert_eq!(sent(&mut session), [(Kind::Data, SYN, 1, 1)]);
    session
}

pub(super) fn read_all(session: &mut Session, stream: StreamId) -> (Vec<u8>, Result<(), ReadError>) {
    let mut all = Vec::new();
    loop {
        match session.read_chunk(stream, usize::MAX) {
            Ok(Some(chunk)) => all.extend_from_slice(&chunk),
            Ok(None) => return (all, Ok(())),
            Err(error) => return (all, Err(error)),
        }
    }
}
