//! What a peer did wrong lately, as one number.

use core::{fmt, time::Duration};

use super::{InvalidValue, InvalidValues};
use crate::{
    Instant,
    channel::handshake::{self, Party},
    connection::{CloseReason, HandshakeRefusal, ProtocolError},
    identity, multistream, noise, yamux,
};

/// No score is higher, so that nobody needs more than a few half-lives to get rid of his.
pub const MAX_SCORE: u32 = 1000;

/// Something that only a faulty or hostile peer does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// It broke a rule of the handshake or of the stream multiplexer.
    ProtocolViolation,
    /// It claimed an identity whose key it could not sign with.
    BadSignature,
    /// It sent what costs us time and moves nothing, beyond a limit.
    Flood,
    /// The application rejected its handshake.
    HandshakeRejected,
    /// It did not finish a handshake in time. A slow network looks the same, so it weighs little.
    HandshakeTimeout,
    /// It sent a message that its protocol does not allow.
    InvalidMessage,
}

impl Misbehaviour {
    /// How much it adds to a score.
    pub const fn penalty(self) -> u32 {
        match self {
            Self::BadSignature => 100,
            Self::ProtocolViolation | Self::Flood => 50,
            Self::InvalidMessage => 25,
            Self::HandshakeRejected => 20,
            Self::HandshakeTimeout => 5,
        }
    }

    /// What the end of a connection says against the remote, if anything.
    ///
    /// Says nothing where the path may be to blame: a lost or stalled transport, and a record that is not
    /// authentic, which anybody on the path can cause to have an honest peer banned. Nor where the remote
    /// has other software, keys or wishes than we.
    ///
    /// What came before the peer was authenticated speaks against the address only. Never charge it to the
    /// peer that was expected there: whoever spreads a false address would have that peer banned.
    pub fn of(reason: &CloseReason) -> Option<Self> {
        match reason {
            CloseReason::UpgradeTimeout | CloseReason::HandshakeTimeout => Some(Self::HandshakeTimeout),
            CloseReason::HandshakeRejected { by: Party::Local, .. } => Some(Self::HandshakeRejected),
            // The peer went away in the middle.
            CloseReason::HandshakeRefused(HandshakeRefusal::Protocol(handshake::Error::UnexpectedEof)) => None,
            CloseReason::HandshakeRefused(HandshakeRefusal::Protocol(_)) => Some(Self::InvalidMessage),
            CloseReason::Protocol(error) => of_protocol_error(error),
            CloseReason::Local
            | CloseReason::DrainTimeout
            | CloseReason::Remote { .. }
            | CloseReason::Eof
            | CloseReason::Truncated
            | CloseReason::Io
            | CloseReason::KeepAliveTimeout
            | CloseReason::WriteStall
            | CloseReason::NothingInCommon(_)
            | CloseReason::Denied(_)
            | CloseReason::DeniedByRemote
            | CloseReason::HandshakeRejected { by: Party::Remote, .. }
            | CloseReason::HandshakeRefused(HandshakeRefusal::Stream(_)) => None,
        }
    }
}

fn of_protocol_error(error: &ProtocolError) -> Option<Misbehaviour> {
    match error {
        // The remote gave up, or takes itself for the dialer after a simultaneous open of TCP.
        ProtocolError::Multistream(multistream::Error::UnexpectedEof | multistream::Error::UnexpectedMessage) => None,
        ProtocolError::Multistream(_) | ProtocolError::MuxerMismatch => Some(Misbehaviour::ProtocolViolation),
        ProtocolError::Noise(error) => of_noise_error(error),
        ProtocolError::Yamux(
            yamux::Violation::PingFlood | yamux::Violation::RapidReset | yamux::Violation::EmptyFrameFlood,
        ) => Some(Misbehaviour::Flood),
        ProtocolError::Yamux(_) => Some(Misbehaviour::ProtocolViolation),
    }
}

fn of_noise_error(error: &noise::Error) -> Option<Misbehaviour> {
    use identity::Error as Key;
    match error {
        noise::Error::BadSignature => Some(Misbehaviour::BadSignature),
        noise::Error::MessageTooShort
        | noise::Error::PayloadTooLarge
        | noise::Error::UnexpectedPayload
        | noise::Error::ZeroDh
        | noise::Error::MalformedPayload(_)
        | noise::Error::MissingIdentityKey
        | noise::Error::MissingSignature
        | noise::Error::TooManyMuxers => Some(Misbehaviour::ProtocolViolation),
        // A key that we cannot use is not a wrong one.
        noise::Error::IdentityKey(Key::UnsupportedType(_) | Key::FeatureDisabled { .. }) => None,
        noise::Error::IdentityKey(_) => Some(Misbehaviour::ProtocolViolation),
        noise::Error::Decrypt
        | noise::Error::RecordTooShort
        | noise::Error::WrongPeer { .. }
        | noise::Error::NoMuxerInCommon
        | noise::Error::NonceExhausted
        | noise::Error::RecordIncomplete => None,
    }
}

