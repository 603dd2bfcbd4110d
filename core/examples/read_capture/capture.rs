//! Reads what two ends have said, from the bytes on the wire and a key log.

use std::sync::Arc;

use septa_core::{
    crypto::{Provider, RustCrypto},
    noise::{self, Opener, RECORD_HEADER_LEN, TransportKeys},
    varint, yamux,
};

/// What goes wrong is for a person to read.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// What each end has said.
#[derive(Debug)]
pub(crate) struct Conversation {
    /// The connection's name in the key log.
    pub(crate) handshake_hash: [u8; 32],
    /// The frames of the end that dialed.
    pub(crate) dialer: Vec<Frame>,
    /// The frames of the end that listened.
    pub(crate) listener: Vec<Frame>,
}

/// A Yamux frame, as in its specification.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u16,
    pub(crate) stream: u32,
    /// The field behind the stream: bytes of body, credit, ping value or close code.
    pub(crate) length: u32,
    /// Of a data frame, as much as was captured.
    pub(crate) body: Vec<u8>,
}

/// Decrypts one connection: all bytes from the dialer, all from the listener, and the text of a key log that
/// has its keys. A capture that ends early is read as far as it goes.
pub(crate) fn read(dialer: &[u8], listener: &[u8], key_log: &str) -> Result<Conversation> {
    // In the clear: multistream-select, then the handshake messages, each behind two bytes of length.
    let dialer = after_negotiation(dialer, noise::PROTOCOL.as_str())?;
    let listener = after_negotiation(listener, noise::PROTOCOL.as_str())?;
    let (message_1, dialer) = message(dialer).ok_or("the capture ends before the first handshake message")?;
    let (message_2, listener) = message(listener).ok_or("the capture ends before the second handshake message")?;
    let (message_3, dialer) = message(dialer).ok_or("the capture ends before the third handshake message")?;

    let handshake_hash = handshake_hash([message_1, message_2, message_3])
        .ok_or("the handshake messages are too short for Noise XX: is this the dialer's side first?")?;
    let mut logged = key_log.lines().filter_map(|line| line.parse::<TransportKeys>().ok());
    let keys = logged.find(|keys| keys.handshake_hash == handshake_hash).ok_or("the key log has no such connection")?;
    let provider: Arc<dyn Provider> = Arc::new(RustCrypto);
    let [from_dialer, from_listener] = keys.openers(&provider);
    Ok(Conversation {
        handshake_hash,
        dialer: frames(&decrypt(dialer, from_dialer)?)?,
        listener: frames(&decrypt(listener, from_listener)?)?,
    })
}

/// Passes over multistream-select messages up to the one that names `protocol`: this end's proposal or consent.
fn after_negotiation<'b>(mut bytes: &'b [u8], protocol: &str) -> Result<&'b [u8]> {
    loop {
        let (len, prefix) = varint::decode(bytes, 1024)
            .map_err(|error| format!("not multistream-select: {error}"))?
            .ok_or_else(|| format!("the capture ends before {protocol} is negotiated"))?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let (line, rest) = bytes
            .get(prefix..)
            .and_then(|rest| rest.split_at_checked(len))
            .ok_or_else(|| format!("the capture ends before {protocol} is negotiated"))?;
        bytes = rest;
        if line.strip_suffix(b"\n") == Some(protocol.as_bytes()) {
            return Ok(bytes);
        }
    }
}

/// The first handshake message or record without its length, and what follows. `None` if it is not complete.
fn message(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<RECORD_HEADER_LEN>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

/// Noise mixes in what is on the wire: each key as it stands there, sealed or not, and each payload.
fn handshake_hash([message_1, message_2, message_3]: [&[u8]; 3]) -> Option<[u8; 32]> {
    const KEY: usize = 32;
    const SEALED_KEY: usize = KEY + 16;
    let (ephemeral_1, payload_1) = message_1.split_at_checked(KEY)?;
    let (ephemeral_2, rest) = message_2.split_at_checked(KEY)?;
    let (static_2, payload_2) = rest.split_at_checked(SEALED_KEY)?;
    let (static_3, payload_3) = message_3.split_at_checked(SEALED_KEY)?;
    // The name has the length of a hash and stands for its own. The prologue of libp2p is empty.
    let prologue: &[u8] = &[];
    let name = *b"Noise_XX_25519_ChaChaPoly_SHA256";
    let mixed = [prologue, ephemeral_1, payload_1, ephemeral_2, static_2, payload_2, static_3, payload_3];
    Some(mixed.into_iter().fold(name, |hash, part| RustCrypto.sha256(&[&hash, part])))
}

fn decrypt(mut bytes: &[u8], mut opener: Opener) -> Result<Vec<u8>> {
    let mut plaintext = Vec::new();
    while let Some((_, rest)) = message(bytes) {
        // With the two bytes of its length.
        let (record, _) = bytes.split_at(bytes.len().saturating_sub(rest.len()));
        let mut record = record.to_vec();
        plaintext.extend_from_slice(opener.open_in_place(&mut record).map_err(|error| error.to_string())?);
        bytes = rest;
    }
    Ok(plaintext)
}

fn frames(plaintext: &[u8]) -> Result<Vec<Frame>> {
    // Yamux begins with its version 0, multistream-select with a length: then the muxer was not negotiated early.
    let mut bytes = match plaintext.first() {
        None | Some(0) => plaintext,
        Some(_) => after_negotiation(plaintext, "/yamux/1.0.0")?,
    };
    let mut frames = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<{ yamux::HEADER_LEN }>() {
        let [version, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = *header;
        if version != 0 {
            return Err(format!("not a Yamux frame: {header:02x?}"));
        }
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        let body_len = if kind == 0 { usize::try_from(length).unwrap_or(usize::MAX).min(rest.len()) } else { 0 };
        let (body, rest) = rest.split_at(body_len);
        let (flags, stream) = (u16::from_be_bytes([f0, f1]), u32::from_be_bytes([s0, s1, s2, s3]));
        frames.push(Frame { kind, flags, stream, length, body: body.to_vec() });
        bytes = rest;
    }
    Ok(frames)
}
