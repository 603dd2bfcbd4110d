//! Names of channels, and the protocols that they stand for.

use alloc::{format, string::String, sync::Arc};
use core::{fmt, str::FromStr};

use crate::ProtocolId;

/// Longest name of a channel, in bytes.
pub const MAX_NAME_LEN: usize = 64;

/// The name of a channel: 1 to [`MAX_NAME_LEN`] ASCII letters, digits, `_` and `-`. Cheap to clone.
///
/// Other letters are refused, not only slashes: a name is compared byte for byte at both ends, and many
/// letters look alike.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName(Arc<str>);

/// The text is not the name of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a channel name: it must have 1 to 64 of A-Z, a-z, 0-9, '_' and '-'")]
pub struct InvalidChannelName;

/// What is spoken on a stream that belongs to a name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Variant {
    /// Messages in one direction: `/septa/channel/<name>/1.0.0`.
    Messages,
    /// The same, each message compressed: `/septa/channel/<name>/1.0.0/zstd`.
    CompressedMessages,
    /// Requests and their answers: `/septa/rpc/<name>/1.0.0`.
    Requests,
}

impl Variant {
    const ALL: [Self; 3] = [Self::Messages, Self::CompressedMessages, Self::Requests];

    /// What stands before and behind the name.
    const fn around(self) -> (&'static str, &'static str) {
        match self {
            Self::Messages => ("/septa/channel/", "/1.0.0"),
            Self::CompressedMessages => ("/septa/channel/", "/1.0.0/zstd"),
            Self::Requests => ("/septa/rpc/", "/1.0.0"),
        }
    }
}

impl ChannelName {
    /// Checks and copies `name`.
    ///
    /// # Errors
    /// It is empty, too long or has a character that is not allowed.
    pub fn new(name: &str) -> Result<Self, InvalidChannelName> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let is_valid = (1..=MAX_NAME_LEN).contains(&name.len()) && name.bytes().all(is_allowed);
        if is_valid { Ok(Self(name.into())) } else { Err(InvalidChannelName) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The protocol to negotiate for it.
    pub fn protocol(&self, variant: Variant) -> ProtocolId {
        let (before, behind) = variant.around();
        let text: String = format!("{before}{self}{behind}");
        ProtocolId::from_checked(&text)
    }

    /// The name in a protocol, and what the protocol speaks; `None` for every other protocol.
    pub fn from_protocol(protocol: &ProtocolId) -> Option<(Self, Variant)> {
        Variant::ALL.into_iter().find_map(|variant| {
            let (before, behind) = variant.around();
            let name = protocol.as_str().strip_prefix(before)?.strip_suffix(behind)?;
            Some((Self::new(name).ok()?, variant))
        })
    }
}

impl FromStr for ChannelName {
    type Err = InvalidChannelName;
    fn from_str(name: &str) -> Result<Self, InvalidChannelName> {
        Self::new(name)
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
