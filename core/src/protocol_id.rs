//! Protocol names as multistream-select carries them.

use alloc::{collections::BTreeSet, sync::Arc};
use core::{cmp::Ordering, fmt, hash};

/// Longest protocol name that we register or propose, in bytes (256 with its newline; every
/// implementation accepts that).
pub const MAX_PROTOCOL_ID_LEN: usize = 255;

/// The name of a protocol, such as `/ipfs/ping/1.0.0`.
///
/// Starts with `/` (rust-libp2p refuses others), has at most 255 bytes and no newline (the
/// terminator of a multistream message). `na` and `ls` are thereby excluded. Cheap to clone.
#[derive(Clone)]
pub struct ProtocolId(Repr);

#[derive(Clone)]
enum Repr {
    Static(&'static str),
    Shared(Arc<str>),
}

/// The text is not usable as a protocol name: it must start with `/`, have at most
/// [`MAX_PROTOCOL_ID_LEN`] bytes and no newline.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a protocol name: it must start with '/', have at most 255 bytes and no newline")]
pub struct InvalidProtocolId;

impl ProtocolId {
    /// Checks and copies `name`.
    pub fn new(name: &str) -> Result<Self, InvalidProtocolId> {
        if is_valid(name.as_bytes()) { Ok(Self(Repr::Shared(name.into()))) } else { Err(InvalidProtocolId) }
    }

    /// Copies a name that was made from valid parts.
    pub(crate) fn from_checked(name: &str) -> Self {
        debug_assert!(is_valid(name.as_bytes()), "not a protocol name");
        Self(Repr::Shared(name.into()))
    }

    /// A name known when the program is compiled; does not allocate.
    ///
    /// # Panics
    /// At compile time, when used in a constant, if the name is not valid.
    pub const fn from_static(name: &'static str) -> Self {
        assert!(is_valid(name.as_bytes()), "not a protocol name");
        Self(Repr::Static(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Static(name) => name,
            Repr::Shared(name) => name,
        }
    }
}

const fn is_valid(mut name: &[u8]) -> bool {
    if name.len() > MAX_PROTOCOL_ID_LEN || !matches!(name, [b'/', ..]) {
        return false;
    }
    while let [first, rest @ ..] = name {
        if *first == b'\n' {
            return false;
        }
        name = rest;
    }
    true
}

impl PartialEq for ProtocolId {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}
impl Eq for ProtocolId {}
impl PartialOrd for ProtocolId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for ProtocolId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}
impl hash::Hash for ProtocolId {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}
impl core::borrow::Borrow<str> for ProtocolId {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}
impl fmt::Debug for ProtocolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}
impl fmt::Display for ProtocolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl core::str::FromStr for ProtocolId {
    type Err = InvalidProtocolId;
    fn from_str(name: &str) -> Result<Self, InvalidProtocolId> {
        Self::new(name)
    }
}

/// The set of protocols that a listener serves, matched by exact bytes.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct ProtocolSet(Arc<BTreeSet<ProtocolId>>);

impl ProtocolSet {
    /// The protocol of this set with that name.
    pub fn get(&self, name: &str) -> Option<&ProtocolId> {
        self.0.get(name)
    }

    /// The protocols in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &ProtocolId> {
        self.0.iter()
    }
}

impl FromIterator<ProtocolId> for ProtocolSet {
    fn from_iter<I: IntoIterator<Item = ProtocolId>>(protocols: I) -> Self {
        Self(Arc::new(protocols.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    #[test]
    fn names_that_multistream_cannot_carry_are_refused() {
        let longest = String::from("/") + &"x".repeat(MAX_PROTOCOL_ID_LEN - 1);
        let too_long = String::from("/") + &"x".repeat(MAX_PROTOCOL_ID_LEN);
        for bad in ["", "na", "ls", "noise", "/with\nnewline", "/\n", too_long.as_str()] {
            assert_eq!(ProtocolId::new(bad), Err(InvalidProtocolId), "{bad:?}");
        }
        for good in ["/", "/noise", "/ipfs/ping/1.0.0", "/\u{e9}", longest.as_str()] {
            assert_eq!(ProtocolId::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_static_name_equals_a_copied_one_and_sets_match_exactly() {
        const PING: ProtocolId = ProtocolId::from_static("/ipfs/ping/1.0.0");
        assert_eq!(PING, ProtocolId::new("/ipfs/ping/1.0.0").unwrap());
        let set: ProtocolSet = [PING].into_iter().collect();
        assert_eq!(set.get("/ipfs/ping/1.0.0"), Some(&PING));
        assert_eq!(set.get("/ipfs/ping/1.0.0 "), None);
        assert_eq!(set.get("/ipfs/ping"), None);
    }
}
