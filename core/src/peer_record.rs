//! Signed peer records (libp2p RFC 0003): addresses that a peer itself vouches for, whoever passes
//! them on.
//!
//! A record proves that the peer named these addresses, not that it can be reached there.

#[cfg(test)]
mod tests;

use alloc::{sync::Arc, vec::Vec};

use crate::{
    Identity, InvalidPeerId, Multiaddr, PeerId, PublicKey,
    crypto::Provider,
    protobuf,
    signed_envelope::{self, SignedEnvelope},
};

/// Most addresses of one record: what is past them is left out of one that is read, and refused in
/// one that is made. Stops a peer from filling our book and from making us dial strangers.
pub const MAX_ADDRS: usize = 256;

/// How a record is wrapped. RFC 0003 says one thing, and all implementations but rust-libp2p do
/// another. Both are read.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum Format {
    /// What go, js and py write and read: the domain `libp2p-peer-record` and the payload type
    /// `03 01`.
    #[default]
    Common,
    /// What the RFC says and rust-libp2p's identify and rendezvous expect: the domain
    /// `libp2p-routing-state` and the payload type `/libp2p/routing-state-record`.
    Rfc,
}

/// A record cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// There are more than [`MAX_ADDRS`] addresses.
    #[error("a peer record has {count} addresses, more than 256")]
    TooManyAddrs {
        /// How many there are.
        count: usize,
    },
    /// It is too long for an envelope.
    #[error(transparent)]
    Envelope(#[from] signed_envelope::SealError),
}

/// The bytes are not a record that its peer has signed. Nothing in it may be believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The envelope is malformed, of another kind or not validly signed.
    #[error(transparent)]
    Envelope(#[from] signed_envelope::Error),
    /// The record inside is not protobuf, or a field has the wrong type.
    #[error("the peer record cannot be read: {0}")]
    Protobuf(#[from] protobuf::Error),
    /// The record does not say whose it is.
    #[error("the peer record names no valid peer: {0}")]
    Peer(#[from] InvalidPeerId),
    /// The record is about another peer than the one that signed it.
    #[error("the peer record is about {claimed} but signed by {signer}")]
    OtherPeer {
        /// Whose addresses it claims to have.
        claimed: PeerId,
        /// Who signed it.
        signer: PeerId,
    },
}

/// A peer's addresses under its own signature. Exists only if that signature is valid.
///
/// Cheap to clone. Keeps the envelope as it came, so that it can be passed on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedPeerRecord {
    public_key: PublicKey,
    seq: u64,
    addrs: Arc<[Multiaddr]>,
    dropped: usize,
    envelope: Arc<[u8]>,
}

impl SignedPeerRecord {
    /// Signs that `identity` can be reached at `addrs`.
    ///
    /// `seq` must be greater than that of every record the identity has signed before, over restarts
    /// too: peers keep the greatest. The time since 1970 in nanoseconds is usual.
    ///
    /// # Errors
    /// See [`SealError`]; nothing was signed.
    pub fn seal(
        identity: &Identity,
        provider: &dyn Provider,
        format: Format,
        seq: u64,
        addrs: &[Multiaddr],
    ) -> Result<Self, SealError> {
        if addrs.len() > MAX_ADDRS {
            return Err(SealError::TooManyAddrs { count: addrs.len() });
        }
        let record = encode(&identity.peer_id(), seq, addrs);
        let (domain, payload_type) = format.names();
        let envelope = signed_envelope::seal(identity, provider, domain, payload_type, &record)?;
        let public_key = identity.public_key().clone();
        Ok(Self { public_key, seq, addrs: addrs.into(), dropped: 0, envelope: envelope.into() })
    }

    /// Reads an envelope in either [`Format`] and checks that the peer it is about has signed it.
    ///
    /// Addresses that cannot be decoded, that name another peer, or that are past [`MAX_ADDRS`] are
    /// left out one by one. Nothing is allocated for a record whose signature is not valid, but what
    /// is needed to check it.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn open(envelope: &[u8]) -> Result<Self, Error> {
        let decoded = SignedEnvelope::decode(envelope)?;
        let (domain, payload_type) = Format::of(&decoded)?.names();
        let payload = decoded.open(domain, payload_type)?;
        let record = Record::decode(payload)?;
        let signer = decoded.public_key().peer_id();
        let claimed = PeerId::from_bytes(record.peer_id)?;
        if claimed != signer {
            return Err(Error::OtherPeer { claimed, signer });
        }
        let (addrs, dropped) = decode_addrs(payload, signer)?;
        let public_key = decoded.public_key().clone();
        Ok(Self { public_key, seq: record.seq, addrs: addrs.into(), dropped, envelope: envelope.into() })
    }

    /// Whose record it is.
    pub fn peer_id(&self) -> PeerId {
        self.public_key.peer_id()
    }

    /// The key that signed it.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Orders the records of one peer and means nothing else; in particular it is no time.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Where the peer says that it can be reached, at most [`MAX_ADDRS`].
    pub fn addrs(&self) -> &[Multiaddr] {
        &self.addrs
    }

    /// How many addresses were left out when the record was read.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// The envelope as it was made or came, to be passed on.
    pub fn envelope(&self) -> &[u8] {
        &self.envelope
    }

    /// Whether this record replaces `known`: it is of the same peer and has a greater
    /// [`seq`](Self::seq).
    ///
    /// Stops those who pass on records from bringing old addresses back. A peer can pin its own record
    /// with the greatest number there is, so let what you store expire by your own clock.
    pub fn is_newer_than(&self, known: &Self) -> bool {
        self.public_key == known.public_key && self.seq > known.seq
    }
}

