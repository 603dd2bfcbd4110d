//! Compressed messages: what goes over the wire on a channel of the variant `zstd`.
//!
//! Each message is the length of the raw message as a varint, behind which comes one zstd frame (RFC 8878) that ends with
//! the message. The frame needs no dictionary. Nothing is shared between messages.
//!
//! The peer is not trusted. The announced length is checked before anything is allocated, the frame is inflated straight
//! into a buffer of that length and never beyond, and in one call, for which the library needs no window of its own,
//! whatever window the frame asks for: 128 KiB and the message are all that it costs.

#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use septa_core::varint;
use zstd_safe::{CCtx, CParameter, DCtx};

/// The first bytes of a frame. Frames that may be skipped, and those of old versions, begin with others.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The library's code for a frame that does not end within its input.
const SRC_SIZE_WRONG: usize = 72_usize.wrapping_neg();

/// How much time to spend on making messages smaller. The library needs up to 2 MiB at the usual level, 3, and up to
/// 12 MiB at the highest, however long a message is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CompressionLevel(u8);

/// The level is none of zstd's that channels use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no compression level {0}: use 1 to 9")]
pub struct InvalidCompressionLevel(pub u8);

impl CompressionLevel {
    /// The fastest, 1.
    pub const MIN: Self = Self(1);
    /// The highest, 9. Those above are for data that is compressed once and kept: they take several times the memory and
    /// the time for little.
    pub const MAX: Self = Self(9);

    /// A level of zstd, 1 to 9.
    ///
    /// # Errors
    /// There is no such level.
    pub fn new(level: u8) -> Result<Self, InvalidCompressionLevel> {
        let level = Self(level);
        if (Self::MIN..=Self::MAX).contains(&level) { Ok(level) } else { Err(InvalidCompressionLevel(level.0)) }
    }

    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }
}

/// zstd's own choice, 3.
impl Default for CompressionLevel {
    fn default() -> Self {
        Self(3)
    }
}

/// What came is no compressed message. The peer does not keep to the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum DecompressError {
    /// The length of the raw message is missing, not in its shortest form, or longer than a varint.
    #[error("a compressed message does not begin with the length of the raw one")]
    Length,
    /// The raw message would be longer than the limit. Nothing was allocated for it.
    #[error("a compressed message announces more than {max} bytes")]
    TooLong {
        /// The longest raw message allowed.
        max: usize,
    },
    /// Behind the length there is something else than a zstd frame, such as a frame that may be skipped.
    #[error("a compressed message is not a zstd frame")]
    NotAFrame,
    /// The frame needs a dictionary.
    #[error("a compressed message needs a dictionary")]
    Dictionary,
    /// The message ends before the frame does.
    #[error("a compressed message ends inside its frame")]
    Truncated,
    /// There is something behind the frame, another one perhaps.
    #[error("a compressed message goes on behind its frame")]
    TrailingBytes,
    /// The frame holds more or less than was announced.
    #[error("a compressed message does not have the announced length of {announced} bytes")]
    WrongLength {
        /// The announced length of the raw message.
        announced: usize,
    },
    /// The frame cannot be inflated.
    #[error("a compressed message is corrupt: {why}")]
    Corrupt {
        /// What the library says, for people.
        why: &'static str,
    },
}

/// Longest compressed message of a channel whose raw messages have at most `max` bytes. What cannot be compressed becomes
/// longer: by the length in front, and at most 1 byte of 256 and 64 bytes for the frame.
pub(super) fn max_compressed_len(max: usize) -> usize {
    let prefix = varint::len(u64::try_from(max).unwrap_or(u64::MAX));
    zstd_safe::compress_bound(max).saturating_add(prefix)
}

/// Compresses and inflates the messages of one channel.
///
/// Keeps one context of the library each way for the next message. Whoever finds it taken by another thread makes one for
/// itself, so nobody waits, and each thread that is at it costs what [`CompressionLevel`] says or 128 KiB.
pub(super) struct Codec {
    level: CompressionLevel,
    compressor: Mutex<Option<CCtx<'static>>>,
    decompressor: Mutex<Option<DCtx<'static>>>,
}

