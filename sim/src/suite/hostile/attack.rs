//! What hostile peers do.

use std::{io, time::Duration};

use septa_core::{
    ProtocolId, Role,
    connection::{CloseReason, ProtocolError},
    yamux::{HEADER_LEN, INITIAL_WINDOW, Violation},
};
use septa_driver::runtime::Runtime;

use super::{
    super::{
        exchange::{self, EXCHANGE},
        waiting::{sleep, within},
    },
    wire::Wire,
};

/// One way to be hostile.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Attack {
    BadVersion,
    BadType,
    UnknownFlags,
    BeyondWindow,
    WindowOverflow,
    WrongParity,
    OpenedTwice,
    StreamZero,
    OpensAndAccepts,
    Ghosts,
    SynFlood,
    PingFlood,
    RstStorm,
    EmptyFrames,
    HalfOpen,
    LongFrames,
    GarbageBehindPrefix,
    DataBehindGoAway,
    NeverReads,
    CutOff,
    NoiseGarbage,
    MultistreamGarbage,
    SlowLoris,
    HangsInNoise,
}

pub(super) const ATTACKS: [Attack; 24] = [
    Attack::BadVersion,
    Attack::BadType,
    Attack::UnknownFlags,
    Attack::BeyondWindow,
    Attack::WindowOverflow,
    Attack::WrongParity,
    Attack::OpenedTwice,
    Attack::StreamZero,
    Attack::OpensAndAccepts,
    Attack::Ghosts,
    Attack::SynFlood,
    Attack::PingFlood,
    Attack::RstStorm,
    Attack::EmptyFrames,
    Attack::HalfOpen,
    Attack::LongFrames,
    Attack::GarbageBehindPrefix,
    Attack::DataBehindGoAway,
    Attack::NeverReads,
    Attack::CutOff,
    Attack::NoiseGarbage,
    Attack::MultistreamGarbage,
    Attack::SlowLoris,
    Attack::HangsInNoise,
];

/// What becomes of whoever does it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// The connection is ended for this.
    Violation(Violation),
    /// It is ended because the records or the negotiation are wrong.
    Garbage,
    /// It is ended in time.
    Ended,
    /// Nothing was done that is forbidden.
    Tolerated,
}

impl Fate {
    pub(super) fn is_ended(self) -> bool {
        self != Self::Tolerated
    }

    pub(super) fn is_at_once(self) -> bool {
        matches!(self, Self::Violation(_) | Self::Garbage)
    }

    /// Whether a connection may be closed for this reason.
    pub(super) fn allows(self, reason: &CloseReason) -> bool {
        match (self, reason) {
            (Self::Violation(expected), CloseReason::Protocol(ProtocolError::Yamux(found))) => expected == *found,
            (Self::Garbage, CloseReason::Protocol(ProtocolError::Noise(_) | ProtocolError::Multistream(_))) => true,
            (Self::Violation(_) | Self::Garbage, CloseReason::Protocol(_)) => false,
            // The world is a bad one: a connection may end for something else first.
            _ => true,
        }
    }
}

const DATA: u8 = 0;
const WINDOW: u8 = 1;
const PING: u8 = 2;
const GO_AWAY: u8 = 3;
const SYN: u16 = 1;
const ACK: u16 = 2;
const RST: u16 = 8;

/// More than any limit on frames that move nothing.
const FLOOD: u32 = 4000;
const ECHO: ProtocolId = ProtocolId::from_static("/ipfs/ping/1.0.0");

fn frame(kind: u8, flags: u16, stream: u32, length: u32) -> [u8; HEADER_LEN] {
    let mut frame = [0; HEADER_LEN];
    frame[1] = kind;
    frame[2..4].copy_from_slice(&flags.to_be_bytes());
    frame[4..8].copy_from_slice(&stream.to_be_bytes());
    frame[8..].copy_from_slice(&length.to_be_bytes());
    frame
}

fn data(flags: u16, stream: u32, body: &[u8]) -> Vec<u8> {
    [&frame(DATA, flags, stream, u32::try_from(body.len()).unwrap_or(u32::MAX)), body].concat()
}

/// The beginning of a stream of a protocol, as multistream-select has it.
fn proposal(protocol: &ProtocolId) -> Vec<u8> {
    let line = |text: &str| [&[u8::try_from(text.len() + 1).unwrap_or(0)], text.as_bytes(), b"\n"].concat();
    [line("/multistream/1.0.0"), line(protocol.as_str())].concat()
}

