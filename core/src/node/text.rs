//! Text forms for serde.

use alloc::string::String;
use core::{fmt, marker::PhantomData, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};

use crate::{Multiaddr, PeerId, ProtocolId, node::Prefix};

/// Reads what is text in every format.
struct TextVisitor<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! text_form {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(TextVisitor(PhantomData))
            }
        }
    )*};
}

text_form!(PeerId, Multiaddr, Prefix, ProtocolId);

/// Text to base64url: what an application notes may be any bytes.
pub(super) mod metadata {
    use alloc::{collections::BTreeMap, vec::Vec};

    use super::*;
    use crate::multiaddr::base64url;

    pub(crate) fn serialize<S: Serializer>(
        metadata: &BTreeMap<String, Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(metadata.iter().map(|(key, value)| (key, Base64(value))))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, Vec<u8>>, D::Error> {
        let encoded = BTreeMap::<String, String>::deserialize(deserializer)?;
        encoded
            .into_iter()
            .map(|(key, text)| {
                let mut value = Vec::new();
                base64url::decode(&text, &mut value).ok_or_else(|| D::Error::custom("metadata is not base64url"))?;
                Ok((key, value))
            })
            .collect()
    }

    struct Base64<'a>(&'a [u8]);

    impl fmt::Display for Base64<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            base64url::encode(self.0, f)
        }
    }

    impl Serialize for Base64<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }
}
