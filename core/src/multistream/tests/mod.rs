mod dialer;
mod limits;
mod listener;
mod pairs;

use std::{string::String, vec, vec::Vec};

use super::{Dialer, Error, Listener, Progress};
use crate::{ProtocolId, ProtocolSet};

const NOISE: ProtocolId = ProtocolId::from_static("/noise");
const TLS: ProtocolId = ProtocolId::from_static("/tls/1.0.0");
const YAMUX: ProtocolId = ProtocolId::from_static("/yamux/1.0.0");
const PING: ProtocolId = ProtocolId::from_static("/ipfs/ping/1.0.0");
const IDENTIFY: ProtocolId = ProtocolId::from_static("/ipfs/id/1.0.0");

const HEADER: &str = "/multistream/1.0.0";

/// Both machines have the same four methods; the tests that hold for either use this.
trait Machine {
    fn recv(&mut self, data: &[u8]) -> Result<(usize, Progress), Error>;
    fn eof(&mut self) -> Result<Progress, Error>;
    fn transmit(&mut self, out: &mut [u8]) -> usize;
    fn wants(&self) -> bool;
    fn buffered(&self) -> usize;
}

macro_rules! machine {
    ($($name:ident)*) => {$(
        impl Machine for $name {
            fn recv(&mut self, data: &[u8]) -> Result<(usize, Progress), Error> {
                self.handle_recv(data)
            }
            fn eof(&mut self) -> Result<Progress, Error> {
                self.handle_eof()
            }
            fn transmit(&mut self, out: &mut [u8]) -> usize {
                self.poll_transmit(out)
            }
            fn wants(&self) -> bool {
                self.wants_transmit()
            }
            fn buffered(&self) -> usize {
                self.buffer_capacity()
            }
        }
    )*};
}
machine!(Dialer Listener);

fn message(text: &str) -> Vec<u8> {
    let length = text.len() + 1;
    let mut bytes = if length < 128 { vec![length as u8] } else { vec![length as u8 | 0x80, (length >> 7) as u8] };
    bytes.extend(text.bytes());
    bytes.push(b'\n');
    bytes
}

fn messages(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| message(text)).collect()
}

fn drain(machine: &mut impl Machine) -> Vec<u8> {
    drain_in_pieces(machine, 4096)
}

fn drain_in_pieces(machine: &mut impl Machine, size: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut out = vec![0xee; size];
    while machine.wants() {
        let count = machine.transmit(&mut out);
        assert!(count > 0, "a machine that wants to transmit does");
        all.extend_from_slice(&out[..count]);
    }
    assert_eq!(machine.transmit(&mut out), 0, "a machine that wants nothing sends nothing");
    all
}

/// A dialer whose header and first proposal have left.
fn dialer(protocols: &[ProtocolId]) -> Dialer {
    let mut dialer = Dialer::new(protocols.iter().cloned()).unwrap();
    drain(&mut dialer);
    dialer
}

fn listener(protocols: &[ProtocolId]) -> Listener {
    Listener::new(protocols.iter().cloned().collect::<ProtocolSet>())
}

/// A listener that has read the header.
fn greeted(protocols: &[ProtocolId]) -> Listener {
    let mut listener = listener(protocols);
    assert_eq!(listener.handle_recv(&message(HEADER)), Ok((20, Progress::Pending)));
    drain(&mut listener);
    listener
}

/// Outcome and leftover after `data` in the given pieces, and everything that was sent.
type Outcome = (Result<Progress, Error>, Vec<u8>, Vec<u8>);

fn feed(machine: &mut impl Machine, pieces: &[&[u8]]) -> Outcome {
    let mut outcome = Ok(Progress::Pending);
    let (mut leftover, mut sent) = (Vec::new(), Vec::new());
    for piece in pieces {
        if outcome == Ok(Progress::Pending) {
            match machine.recv(piece) {
                Ok((taken, progress)) => {
                    assert!(progress != Progress::Pending || taken == piece.len(), "all is taken until the end");
                    leftover.extend_from_slice(&piece[taken..]);
                    outcome = Ok(progress);
                }
                Err(error) => outcome = Err(error),
            }
        } else {
            leftover.extend_from_slice(piece);
        }
        sent.extend(drain(machine));
    }
    (outcome, leftover, sent)
}

