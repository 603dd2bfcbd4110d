use super::*;
use alloc::{format, string::ToString, vec::Vec};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/peer_id_vectors.json")).unwrap()
}

fn unhex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

#[test]
fn every_key_vector_gives_its_id_in_every_form() {
    let vectors = vectors();
    let keys = vectors["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 4);
    for key in keys {
        let id = PeerId::from_encoded_key(&unhex(&key["public_key_protobuf_hex"]));
        assert_eq!(id.as_bytes(), unhex(&key["peer_id_multihash_hex"]));
        assert_eq!(PeerId::from_bytes(id.as_bytes()), Ok(id));
        let text = key["peer_id_base58btc"].as_str().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(key["peer_id_cid_v1_base32"].as_str().unwrap().parse(), Ok(id));
        assert_eq!(format!("{id:?}"), format!("PeerId({text})"));
    }
}

#[test]
fn both_text_forms_of_the_spec_name_the_same_peer() {
    for form in vectors()["string_forms"].as_array().unwrap() {
        let id: PeerId = form["base58btc"].as_str().unwrap().parse().unwrap();
        assert_eq!(form["cid_v1_base32"].as_str().unwrap().parse(), Ok(id));
        assert_eq!(id.as_bytes(), unhex(&form["multihash_hex"]));
        assert_eq!(id.public_key().is_some(), form.get("inlined_public_key_protobuf_hex").is_some());
    }
}

#[test]
fn an_inlined_ed25519_key_can_be_taken_out_again() {
    let key = &vectors()["keys"][1];
    let id: PeerId = key["peer_id_base58btc"].as_str().unwrap().parse().unwrap();
    let public_key = id.public_key().unwrap();
    assert_eq!(public_key.to_protobuf(), unhex(&key["public_key_protobuf_hex"]));
    assert_eq!(PeerId::from_public_key(&public_key), id);
}