impl fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ProtocolViolation => "broke the protocol",
            Self::BadSignature => "sent a signature that is not valid",
            Self::Flood => "sent a flood without content",
            Self::HandshakeRejected => "failed the handshake of the application",
            Self::HandshakeTimeout => "did not finish a handshake in time",
            Self::InvalidMessage => "sent an invalid message",
        })
    }
}

/// How fast scores decay and what they lead to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScoreConfig {
    /// The time in which a score halves. 10 min unless set.
    pub half_life: Duration,
    /// From this score on a peer is served last and trimmed first. 50 unless set.
    pub graylist: u32,
    /// From this score on a peer is banned. 100 unless set; at most [`MAX_SCORE`].
    pub ban: u32,
}

impl Default for ScoreConfig {
    fn default() -> Self {
        Self { half_life: Duration::from_secs(10 * 60), graylist: 50, ban: 100 }
    }
}

impl ScoreConfig {
    /// Checks every value and reports all that are wrong at once.
    pub fn validate(&self) -> Result<(), InvalidValues> {
        let mut errors = InvalidValues::default();
        errors.not_zero("score.half_life", self.half_life);
        errors.refuse(self.graylist == 0, InvalidValue::Zero { name: "score.graylist" });
        errors.not_more("score.graylist", "score.ban", self.graylist <= self.ban);
        errors.not_more("score.ban", "MAX_SCORE", self.ban <= MAX_SCORE);
        errors.into_result()
    }

    fn threshold(&self, value: u32) -> Option<Threshold> {
        match value {
            value if value >= self.ban => Some(Threshold::Ban),
            value if value >= self.graylist => Some(Threshold::Graylist),
            _ => None,
        }
    }
}

/// A score from which on a peer is treated differently.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Threshold {
    /// See [`ScoreConfig::graylist`].
    Graylist,
    /// See [`ScoreConfig::ban`].
    Ban,
}

/// What one peer did wrong: from 0 to [`MAX_SCORE`], halved each half-life.
///
/// The halvings are counted from the penalty that found the score at zero and are applied when somebody
/// looks, so no timer is needed and looking changes nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Score {
    value: u32,
    halved_at: Instant,
}

impl Default for Score {
    fn default() -> Self {
        Self { value: 0, halved_at: Instant::EPOCH }
    }
}

impl Score {
    /// Adds the penalty and returns the highest threshold that the score crossed by it. A score that is
    /// past a threshold already does not cross it again: start with a new one after a ban.
    pub(super) fn penalise(
        &mut self,
        config: &ScoreConfig,
        now: Instant,
        misbehaviour: Misbehaviour,
    ) -> Option<Threshold> {
        *self = self.decayed(config, now);
        let before = config.threshold(self.value);
        self.value = self.value.saturating_add(misbehaviour.penalty()).min(MAX_SCORE);
        config.threshold(self.value).filter(|after| Some(*after) > before)
    }

    /// The score as it is now.
    pub(super) fn value(&self, config: &ScoreConfig, now: Instant) -> u32 {
        self.decayed(config, now).value
    }

    /// The highest threshold at or below the score as it is now.
    pub(super) fn threshold(&self, config: &ScoreConfig, now: Instant) -> Option<Threshold> {
        config.threshold(self.value(config, now))
    }

    fn decayed(self, config: &ScoreConfig, now: Instant) -> Self {
        let elapsed = now.saturating_duration_since(self.halved_at);
        // A half-life of zero leaves nothing; `validate` refuses it.
        let halvings = elapsed.as_nanos().checked_div(config.half_life.as_nanos()).unwrap_or(u128::MAX);
        let halvings = u32::try_from(halvings).unwrap_or(u32::MAX);
        match self.value.checked_shr(halvings).unwrap_or(0) {
            0 => Self { value: 0, halved_at: self.halved_at.max(now) },
            value => {
                let halved_at = self.halved_at.saturating_add(config.half_life.saturating_mul(halvings));
                Self { value, halved_at }
            }
        }
    }
}
