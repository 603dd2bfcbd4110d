//! Bytes that prove themselves: what a stream delivers must be the beginning of what was sent, and all of it where it
//! ends cleanly.
//!
//! ```text
//! opener    -> key (8 bytes), length (8 bytes), then so many bytes that follow from the key; end
//! acceptor  <- how many bytes came (8 bytes); end
//! ```

use septa_core::ProtocolId;
use septa_driver::{OpenStreamError, ReadError, Stream, WriteError, node::OpenError};

use crate::Referee;

pub(super) const EXCHANGE: ProtocolId = ProtocolId::from_static("/septa/sim/exchange/1");

pub(super) const PREFIX: &str = "delivered bytes are a prefix of those that were sent";
pub(super) const WHOLE: &str = "a stream that ends cleanly was delivered whole";

/// Bytes that are sent at once, at most.
const PIECE: usize = 20_000;

/// A stream ended before its exchange did. That is what faults are for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Interrupted {
    #[error("no stream: {0}")]
    Open(#[from] OpenError),
    #[error("no protocol: {0}")]
    Negotiate(#[from] OpenStreamError),
    #[error("reading: {0}")]
    Read(#[from] ReadError),
    #[error("writing: {0}")]
    Write(#[from] WriteError),
    #[error("it ended early")]
    Short,
}

/// Sends so many bytes and waits for the answer.
pub(super) async fn send(stream: &mut Stream, key: u64, length: u64, referee: &Referee) -> Result<(), Interrupted> {
    stream.send(&key.to_be_bytes()).await?;
    stream.send(&length.to_be_bytes()).await?;
    let mut sent = 0;
    let mut piece = [0; PIECE];
    while sent < length {
        // Not all pieces are of one size.
        let size = 1 + byte(key, sent) as usize * PIECE / 256;
        let size = size.min(usize::try_from(length - sent).unwrap_or(PIECE));
        fill(key, sent, &mut piece[..size]);
        stream.send(&piece[..size]).await?;
        sent += size as u64;
    }
    stream.finish()?;
    let mut answer = Vec::new();
    while let Some(chunk) = stream.read_chunk().await? {
        answer.extend_from_slice(&chunk);
    }
    if answer != length.to_be_bytes() {
        referee.blame(WHOLE, format!("of {length} bytes the receiver of key {key:x} says {answer:?}"));
    }
    Ok(())
}

/// Writes all that [`send`] sends, as far as there is room for it, and waits for nothing.
pub(super) async fn write(stream: &mut Stream, key: u64, length: usize) -> Result<(), Interrupted> {
    let mut bytes = [key.to_be_bytes(), (length as u64).to_be_bytes()].concat();
    bytes.resize(16 + length, 0);
    fill(key, 0, &mut bytes[16..]);
    stream.write_chunk(&mut bytes.into()).await?;
    Ok(stream.finish()?)
}

/// What one [`send`] or [`write`] has sent, whole.
pub(super) struct Received {
    pub(super) key: u64,
    length: u64,
}

/// Takes what one [`send`] sends, and pauses behind each piece.
pub(super) async fn receive<F: Future<Output = ()>>(
    stream: &mut Stream,
    pause: impl Fn() -> F,
    referee: &Referee,
) -> Result<Received, Interrupted> {
    let mut head = Vec::with_capacity(16);
    let mut received = 0;
    while let Some(chunk) = stream.read_chunk().await? {
        let of_head = chunk.len().min(16 - head.len());
        head.extend_from_slice(&chunk[..of_head]);
        if let Some((key, length)) = read_head(&head) {
            let body = &chunk[of_head..];
            verify(key, length, received, body, referee);
            received += body.len() as u64;
        }
        pause().await;
    }
    match read_head(&head) {
        Some((key, length)) if received == length => Ok(Received { key, length }),
        Some((key, length)) => {
            referee.blame(WHOLE, format!("of {length} bytes with key {key:x} came {received}"));
            Err(Interrupted::Short)
        }
        None => {
            referee.blame(WHOLE, format!("of the head came {} bytes", head.len()));
            Err(Interrupted::Short)
        }
    }
}

/// Tells the sender.
pub(super) async fn answer(stream: &mut Stream, received: &Received) -> Result<(), Interrupted> {
    stream.send(&received.length.to_be_bytes()).await?;
    Ok(stream.finish()?)
}

pub(super) fn read_head(head: &[u8]) -> Option<(u64, u64)> {
    let number = |range: std::ops::Range<usize>| head.get(range)?.try_into().ok().map(u64::from_be_bytes);
    Some((number(0..8)?, number(8..16)?))
}

/// Sees that these bytes are those that follow from the key, from `received` on.
pub(super) fn verify(key: u64, length: u64, offset: u64, body: &[u8], referee: &Referee) {
    if offset + body.len() as u64 > length {
        referee.blame(PREFIX, format!("more than the {length} bytes with key {key:x} came"));
    }
    let wrong = (offset..).zip(body).find(|(at, found)| byte(key, *at) != **found);
    if let Some((at, found)) = wrong {
        referee.blame(PREFIX, format!("byte {at} of {length} with key {key:x} is {found}, not {}", byte(key, at)));
    }
}

/// Bytes that follow from a key and their places, from this place on.
pub(super) fn fill(key: u64, offset: u64, out: &mut [u8]) {
    (offset..).zip(out).for_each(|(at, byte_out)| *byte_out = byte(key, at));
}

/// The byte at this place: a hash of the key and the place, eight places to one hash.
fn byte(key: u64, at: u64) -> u8 {
    let mut word = key ^ (at / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word.to_be_bytes()[(at % 8) as usize]
}
