//! The key log: complete where it was asked for, and silent everywhere else.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use std::sync::Mutex;

use super::*;
use crate::noise::{InvalidKeyLogLine, KeyLog, TransportKeys};

#[derive(Default)]
struct Log(Mutex<Vec<TransportKeys>>);

impl KeyLog for Log {
    fn log(&self, keys: &TransportKeys) {
        self.0.lock().unwrap().push(keys.clone());
    }
}

impl Log {
    fn taken(&self) -> Vec<TransportKeys> {
        self.0.lock().unwrap().drain(..).collect()
    }
}

fn logging(identity_byte: u8, static_secret: [u8; 32], log: &Arc<Log>) -> Arc<Credentials> {
    let static_key = StaticKey::from_secret_dangerous(provider(), static_secret);
    Arc::new(Credentials::sign(static_key, &identity(identity_byte)).dangerous_key_log(log.clone()))
}

/// Both ends of the libp2p transcript, each with its own log.
fn logged_ends(expected: ExpectedPeer) -> ([Handshake; 2], [Arc<Log>; 2]) {
    let logs: [Arc<Log>; 2] = Default::default();
    let initiator = logging(INITIATOR_IDENTITY, INITIATOR_STATIC, &logs[0]);
    let responder = logging(RESPONDER_IDENTITY, RESPONDER_STATIC, &logs[1]);
    let initiator = Handshake::initiator_with(initiator, expected, &[YAMUX], key_pair(INITIATOR_EPHEMERAL));
    let responder = Handshake::responder_with(responder, ExpectedPeer::Any, &[YAMUX], key_pair(RESPONDER_EPHEMERAL));
    ([initiator, responder], logs)
}

#[test]
fn each_end_logs_the_keys_of_the_transcript_once() {
    let transcript = include_str!("../../../tests/vectors/noise_libp2p_transcript.json");
    let transcript: serde_json::Value = serde_json::from_str(transcript).unwrap();
    let [hash, first, second] = ["h_final", "k1", "k2"].map(|name| transcript["intermediate"][name].as_str().unwrap());
    let line = format!("NOISE_XX_25519_ChaChaPoly_SHA256 {hash} {first} {second}");

    let ([mut initiator, mut responder], logs) = logged_ends(ExpectedPeer::Any);
    responder.handle_recv(&drain(&mut initiator)).unwrap();
    initiator.handle_recv(&drain(&mut responder)).unwrap();
    let message_3 = drain(&mut initiator);
    assert!(logs[1].taken().is_empty(), "the responder has keys before the last message");
    responder.handle_recv(&message_3).unwrap();
    let (mut client, mut server) = (initiator.finish().unwrap(), responder.finish().unwrap());
    for log in logs {
        let taken = log.taken();
        assert_eq!(taken.iter().map(ToString::to_string).collect::<Vec<_>>(), [line.as_str()]);
        assert_eq!(line.parse(), Ok(taken[0].clone()));
    }

    let keys: TransportKeys = line.parse().unwrap();
    let [mut from_client, mut from_server] = keys.openers(&provider());
    for (sealer, opener) in [(&mut client.sealer, &mut from_client), (&mut server.sealer, &mut from_server)] {
        for said in [b"hello", b"again"] {
            let mut record = [&[0; 2], &said[..], &[0; 16]].concat();
            sealer.seal_in_place(&mut record, 5).unwrap();
            assert_eq!(opener.open_in_place(&mut record).unwrap(), said);
        }
    }
}

#[test]
fn a_handshake_that_fails_leaves_no_keys() {
    let stranger = ExpectedPeer::Exactly(identity(9).peer_id());
    let ([mut initiator, mut responder], logs) = logged_ends(stranger);
    responder.handle_recv(&drain(&mut initiator)).unwrap();
    assert!(initiator.handle_recv(&drain(&mut responder)).is_err());
    assert!(responder.handle_recv(&[0; 200]).is_err());
    assert!(logs.iter().all(|log| log.taken().is_empty()));
}

#[test]
fn the_other_ends_log_stays_empty() {
    let ([_, mut responder], logs) = logged_ends(ExpectedPeer::Any);
    let mut initiator = initiator(&[YAMUX]);
    responder.handle_recv(&drain(&mut initiator)).unwrap();
    initiator.handle_recv(&drain(&mut responder)).unwrap();
    responder.handle_recv(&drain(&mut initiator)).unwrap();
    assert_eq!(logs.map(|log| log.taken().len()), [0, 1]);
}

#[test]
fn debug_output_shows_no_key() {
    let keys = TransportKeys {
        handshake_hash: [0x11; 32],
        initiator_to_responder: [0xa7; 32],
        responder_to_initiator: [0xa7; 32],
    };
    let ([initiator, _], logs) = logged_ends(ExpectedPeer::Any);
    let credentials = logging(INITIATOR_IDENTITY, [0xa7; 32], &logs[0]);
    let shown = format!("{keys:?} {credentials:?} {initiator:?}").to_lowercase();
    assert!(shown.contains(&hex::encode([0x11; 32])));
    for secret in ["a7a7", "167, 167", "log"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn lines_that_are_no_keys_are_refused() {
    let good = format!("NOISE_XX_25519_ChaChaPoly_SHA256 {0} {0} {0}", "0f".repeat(32));
    let keys: TransportKeys = good.parse().unwrap();
    assert_eq!(keys.initiator_to_responder, [0x0f; 32]);
    assert_eq!(format!("  {}\r\n", good.replace('f', "F")).parse(), Ok(keys));
    let without_last_word = good.rsplit_once(' ').unwrap().0;
    let bad = [
        String::new(),
        "# comment".to_string(),
        without_last_word.to_string(),
        format!("{good} 00"),
        format!("{good}0"),
        good[..good.len() - 1].to_string(),
        good.replacen("0f", "0g", 1),
        good.replacen("0f", "+f", 1),
        good.replacen("0f", "\u{e9}", 1),
        good.replace("NOISE", "noise"),
        good.replace("NOISE_XX_25519_ChaChaPoly_SHA256", "CLIENT_RANDOM"),
    ];
    for line in bad {
        assert_eq!(line.parse::<TransportKeys>(), Err(InvalidKeyLogLine), "{line}");
    }
}
