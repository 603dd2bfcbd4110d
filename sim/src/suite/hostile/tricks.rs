//! What hostile peers do that no table of frames can say.

use std::{io, time::Duration};

use septa_core::{
    Role,
    connection::NOISE,
    yamux::{INITIAL_WINDOW, Violation},
};
use septa_driver::runtime::Runtime;

use super::{
    super::waiting::{sleep, within},
    attack::{Act, Attack, Fate, Leaving, Patience, Times, Word},
    floods::{Flood, RESOURCE_LIMIT},
    frames::{ECHO, FIN, Frame, NONE, Place, RST, SYN, UNREAD, WINDOW, beginning, exchange, header, proposal, whole},
    wire::Wire,
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trick {
    /// Nothing: behind it comes an exchange in one frame, as long as a window allows.
    LongFrame,
    GarbageBehindFrame,
    HalfOpen,
    NeverReads,
    NeverAnswers,
    /// Fills the window of one stream behind the other, of which the victim reads none.
    FillsWindows,
    /// Answers pings late, and so has its windows grow.
    PretendsToBeFar,
    HangsUp,
    CutsOff,
    NoiseGarbage,
    MultistreamGarbage,
    SlowLoris,
    HangsInNoise,
}

const fn trick(name: &'static str, trick: Trick, fate: Fate) -> Attack {
    Attack { name, act: Act::Trick(trick), fate }
}

const fn resets(code: u32) -> Word {
    Word { kind: WINDOW, flags: RST, stream: None, length: code, times: Times::Often }
}

/// The reset code of a stream on which no protocol was agreed.
const NEGOTIATION_FAILED: u32 = 0x1001;

pub(super) const TRICKS: &[Attack] = &[
    trick("a long frame", Trick::LongFrame, Fate::Served(&[])),
    trick("garbage behind a frame", Trick::GarbageBehindFrame, Fate::Violation(&[Violation::UnknownVersion])),
    trick("half-open streams", Trick::HalfOpen, Fate::Served(&[resets(NEGOTIATION_FAILED)])),
    trick("never reads for a while", Trick::NeverReads, Fate::Served(&[])),
    trick("never answers", Trick::NeverAnswers, Fate::TimedOut(Patience::Pong)),
    trick("fills windows", Trick::FillsWindows, Fate::Served(&[resets(RESOURCE_LIMIT)])),
    trick("pretends to be far away", Trick::PretendsToBeFar, Fate::Served(&[])),
    trick("hangs up", Trick::HangsUp, Fate::Left(Leaving::Eof)),
    trick("cuts a frame off", Trick::CutsOff, Fate::Left(Leaving::Truncated)),
    trick("garbage for a record", Trick::NoiseGarbage, Fate::Garbage),
    trick("garbage for a proposal", Trick::MultistreamGarbage, Fate::Garbage),
    trick("one byte a second", Trick::SlowLoris, Fate::TimedOut(Patience::Upgrade)),
    trick("hangs in the handshake", Trick::HangsInNoise, Fate::TimedOut(Patience::Upgrade)),
];

impl Attack {
    /// It comes before anybody knows who it is.
    pub(super) fn is_early(&self) -> bool {
        matches!(self.act, Act::Trick(Trick::MultistreamGarbage | Trick::SlowLoris | Trick::HangsInNoise))
    }

    /// Does it. Ends when it is done or the victim has ended the connection.
    pub(super) async fn run(&self, wire: &mut Wire, runtime: &dyn Runtime) -> io::Result<()> {
        let place = Place { first: wire.first_id(), round: 0, streams: 1 };
        match self.act {
            Act::Frames { frames, is_one_record } => {
                let bytes = encode(frames, place);
                if is_one_record { wire.send_at_once(&bytes).await } else { wire.send(&bytes).await }
            }
            Act::Flood(flood) => flood.run(wire, place).await,
            Act::Trick(trick) => trick.run(wire, runtime).await,
        }
    }
}

fn encode(frames: &[Frame], place: Place) -> Vec<u8> {
    frames.iter().flat_map(|frame| frame.encode(place)).collect()
}

impl Flood {
    async fn run(&self, wire: &mut Wire, place: Place) -> io::Result<()> {
        let place = Place { streams: self.streams, ..place };
        wire.send(&encode(self.first, place)).await?;
        let mut round = 0;
        while round < self.rounds {
            let end = self.rounds.min(round + self.at_once);
            let bytes: Vec<u8> = (round..end).flat_map(|round| encode(self.frames, Place { round, ..place })).collect();
            wire.send_at_once(&bytes).await?;
            round = end;
        }
        let Some((last, rounds)) = self.last else { return Ok(()) };
        let bytes: Vec<u8> = (0..rounds).flat_map(|round| last.encode(Place { round, ..place })).collect();
        wire.send(&bytes).await
    }
}

impl Trick {
    async fn run(self, wire: &mut Wire, runtime: &dyn Runtime) -> io::Result<()> {
        let own = wire.first_id();
        match self {
            Self::LongFrame => Ok(()),
            Self::GarbageBehindFrame => {
                let mut garbage = wire.garbage(2000);
                garbage[0] |= 1;
                wire.send(&[whole(SYN, own, &beginning(100)), garbage].concat()).await
            }
            Self::HalfOpen => {
                let opened: Vec<u8> = (0..40).flat_map(|stream| header(WINDOW, SYN, own + 2 * stream, 0)).collect();
                wire.send(&opened).await?;
                wait(wire, runtime, 12).await
            }
            Self::NeverReads => never_read(wire, runtime, own).await,
            Self::NeverAnswers => {
                wire.answers_pings = false;
                wire.send(&whole(SYN, own, &proposal(&ECHO))).await
            }
            Self::FillsWindows => fill_windows(wire, runtime, own).await,
            Self::PretendsToBeFar => pretend_to_be_far(wire, runtime, own).await,
            Self::HangsUp => wire.hang_up().await,
            Self::CutsOff => {
                // An answer to a ping would be taken for the rest of the frame.
                wire.answers_pings = false;
                let frame = whole(SYN, own, &beginning(100));
                let count = 1 + wire.draw(frame.len() as u64 - 1) as usize;
                wire.send(&frame[..count]).await?;
                wire.hang_up().await
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
                for byte in proposal(&NOISE) {
                    wire.send_raw(&[byte]).await?;
                    wait(wire, runtime, 1).await?;
                }
                Ok(())
            }
            Self::HangsInNoise => {
                wire.send_raw(&proposal(&NOISE)).await?;
                // The length of a message that does not come: the first one of a dialer is a key, a listener says more.
                let length = if wire.role == Role::Dialer { 32 } else { 200 };
                wire.send_raw(&[0, length, 1]).await
            }
        }
    }
}

/// Has a lot sent and lets it wait, for less than a write may take.
async fn never_read(wire: &mut Wire, runtime: &dyn Runtime, own: u32) -> io::Result<()> {
    wire.is_reading = false;
    for stream in 0..8 {
        wire.send(&whole(SYN, own + 2 * stream, &proposal(&ECHO))).await?;
    }
    let fill = async {
        for round in 0..600 {
            let stream = own + 2 * (round % 8);
            let bytes = [&header(WINDOW, NONE, stream, 1 << 16)[..], &whole(NONE, stream, &[1; 320])].concat();
            wire.send(&bytes).await?;
        }
        Ok(())
    };
    let written = within(runtime, Duration::from_secs(8), fill).await;
    sleep(runtime, Duration::from_secs(8)).await;
    wire.is_reading = true;
    written.unwrap_or(Ok(()))
}

async fn fill_windows(wire: &mut Wire, runtime: &dyn Runtime, own: u32) -> io::Result<()> {
    const PIECE: usize = 16 * 1024;
    // As many as there may be; the first of them are filled, which is more than there may be of bytes.
    const OPENED: u32 = 40;
    const FILLED: u32 = 4;
    let opening = proposal(&UNREAD);
    for stream in 0..OPENED {
        wire.send(&whole(SYN, own + 2 * stream, &opening)).await?;
    }
    for stream in (0..FILLED).map(|stream| own + 2 * stream) {
        let mut left = INITIAL_WINDOW as usize - opening.len();
        while left > 0 && wire.inbox.reset(stream).is_none() {
            let piece = left.min(PIECE);
            wire.send(&whole(NONE, stream, &vec![0; piece])).await?;
            left -= piece;
        }
    }
    let is_shed =
        |wire: &Wire| wire.inbox.heard().iter().any(|heard| heard.flags & RST != 0 && heard.length == RESOURCE_LIMIT);
    let _ = within(runtime, Duration::from_secs(20), wire.until(is_shed)).await;
    let resets: Vec<u8> = (0..OPENED).flat_map(|stream| header(WINDOW, RST, own + 2 * stream, 0)).collect();
    wire.send(&resets).await
}

/// Two long exchanges at once, to a victim that believes in a round trip of nearly a second.
async fn pretend_to_be_far(wire: &mut Wire, runtime: &dyn Runtime, own: u32) -> io::Result<()> {
    const LENGTH: usize = 450_000;
    const PIECE: u64 = 16 * 1024;
    wire.answers_pings = false;
    let bytes = exchange(LENGTH);
    let mut streams = [(own, 0), (own + 2, 0)];
    // The first ping comes with the first answer.
    wire.send(&whole(SYN, own + 4, &proposal(&ECHO))).await?;
    let _ = within(runtime, Duration::from_secs(20), wire.until(|wire| wire.inbox.has_pings())).await;
    sleep(runtime, Duration::from_millis(900)).await;
    wire.answer_pings()?;
    wire.answers_pings = true;
    while streams.iter().any(|(_, sent)| *sent < bytes.len()) {
        let room = |wire: &Wire, (stream, sent): (u32, usize)| {
            let room = wire.inbox.granted(stream).saturating_sub(sent as u64).min(PIECE);
            (room as usize).min(bytes.len() - sent)
        };
        let can_go_on = |wire: &Wire, stream: (u32, usize)| {
            room(wire, stream) > 0 || (stream.1 < bytes.len() && wire.inbox.reset(stream.0).is_some())
        };
        wire.until(|wire| streams.iter().any(|stream| can_go_on(wire, *stream))).await?;
        for (stream, sent) in &mut streams {
            let count = room(wire, (*stream, *sent));
            if wire.inbox.reset(*stream).is_some() {
                *sent = bytes.len();
            } else if count > 0 {
                let opens = if *sent == 0 { SYN } else { NONE };
                let ends = if *sent + count == bytes.len() { FIN } else { NONE };
                let frame = whole(opens | ends, *stream, &bytes[*sent..*sent + count]);
                *sent += count;
                wire.send(&frame).await?;
            }
        }
    }
    Ok(())
}

/// So long, or until the victim has ended the connection.
async fn wait(wire: &mut Wire, runtime: &dyn Runtime, seconds: u64) -> io::Result<()> {
    within(runtime, Duration::from_secs(seconds), wire.until(|_| false)).await.unwrap_or(Ok(()))
}
