//! The fields of an identify message ("libp2p identify spec, the Identify message").

use alloc::{string::String, vec::Vec};

use super::{EncodeError, Info, MAX_LISTEN_ADDRS, MAX_PROTOCOLS, MAX_SENT_MESSAGE_LEN, MAX_TEXT_LEN};
use crate::{Multiaddr, ProtocolId, PublicKey, protobuf, varint};

/// What [`Info::merge`] could not use.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Dropped {
    /// Entries that cannot be decoded or are past a limit.
    pub(super) entries: usize,
    /// Whether the last public key is one of those.
    pub(super) public_key: bool,
}

impl Dropped {
    fn count(&mut self, used: bool) {
        self.entries = self.entries.saturating_add(usize::from(!used));
    }
}

impl Info {
    /// The message behind its length, as it goes over the wire.
    ///
    /// # Errors
    /// See [`EncodeError`].
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let message = self.message()?;
        let len = message.len();
        if len > MAX_SENT_MESSAGE_LEN {
            return Err(EncodeError::TooLong { len });
        }
        let mut out = Vec::with_capacity(len.saturating_add(varint::MAX_LEN));
        varint::encode_to(u64::try_from(len).unwrap_or(u64::MAX), &mut out);
        out.extend_from_slice(&message);
        Ok(out)
    }

    /// Reads one message without its length, of a peer whose key is not known yet.
    ///
    /// Addresses, protocols, keys and texts that cannot be used are left out, as is what is past a
    /// limit of this module.
    ///
    /// # Errors
    /// It is not protobuf, or a field has the wrong type.
    pub fn decode(message: &[u8]) -> Result<Self, protobuf::Error> {
        let mut info = Self::default();
        info.merge(message, &mut Dropped::default())?;
        Ok(info)
    }

    /// Adds what `message` says: lists grow, single values are replaced.
    pub(super) fn merge(&mut self, message: &[u8], dropped: &mut Dropped) -> Result<(), protobuf::Error> {
        let mut public_key = None;
        for field in protobuf::Reader::new(message) {
            let (number, value) = field?;
            let used = match number {
                PUBLIC_KEY => {
                    public_key = Some(value.bytes()?);
                    true
                }
                LISTEN_ADDRS => {
                    let addr = Multiaddr::from_bytes(value.bytes()?).ok();
                    push_bounded(&mut self.listen_addrs, addr, MAX_LISTEN_ADDRS)
                }
                PROTOCOLS => {
                    let name = core::str::from_utf8(value.bytes()?).ok();
                    let protocol = name.and_then(|name| ProtocolId::new(name).ok());
                    push_bounded(&mut self.protocols, protocol, MAX_PROTOCOLS)
                }
                OBSERVED_ADDR => {
                    self.observed_addr = Multiaddr::from_bytes(value.bytes()?).ok();
                    self.observed_addr.is_some()
                }
                PROTOCOL_VERSION => {
                    self.protocol_version = printable(value.bytes()?);
                    self.protocol_version.is_some()
                }
                AGENT_VERSION => {
                    self.agent_version = printable(value.bytes()?);
                    self.agent_version.is_some()
                }
                SIGNED_PEER_RECORD => {
                    self.signed_peer_record = Some(value.bytes()?.into());
                    true
                }
                _ => true,
            };
            dropped.count(used);
        }
        // Once, not for each of the hundreds of keys that fit a message: decoding a key is slow.
        if let Some(encoded) = public_key {
            self.public_key = PublicKey::from_protobuf(encoded).ok();
            dropped.public_key = self.public_key.is_none();
            dropped.count(self.public_key.is_some());
        }
        Ok(())
    }

    fn message(&self) -> Result<Vec<u8>, EncodeError> {
        let public_key = self.public_key.as_ref().ok_or(EncodeError::NoPublicKey)?;
        let mut out = Vec::new();
        let mut writer = protobuf::Writer::new(&mut out);
        writer.bytes(PUBLIC_KEY, &public_key.to_protobuf());
        for addr in &self.listen_addrs {
            writer.bytes(LISTEN_ADDRS, addr.as_bytes());
        }
        for protocol in &self.protocols {
            writer.string(PROTOCOLS, protocol.as_str());
        }
        if let Some(addr) = &self.observed_addr {
            writer.bytes(OBSERVED_ADDR, addr.as_bytes());
        }
        if let Some(version) = &self.protocol_version {
            writer.string(PROTOCOL_VERSION, version);
        }
        if let Some(version) = &self.agent_version {
            writer.string(AGENT_VERSION, version);
        }
        if let Some(record) = &self.signed_peer_record {
            writer.bytes(SIGNED_PEER_RECORD, record);
        }
        Ok(out)
    }
}

fn push_bounded<T>(list: &mut Vec<T>, item: Option<T>, max: usize) -> bool {
    match item {
        Some(item) if list.len() < max => {
            list.push(item);
            true
        }
        _ => false,
    }
}

/// The text with what must not reach a terminal replaced, cut after [`MAX_TEXT_LEN`] bytes.
fn printable(bytes: &[u8]) -> Option<String> {
    let mut text = String::new();
    for char in core::str::from_utf8(bytes).ok()?.chars() {
        let char = if controls_display(char) { char::REPLACEMENT_CHARACTER } else { char };
        if text.len().saturating_add(char.len_utf8()) > MAX_TEXT_LEN {
            break;
        }
        text.push(char);
    }
    Some(text)
}

/// Control characters, and invisible ones that change the direction or order of the text around.
fn controls_display(char: char) -> bool {
    let invisible = matches!(char,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    char.is_control() || invisible
}

const PUBLIC_KEY: u32 = 1;
const LISTEN_ADDRS: u32 = 2;
const PROTOCOLS: u32 = 3;
const OBSERVED_ADDR: u32 = 4;
const PROTOCOL_VERSION: u32 = 5;
const AGENT_VERSION: u32 = 6;
const SIGNED_PEER_RECORD: u32 = 8;
