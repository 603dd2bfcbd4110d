//! Addresses as libp2p writes them: `/ip4/192.0.2.1/tcp/4001/p2p/12D3Koo...`.
//!
//! What this release can dial is less than what it can read: peers exchange addresses of transports
//! that others use. A component that is not known makes the rest undecodable, because its length is
//! not known either; that rest is kept as one [`Protocol::Unknown`], so that an address can be
//! stored and passed on unchanged.

pub(crate) mod base64url;
mod protocol;
#[cfg(test)]
mod tests;

use alloc::{sync::Arc, vec::Vec};
use core::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

pub use protocol::{MAX_NAME_LEN, Protocol};

use crate::{InvalidPeerId, PeerId, varint};

/// Longest address, in bytes of its binary form. Peers store and pass on the addresses they are
/// told; without a limit a stranger decides how much they store.
pub const MAX_LEN: usize = 1024;

/// A valid address. Cheap to clone; compared and ordered by its bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Multiaddr(Arc<[u8]>);

/// The bytes, text or components are not an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There are no components.
    #[error("the address is empty")]
    Empty,
    /// The binary form is longer than [`MAX_LEN`].
    #[error("the address is longer than 1024 bytes")]
    TooLong,
    /// The bytes end inside a component.
    #[error("the address ends inside a component")]
    Truncated,
    /// The code or the length of a component is not a valid varint.
    #[error("a code or length in the address is malformed: {0}")]
    Varint(#[from] varint::Error),
    /// A host or zone name is empty, longer than [`MAX_NAME_LEN`], not UTF-8, or has a `/`, white
    /// space or control character in it.
    #[error("a name in the address is empty, too long or has characters that no name has")]
    Name,
    /// The value of a `p2p` component is not a peer id.
    #[error("the address names no valid peer: {0}")]
    Peer(#[from] InvalidPeerId),
    /// The value of a `certhash` component is not a multihash of at most 64 bytes.
    #[error("the certificate hash is not a multihash of at most 64 bytes")]
    Certhash,
    /// A `p2p` component is followed by something other than `p2p-circuit`.
    #[error("a peer may only come last or before p2p-circuit")]
    AfterPeer,
    /// Something stands behind a component whose length is not known.
    #[error("nothing can follow an unknown component")]
    AfterUnknown,
    /// An unknown component made of bytes that have a meaning.
    #[error("the unknown component is a known one")]
    NotUnknown,
    /// The address already ends in another peer.
    #[error("the address belongs to another peer")]
    OtherPeer,
    /// The text does not start with `/`.
    #[error("the address does not start with a slash")]
    NoSlash,
    /// The text has a component whose name is not known.
    #[error("the address has a component of unknown name")]
    UnknownName,
    /// The text ends where a component needs a value.
    #[error("a component of the address has no value")]
    MissingValue,
    /// The text has a number, IP address or multibase value that cannot be read.
    #[error("a component of the address has a value that cannot be read")]
    Value,
}

impl Multiaddr {
    /// Checks and copies the binary form.
    ///
    /// An unknown component is no error; a caller that wants none looks for [`Protocol::Unknown`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        match bytes.len() {
            0 => return Err(Error::Empty),
            1..=MAX_LEN => {}
            _ => return Err(Error::TooLong),
        }
        let (mut tail, mut rest) = (Tail::Open, bytes);
        while !rest.is_empty() {
            let (next, behind) = Protocol::decode(rest)?;
            next.check()?;
            tail = tail.then(next)?;
            rest = behind;
        }
        Ok(Self(bytes.into()))
    }

    /// Puts an address together from its components.
    pub fn from_protocols<'a>(protocols: impl IntoIterator<Item = Protocol<'a>>) -> Result<Self, Error> {
        let mut builder = Builder::default();
        for protocol in protocols {
            builder.push(protocol)?;
        }
        builder.finish()
    }

    /// `/ip4/../tcp/..` or `/ip6/../tcp/..`. Flow and scope of an IPv6 address are left out: they mean
    /// nothing to other hosts.
    pub fn from_socket_addr(addr: SocketAddr) -> Self {
        let mut bytes = Vec::new();
        match addr.ip() {
            IpAddr::V4(ip) => Protocol::Ip4(ip),
            IpAddr::V6(ip) => Protocol::Ip6(ip),
        }
        .encode_to(&mut bytes);
        Protocol::Tcp(addr.port()).encode_to(&mut bytes);
        Self(bytes.into())
    }

    /// The binary form, from 1 to [`MAX_LEN`] bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The components from left to right.
    pub fn protocols(&self) -> Protocols<'_> {
        Protocols { rest: &self.0 }
    }

    /// Where to connect, if this is an IP address with a TCP port and nothing more than perhaps a
    /// peer behind it.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        let mut protocols = self.protocols();
        let ip = match protocols.next()? {
            Protocol::Ip4(ip) => IpAddr::V4(ip),
            Protocol::Ip6(ip) => IpAddr::V6(ip),
            _ => return None,
        };
        let Protocol::Tcp(port) = protocols.next()? else { return None };
        match (protocols.next(), protocols.next()) {
            (None | Some(Protocol::P2p(_)), None) => Some(SocketAddr::new(ip, port)),
            _ => None,
        }
    }

    /// The peer at this address, if it ends in one.
    pub fn peer_id(&self) -> Option<PeerId> {
        match self.protocols().last()? {
            Protocol::P2p(peer) => Some(peer),
            _ => None,
        }
    }

    /// This address with `peer` at its end, where it may already stand.
    ///
    /// Fails if the address belongs to another peer, ends in something unknown or gets too long.
    pub fn with_peer(&self, peer: PeerId) -> Result<Self, Error> {
        match self.peer_id() {
            Some(present) if present == peer => Ok(self.clone()),
            Some(_) => Err(Error::OtherPeer),
            None => Self::from_protocols(self.protocols().chain([Protocol::P2p(peer)])),
        }
    }

    /// This address without the peer at its end. `None` if nothing else is left.
    pub fn without_peer(&self) -> Option<Self> {
        let mut protocols = self.protocols();
        let mut keep: usize = 0;
        while let Some(protocol) = protocols.next() {
            if matches!(protocol, Protocol::P2p(_)) && protocols.rest.is_empty() {
                return if keep == 0 { None } else { self.0.get(..keep).map(|bytes| Self(bytes.into())) };
            }
            keep = self.0.len().saturating_sub(protocols.rest.len());
        }
        Some(self.clone())
    }
}

