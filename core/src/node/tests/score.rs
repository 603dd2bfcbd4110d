use core::time::Duration;

use proptest::prelude::*;

use crate::{
    Instant, PeerId,
    channel::handshake::{self, Party},
    connection::{CloseReason, DenyReason, HandshakeRefusal, Layer, ProtocolError, RefuseReason},
    identity, multistream,
    node::{MAX_SCORE, Misbehaviour, ScoreConfig, Threshold, score::Score},
    noise, yamux,
};

const ALL: [Misbehaviour; 6] = [
    Misbehaviour::ProtocolViolation,
    Misbehaviour::BadSignature,
    Misbehaviour::Flood,
    Misbehaviour::HandshakeRejected,
    Misbehaviour::HandshakeTimeout,
    Misbehaviour::InvalidMessage,
];

fn peer(number: u8) -> PeerId {
    PeerId::from_bytes(&[0, 1, number]).unwrap()
}

fn at(mins: u64) -> Instant {
    Instant::EPOCH.saturating_add(Duration::from_secs(60 * mins))
}

#[test]
fn repeated_misbehaviour_crosses_each_threshold_once() {
    let (config, mut score) = (ScoreConfig::default(), Score::default());
    let mut penalise = || score.penalise(&config, at(0), Misbehaviour::InvalidMessage);
    assert_eq!(penalise(), None);
    assert_eq!(penalise(), Some(Threshold::Graylist));
    assert_eq!(penalise(), None);
    assert_eq!(penalise(), Some(Threshold::Ban));
    assert_eq!(penalise(), None);
    assert_eq!(score.threshold(&config, at(0)), Some(Threshold::Ban));
}

#[test]
fn one_grave_misbehaviour_crosses_both_thresholds_at_once() {
    let (config, mut score) = (ScoreConfig::default(), Score::default());
    assert_eq!(score.penalise(&config, at(0), Misbehaviour::BadSignature), Some(Threshold::Ban));
}

#[test]
fn a_score_halves_each_half_life_whoever_looks() {
    let (config, mut score) = (ScoreConfig::default(), Score::default());
    score.penalise(&config, at(7), Misbehaviour::BadSignature);
    for (mins, value) in [(7, 100), (16, 100), (17, 50), (26, 50), (27, 25), (37, 12), (67, 1), (77, 0), (10_000, 0)] {
        assert_eq!(score.value(&config, at(mins)), value, "after {mins} min");
    }
    assert_eq!(score.threshold(&config, at(17)), Some(Threshold::Graylist));
    assert_eq!(score.threshold(&config, at(27)), None);
}

#[test]
fn a_threshold_left_by_decay_can_be_crossed_again() {
    let (config, mut score) = (ScoreConfig::default(), Score::default());
    assert_eq!(score.penalise(&config, at(0), Misbehaviour::Flood), Some(Threshold::Graylist));
    assert_eq!(score.penalise(&config, at(10), Misbehaviour::InvalidMessage), Some(Threshold::Graylist));
}

#[test]
fn a_penalty_does_not_restart_the_half_life() {
    let (config, mut score) = (ScoreConfig::default(), Score::default());
    score.penalise(&config, at(0), Misbehaviour::Flood);
    // Just before each halving, or a patient peer's earlier sins would never fade.
    score.penalise(&config, at(9), Misbehaviour::HandshakeTimeout);
    assert_eq!(score.value(&config, at(10)), 27);
}

#[test]
fn a_score_is_bounded_so_that_it_can_be_outlived() {
    let (config, mut score) = (ScoreConfig::default(), Score::default());
    for _ in 0..100 {
        score.penalise(&config, at(0), Misbehaviour::BadSignature);
    }
    assert_eq!(score.value(&config, at(0)), MAX_SCORE);
    assert_eq!(score.value(&config, at(100)), 0);
}

#[test]
fn clocks_at_their_ends_do_no_harm() {
    let (config, mut score) = (ScoreConfig::default(), Score::default());
    score.penalise(&config, at(60), Misbehaviour::Flood);
    assert_eq!(score.value(&config, at(0)), 50, "a clock that runs backwards stands still");
    score.penalise(&config, at(0), Misbehaviour::InvalidMessage);
    assert_eq!(score.value(&config, at(60)), 75);
    assert_eq!(score.value(&config, Instant::NEVER), 0);
    let slow = ScoreConfig { half_life: Duration::MAX, ..config };
    assert_eq!(score.value(&slow, Instant::NEVER), 75);
    let none = ScoreConfig { half_life: Duration::ZERO, ..config };
    assert_eq!(score.value(&none, at(60)), 0);
}