impl Format {
    fn of(envelope: &SignedEnvelope<'_>) -> Result<Self, signed_envelope::Error> {
        let formats = [Self::Common, Self::Rfc];
        let found = formats.into_iter().find(|format| format.names().1 == envelope.payload_type());
        found.ok_or(signed_envelope::Error::PayloadType)
    }

    /// Domain and payload type.
    fn names(self) -> (&'static str, &'static [u8]) {
        match self {
            Self::Common => ("libp2p-peer-record", &[0x03, 0x01]),
            Self::Rfc => ("libp2p-routing-state", b"/libp2p/routing-state-record"),
        }
    }
}

/// The single fields of a record.
#[derive(Default)]
struct Record<'r> {
    peer_id: &'r [u8],
    seq: u64,
}

impl<'r> Record<'r> {
    fn decode(record: &'r [u8]) -> Result<Self, protobuf::Error> {
        let mut decoded = Self::default();
        for field in protobuf::Reader::new(record) {
            match field? {
                (PEER_ID, value) => decoded.peer_id = value.bytes()?,
                (SEQ, value) => decoded.seq = value.uint64()?,
                _ => {}
            }
        }
        Ok(decoded)
    }
}

fn encode(peer_id: &PeerId, seq: u64, addrs: &[Multiaddr]) -> Vec<u8> {
    let (mut record, mut info) = (Vec::new(), Vec::new());
    let mut writer = protobuf::Writer::new(&mut record);
    writer.bytes(PEER_ID, peer_id.as_bytes()).uint64(SEQ, seq);
    for addr in addrs {
        info.clear();
        protobuf::Writer::new(&mut info).bytes(MULTIADDR, addr.as_bytes());
        writer.bytes(ADDRESSES, &info);
    }
    record
}

/// The addresses that can be used, and how many cannot.
fn decode_addrs(record: &[u8], peer: PeerId) -> Result<(Vec<Multiaddr>, usize), protobuf::Error> {
    let (mut addrs, mut dropped) = (Vec::new(), 0_usize);
    for field in protobuf::Reader::new(record) {
        let (ADDRESSES, value) = field? else { continue };
        match decode_addr(value.bytes()?, peer)? {
            Some(addr) if addrs.len() < MAX_ADDRS => addrs.push(addr),
            _ => dropped = dropped.saturating_add(1),
        }
    }
    Ok((addrs, dropped))
}

fn decode_addr(info: &[u8], peer: PeerId) -> Result<Option<Multiaddr>, protobuf::Error> {
    let mut addr: &[u8] = &[];
    for field in protobuf::Reader::new(info) {
        if let (MULTIADDR, value) = field? {
            addr = value.bytes()?;
        }
    }
    let addr = Multiaddr::from_bytes(addr).ok();
    Ok(addr.filter(|addr| addr.peer_id().is_none_or(|named| named == peer)))
}

// `PeerRecord` and its `AddressInfo`.
const PEER_ID: u32 = 1;
const SEQ: u32 = 2;
const ADDRESSES: u32 = 3;
const MULTIADDR: u32 = 1;
