use std::sync::Mutex;

use septa_core::varint::{self, MAX_LEN as VARINT_LEN};

use super::*;
use crate::{Crypto, plan::FaultKind};

/// A file that can still be read when it was given away.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl io::Write for Page {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn exporter() -> (Exporter, Page) {
    let page = Page::default();
    let hosts = ["alice", "bob\n"].into_iter();
    (Exporter::new(Box::new(page.clone()), Arc::default(), hosts), page)
}

fn note(text: &str) -> Event<'_> {
    Event::Note { host: 1, text }
}

#[test]
fn a_line_says_when_and_where_and_what() {
    let (mut exporter, page) = exporter();
    exporter.counters.add_step();
    let kind = FaultKind::Stall;
    let events = [
        note("a line\nor two"),
        Event::Ran { host: 0, task: "the scenario" },
        Event::Fired { kind, from: 1, to: 2 },
        Event::Fired { kind, from: 1, to: 1 },
        Event::DialFailed { dialer: 2, remote: ([10, 0, 0, 7], 4001).into(), why: io::ErrorKind::ConnectionRefused },
    ];
    events.into_iter().for_each(|event| exporter.hear(Instant::from_nanos(1_000_000_002), event));
    let (done, _) = exporter.finish().unwrap();
    assert_eq!(done, Exported { lines: 5, omitted: 0 });
    let expected = [
        "     1.000000002s        1  alice         notes: a line\\nor two",
        "     1.000000002s        1  -             runs the scenario",
        "     1.000000002s        1  bob\\n         a fault changes something on the way from alice: stall",
        "     1.000000002s        1  alice         a fault changes something: stall",
        "     1.000000002s        1  bob\\n         cannot dial 10.0.0.7:4001: connection refused",
    ];
    assert_eq!(page.text().lines().collect::<Vec<_>>(), expected);
}

#[test]
fn what_has_no_room_is_counted() {
    let (mut exporter, page) = exporter();
    exporter.hear(Instant::EPOCH, note("a"));
    let len = page.text().len() as u64;
    exporter.room = 2 * len;
    for _ in 0..2 {
        exporter.hear(Instant::EPOCH, note("b"));
    }
    assert_eq!((exporter.room, exporter.done), (0, Exported { lines: 3, omitted: 0 }));
    exporter.hear(Instant::EPOCH, note("c"));
    exporter.hear(Instant::EPOCH, note("d"));
    let (done, _) = exporter.finish().unwrap();
    assert_eq!(done, Exported { lines: 3, omitted: 2 });
    let text = page.text();
    assert_eq!(text.lines().last(), Some("# 2 lines more were left out"));
    assert!(!text.contains("notes: c"));
}

/// A short line does not get in behind a long one for which there was no room: what is there has no gaps.
#[test]
fn nothing_comes_behind_a_gap() {
    let (mut exporter, page) = exporter();
    exporter.room = 100;
    exporter.hear(Instant::EPOCH, note(&"long".repeat(50)));
    exporter.hear(Instant::EPOCH, note("short"));
    assert_eq!((page.text().as_str(), exporter.done.omitted), ("", 2));
}

#[test]
fn a_file_that_cannot_be_written_is_told_at_the_end() {
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut exporter = Exporter::new(Box::new(Full), Arc::default(), std::iter::empty());
    exporter.hear(Instant::EPOCH, note("a"));
    exporter.hear(Instant::EPOCH, note("b"));
    assert_eq!(exporter.finish().err().map(|error| error.kind()), Some(io::ErrorKind::StorageFull));
}

#[test]
fn of_too_many_sockets_the_last_are_not_taken_apart() {
    let (mut exporter, page) = exporter();
    let connected = |number: usize| Event::Connected { socket: 2 * number as u64, dialer: 1, listener: 2 };
    for number in 1..=MAX_SOCKETS / 2 {
        exporter.hear(Instant::EPOCH, connected(number));
    }
    assert_eq!(exporter.sockets.len(), MAX_SOCKETS);
    let number = MAX_SOCKETS / 2 + 1;
    exporter.hear(Instant::EPOCH, connected(number));
    assert_eq!(exporter.sockets.len(), MAX_SOCKETS);
    let socket = 2 * number as u64;
    exporter.hear(Instant::EPOCH, Event::Sent { socket, bytes: b"\x07/noise\n" });
    assert!(page.text().ends_with(&format!("connection {number} sends 8 bytes\n")), "{}", page.text());
    // One that is closed makes room.
    exporter.hear(Instant::EPOCH, Event::Closed { socket: 2, has_unread: true });
    assert!(page.text().ends_with("connection 1 is closed with unread input\n"));
    exporter.hear(Instant::EPOCH, connected(number + 1));
    exporter.hear(Instant::EPOCH, Event::Sent { socket: socket + 2, bytes: b"\x07/noise\n" });
    assert!(page.text().ends_with(&format!("connection {} > multistream /noise\n", number + 1)), "{}", page.text());
}

fn line(text: &str) -> Vec<u8> {
    let mut prefix = [0; VARINT_LEN];
    let len = text.len() as u64 + 1;
    [varint::encode(len, &mut prefix), text.as_bytes(), b"\n"].concat()
}

