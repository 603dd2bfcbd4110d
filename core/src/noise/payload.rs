//! The handshake payload of messages 2 and 3 (noise-libp2p, the libp2p handshake payload).

use alloc::vec::Vec;

use super::Error;
use crate::{
    ProtocolId,
    protobuf::{Reader, Writer},
};

/// Largest handshake payload accepted, in bytes.
///
/// An RSA-4096 identity takes 1.1 KiB. Stops strangers from making each half-open handshake hold 64 KiB.
pub const MAX_PAYLOAD_LEN: usize = 16 * 1024;

/// Most muxers of our own that are offered; the rest of a longer list is left out.
pub const MAX_MUXERS_SENT: usize = 32;

/// Most muxers a peer may list.
///
/// go-libp2p treats a longer list as none at all and then speaks another protocol than a peer that
/// does not, so that no reading of such a list is safe; it also costs a comparison per entry.
pub const MAX_MUXERS_RECEIVED: usize = 100;

/// The parts of a payload, none of which is believed yet.
#[derive(Debug)]
pub(super) struct Payload<'a> {
    pub(super) identity_key: &'a [u8],
    pub(super) signature: &'a [u8],
    pub(super) muxers: MuxerList<'a>,
}

/// The muxers a peer offers, in its order of preference.
#[derive(Default, Debug)]
pub(super) struct MuxerList<'a> {
    names: Vec<&'a [u8]>,
    too_long: bool,
}

impl<'a> Payload<'a> {
    /// Unknown fields are passed over, and the last of a repeated field counts (proto3). Field 3 was
    /// used by an older revision and is unknown now.
    pub(super) fn decode(message: &'a [u8]) -> Result<Self, Error> {
        let (mut identity_key, mut signature, mut muxers) = (None, None, MuxerList::default());
        for field in Reader::new(message) {
            match field.map_err(Error::MalformedPayload)? {
                (IDENTITY_KEY, value) => identity_key = Some(value.bytes().map_err(Error::MalformedPayload)?),
                (IDENTITY_SIG, value) => signature = Some(value.bytes().map_err(Error::MalformedPayload)?),
                // A repeated sub-message merges, so its lists join.
                (EXTENSIONS, value) => muxers.read_extensions(value.bytes().map_err(Error::MalformedPayload)?)?,
                _ => {}
            }
        }
        Ok(Self {
            identity_key: identity_key.ok_or(Error::MissingIdentityKey)?,
            signature: signature.ok_or(Error::MissingSignature)?,
            muxers,
        })
    }
}

impl<'a> MuxerList<'a> {
    fn read_extensions(&mut self, extensions: &'a [u8]) -> Result<(), Error> {
        for field in Reader::new(extensions) {
            if let (STREAM_MUXERS, value) = field.map_err(Error::MalformedPayload)? {
                let name = value.bytes().map_err(Error::MalformedPayload)?;
                if self.names.len() < MAX_MUXERS_RECEIVED {
                    self.names.push(name);
                } else {
                    self.too_long = true;
                }
            }
        }
        Ok(())
    }

    /// The muxer agreed on if `ours` is the initiator's list and this the responder's; see [`choose`].
    pub(super) fn choose_as_initiator(&self, ours: &[ProtocolId]) -> Result<Option<ProtocolId>, Error> {
        self.choose(ours, || ours.iter().find(|muxer| self.names.contains(&muxer.as_str().as_bytes())))
    }

    /// The muxer agreed on if `ours` is the responder's list and this the initiator's.
    pub(super) fn choose_as_responder(&self, ours: &[ProtocolId]) -> Result<Option<ProtocolId>, Error> {
        self.choose(ours, || {
            self.names.iter().find_map(|name| ours.iter().find(|muxer| muxer.as_str().as_bytes() == *name))
        })
    }

    /// Early muxer negotiation: the first entry of the initiator's list that the responder's contains.
    ///
    /// `None` if either end offers nothing: then multistream-select runs over the secure channel.
    /// Both ends see both lists, so both come to the same conclusion.
    fn choose<'m>(
        &self,
        ours: &[ProtocolId],
        first_in_common: impl FnOnce() -> Option<&'m ProtocolId>,
    ) -> Result<Option<ProtocolId>, Error> {
        if ours.is_empty() || self.names.is_empty() {
            return Ok(None);
        }
        if self.too_long {
            return Err(Error::TooManyMuxers);
        }
        first_in_common().cloned().map(Some).ok_or(Error::NoMuxerInCommon)
    }
}

/// The payload that introduces us. Without muxers it has no extensions.
pub(super) fn encode<'m>(
    identity_key: &[u8],
    signature: &[u8],
    muxers: impl IntoIterator<Item = &'m ProtocolId>,
) -> Vec<u8> {
    let mut extensions = Vec::new();
    for muxer in muxers {
        Writer::new(&mut extensions).string(STREAM_MUXERS, muxer.as_str());
    }
    let mut out = Vec::new();
    Writer::new(&mut out).bytes(IDENTITY_KEY, identity_key).bytes(IDENTITY_SIG, signature);
    if !extensions.is_empty() {
        Writer::new(&mut out).bytes(EXTENSIONS, &extensions);
    }
    out
}

// Fields of `NoiseHandshakePayload`.
const IDENTITY_KEY: u32 = 1;
const IDENTITY_SIG: u32 = 2;
const EXTENSIONS: u32 = 4;
// Of `NoiseExtensions`; 1 holds the WebTransport certificate hashes.
const STREAM_MUXERS: u32 = 2;