#[test]
fn thresholds_that_cannot_work_are_refused() {
    assert_eq!(ScoreConfig::default().validate(), Ok(()));
    let wrong = ScoreConfig { half_life: Duration::ZERO, graylist: 0, ban: MAX_SCORE + 1 };
    assert_eq!(wrong.validate().unwrap_err().iter().count(), 3);
    let swapped = ScoreConfig { graylist: 2, ban: 1, ..ScoreConfig::default() };
    assert_eq!(swapped.validate().unwrap_err().iter().count(), 1);
}

#[test]
fn only_what_the_remote_is_to_blame_for_is_misbehaviour() {
    use Misbehaviour::*;
    use identity::Error as Key;
    use multistream::Error as Multistream;
    use noise::Error as Noise;
    use yamux::Violation as Yamux;
    let noise = |error: Noise| CloseReason::Protocol(error.into());
    let yamux = |error: Yamux| CloseReason::Protocol(error.into());
    let multistream = |error: Multistream| CloseReason::Protocol(error.into());
    let table = [
        (CloseReason::Local, None),
        (CloseReason::DrainTimeout, None),
        (CloseReason::Remote { code: 1 }, None),
        (CloseReason::Eof, None),
        (CloseReason::Truncated, None),
        (CloseReason::Io, None),
        (CloseReason::UpgradeTimeout, Some(HandshakeTimeout)),
        (CloseReason::KeepAliveTimeout, None),
        (CloseReason::WriteStall, None),
        (CloseReason::NothingInCommon(Layer::Muxer), None),
        (CloseReason::Denied(DenyReason::Limit), None),
        (CloseReason::DeniedByRemote, None),
        (CloseReason::HandshakeTimeout, Some(HandshakeTimeout)),
        (CloseReason::HandshakeRejected { by: Party::Local, code: 1 }, Some(HandshakeRejected)),
        (CloseReason::HandshakeRejected { by: Party::Remote, code: 1 }, None),
        (CloseReason::HandshakeRefused(HandshakeRefusal::Stream(RefuseReason::Unsupported)), None),
        (CloseReason::HandshakeRefused(HandshakeRefusal::Protocol(handshake::Error::Empty)), Some(InvalidMessage)),
        (CloseReason::HandshakeRefused(HandshakeRefusal::Protocol(handshake::Error::UnexpectedEof)), None),
        (CloseReason::Protocol(ProtocolError::MuxerMismatch), Some(ProtocolViolation)),
        (multistream(Multistream::MessageTooLong), Some(ProtocolViolation)),
        (multistream(Multistream::UnexpectedEof), None),
        (multistream(Multistream::UnexpectedMessage), None),
        (noise(Noise::BadSignature), Some(BadSignature)),
        (noise(Noise::ZeroDh), Some(ProtocolViolation)),
        (noise(Noise::MissingIdentityKey), Some(ProtocolViolation)),
        (noise(Noise::IdentityKey(Key::InvalidPoint)), Some(ProtocolViolation)),
        (noise(Noise::IdentityKey(Key::UnsupportedType(9))), None),
        (noise(Noise::Decrypt), None),
        (noise(Noise::RecordTooShort), None),
        (noise(Noise::WrongPeer { expected: peer(1), found: peer(2) }), None),
        (noise(Noise::NoMuxerInCommon), None),
        (yamux(Yamux::EmptyFrameFlood), Some(Flood)),
        (yamux(Yamux::RapidReset), Some(Flood)),
        (yamux(Yamux::PingFlood), Some(Flood)),
        (yamux(Yamux::CreditExceeded), Some(ProtocolViolation)),
    ];
    for (reason, misbehaviour) in table {
        assert_eq!(Misbehaviour::of(&reason), misbehaviour, "{reason:?}");
    }
}

proptest! {
    #[test]
    fn a_score_is_what_halving_step_by_step_gives(
        steps in proptest::collection::vec((0_u64..40, 0_usize..ALL.len()), 1..60),
    ) {
        let (config, mut score) = (ScoreConfig::default(), Score::default());
        let (mut now, mut naive, mut phase) = (0, 0, 0);
        for (step, index) in steps {
            for _ in 0..step {
                now += 1;
                phase = if naive == 0 { 0 } else { phase + 1 };
                if phase == 10 {
                    (naive, phase) = (naive / 2, 0);
                }
            }
            prop_assert_eq!(score.value(&config, at(now)), naive);
            let before = score.threshold(&config, at(now));
            let crossed = score.penalise(&config, at(now), ALL[index]);
            naive = (naive + ALL[index].penalty()).min(MAX_SCORE);
            prop_assert_eq!(score.value(&config, at(now)), naive);
            let after = score.threshold(&config, at(now));
            prop_assert_eq!(crossed, if after > before { after } else { None });
        }
    }
}
