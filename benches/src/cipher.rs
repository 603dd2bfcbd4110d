//! The cipher alone, on records of the size that a connection makes.

use septa_core::crypto::{AeadKey, Provider, TAG_LEN};

/// Plaintext of a full record: a frame of 16 KiB and its header.
pub const RECORD: usize = 16 * 1024 + 12;

/// A key and one record to work on.
pub struct Cipher {
    key: Box<dyn AeadKey>,
    record: Vec<u8>,
    sealed: Vec<u8>,
    tag: [u8; TAG_LEN],
}

impl Cipher {
    /// The cipher of `provider`.
    pub fn new(provider: &dyn Provider) -> Self {
        let key = provider.chacha20_poly1305(&[7; 32]);
        let mut sealed = vec![1; RECORD];
        let tag = key.seal_in_place(&[0; 12], &[], &mut sealed);
        Self { key, record: vec![1; RECORD], sealed, tag }
    }

    /// Seals one record.
    pub fn seal(&mut self) {
        std::hint::black_box(self.key.seal_in_place(&[0; 12], &[], &mut self.record));
    }

    /// Opens one record; a copy restores it, which costs one part in a hundred.
    pub fn open(&mut self) {
        self.record.copy_from_slice(&self.sealed);
        self.key.open_in_place(&[0; 12], &[], &mut self.record, &self.tag).expect("an authentic record");
    }
}