/// Feeds `data` whole, byte by byte and in two pieces cut at every point; all must end alike.
fn feed_every_split<M: Machine>(make: impl Fn() -> M, data: &[u8]) -> Outcome {
    let whole = feed(&mut make(), &[data]);
    let bytes: Vec<&[u8]> = data.chunks(1).collect();
    let same = |split: Outcome, at: &dyn std::fmt::Debug| {
        assert_eq!((&split.0, &split.2), (&whole.0, &whole.2), "split at {at:?}");
        if let Ok(Progress::Agreed(_)) = whole.0 {
            assert_eq!(split.1, whole.1, "split at {at:?}");
        }
    };
    same(feed(&mut make(), &bytes), &"every byte");
    for at in 0..=data.len() {
        let (front, back) = data.split_at(at);
        same(feed(&mut make(), &[front, back]), &at);
    }
    whole
}

#[test]
fn every_message_is_what_the_specification_shows() {
    let known = [
        (NOISE, "072f6e6f6973650a"),
        (TLS, "0b2f746c732f312e302e300a"),
        (YAMUX, "0d2f79616d75782f312e302e300a"),
        (PING, "112f697066732f70696e672f312e302e300a"),
        (IDENTIFY, "0f2f697066732f69642f312e302e300a"),
    ];
    for (protocol, bytes) in known {
        let mut dialer = Dialer::single(protocol.clone());
        let expected = String::from("132f6d756c746973747265616d2f312e302e300a") + bytes;
        assert_eq!(hex::encode(drain(&mut dialer)), expected, "{protocol}");

        let mut listener = listener(core::slice::from_ref(&protocol));
        listener.handle_recv(&hex::decode(&expected).unwrap()).unwrap();
        assert_eq!(hex::encode(drain(&mut listener)), expected, "the echo of {protocol}");
    }
    let mut refusing = greeted(&[]);
    refusing.handle_recv(&hex::decode("036c730a").unwrap()).unwrap();
    assert_eq!(hex::encode(drain(&mut refusing)), "036e610a");
}

#[test]
fn output_leaves_in_pieces_of_any_size() {
    let longest = ProtocolId::new(&(String::from("/") + &"x".repeat(254))).unwrap();
    for size in 1..300 {
        let mut dialer = Dialer::new([longest.clone(), NOISE]).unwrap();
        let expected = messages(&[HEADER, longest.as_str()]);
        assert_eq!(expected[20..22], [0x80, 0x02], "256 bytes need a length of two");
        assert_eq!(drain_in_pieces(&mut dialer, size), expected);
        assert_eq!(dialer.handle_recv(&messages(&[HEADER, "na"])).unwrap().1, Progress::Pending);
        assert_eq!(drain_in_pieces(&mut dialer, size), message("/noise"));

        let mut listener = listener(core::slice::from_ref(&longest));
        listener.handle_recv(&messages(&[HEADER, "/a", "/b", longest.as_str()])).unwrap();
        assert_eq!(drain_in_pieces(&mut listener, size), messages(&[HEADER, "na", "na", longest.as_str()]));
    }
}

#[test]
fn an_empty_output_buffer_changes_nothing() {
    let mut dialer = Dialer::single(NOISE);
    assert_eq!(dialer.poll_transmit(&mut []), 0);
    assert!(dialer.wants_transmit());
    assert_eq!(drain(&mut dialer), messages(&[HEADER, "/noise"]));
}

#[test]
fn the_machines_can_move_between_threads() {
    fn check<T: Send + Sync + 'static>() {}
    check::<Dialer>();
    check::<Listener>();
}
