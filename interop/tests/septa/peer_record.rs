//! Signed peer records, in both formats.

use libp2p::{
    core::{PeerRecord, SignedEnvelope},
    identity::Keypair,
};
use septa_core::{
    Identity, SignedPeerRecord,
    crypto::RustCrypto,
    peer_record::{Error, Format},
    signed_envelope,
};

use crate::support::{rust_addr, septa_addr, septa_id};

const SEED: [u8; 32] = [1; 32];

fn addrs() -> Vec<septa_core::Multiaddr> {
    ["/ip4/192.0.2.1/tcp/4001", "/dns4/example.com/tcp/443/tls/ws"].map(|addr| addr.parse().unwrap()).to_vec()
}

fn keypair() -> Keypair {
    Keypair::ed25519_from_bytes(SEED).unwrap()
}

#[test]
fn ours_are_theirs() {
    let identity = Identity::from_ed25519_seed(SEED);
    for format in [Format::Common, Format::Rfc] {
        let ours = SignedPeerRecord::seal(&identity, &RustCrypto, format, 7, &addrs()).unwrap();
        let envelope = SignedEnvelope::from_protobuf_encoding(ours.envelope()).unwrap();
        assert_eq!(envelope.clone().into_protobuf_encoding(), ours.envelope(), "byte for byte");
        let read = match format {
            Format::Rfc => PeerRecord::from_signed_envelope(envelope),
            _ => PeerRecord::from_signed_envelope_interop(envelope),
        };
        let read = read.unwrap();
        assert_eq!((septa_id(read.peer_id()), read.seq()), (identity.peer_id(), 7));
        assert_eq!(read.addresses().iter().map(septa_addr).collect::<Vec<_>>(), addrs());
    }
}

#[test]
fn theirs_are_ours() {
    let rust_addrs: Vec<_> = addrs().iter().map(rust_addr).collect();
    let records = [
        (Format::Rfc, PeerRecord::new(&keypair(), rust_addrs.clone()).unwrap()),
        (Format::Common, PeerRecord::new_interop(&keypair(), rust_addrs).unwrap()),
    ];
    for (format, theirs) in records {
        let seq = theirs.seq();
        let mut envelope = theirs.into_signed_envelope().into_protobuf_encoding();
        let read = SignedPeerRecord::open(&envelope).unwrap();
        assert_eq!((read.seq(), read.addrs(), read.dropped()), (seq, &addrs()[..], 0));
        // Ed25519 signatures are deterministic: the same record has the same bytes.
        let identity = Identity::from_ed25519_seed(SEED);
        let ours = SignedPeerRecord::seal(&identity, &RustCrypto, format, seq, &addrs()).unwrap();
        assert_eq!(ours.envelope(), envelope);

        *envelope.last_mut().unwrap() ^= 1;
        let refused = SignedPeerRecord::open(&envelope);
        assert_eq!(refused, Err(Error::Envelope(signed_envelope::Error::BadSignature)));
    }
}
