//! Messages, however the stream is cut.

use alloc::{vec, vec::Vec};

use bytes::Bytes;
use proptest::prelude::*;

use crate::{
    channel::message::{Error, MessageReader, TooLong, encode},
    varint,
};

const MAX: usize = 300;

fn encoded(messages: &[Vec<u8>]) -> Vec<u8> {
    messages.iter().flat_map(|message| encode(&[message], MAX).unwrap()).collect()
}

/// Gives `pieces` to a reader, one after the other, and takes the messages as they become whole.
fn read<'p>(reader: &mut MessageReader, pieces: impl IntoIterator<Item = &'p [u8]>) -> Result<Vec<Bytes>, Error> {
    let mut messages = Vec::new();
    for mut piece in pieces {
        loop {
            let taken = reader.handle_recv(piece)?;
            piece = &piece[taken..];
            match reader.next() {
                Some(message) => messages.push(message),
                None => break,
            }
        }
        assert_eq!(piece, b"", "without a message all is taken");
    }
    Ok(messages)
}

#[test]
fn messages_survive_every_cut_into_two_and_into_bytes() {
    let messages = [vec![7; 3], vec![], vec![9; 128], vec![1], vec![2; MAX]];
    let stream = encoded(&messages);
    for cut in 0..=stream.len() {
        let (head, tail) = stream.split_at(cut);
        let mut reader = MessageReader::new(MAX);
        assert_eq!(read(&mut reader, [head, tail]).unwrap(), messages, "cut at {cut}");
        assert_eq!(reader.handle_eof(), Ok(()));
    }
    assert_eq!(read(&mut MessageReader::new(MAX), stream.chunks(1)).unwrap(), messages);
}

#[test]
fn messages_in_chunks_survive_every_cut_and_are_slices_where_they_are_whole() {
    let messages = [vec![7; 3], vec![], vec![9; 128], vec![1], vec![2; MAX]];
    let stream = Bytes::from(encoded(&messages));
    for cut in 0..=stream.len() {
        let (mut reader, mut got, mut slices) = (MessageReader::new(MAX), Vec::new(), 0);
        for mut chunk in [stream.slice(..cut), stream.slice(cut..)] {
            while let Some(message) = reader.handle_chunk(&mut chunk).unwrap() {
                slices += usize::from(stream.as_ptr_range().contains(&message.as_ptr()));
                got.push(message);
            }
            assert!(chunk.is_empty(), "without a message all is taken");
        }
        assert_eq!(got, messages, "cut at {cut}");
        assert!(slices >= messages.len() - 2, "all but the one that is cut, and the empty one perhaps");
        assert_eq!(reader.handle_eof(), Ok(()));
    }
}

#[test]
fn an_empty_message_does_not_keep_its_chunk() {
    let chunk = Bytes::from(vec![0, 0]);
    let mut rest = chunk.clone();
    let mut reader = MessageReader::new(MAX);
    let messages = [(); 2].map(|()| reader.handle_chunk(&mut rest).unwrap().unwrap());
    assert_eq!((messages, chunk.is_unique()), ([Bytes::new(), Bytes::new()], true));
}

#[test]
fn a_message_that_waits_comes_before_those_of_a_chunk() {
    let mut reader = MessageReader::new(MAX);
    assert_eq!(reader.handle_recv(b"\x03one"), Ok(4));
    let mut chunk = Bytes::from_static(b"\x03two\x80\x00");
    for expected in ["one", "two"] {
        assert_eq!(reader.handle_chunk(&mut chunk).unwrap().unwrap(), expected);
    }
    assert_eq!(reader.handle_chunk(&mut chunk), Err(Error::LengthNotMinimal));
    assert_eq!(reader.handle_chunk(&mut Bytes::from_static(b"\x00")), Err(Error::LengthNotMinimal));
}

#[test]
fn while_a_message_waits_no_input_is_taken() {
    let mut reader = MessageReader::new(MAX);
    let stream = encoded(&[b"one".to_vec(), b"two".to_vec()]);
    assert_eq!(reader.handle_recv(&stream), Ok(4));
    assert_eq!(reader.handle_recv(&stream[4..]), Ok(0));
    assert_eq!(reader.handle_eof(), Ok(()), "a whole message is not cut short");
    assert_eq!(reader.next(), Some(Bytes::from_static(b"one")));
    assert_eq!(reader.next(), None);
    assert_eq!(reader.handle_recv(&stream[4..]), Ok(4));
    assert_eq!(reader.next(), Some(Bytes::from_static(b"two")));
}

#[test]
fn a_message_may_have_the_limit_and_no_byte_more() {
    assert_eq!(encode(&[&[0; MAX], b"x"], MAX), Err(TooLong { len: MAX + 1, max: MAX }));
    let longest = encode(&[&[5; MAX]], MAX).unwrap();
    assert_eq!(longest.len(), longest.capacity());
    assert_eq!(read(&mut MessageReader::new(MAX), [&longest[..]]).unwrap(), [vec![5; MAX]]);
    // Only the length has come: the refusal does not wait for the rest.
    let mut prefix = Vec::new();
    varint::encode_to(MAX as u64 + 1, &mut prefix);
    let mut reader = MessageReader::new(MAX);
    assert_eq!(reader.handle_recv(&prefix), Err(Error::TooLong { max: MAX }));
    assert_eq!(reader.handle_recv(b""), Err(Error::TooLong { max: MAX }), "it stays failed");
    assert_eq!(reader.handle_eof(), Err(Error::TooLong { max: MAX }));
    assert_eq!(reader.memory_used(), 0);
}

