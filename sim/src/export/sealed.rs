//! What was in records, from those who have sealed them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use septa_core::crypto::{AeadKey, OpenFailed, Provider, TAG_LEN, X25519Key};
use zeroize::ZeroizeOnDrop;

/// Bytes of memory for records that are kept until they are sent. Some never are; past this the oldest make room.
const MAX_HELD: usize = 64 * 1024 * 1024;
/// What a record costs besides its bytes, which are kept sealed and in the clear.
const OVERHEAD: usize = 128;

/// The plaintext of records that were sealed and not sent yet, by what they were sealed to. The tag alone would not do:
/// with [`FastCrypto`](crate::FastCrypto) short records that say the same have the same.
#[derive(Default)]
pub(crate) struct Sealed(Mutex<Store>);

#[derive(Default)]
struct Store {
    records: BTreeMap<Arc<[u8]>, Record>,
    /// In the order in which they were sealed.
    order: BTreeMap<u64, Arc<[u8]>>,
    last: u64,
    held: usize,
}

struct Record {
    number: u64,
    plaintext: Vec<u8>,
}

impl Sealed {
    /// The same cryptography. What is sealed with it can be [taken](Self::take) here.
    pub(crate) fn watch(self: &Arc<Self>, provider: Arc<dyn Provider>) -> Arc<dyn Provider> {
        Arc::new(Watched { provider, sealed: self.clone() })
    }

    /// The plaintext of a record that is sent now, tag and all.
    pub(super) fn take(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        match sealed.len() {
            // Whoever has sealed it, nothing is in it.
            TAG_LEN => Some(Vec::new()),
            _ => self.lock(|store| store.remove(sealed)),
        }
    }

    fn put(&self, sealed: &[u8], plaintext: Vec<u8>) {
        if plaintext.is_empty() {
            return;
        }
        let sealed: Arc<[u8]> = sealed.into();
        self.lock(|store| {
            store.remove(&sealed);
            store.last += 1;
            store.held += cost(&plaintext);
            store.order.insert(store.last, sealed.clone());
            store.records.insert(sealed, Record { number: store.last, plaintext });
            while store.held > MAX_HELD
                && let Some((_, oldest)) = store.order.pop_first()
            {
                store.remove(&oldest);
            }
        });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock(|store| store.records.len())
    }

    fn lock<T>(&self, f: impl FnOnce(&mut Store) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store {
    fn remove(&mut self, sealed: &[u8]) -> Option<Vec<u8>> {
        let Record { number, plaintext } = self.records.remove(sealed)?;
        self.order.remove(&number);
        self.held -= cost(&plaintext);
        Some(plaintext)
    }
}

fn cost(plaintext: &[u8]) -> usize {
    2 * plaintext.len() + OVERHEAD
}

struct Watched {
    provider: Arc<dyn Provider>,
    sealed: Arc<Sealed>,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.provider.fmt(f)
    }
}

impl Provider for Watched {
    fn chacha20_poly1305(&self, key: &[u8; 32]) -> Box<dyn AeadKey> {
        Box::new(WatchedKey { key: self.provider.chacha20_poly1305(key), sealed: self.sealed.clone() })
    }

    fn x25519_key(&self, secret: &[u8; 32]) -> Box<dyn X25519Key> {
        self.provider.x25519_key(secret)
    }

    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.provider.sha256(parts)
    }

    fn ed25519_sign(&self, seed: &[u8; 32], message: &[u8]) -> [u8; 64] {
        self.provider.ed25519_sign(seed, message)
    }
}

struct WatchedKey {
    key: Box<dyn AeadKey>,
    sealed: Arc<Sealed>,
}

// The key within wipes itself.
impl ZeroizeOnDrop for WatchedKey {}

impl AeadKey for WatchedKey {
    fn seal_in_place(&self, nonce: &[u8; 12], associated: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        let plaintext = data.to_vec();
        let tag = self.key.seal_in_place(nonce, associated, data);
        self.sealed.put(&[&*data, &tag].concat(), plaintext);
        tag
    }

    fn open_in_place(
        &self,
        nonce: &[u8; 12],
        associated: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), OpenFailed> {
        self.key.open_in_place(nonce, associated, data, tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Crypto;

    #[test]
    fn what_is_sealed_is_the_same_and_can_be_taken_once() {
        for crypto in [Crypto::Fast, Crypto::Real] {
            let sealed = Arc::new(Sealed::default());
            let (watched, plain) = (sealed.watch(crypto.provider()), crypto.provider());
            let (mut one, mut other) = (*b"a secret", *b"a secret");
            let tag = watched.chacha20_poly1305(&[7; 32]).seal_in_place(&[1; 12], b"x", &mut one);
            let expected = plain.chacha20_poly1305(&[7; 32]).seal_in_place(&[1; 12], b"x", &mut other);
            assert_eq!((tag, one), (expected, other));
            let record = [one.as_slice(), &tag].concat();
            assert_eq!(watched.chacha20_poly1305(&[7; 32]).open_in_place(&[1; 12], b"x", &mut one, &tag), Ok(()));
            assert_eq!(&one, b"a secret");
            assert_eq!(sealed.take(&record).as_deref(), Some(b"a secret".as_slice()));
            assert_eq!((sealed.take(&record), sealed.len()), (None, 0));
        }
    }

    #[test]
    fn records_that_say_the_same_are_kept_apart() {
        for crypto in [Crypto::Fast, Crypto::Real] {
            let sealed = Arc::new(Sealed::default());
            let key = sealed.watch(crypto.provider()).chacha20_poly1305(&[7; 32]);
            let records = [1, 2].map(|nonce| {
                let mut data = *b"again";
                let tag = key.seal_in_place(&[nonce; 12], b"", &mut data);
                [data.as_slice(), &tag].concat()
            });
            assert_eq!(sealed.len(), 2);
            for record in records {
                assert_eq!(sealed.take(&record).as_deref(), Some(b"again".as_slice()));
            }
        }
    }

    #[test]
    fn the_oldest_records_that_are_never_sent_make_room() {
        let sealed = Sealed::default();
        let tag = |number: usize| [&[0], (number as u128).to_be_bytes().as_slice()].concat();
        let len = 65_535;
        let most = MAX_HELD / (2 * len + OVERHEAD);
        for number in 0..most {
            sealed.put(&tag(number), vec![0; len]);
        }
        assert_eq!(sealed.len(), most);
        sealed.put(&tag(most), vec![0; len]);
        assert_eq!((sealed.len(), sealed.take(&tag(0))), (most, None));
        assert!(sealed.take(&tag(1)).is_some() && sealed.take(&tag(most)).is_some());
        // The room of what was taken is free again.
        sealed.put(&tag(0), vec![0; len]);
        sealed.put(&tag(1), vec![0; len]);
        assert_eq!(sealed.len(), most);
        assert!(sealed.take(&tag(2)).is_some());
    }
}
