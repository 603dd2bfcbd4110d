//! Frames that are allowed, and far too many of them.

use septa_core::yamux::Violation;

use super::{
    attack::{Act, Attack, Fate, Times, Word},
    frames::{
        ACK, FIN, Frame, NONE, RST, SYN,
        Stream::{Each, Own, Session},
        WINDOW, begins, data, ping, proposes, window,
    },
};

/// The reset code of a stream for which there is no room.
pub(super) const RESOURCE_LIMIT: u32 = 0x1002;

/// The same frames again and again.
#[derive(Debug)]
pub(super) struct Flood {
    /// Once, before them.
    pub(super) first: &'static [Frame],
    pub(super) frames: &'static [Frame],
    pub(super) rounds: u32,
    /// Streams that are named anew in each round.
    pub(super) streams: u32,
    /// So many rounds are in one record.
    pub(super) at_once: u32,
    /// Once for each of the first rounds, in the end.
    pub(super) last: Option<(Frame, u32)>,
}

const FLOOD: Flood = Flood { first: &[], frames: &[], rounds: 4000, streams: 1, at_once: 1, last: None };
const LIVE: &[Frame] = &[begins(Own(0))];

const EMPTY: Fate = Fate::Violation(&[Violation::EmptyFrameFlood]);
const RAPID: Fate = Fate::Violation(&[Violation::RapidReset]);
// Some records are taken before the answers to the first leave.
const PINGS: Fate = Fate::Violation(&[Violation::PingFlood, Violation::EmptyFrameFlood]);
// The same with resets.
const REFUSED: Fate = Fate::Violation(&[Violation::EmptyFrameFlood, Violation::RapidReset]);

const fn attack(name: &'static str, fate: Fate, flood: &'static Flood) -> Attack {
    Attack { name, act: Act::Flood(flood), fate }
}

pub(super) const FLOODS: &[Attack] = &[
    attack("empty data", EMPTY, &Flood { first: LIVE, frames: &[data(NONE, Own(0), 0)], ..FLOOD }),
    attack("empty windows", EMPTY, &Flood { first: LIVE, frames: &[window(NONE, Own(0), 0)], ..FLOOD }),
    attack("windows of one byte", EMPTY, &Flood { first: LIVE, frames: &[window(NONE, Own(0), 1)], ..FLOOD }),
    attack("acceptances", EMPTY, &Flood { first: LIVE, frames: &[window(ACK, Own(0), 0)], ..FLOOD }),
    attack("ends", EMPTY, &Flood { first: &[proposes(SYN, Own(0))], frames: &[window(FIN, Own(0), 0)], ..FLOOD }),
    attack("answers to no ping", EMPTY, &Flood { frames: &[ping(ACK, Session, 9)], ..FLOOD }),
    attack("pings without flags", EMPTY, &Flood { frames: &[ping(NONE, Session, 9)], ..FLOOD }),
    attack("windows for nobody", EMPTY, &Flood { frames: &[window(NONE, Own(40), 1)], ..FLOOD }),
    attack("empty data for nobody", EMPTY, &Flood { frames: &[data(NONE, Own(40), 0)], ..FLOOD }),
    attack("resets for nobody", EMPTY, &Flood { frames: &[window(RST, Own(40), 1)], ..FLOOD }),
    attack("pings", PINGS, &Flood { frames: &[ping(SYN, Session, 9)], ..FLOOD }),
    attack(
        "streams that are opened and reset",
        RAPID,
        &Flood { frames: &[window(SYN, Each(0), 0), window(RST, Each(0), 7)], ..FLOOD },
    ),
    attack("streams that are opened by a reset", RAPID, &Flood { frames: &[window(SYN | RST, Each(0), 7)], ..FLOOD }),
    attack(
        "streams that are opened with data and reset",
        RAPID,
        &Flood { frames: &[proposes(SYN, Each(0)), data(RST, Each(0), 0)], at_once: 500, ..FLOOD },
    ),
    // Before one reset can leave: as if nobody read them.
    attack(
        "streams whose refusals nobody reads",
        RAPID,
        &Flood { frames: &[window(SYN, Each(0), 0)], at_once: 500, ..FLOOD },
    ),
    attack("streams that are refused", REFUSED, &Flood { frames: &[window(SYN, Each(0), 0)], ..FLOOD }),
    attack(
        "a few streams too many",
        Fate::Served(&[Word { kind: WINDOW, flags: RST, stream: None, length: RESOURCE_LIMIT, times: Times::Often }]),
        &Flood {
            frames: &[window(SYN, Each(0), 0)],
            rounds: 60,
            // Those that there was room for.
            last: Some((window(RST, Each(0), 0), 60)),
            ..FLOOD
        },
    ),
];
