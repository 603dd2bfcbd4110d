//! Peers whose identity is no Ed25519 key.

use libp2p::identity::Keypair;
use septa_core::{Role, protocol::identify::ClaimedKey};
use septa_interop::RustPeerConfig;

use crate::support::{Pair, as_dialer_and_as_listener, patient};

as_dialer_and_as_listener! {
    a_peer_with_an_ecdsa_key
    a_peer_with_a_secp256k1_key
    a_peer_with_an_rsa_key
}

async fn a_peer_with_an_ecdsa_key(role: Role) {
    is_known_by(Keypair::generate_ecdsa(), role).await;
}

async fn a_peer_with_a_secp256k1_key(role: Role) {
    is_known_by(Keypair::generate_secp256k1(), role).await;
}

async fn a_peer_with_an_rsa_key(role: Role) {
    is_known_by(Keypair::rsa_from_pkcs8(&mut rsa_key()).unwrap(), role).await;
}

/// Both libraries give the key the same peer id, and the connection works.
async fn is_known_by(keypair: Keypair, role: Role) {
    let encoded = keypair.public().encode_protobuf();
    let pair = Pair::with(role, RustPeerConfig { keypair: Some(keypair), ..patient() }).await;
    pair.assert_works().await;

    // What they say of themselves is under the same key, and so is the record that they have signed with it.
    let identified = pair.connection.identify().await.unwrap();
    assert_eq!(identified.claimed_key, ClaimedKey::Same);
    assert_eq!(identified.info.public_key.unwrap().to_protobuf(), encoded);
    assert!(identified.peer_record.valid().is_some(), "{:?}", identified.peer_record);
}

/// The RSA key of the libp2p peer-ids spec, from PKCS#1 to PKCS#8 (RFC 5958): version, algorithm, key.
fn rsa_key() -> Vec<u8> {
    let vectors = include_str!("../../../core/tests/vectors/peer_id_vectors.json");
    // The message with its type and the length of 2350 bytes.
    let (_, digits) = vectors.split_once("\"080012ae12").unwrap();
    let (digits, _) = digits.split_once('"').unwrap();
    let key: Vec<u8> =
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect();
    let long = |tag: u8, content: &[u8]| {
        let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82, high, low], content].concat()
    };
    let version = [0x02, 0x01, 0x00];
    let algorithm = [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    long(0x30, &[&version[..], &algorithm, &long(0x04, &key)].concat())
}
