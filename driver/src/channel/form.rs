//! What messages are on the wire: as the application gives them, or compressed.

use bytes::Bytes;
use septa_core::channel::{Config, Payload, Variant};

#[cfg(feature = "zstd")]
use super::compression::{self, Codec, DecompressError};
use super::{ChannelOptions, Mode, error::ChannelError};

/// The form in which a channel's messages travel. Both ends have the same, since it belongs to the protocol.
pub(super) enum Form {
    Plain,
    #[cfg(feature = "zstd")]
    Compressed(Codec),
}

/// A message of the application, and what is sent of it.
pub(super) struct Encoded<'m> {
    /// Bytes that the application gave.
    pub(super) len: usize,
    wire: Wire<'m>,
}

enum Wire<'m> {
    Given(Payload<'m>),
    #[cfg(feature = "zstd")]
    Compressed(Bytes),
}

/// What came is no message in this form: the peer has broken the protocol.
pub(super) struct Malformed;

impl Encoded<'_> {
    pub(super) fn payload(&self) -> Payload<'_> {
        match &self.wire {
            Wire::Given(payload) => *payload,
            #[cfg(feature = "zstd")]
            Wire::Compressed(message) => Payload::Shared(message),
        }
    }
}

impl Form {
    #[cfg(not(feature = "zstd"))]
    pub(super) fn of(_: &ChannelOptions, _: Mode) -> Result<Self, ChannelError> {
        Ok(Self::Plain)
    }

    #[cfg(feature = "zstd")]
    pub(super) fn of(options: &ChannelOptions, mode: Mode) -> Result<Self, ChannelError> {
        match (options.compression, mode) {
            (None, _) => Ok(Self::Plain),
            (Some(level), Mode::OneWay) => Ok(Self::Compressed(Codec::new(level))),
            (Some(_), Mode::Shared) => Err(ChannelError::ForeignCompression),
        }
    }

    /// What is spoken on the streams of a named channel.
    pub(super) fn variant(&self) -> Variant {
        match self {
            Self::Plain => Variant::Messages,
            #[cfg(feature = "zstd")]
            Self::Compressed(_) => Variant::CompressedMessages,
        }
    }

    /// The limits for what travels.
    pub(super) fn wire_config(&self, config: &Config) -> Config {
        match self {
            Self::Plain => config.clone(),
            #[cfg(feature = "zstd")]
            Self::Compressed(_) => {
                Config { max_message_len: compression::max_compressed_len(config.max_message_len), ..config.clone() }
            }
        }
    }

    /// A message of more than `max` bytes is left as it is, since it will not be sent.
    #[cfg_attr(not(feature = "zstd"), expect(unused_variables, reason = "only what is compressed takes time"))]
    pub(super) fn encode<'m>(&self, message: Payload<'m>, max: usize) -> Encoded<'m> {
        let len = message.as_bytes().len();
        let wire = match self {
            #[cfg(feature = "zstd")]
            Self::Compressed(codec) if len <= max => Wire::Compressed(codec.compress(message.as_bytes()).into()),
            _ => Wire::Given(message),
        };
        Encoded { len, wire }
    }

    #[cfg_attr(not(feature = "zstd"), expect(unused_variables, clippy::unnecessary_wraps, reason = "plain is plain"))]
    pub(super) fn decode(&self, message: Bytes, max: usize) -> Result<Bytes, Malformed> {
        match self {
            Self::Plain => Ok(message),
            #[cfg(feature = "zstd")]
            Self::Compressed(codec) => codec.decompress(&message, max).map_err(|_: DecompressError| Malformed),
        }
    }
}