#[test]
fn a_reader_whose_limit_is_zero_takes_empty_messages_only() {
    assert_eq!(read(&mut MessageReader::new(0), [&[0, 0][..]]).unwrap(), [vec![], vec![]]);
    assert_eq!(read(&mut MessageReader::new(0), [&[1][..]]), Err(Error::TooLong { max: 0 }));
}

#[test]
fn bad_lengths_are_refused_wherever_they_are_cut() {
    let table: [(&[u8], Error); 5] = [
        (&[0x80, 0x00], Error::LengthNotMinimal),
        (&[0x85, 0x80, 0x00], Error::TooLong { max: MAX }),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], Error::TooLong { max: MAX }),
        (&[0x80, 0x80, 0x80, 0x80], Error::TooLong { max: MAX }),
        (&[0xad, 0x02], Error::TooLong { max: MAX }),
    ];
    for (bytes, error) in table {
        for cut in 0..bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(read(&mut MessageReader::new(MAX), [head, tail]), Err(error), "{bytes:x?} cut at {cut}");
        }
    }
    // With a limit that does not stop it first, a length ends after nine bytes.
    let mut reader = MessageReader::new(usize::MAX);
    assert_eq!(reader.handle_recv(&[0xff; 9]), Err(Error::TooLong { max: usize::MAX }));
    let mut reader = MessageReader::new(1 << 20);
    assert_eq!(reader.handle_recv(&[0x85, 0x80, 0x00]), Err(Error::LengthNotMinimal));
}

#[test]
fn a_stream_may_end_only_between_messages() {
    let stream = encoded(&[vec![3; 200]]);
    for cut in 1..stream.len() {
        let mut reader = MessageReader::new(MAX);
        assert_eq!(reader.handle_recv(&stream[..cut]), Ok(cut));
        assert_eq!(reader.handle_eof(), Err(Error::UnexpectedEof), "cut at {cut}");
        assert_eq!(reader.handle_recv(&stream[cut..]), Err(Error::UnexpectedEof));
    }
}

#[test]
fn memory_follows_what_has_arrived_and_not_what_was_announced() {
    const LEN: usize = 1 << 20;
    let mut reader = MessageReader::new(LEN);
    let message = encode(&[&vec![1; LEN]], LEN).unwrap();
    let (prefix, body) = message.split_at(message.len() - LEN);
    assert_eq!(reader.handle_recv(prefix), Ok(prefix.len()));
    assert_eq!(reader.memory_used(), 0);
    let mut arrived = 0;
    for piece in body.chunks(1000) {
        assert_eq!(reader.handle_recv(piece), Ok(piece.len()));
        arrived += piece.len();
        assert!(reader.memory_used() <= (2 * arrived).min(LEN), "{} for {arrived}", reader.memory_used());
    }
    assert_eq!(reader.memory_used(), LEN);
    assert_eq!(reader.next().unwrap().len(), LEN);
    assert_eq!(reader.memory_used(), 0);
}

/// What the reader should make of all of `stream`: the messages in front, and the error that ends them.
fn model(mut stream: &[u8]) -> (Vec<Vec<u8>>, Option<Error>) {
    let mut messages = Vec::new();
    loop {
        let (len, prefix) = match varint::decode(stream, MAX as u64) {
            Ok(None) => return (messages, None),
            Ok(Some((len, prefix))) => (len as usize, prefix),
            Err(varint::Error::NotMinimal) => return (messages, Some(Error::LengthNotMinimal)),
            Err(_) => return (messages, Some(Error::TooLong { max: MAX })),
        };
        let Some(message) = stream.get(prefix..prefix + len) else { return (messages, None) };
        messages.push(message.to_vec());
        stream = &stream[prefix + len..];
    }
}

proptest! {
    #[test]
    fn random_messages_and_nonsense_come_out_as_in_the_model(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..=MAX), 0..6),
        nonsense in prop::collection::vec(any::<u8>(), 0..12),
        cuts in prop::collection::vec(1_usize..200, 1..60),
    ) {
        let mut stream = encoded(&messages);
        stream.extend(nonsense);
        let (expected, error) = model(&stream);
        let mut reader = MessageReader::new(MAX);
        let (mut rest, mut got, mut outcome) = (&stream[..], Vec::new(), None);
        for cut in cuts.into_iter().cycle() {
            if rest.is_empty() || outcome.is_some() {
                break;
            }
            let piece = &rest[..cut.min(rest.len())];
            match reader.handle_recv(piece) {
                Ok(taken) => {
                    rest = &rest[taken..];
                    got.extend(reader.next());
                }
                Err(error) => outcome = Some(error),
            }
        }
        prop_assert_eq!(got, expected);
        prop_assert_eq!(outcome, error);
    }
}