impl Codec {
    pub(super) fn new(level: CompressionLevel) -> Self {
        Self { level, compressor: Mutex::default(), decompressor: Mutex::default() }
    }

    /// Compresses a message. The result occupies no more memory than it is long.
    ///
    /// # Panics
    /// There is no memory for the library.
    pub(super) fn compress(&self, raw: &[u8]) -> Vec<u8> {
        let mut context = take(&self.compressor).unwrap_or_else(|| self.new_compressor());
        let mut frame = Vec::with_capacity(zstd_safe::compress_bound(raw.len()));
        // The buffer is long enough for every input.
        let outcome = context.compress2(&mut frame, raw);
        assert!(outcome.is_ok(), "zstd has no memory to compress {} bytes", raw.len());
        put(&self.compressor, context);
        let len = u64::try_from(raw.len()).unwrap_or(u64::MAX);
        let mut message = Vec::with_capacity(varint::len(len).saturating_add(frame.len()));
        varint::encode_to(len, &mut message);
        message.extend_from_slice(&frame);
        message
    }

    /// Inflates a message of at most `max` bytes. Time is linear in the length of `message` and the announced length.
    ///
    /// # Errors
    /// See [`DecompressError`].
    pub(super) fn decompress(&self, message: &[u8], max: usize) -> Result<Bytes, DecompressError> {
        let (announced, frame) = split_length(message, max)?;
        check_frame(frame, announced)?;
        let mut raw = Vec::with_capacity(announced);
        let mut context = take(&self.decompressor).unwrap_or_default();
        let outcome = context.decompress(&mut raw, frame);
        put(&self.decompressor, context);
        match outcome {
            Ok(len) if len == announced => Ok(raw.into()),
            Ok(_) => Err(DecompressError::WrongLength { announced }),
            Err(code) => Err(DecompressError::Corrupt { why: zstd_safe::get_error_name(code) }),
        }
    }

    fn new_compressor(&self) -> CCtx<'static> {
        let mut context = CCtx::create();
        let level = CParameter::CompressionLevel(self.level.0.into());
        assert!(context.set_parameter(level).is_ok(), "zstd knows level {}", self.level.0);
        context
    }
}

fn take<C>(kept: &Mutex<Option<C>>) -> Option<C> {
    kept.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn put<C>(kept: &Mutex<Option<C>>, context: C) {
    let other = kept.lock().unwrap_or_else(PoisonError::into_inner).replace(context);
    drop(other);
}

/// The announced length, which is at most `max`, and what is behind it.
fn split_length(message: &[u8], max: usize) -> Result<(usize, &[u8]), DecompressError> {
    let (announced, len) = match varint::decode(message, varint::MAX_VALUE) {
        Ok(Some(length)) => length,
        Ok(None) | Err(_) => return Err(DecompressError::Length),
    };
    match usize::try_from(announced) {
        Ok(announced) if announced <= max => Ok((announced, message.get(len..).unwrap_or_default())),
        _ => Err(DecompressError::TooLong { max }),
    }
}

/// Looks at the frame without inflating it: it is one, the only one, and says nothing else about its length.
fn check_frame(frame: &[u8], announced: usize) -> Result<(), DecompressError> {
    let magic = frame.get(..MAGIC.len()).ok_or(DecompressError::Truncated)?;
    if magic != MAGIC {
        return Err(DecompressError::NotAFrame);
    }
    if zstd_safe::get_dict_id_from_frame(frame).is_some() {
        return Err(DecompressError::Dictionary);
    }
    match zstd_safe::find_frame_compressed_size(frame) {
        Ok(len) if len == frame.len() => {}
        Ok(_) => return Err(DecompressError::TrailingBytes),
        Err(SRC_SIZE_WRONG) => return Err(DecompressError::Truncated),
        Err(code) => return Err(DecompressError::Corrupt { why: zstd_safe::get_error_name(code) }),
    }
    match zstd_safe::get_frame_content_size(frame) {
        // It need not say anything.
        Ok(None) => Ok(()),
        Ok(Some(len)) if usize::try_from(len) == Ok(announced) => Ok(()),
        Ok(Some(_)) => Err(DecompressError::WrongLength { announced }),
        Err(_) => Err(DecompressError::Corrupt { why: "the length in its header cannot be read" }),
    }
}