fn message(body: &[u8]) -> Vec<u8> {
    [&u16::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
}

fn frame(kind: u8, flags: u16, stream: u32, length: u32, body: &[u8]) -> Vec<u8> {
    [&[0, kind], &flags.to_be_bytes()[..], &stream.to_be_bytes(), &length.to_be_bytes(), body].concat()
}

/// What a dialer sends whose records are sealed and hold these plaintexts.
fn dialer(sealed: &Arc<Sealed>, plaintexts: &[Vec<u8>]) -> Vec<u8> {
    let key = sealed.watch(Crypto::Fast.provider()).chacha20_poly1305(&[1; 32]);
    let mut wire = [line("/multistream/1.0.0"), line("/noise"), message(&[1; 32]), message(&[3; 100])].concat();
    for (number, plaintext) in plaintexts.iter().enumerate() {
        let mut record = plaintext.clone();
        let nonce = [0; 8].iter().copied().chain(u32::try_from(number).unwrap().to_be_bytes()).collect::<Vec<u8>>();
        let tag = key.seal_in_place(nonce.as_slice().try_into().unwrap(), b"", &mut record);
        record.extend(tag);
        wire.extend(message(&record));
    }
    wire
}

/// What is said about these bytes when so many come at once.
fn said(wire: &[u8], sealed: &Sealed, at_once: usize) -> Vec<String> {
    let mut said = Vec::new();
    let mut dialer = Wire::dialer();
    wire.chunks(at_once).for_each(|bytes| dialer.take(bytes, sealed, &mut |what| said.push(what.to_owned())));
    said
}

#[test]
fn a_connection_is_taken_apart_however_its_bytes_come() {
    let long = vec![b'x'; SHOWN_AND_MORE];
    let frames = [
        frame(1, 1, 1, 65_536, b""),
        frame(0, 0, 1, 7, b"good\x00\n\""),
        frame(0, 2 | 4, 3, SHOWN_AND_MORE as u32, &long),
        frame(2, 1, 0, 9, b""),
        frame(3, 0, 0, 0, b""),
        frame(7, 0x18, 5, 0, b""),
    ]
    .concat();
    // Frames go on from one record into the next.
    let (first, rest) = frames.split_at(30);
    let (second, third) = rest.split_at(100);
    let plaintexts = [line("/yamux/1.0.0"), first.to_vec(), second.to_vec(), Vec::new(), third.to_vec()];
    let shown = "x".repeat(128);
    let expected = [
        "multistream /multistream/1.0.0",
        "multistream /noise",
        "noise handshake message 1, 32 bytes",
        "noise handshake message 3, 100 bytes",
        "noise record, 14 bytes",
        "multistream /yamux/1.0.0",
        "noise record, 30 bytes",
        "yamux window update SYN stream 1 length 65536",
        "noise record, 100 bytes",
        "yamux data stream 1 length 7 \"good\\x00\\n\\\"\"",
        "noise record, 0 bytes",
        &format!("noise record, {} bytes", third.len()),
        &format!("yamux data ACK+FIN stream 3 length 228 \"{shown}\" and 100 bytes more"),
        "yamux ping SYN stream 0 length 9",
        "yamux go away stream 0 length 0",
        "yamux type 7 RST flags 0x0018 stream 5 length 0",
    ];
    for at_once in [1, 2, 3, 7, 1000, usize::MAX] {
        let sealed = Arc::new(Sealed::default());
        let wire = dialer(&sealed, &plaintexts);
        assert_eq!(said(&wire, &sealed, at_once), expected, "{at_once} at once");
        assert_eq!(sealed.len(), 0);
    }
}

const SHOWN_AND_MORE: usize = 228;

#[test]
fn yamux_may_come_without_a_negotiation() {
    let sealed = Arc::new(Sealed::default());
    let wire = dialer(&sealed, &[frame(2, 1, 0, 9, b"")]);
    assert_eq!(said(&wire, &sealed, 1)[4..], ["noise record, 12 bytes", "yamux ping SYN stream 0 length 9"]);
}

#[test]
fn what_is_something_else_is_said_once() {
    let sealed = Arc::new(Sealed::default());
    // No length, a line without an end, and one that is too long.
    for wire in [vec![0xff; 20], b"\x05hello and more".to_vec(), line(&"x".repeat(1024)), vec![0; 5]] {
        assert_eq!(said(&wire, &sealed, 1), ["something else than libp2p"], "{wire:?}");
    }
    assert_eq!(said(&line(&"x".repeat(1023)), &sealed, 1).len(), 1);
    for plaintext in [frame(0, 0, 1, 0, b"\x01"), line("no muxer")] {
        let wire = dialer(&sealed, &[plaintext, vec![1; 12]]);
        let said = said(&wire, &sealed, 100);
        assert_eq!(said.iter().filter(|what| *what == "something else than Yamux").count(), 1, "{said:?}");
    }
}

#[test]
fn behind_a_record_that_cannot_be_read_nothing_is_understood() {
    let sealed = Arc::new(Sealed::default());
    let ping = frame(2, 1, 0, 9, b"");
    let wire = dialer(&sealed, &[ping.clone(), ping.clone(), ping]);
    let begin = wire.len() - 3 * (2 + 12 + 16);
    // Behind its length.
    sealed.take(&wire[begin + 30 + 2..begin + 60]);
    let expected = [
        "noise record, 12 bytes",
        "yamux ping SYN stream 0 length 9",
        "noise record, 28 bytes, sealed by somebody else",
        "noise record, 12 bytes",
    ];
    assert_eq!(said(&wire, &sealed, 9)[4..], expected);
}