impl Attack {
    /// It comes before anybody knows who it is.
    pub(super) fn is_early(self) -> bool {
        matches!(self, Self::MultistreamGarbage | Self::SlowLoris | Self::HangsInNoise)
    }

    pub(super) fn fate(self) -> Fate {
        match self {
            Self::BadVersion | Self::GarbageBehindPrefix => Fate::Violation(Violation::UnknownVersion),
            Self::BadType => Fate::Violation(Violation::UnknownFrameType),
            Self::BeyondWindow => Fate::Violation(Violation::CreditExceeded),
            Self::WindowOverflow => Fate::Violation(Violation::WindowOverflow),
            Self::WrongParity => Fate::Violation(Violation::WrongParity),
            Self::OpenedTwice => Fate::Violation(Violation::DuplicateStream),
            Self::StreamZero => Fate::Violation(Violation::ZeroStreamId),
            Self::OpensAndAccepts => Fate::Violation(Violation::SynWithAck),
            Self::Ghosts => Fate::Violation(Violation::UnknownStreamData),
            Self::RstStorm => Fate::Violation(Violation::RapidReset),
            Self::EmptyFrames => Fate::Violation(Violation::EmptyFrameFlood),
            Self::NoiseGarbage | Self::MultistreamGarbage => Fate::Garbage,
            Self::SynFlood | Self::PingFlood | Self::SlowLoris | Self::HangsInNoise => Fate::Ended,
            Self::UnknownFlags
            | Self::HalfOpen
            | Self::LongFrames
            | Self::DataBehindGoAway
            | Self::NeverReads
            | Self::CutOff => Fate::Tolerated,
        }
    }

