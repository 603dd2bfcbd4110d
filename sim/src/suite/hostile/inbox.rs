//! What a victim has said, frame by frame.

use std::{collections::BTreeMap, mem};

use septa_core::yamux::{HEADER_LEN, INITIAL_WINDOW};

use super::frames::{ACK, DATA, FIN, PING, RST, SYN, WINDOW};

/// Bytes of one stream that are kept.
const MAX_KEPT: usize = 4096;

/// The header of a frame that came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Heard {
    pub(super) kind: u8,
    pub(super) flags: u16,
    pub(super) stream: u32,
    pub(super) length: u32,
}

#[derive(Debug, Default)]
pub(super) struct Inbox {
    partial: Vec<u8>,
    /// Bytes of a body that are still to come, and of which stream.
    body: (usize, u32),
    heard: Vec<Heard>,
    streams: BTreeMap<u32, Vec<u8>>,
    pings: Vec<u32>,
}

impl Inbox {
    pub(super) fn take(&mut self, mut plaintext: &[u8]) {
        while !plaintext.is_empty() {
            let (left, stream) = self.body;
            if left > 0 {
                let (now, rest) = plaintext.split_at(left.min(plaintext.len()));
                let kept = self.streams.entry(stream).or_default();
                kept.extend(now.iter().take(MAX_KEPT.saturating_sub(kept.len())));
                self.body.0 -= now.len();
                plaintext = rest;
                continue;
            }
            let (now, rest) = plaintext.split_at((HEADER_LEN - self.partial.len()).min(plaintext.len()));
            self.partial.extend_from_slice(now);
            plaintext = rest;
            if let Ok(header) = <[u8; HEADER_LEN]>::try_from(&self.partial[..]) {
                self.partial.clear();
                self.hear(header);
            }
        }
    }

    fn hear(&mut self, header: [u8; HEADER_LEN]) {
        let [_, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = header;
        let heard = Heard {
            kind,
            flags: u16::from_be_bytes([f0, f1]),
            stream: u32::from_be_bytes([s0, s1, s2, s3]),
            length: u32::from_be_bytes([l0, l1, l2, l3]),
        };
        if kind == DATA {
            self.body = (heard.length as usize, heard.stream);
        }
        if kind == PING && heard.flags & (SYN | ACK) == SYN {
            self.pings.push(heard.length);
        }
        self.heard.push(heard);
    }

    pub(super) fn heard(&self) -> &[Heard] {
        &self.heard
    }

    /// The values of the pings that have not been answered.
    pub(super) fn take_pings(&mut self) -> Vec<u32> {
        mem::take(&mut self.pings)
    }

    pub(super) fn has_pings(&self) -> bool {
        !self.pings.is_empty()
    }

    /// The first bytes that came on a stream.
    pub(super) fn bytes(&self, stream: u32) -> &[u8] {
        self.streams.get(&stream).map_or(&[], |bytes| bytes)
    }

    /// The victim has ended its half of the stream.
    pub(super) fn has_finished(&self, stream: u32) -> bool {
        self.body.0 == 0 && self.heard.iter().any(|heard| heard.stream == stream && heard.flags & FIN != 0)
    }

    /// The code with which the victim has reset the stream, the last time.
    pub(super) fn reset(&self, stream: u32) -> Option<u32> {
        let mut resets = self.heard.iter().rev().filter(|heard| heard.stream == stream && heard.flags & RST != 0);
        resets.next().map(|heard| heard.length)
    }

    /// Body bytes that may be sent on the stream in all.
    pub(super) fn granted(&self, stream: u32) -> u64 {
        let updates = self.heard.iter().filter(|heard| heard.kind == WINDOW && heard.flags & RST == 0);
        let of_stream = updates.filter(|heard| heard.stream == stream).map(|heard| u64::from(heard.length));
        u64::from(INITIAL_WINDOW) + of_stream.sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::frames::{header, whole},
        *,
    };

    #[test]
    fn frames_are_told_apart_however_they_are_cut() {
        let bytes = [
            &header(PING, SYN, 0, 7)[..],
            &whole(FIN, 2, b"abc"),
            &header(WINDOW, ACK, 2, 9),
            &header(WINDOW, RST, 4, 0x1002),
        ]
        .concat();
        for cut in 1..bytes.len() {
            let mut inbox = Inbox::default();
            bytes.chunks(cut).for_each(|part| inbox.take(part));
            assert_eq!((inbox.heard().len(), inbox.take_pings()), (4, vec![7]));
            assert_eq!((inbox.bytes(2), inbox.has_finished(2), inbox.has_finished(4)), (&b"abc"[..], true, false));
            assert_eq!((inbox.reset(2), inbox.reset(4)), (None, Some(0x1002)));
            assert_eq!((inbox.granted(2), inbox.granted(4)), (u64::from(INITIAL_WINDOW) + 9, INITIAL_WINDOW.into()));
        }
    }
}
