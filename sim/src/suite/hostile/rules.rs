//! The rules of Yamux that a few frames break or nearly break.

use septa_core::yamux::{INITIAL_WINDOW, Violation};

use super::{
    attack::{Act, Attack, Fate, Leaving, Times, Word},
    frames::{
        ACK, BEGINNING, FIN, Frame, GO_AWAY, NONE, PING, RST, SYN,
        Stream::{Others, Own, Session},
        WINDOW, begins, claim, data, go_away, of_kind, of_version, ping, proposes, window,
    },
};

/// More than was ever promised to anybody.
const HUGE: u32 = u32::MAX;
/// The reset code of a stream on which a rule was broken.
const PROTOCOL_VIOLATION: u32 = 0x1004;
const SOME: u32 = 100;

const fn breaks(name: &'static str, rule: &'static [Violation], frames: &'static [Frame]) -> Attack {
    Attack { name, act: Act::Frames { frames, is_one_record: false }, fate: Fate::Violation(rule) }
}

const fn keeps(name: &'static str, words: &'static [Word], frames: &'static [Frame]) -> Attack {
    Attack { name, act: Act::Frames { frames, is_one_record: false }, fate: Fate::Served(words) }
}

/// Before the victim can answer the first of them, the last has come.
const fn at_once(attack: Attack) -> Attack {
    match attack.act {
        Act::Frames { frames, .. } => Attack { act: Act::Frames { frames, is_one_record: true }, ..attack },
        _ => attack,
    }
}

const fn leaves(name: &'static str, code: u32, frames: &'static [Frame]) -> Attack {
    Attack { name, act: Act::Frames { frames, is_one_record: false }, fate: Fate::Left(Leaving::GoAway(code)) }
}

const fn pong(value: u32, times: Times) -> Word {
    Word { kind: PING, flags: ACK, stream: Some(Session), length: value, times }
}

const fn reset(stream: super::frames::Stream, code: u32) -> Word {
    Word { kind: WINDOW, flags: RST, stream: Some(stream), length: code, times: Times::Often }
}

const NO_GO_AWAY: Word = Word { kind: GO_AWAY, flags: NONE, stream: Some(Session), length: 1, times: Times::Never };