    /// Does it. Ends when it is done or the victim has ended the connection.
    pub(super) async fn run(self, wire: &mut Wire, runtime: &dyn Runtime) -> io::Result<()> {
        // Streams that are the attacker's to open: those of the dialer are odd.
        let own = if wire.role == Role::Dialer { 1 } else { 2 };
        match self {
            Self::BadVersion => {
                let mut frame = frame(PING, SYN, 0, 0);
                frame[0] = 1 + wire.draw(255) as u8;
                wire.send(&frame).await
            }
            Self::BadType => {
                let kind = 4 + wire.draw(252) as u8;
                wire.send(&frame(kind, 0, 0, 0)).await
            }
            Self::UnknownFlags => {
                let flags = (wire.draw(1 << 12) as u16) << 4;
                wire.send(&frame(WINDOW, flags | SYN, own, 0)).await?;
                wire.send(&frame(PING, flags | SYN, 0, 7)).await?;
                wire.send(&frame(WINDOW, flags | RST, own, 7)).await
            }
            Self::BeyondWindow => {
                let beyond = 1 + wire.draw(u64::from(u32::MAX - INITIAL_WINDOW)) as u32;
                wire.send(&frame(DATA, SYN, own, INITIAL_WINDOW + beyond)).await
            }
            Self::WindowOverflow => {
                wire.send(&frame(WINDOW, SYN, own, 0)).await?;
                wire.send(&frame(WINDOW, 0, own, u32::MAX)).await
            }
            Self::WrongParity => wire.send(&frame(WINDOW, SYN, own + 1, 0)).await,
            Self::OpenedTwice => {
                wire.send(&frame(WINDOW, SYN, own, 0)).await?;
                wire.send(&frame(WINDOW, SYN, own, 0)).await
            }
            Self::StreamZero => {
                let flags = if wire.draw(2) == 0 { SYN } else { 0 };
                wire.send(&data(flags, 0, b"nobody")).await
            }
            Self::OpensAndAccepts => wire.send(&frame(WINDOW, SYN | ACK, own, 0)).await,
            Self::Ghosts => {
                let body = vec![0; 64 * 1024];
                for stream in 0..FLOOD {
                    wire.send(&data(0, own + 2 * stream, &body)).await?;
                }
                Ok(())
            }
            Self::SynFlood => self.flood(wire, |index| frame(WINDOW, SYN, own + 2 * index, 0).to_vec()).await,
            Self::RstStorm => {
                let pair = |index: u32| {
                    let stream = own + 2 * index;
                    [frame(WINDOW, SYN, stream, 0), frame(WINDOW, RST, stream, 7)].concat()
                };
                self.flood(wire, pair).await
            }
            Self::EmptyFrames => {
                wire.send(&frame(WINDOW, SYN, own, 0)).await?;
                self.flood(wire, |_| frame(DATA, 0, own, 0).to_vec()).await
            }
            Self::PingFlood => {
                wire.is_reading = wire.draw(2) == 0;
                self.flood(wire, |value| frame(PING, SYN, 0, value).to_vec()).await
            }
            Self::HalfOpen => {
                for stream in 0..40 {
                    wire.send(&frame(WINDOW, SYN, own + 2 * stream, 0)).await?;
                }
                wait(wire, runtime, 12).await
            }
            Self::LongFrames => {
                let length = wire.draw(200_000);
                let mut body = proposal(&EXCHANGE);
                body.extend_from_slice(&5_u64.to_be_bytes());
                body.extend_from_slice(&length.to_be_bytes());
                let mut bytes = vec![0; length as usize];
                exchange::fill(5, 0, &mut bytes);
                body.extend_from_slice(&bytes);
                wire.send(&data(SYN, own, &body)).await?;
                wait(wire, runtime, 5).await
            }
            Self::GarbageBehindPrefix => {
                let body = [proposal(&EXCHANGE), wire.garbage(10)].concat();
                let mut garbage = wire.garbage(2000);
                garbage[0] |= 1;
                wire.send(&[data(SYN, own, &body[..40]), garbage].concat()).await
            }
            Self::DataBehindGoAway => {
                let code = wire.draw(3) as u32;
                wire.send(&frame(GO_AWAY, 0, 0, code)).await?;
                for stream in 0..10 {
                    wire.send(&data(SYN, own + 2 * stream, &proposal(&ECHO))).await?;
                }
                wait(wire, runtime, 5).await
            }
            Self::NeverReads => {
                wire.is_reading = false;
                for stream in 0..8 {
                    wire.send(&data(SYN, own + 2 * stream, &proposal(&ECHO))).await?;
                }
                for round in 0..600 {
                    let stream = own + 2 * (round % 8);
                    wire.send(&[&frame(WINDOW, 0, stream, 1 << 16)[..], &data(0, stream, &[1; 320])].concat()).await?;
                }
                sleep(runtime, Duration::from_secs(8)).await;
                Ok(())
            }
            Self::CutOff => {
                let frame = data(SYN, own, &proposal(&EXCHANGE));
                let count = wire.draw(frame.len() as u64) as usize;
                wire.send(&frame[..count]).await
            }
            Self::NoiseGarbage => {
                let mut garbage = wire.garbage(1000);
                // A record that is whole, so that it is opened.
                garbage[..2].copy_from_slice(&500_u16.to_be_bytes());
                wire.send_raw(&garbage).await
            }
            Self::MultistreamGarbage => {
                let mut garbage = wire.garbage(200);
                garbage[..2].copy_from_slice(&[19, b'?']);
                wire.send_raw(&garbage).await
            }
            Self::SlowLoris => {
                for byte in proposal(&septa_core::connection::NOISE) {
                    wire.send_raw(&[byte]).await?;
                    sleep(runtime, Duration::from_secs(1)).await;
                }
                Ok(())
            }
            Self::HangsInNoise => {
                wire.send_raw(&proposal(&septa_core::connection::NOISE)).await?;
                // The length of a message that does not come.
                wire.send_raw(&[0, 32, 1]).await
            }
        }
    }

    async fn flood(self, wire: &mut Wire, frame: impl Fn(u32) -> Vec<u8>) -> io::Result<()> {
        const AT_ONCE: u32 = 50;
        for first in (0..FLOOD).step_by(AT_ONCE as usize) {
            let frames: Vec<u8> = (first..first + AT_ONCE).flat_map(&frame).collect();
            wire.send(&frames).await?;
        }
        Ok(())
    }
}

/// So long, or until the victim has ended the connection.
async fn wait(wire: &mut Wire, runtime: &dyn Runtime, seconds: u64) -> io::Result<()> {
    let _ = within(runtime, Duration::from_secs(seconds), wire.ended()).await;
    Ok(())
}
