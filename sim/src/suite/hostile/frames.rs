//! Yamux frames as tables have them.

use septa_core::{ProtocolId, yamux::HEADER_LEN};

use super::super::exchange::{self, EXCHANGE};

pub(super) const DATA: u8 = 0;
pub(super) const WINDOW: u8 = 1;
pub(super) const PING: u8 = 2;
pub(super) const GO_AWAY: u8 = 3;

pub(super) const NONE: u16 = 0;
pub(super) const SYN: u16 = 1;
pub(super) const ACK: u16 = 2;
pub(super) const FIN: u16 = 4;
pub(super) const RST: u16 = 8;

/// A protocol that every node serves, and that no invariant looks at.
pub(super) const ECHO: ProtocolId = ProtocolId::from_static("/ipfs/ping/1.0.0");
/// A protocol whose streams the victims accept and do not read.
pub(super) const UNREAD: ProtocolId = ProtocolId::from_static("/septa/sim/unread/1");
/// What is sent under the name of an attacker.
const KEY: u64 = 5;
/// Body bytes of a frame that [begins an exchange](begins).
pub(super) const BEGINNING: u32 = 59;

/// Names a stream in a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stream {
    /// The session itself.
    Session,
    /// One that is the attacker's to open, counted from 0 on.
    Own(u32),
    /// One that is the victim's.
    Others(u32),
    /// Another one of the attacker's in each repetition of a flood, counted from 0 on in each.
    Each(u32),
}

/// What follows a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Body {
    /// Nothing, whatever the header says.
    Missing,
    /// As many zeros as the header says.
    Zeros,
    /// The proposal of a protocol, and the beginning of an exchange of so many bytes if there is one.
    Proposal { of_exchange: Option<u64> },
}

/// One frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Frame {
    version: u8,
    kind: u8,
    flags: u16,
    stream: Stream,
    length: u32,
    body: Body,
}

const fn frame(kind: u8, flags: u16, stream: Stream, length: u32) -> Frame {
    Frame { version: 0, kind, flags, stream, length, body: Body::Missing }
}

pub(super) const fn window(flags: u16, stream: Stream, delta: u32) -> Frame {
    frame(WINDOW, flags, stream, delta)
}

pub(super) const fn ping(flags: u16, stream: Stream, value: u32) -> Frame {
    frame(PING, flags, stream, value)
}

pub(super) const fn go_away(stream: Stream, code: u32) -> Frame {
    frame(GO_AWAY, NONE, stream, code)
}

/// A data frame of zeros.
pub(super) const fn data(flags: u16, stream: Stream, length: u32) -> Frame {
    Frame { body: Body::Zeros, ..frame(DATA, flags, stream, length) }
}

/// The header of a data frame whose body never comes.
pub(super) const fn claim(flags: u16, stream: Stream, length: u32) -> Frame {
    frame(DATA, flags, stream, length)
}

/// Opens a stream for an exchange of more bytes than ever come. Its credit is less by [`BEGINNING`] then.
pub(super) const fn begins(stream: Stream) -> Frame {
    Frame { body: Body::Proposal { of_exchange: Some(1 << 30) }, ..frame(DATA, SYN, stream, 0) }
}

/// Opens a stream for pings, which may end at any time.
pub(super) const fn proposes(flags: u16, stream: Stream) -> Frame {
    Frame { body: Body::Proposal { of_exchange: None }, ..frame(DATA, flags, stream, 0) }
}

pub(super) const fn of_version(version: u8) -> Frame {
    Frame { version, ..ping(SYN, Stream::Session, 0) }
}

pub(super) const fn of_kind(kind: u8) -> Frame {
    frame(kind, NONE, Stream::Session, 0)
}

impl Frame {
    /// The bytes of it, in one of the repetitions of a flood of so many streams each.
    pub(super) fn encode(&self, place: Place) -> Vec<u8> {
        let body = match self.body {
            Body::Missing => Vec::new(),
            Body::Zeros => vec![0; self.length as usize],
            Body::Proposal { of_exchange: Some(length) } => beginning(length),
            Body::Proposal { of_exchange: None } => proposal(&ECHO),
        };
        let length = match self.body {
            Body::Proposal { .. } => u32::try_from(body.len()).unwrap_or(u32::MAX),
            Body::Missing | Body::Zeros => self.length,
        };
        let mut bytes = header(self.kind, self.flags, place.id(self.stream), length).to_vec();
        bytes[0] = self.version;
        bytes.extend_from_slice(&body);
        bytes
    }
}

/// Where a frame of a table is sent.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The first id that is the attacker's to use.
    pub(super) first: u32,
    /// Which repetition of a flood, and how many streams each has.
    pub(super) round: u32,
    pub(super) streams: u32,
}

impl Place {
    pub(super) fn id(self, stream: Stream) -> u32 {
        match stream {
            Stream::Session => 0,
            Stream::Own(index) => self.first + 2 * index,
            // Ids of dialers are odd and begin with 1, the others with 2.
            Stream::Others(index) => 3 - self.first + 2 * index,
            // Behind those that have names.
            Stream::Each(index) => self.first + 2 * (100 + self.round * self.streams + index),
        }
    }
}

pub(super) fn header(kind: u8, flags: u16, id: u32, length: u32) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[1] = kind;
    header[2..4].copy_from_slice(&flags.to_be_bytes());
    header[4..8].copy_from_slice(&id.to_be_bytes());
    header[8..].copy_from_slice(&length.to_be_bytes());
    header
}

/// A whole data frame.
pub(super) fn whole(flags: u16, id: u32, body: &[u8]) -> Vec<u8> {
    [&header(DATA, flags, id, u32::try_from(body.len()).unwrap_or(u32::MAX)), body].concat()
}

/// The beginning of a stream of a protocol, as multistream-select has it.
pub(super) fn proposal(protocol: &ProtocolId) -> Vec<u8> {
    let line = |text: &str| [&[u8::try_from(text.len() + 1).unwrap_or(0)], text.as_bytes(), b"\n"].concat();
    [line("/multistream/1.0.0"), line(protocol.as_str())].concat()
}

/// The beginning of an exchange of so many bytes.
pub(super) fn beginning(length: u64) -> Vec<u8> {
    [&proposal(&EXCHANGE)[..], &KEY.to_be_bytes(), &length.to_be_bytes()].concat()
}

/// A whole exchange of so many bytes, as its opener sends it.
pub(super) fn exchange(length: usize) -> Vec<u8> {
    let mut bytes = beginning(length as u64);
    let begin = bytes.len();
    bytes.resize(begin + length, 0);
    exchange::fill(KEY, 0, &mut bytes[begin..]);
    bytes
}

/// What the acceptor of such an exchange answers.
pub(super) fn answer(length: usize) -> Vec<u8> {
    [&proposal(&EXCHANGE)[..], &(length as u64).to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_takes_as_much_credit_as_the_tables_say() {
        assert_eq!(beginning(0).len(), BEGINNING as usize);
        let frame = begins(Stream::Own(1)).encode(Place { first: 2, round: 0, streams: 1 });
        assert_eq!(frame[..HEADER_LEN], header(DATA, SYN, 4, BEGINNING));
    }
}