/// What the components so far allow to follow.
#[derive(Clone, Copy, Default)]
enum Tail {
    #[default]
    Open,
    Peer,
    Unknown,
}

impl Tail {
    fn then(self, next: Protocol<'_>) -> Result<Self, Error> {
        match (self, next) {
            (Self::Unknown, _) => Err(Error::AfterUnknown),
            (Self::Peer, Protocol::P2pCircuit) => Ok(Self::Open),
            (Self::Peer, _) => Err(Error::AfterPeer),
            (Self::Open, Protocol::P2p(_)) => Ok(Self::Peer),
            (Self::Open, Protocol::Unknown(_)) => Ok(Self::Unknown),
            (Self::Open, _) => Ok(Self::Open),
        }
    }
}

#[derive(Default)]
struct Builder {
    bytes: Vec<u8>,
    tail: Tail,
}

impl Builder {
    fn push(&mut self, next: Protocol<'_>) -> Result<(), Error> {
        next.check()?;
        self.tail = self.tail.then(next)?;
        next.encode_to(&mut self.bytes);
        if self.bytes.len() > MAX_LEN { Err(Error::TooLong) } else { Ok(()) }
    }

    fn finish(self) -> Result<Multiaddr, Error> {
        if self.bytes.is_empty() { Err(Error::Empty) } else { Ok(Multiaddr(self.bytes.into())) }
    }
}

/// Iterates the components of a [`Multiaddr`].
#[derive(Clone, Debug)]
pub struct Protocols<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Protocols<'a> {
    type Item = Protocol<'a>;

    fn next(&mut self) -> Option<Protocol<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        // The bytes were checked when the address was made.
        let (next, rest) = Protocol::decode(self.rest).ok()?;
        self.rest = rest;
        Some(next)
    }
}

impl FromStr for Multiaddr {
    type Err = Error;

    /// Reads the text form. Numbers have no sign and no leading zeros; `ipfs` is an alias of `p2p`;
    /// the multibase of `certhash` and `unknown` must be base64url (`u`).
    fn from_str(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(Error::Empty);
        }
        let mut parts = text.strip_prefix('/').ok_or(Error::NoSlash)?.split('/');
        let mut builder = Builder::default();
        while let Some(name) = parts.next() {
            // Fresh for each component, which may borrow from it; most never allocate it.
            let mut decoded = Vec::new();
            builder.push(Protocol::parse(name, &mut parts, &mut decoded)?)?;
        }
        builder.finish()
    }
}

impl fmt::Display for Multiaddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.protocols().try_for_each(|protocol| protocol.fmt(f))
    }
}

impl fmt::Debug for Multiaddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
