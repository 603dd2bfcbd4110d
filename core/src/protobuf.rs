//! A bounded protobuf reader and writer for the handful of messages that libp2p exchanges.
//!
//! No schema and no recursion: a nested message is a field of bytes that the caller reads with a
//! [`Reader`] of its own. Nothing is allocated while reading.

#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use crate::varint::low_bits;

/// Most bytes of a protobuf varint.
const MAX_VARINT_LEN: usize = 10;

/// The bytes are not the message expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The message ends inside a field.
    #[error("the message ends inside a field")]
    Truncated,
    /// A varint does not fit 64 bits.
    #[error("a varint does not fit 64 bits")]
    VarintTooLong,
    /// A field number is 0 or above 2^29 - 1.
    #[error("a field number is out of range")]
    FieldNumber,
    /// A field is a group, which no libp2p message has, or has an undefined wire type.
    #[error("wire type {0} is not supported")]
    WireType(u8),
    /// A known field carries another type than it must.
    #[error("a field has the wrong type")]
    WrongType,
    /// A string field is not UTF-8.
    #[error("a string is not UTF-8")]
    NotUtf8,
}

/// The content of a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value<'a> {
    /// Wire type 0: integers, booleans and enums.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2: bytes, strings and nested messages.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

impl<'a> Value<'a> {
    /// The bytes of a `bytes` field or nested message.
    pub fn bytes(self) -> Result<&'a [u8], Error> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Error::WrongType),
        }
    }

    /// The text of a `string` field.
    pub fn string(self) -> Result<&'a str, Error> {
        core::str::from_utf8(self.bytes()?).map_err(|_| Error::NotUtf8)
    }

    /// The value of an unsigned integer, boolean or enum field.
    pub fn uint64(self) -> Result<u64, Error> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(Error::WrongType),
        }
    }
}

/// Iterates the fields of one message, in the order in which they stand.
///
/// Yields field number and value. A field may come more than once and unknown ones must be passed
/// over; both are the caller's `match`. After an error it yields nothing more.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `message`, whose length the caller has bounded.
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), Error> {
        let key = u32::try_from(self.varint()?).map_err(|_| Error::FieldNumber)?;
        let number = key >> 3;
        if number == 0 {
            return Err(Error::FieldNumber);
        }
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(*self.array()?)),
            2 => Value::Bytes(self.prefixed()?),
            5 => Value::Fixed32(u32::from_le_bytes(*self.array()?)),
            other => return Err(Error::WireType(low_bits(other.into()))),
        };
        Ok((number, value))
    }

    // Unlike in the rest of libp2p, a varint inside protobuf need not be minimal.
    fn varint(&mut self) -> Result<u64, Error> {
        let mut value: u64 = 0;
        let mut shift: u32 = 0;
        for index in 0..MAX_VARINT_LEN {
            let (byte, rest) = self.rest.split_first().ok_or(Error::Truncated)?;
            self.rest = rest;
            // Nine bytes hold 63 bits, so the tenth has room for one.
            if index == 9 && *byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            shift = shift.saturating_add(7);
        }
        Err(Error::VarintTooLong)
    }

    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], Error> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(array)
    }

    fn prefixed(&mut self) -> Result<&'a [u8], Error> {
        let len = usize::try_from(self.varint()?).map_err(|_| Error::Truncated)?;
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<(u32, Value<'a>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Appends fields to a buffer, each in its shortest encoding.
///
/// Writes what it is told, zeros and empty values too: a proto2 reader may require them.
#[derive(Debug)]
pub struct Writer<'v> {
    out: &'v mut Vec<u8>,
}

impl<'v> Writer<'v> {
    /// Appends to `out`, which may already hold something.
    pub fn new(out: &'v mut Vec<u8>) -> Self {
        Self { out }
    }

    /// A `bytes` field or nested message. `field` is from 1 to 2^29 - 1, as everywhere here.
    pub fn bytes(&mut self, field: u32, value: &[u8]) -> &mut Self {
        self.key(field, 2);
        self.varint(u64::try_from(value.len()).unwrap_or(u64::MAX));
        self.out.extend_from_slice(value);
        self
    }

    /// A `string` field.
    pub fn string(&mut self, field: u32, value: &str) -> &mut Self {
        self.bytes(field, value.as_bytes())
    }

    /// An unsigned integer, boolean or enum field.
    pub fn uint64(&mut self, field: u32, value: u64) -> &mut Self {
        self.key(field, 0);
        self.varint(value);
        self
    }

    fn key(&mut self, field: u32, wire_type: u64) {
        debug_assert!((1..1 << 29).contains(&field), "field number out of range");
        self.varint((u64::from(field) << 3) | wire_type);
    }

    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.out.push(low_bits(value) | 0x80);
            value >>= 7;
        }
        self.out.push(low_bits(value));
    }
}