pub(super) const RULES: &[Attack] = &[
    // Headers.
    breaks("version 1", &[Violation::UnknownVersion], &[of_version(1)]),
    breaks("version 255", &[Violation::UnknownVersion], &[of_version(255)]),
    breaks("type 4", &[Violation::UnknownFrameType], &[of_kind(4)]),
    breaks("type 255", &[Violation::UnknownFrameType], &[of_kind(255)]),
    keeps(
        "unknown flags",
        &[pong(7, Times::Once), NO_GO_AWAY],
        &[window(0xfff0 | SYN, Own(0), 0), ping(0x10 | SYN, Session, 7), window(0x8000 | RST, Own(0), 7)],
    ),
    // Stream 0.
    breaks("data on stream 0", &[Violation::ZeroStreamId], &[data(NONE, Session, SOME)]),
    breaks("stream 0 opened with data", &[Violation::ZeroStreamId], &[data(SYN, Session, SOME)]),
    breaks("window of stream 0", &[Violation::ZeroStreamId], &[window(NONE, Session, SOME)]),
    breaks("stream 0 opened by a window", &[Violation::ZeroStreamId], &[window(SYN, Session, 0)]),
    breaks("stream 0 reset", &[Violation::ZeroStreamId], &[window(RST, Session, 0)]),
    // Opening.
    breaks("wrong parity by window", &[Violation::WrongParity], &[window(SYN, Others(1000), 0)]),
    breaks("wrong parity by data", &[Violation::WrongParity], &[data(SYN, Others(1000), SOME)]),
    breaks("opened twice by window", &[Violation::DuplicateStream], &[begins(Own(0)), window(SYN, Own(0), 0)]),
    breaks("opened twice by data", &[Violation::DuplicateStream], &[begins(Own(0)), data(SYN, Own(0), SOME)]),
    breaks("opens and accepts by window", &[Violation::SynWithAck], &[window(SYN | ACK, Own(0), 0)]),
    breaks("opens and accepts by data", &[Violation::SynWithAck], &[data(SYN | ACK, Own(0), SOME)]),
    keeps("opens and resets", &[NO_GO_AWAY], &[window(SYN | RST, Own(0), 0), data(SYN | RST, Own(1), SOME)]),
    keeps("opens and finishes", &[NO_GO_AWAY], &[proposes(SYN | FIN, Own(0)), window(SYN | FIN, Own(1), 0)]),
    breaks("opens and resets with too much", &[Violation::UnknownStreamData], &[claim(SYN | RST, Own(0), HUGE)]),
    // Credit.
    breaks("opens beyond the window", &[Violation::CreditExceeded], &[claim(SYN, Own(0), INITIAL_WINDOW + 1)]),
    breaks("opens far beyond the window", &[Violation::CreditExceeded], &[claim(SYN, Own(0), HUGE)]),
    breaks(
        "opens and finishes beyond the window",
        &[Violation::CreditExceeded],
        &[claim(SYN | FIN, Own(0), INITIAL_WINDOW + 1)],
    ),
    breaks(
        "beyond what is left of the window",
        &[Violation::CreditExceeded],
        &[begins(Own(0)), claim(NONE, Own(0), INITIAL_WINDOW - BEGINNING + 1)],
    ),
    breaks(
        "finishes beyond what is left of the window",
        &[Violation::CreditExceeded],
        &[begins(Own(0)), claim(FIN, Own(0), INITIAL_WINDOW - BEGINNING + 1)],
    ),
    breaks(
        "resets beyond what is left of the window",
        &[Violation::CreditExceeded],
        &[begins(Own(0)), claim(RST, Own(0), INITIAL_WINDOW - BEGINNING + 1)],
    ),
    keeps("resets with a body", &[NO_GO_AWAY], &[begins(Own(0)), data(RST, Own(0), SOME)]),
    breaks("grants too much", &[Violation::WindowOverflow], &[begins(Own(0)), window(NONE, Own(0), HUGE)]),
    breaks(
        "opens and grants too much",
        &[Violation::WindowOverflow],
        &[window(SYN, Own(0), HUGE - INITIAL_WINDOW + 1)],
    ),
    keeps("opens and grants all there is", &[NO_GO_AWAY], &[window(SYN, Own(0), HUGE - INITIAL_WINDOW)]),
    // The end of streams.
    at_once(keeps(
        "data behind the end",
        &[reset(Own(0), PROTOCOL_VIOLATION), NO_GO_AWAY],
        &[proposes(SYN, Own(0)), window(FIN, Own(0), 0), data(NONE, Own(0), SOME)],
    )),
    at_once(keeps(
        "data behind an end with data",
        &[reset(Own(0), PROTOCOL_VIOLATION), NO_GO_AWAY],
        &[proposes(SYN | FIN, Own(0)), data(FIN, Own(0), SOME)],
    )),
    keeps(
        "finishes twice",
        &[NO_GO_AWAY],
        &[proposes(SYN, Own(0)), window(FIN, Own(0), 0), window(FIN, Own(0), 0), data(FIN, Own(0), 0)],
    ),
    keeps(
        "resets twice",
        &[NO_GO_AWAY],
        &[proposes(SYN, Own(0)), window(RST, Own(0), 1), window(RST, Own(0), 2), data(RST, Own(0), 0)],
    ),
    // Streams that are not there, and answers to nothing.
    breaks("data for nobody", &[Violation::UnknownStreamData], &[claim(NONE, Own(40), HUGE)]),
    breaks("the end of data for nobody", &[Violation::UnknownStreamData], &[claim(FIN, Others(1000), HUGE)]),
    breaks("a reset with data for nobody", &[Violation::UnknownStreamData], &[claim(RST, Own(40), HUGE)]),
    keeps(
        "frames for nobody",
        &[NO_GO_AWAY],
        &[
            window(NONE, Own(40), SOME),
            window(NONE, Others(1000), HUGE),
            window(FIN, Own(41), 0),
            window(RST, Own(42), 1),
            window(ACK, Others(1001), 0),
            data(NONE, Own(43), 0),
            data(FIN, Own(44), 0),
        ],
    ),
    keeps(
        "accepts twice",
        &[NO_GO_AWAY],
        &[
            begins(Own(0)),
            window(ACK, Own(0), 0),
            window(ACK, Others(0), 0),
            window(ACK, Others(0), 0),
            data(ACK, Own(0), 0),
        ],
    ),
    // Pings.
    at_once(keeps(
        "as many pings as may wait",
        &[pong(1, Times::Once), pong(8, Times::Once), NO_GO_AWAY],
        &[
            ping(SYN, Session, 1),
            ping(SYN, Session, 2),
            ping(SYN, Session, 3),
            ping(SYN, Session, 4),
            ping(SYN, Session, 5),
            ping(SYN, Session, 6),
            ping(SYN, Session, 7),
            ping(SYN, Session, 8),
        ],
    )),
    at_once(breaks(
        "a ping more than may wait",
        &[Violation::PingFlood],
        &[
            ping(SYN, Session, 1),
            ping(SYN, Session, 2),
            ping(SYN, Session, 3),
            ping(SYN, Session, 4),
            ping(SYN, Session, 5),
            ping(SYN, Session, 6),
            ping(SYN, Session, 7),
            ping(SYN, Session, 8),
            ping(SYN, Session, 9),
        ],
    )),
    keeps(
        "pings that are none",
        &[pong(71, Times::Never), pong(72, Times::Never), pong(73, Times::Once), NO_GO_AWAY],
        &[ping(NONE, Session, 71), ping(SYN | ACK, Session, 72), ping(SYN, Session, 73)],
    ),
    keeps("an answer to no ping", &[NO_GO_AWAY], &[ping(ACK, Session, HUGE), ping(ACK, Session, 0)]),
    keeps("a ping on a stream", &[pong(74, Times::Once), NO_GO_AWAY], &[ping(SYN, Own(0), 74)]),
    // Goodbyes.
    leaves("goes away", 0, &[go_away(Session, 0)]),
    leaves("goes away for a code that nobody knows", 0xdead_beef, &[go_away(Session, 0xdead_beef)]),
    leaves("goes away on a stream", 2, &[go_away(Own(0), 2)]),
    leaves("goes away twice", 1, &[go_away(Session, 1), go_away(Session, 2)]),
    leaves("opens streams behind a goodbye", 0, &[go_away(Session, 0), begins(Own(0)), proposes(SYN, Own(1))]),
];
