//! The 12-byte frame header (yamux spec, framing).

use super::{StreamId, Violation};

/// Length of every frame header, in bytes.
pub const HEADER_LEN: usize = 12;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Data,
    WindowUpdate,
    Ping,
    GoAway,
}

/// The flag bits of a frame. Unknown bits are carried by nobody: ignored when read, never written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Flags(u16);

impl Flags {
    pub(super) const NONE: Self = Self(0);
    pub(super) const SYN: Self = Self(1);
    pub(super) const ACK: Self = Self(2);
    pub(super) const FIN: Self = Self(4);
    pub(super) const RST: Self = Self(8);

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    #[cfg(test)]
    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A decoded header. `stream` is 0 for the session itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) flags: Flags,
    pub(super) stream: u32,
    pub(super) length: u32,
}

impl Header {
    pub(super) fn data(id: StreamId, flags: Flags, length: u32) -> Self {
        Self { kind: Kind::Data, flags, stream: id.get(), length }
    }

    pub(super) fn window_update(id: StreamId, flags: Flags, delta: u32) -> Self {
        Self { kind: Kind::WindowUpdate, flags, stream: id.get(), length: delta }
    }

    /// A reset with its code. On a window update, because a data frame cannot carry one.
    pub(super) fn reset(id: StreamId, code: u32) -> Self {
        Self { kind: Kind::WindowUpdate, flags: Flags::RST, stream: id.get(), length: code }
    }

    pub(super) fn ping(value: u32) -> Self {
        Self { kind: Kind::Ping, flags: Flags::SYN, stream: 0, length: value }
    }

    pub(super) fn pong(value: u32) -> Self {
        Self { kind: Kind::Ping, flags: Flags::ACK, stream: 0, length: value }
    }

    pub(super) fn go_away(code: u32) -> Self {
        Self { kind: Kind::GoAway, flags: Flags::NONE, stream: 0, length: code }
    }

    pub(super) fn encode(self) -> [u8; HEADER_LEN] {
        let kind = match self.kind {
            Kind::Data => 0,
            Kind::WindowUpdate => 1,
            Kind::Ping => 2,
            Kind::GoAway => 3,
        };
        let [f0, f1] = self.flags.0.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        let [l0, l1, l2, l3] = self.length.to_be_bytes();
        [0, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3]
    }

    pub(super) fn decode(bytes: [u8; HEADER_LEN]) -> Result<Self, Violation> {
        let [version, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = bytes;
        if version != 0 {
            return Err(Violation::UnknownVersion);
        }
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::WindowUpdate,
            2 => Kind::Ping,
            3 => Kind::GoAway,
            _ => return Err(Violation::UnknownFrameType),
        };
        let flags = Flags(u16::from_be_bytes([f0, f1]) & KNOWN_FLAGS);
        let stream = u32::from_be_bytes([s0, s1, s2, s3]);
        Ok(Self { kind, flags, stream, length: u32::from_be_bytes([l0, l1, l2, l3]) })
    }
}

/// A GoAway as it is on the wire, for an owner of the transport that ends the session itself.
pub(crate) fn go_away_frame(code: u32) -> [u8; HEADER_LEN] {
    Header::go_away(code).encode()
}

/// Decodes a header and encodes it again, for the fuzz target.
#[cfg(feature = "testing")]
pub(crate) fn recode_header(bytes: [u8; HEADER_LEN]) -> Result<[u8; HEADER_LEN], Violation> {
    Header::decode(bytes).map(Header::encode)
}

const KNOWN_FLAGS: u16 = 0b1111;
