//! The table of a peer's life: every cell, and what holds for all of them.

use std::{string::String, vec::Vec};

use crate::node::{
    Intent,
    transition::{Cell, Effect, Effort, Input, Presence, State, step},
};

const EFFORTS: [Effort; 4] = [Effort::Idle, Effort::Waiting, Effort::Dialing, Effort::Cooldown];
const PRESENCES: [Presence; 3] = [Presence::Absent, Presence::Present, Presence::Leaving];
const INTENTS: [Intent; 3] = [Intent::Transient, Intent::Persistent, Intent::Dormant];

/// The next effort by its first letter, `.` for ignored, `!` for refused. In each cell four letters: absent and gives
/// up, absent and retries, present and gives up, present and retries.
const TABLE: [(Input, [&str; 4]); 11] = [
    //                       Idle    Waiting Dialing Cooldown
    (Input::Connect, ["DD!!", "DD!!", "....", "!!!!"]),
    (Input::Keep, ["DD..", "....", "....", "CCCC"]),
    (Input::NewAddr, ["....", "DD..", "....", "...."]),
    (Input::Cancel, ["....", "IIII", "IIII", "CCCC"]),
    (Input::Disconnect, ["IIII", "IIII", "IIII", "CCCC"]),
    (Input::Expel, ["IIII", "IIII", "IIII", "IIII"]),
    (Input::TimerExpired, ["....", "DDII", "....", "IDII"]),
    (Input::DialFailed, ["....", "....", "IWII", "...."]),
    (Input::Opened, ["....", "IIII", "IIII", "CCCC"]),
    (Input::HandshakeFailed, ["CCCC", "CCCC", "CCCC", "CCCC"]),
    (Input::Lost, [".W.W", "....", "....", "...."]),
];

/// Every state there is, with whether the peer is tried again.
fn states() -> impl Iterator<Item = (State, bool)> {
    EFFORTS.into_iter().flat_map(|effort| {
        PRESENCES.into_iter().flat_map(move |presence| {
            INTENTS.into_iter().flat_map(move |intent| {
                [false, true].into_iter().map(move |may_retry| {
                    let retries = intent != Intent::Dormant && may_retry;
                    (State { intent, effort, presence, may_retry }, retries)
                })
            })
        })
    })
}

fn letter(cell: Cell) -> char {
    match cell {
        Cell::Next(Effort::Idle, _) => 'I',
        Cell::Next(Effort::Waiting, _) => 'W',
        Cell::Next(Effort::Dialing, _) => 'D',
        Cell::Next(Effort::Cooldown, _) => 'C',
        Cell::Ignored => '.',
        Cell::Refused(_) => '!',
    }
}

#[test]
fn every_cell_of_the_table_is_as_it_is_written_down() {
    let mut checked = 0;
    for (input, row) in TABLE {
        for (state, retries) in states() {
            let column = EFFORTS.iter().position(|effort| *effort == state.effort).unwrap();
            let is_present = state.presence == Presence::Present;
            let expected = row[column].as_bytes()[usize::from(is_present) * 2 + usize::from(retries)];
            assert_eq!(letter(step(state, input)), char::from(expected), "{input:?} in {state:?}");
            checked += 1;
        }
    }
    assert_eq!(checked, 11 * 4 * 3 * 3 * 2);
}

#[test]
fn an_effort_is_entered_and_left_in_order() {
    for (input, _) in TABLE {
        for (state, _) in states() {
            let Cell::Next(next, effects) = step(state, input) else { continue };
            let has = |effect| effects.contains(&effect);
            let (before, what) = (state.effort, std::format!("{input:?} in {state:?}: {effects:?}"));
            let enters = |effort| next == effort && before != effort;
            let leaves = |effort| before == effort && next != effort;
            assert_eq!(has(Effect::Dial), enters(Effort::Dialing), "{what}");
            assert_eq!(has(Effect::ArmBackoff), enters(Effort::Waiting), "{what}");
            assert_eq!(has(Effect::ArmCooldown), enters(Effort::Cooldown), "{what}");
            // Attempts end by themselves when all have failed; a timer is over when it expires.
            let ends = leaves(Effort::Dialing) && input != Input::DialFailed;
            assert_eq!(has(Effect::AbortAttempts), ends && input != Input::Opened, "{what}");
            assert_eq!(has(Effect::EndDial), ends && input == Input::Opened, "{what}");
            let timed = leaves(Effort::Waiting) || leaves(Effort::Cooldown);
            assert_eq!(has(Effect::DisarmTimer), timed && input != Input::TimerExpired, "{what}");
            let unique: Vec<_> =
                effects.iter().filter(|effect| effects.iter().filter(|e| e == effect).count() > 1).collect();
            assert!(unique.is_empty(), "{what}");
        }
    }
}

#[test]
fn a_dormant_peer_is_never_dialed_but_by_command() {
    for (input, _) in TABLE {
        for (state, _) in
            states().filter(|(state, _)| state.intent == Intent::Dormant && state.effort != Effort::Waiting)
        {
            if let Cell::Next(Effort::Dialing, _) = step(state, input) {
                assert!(matches!(input, Input::Connect | Input::Keep | Input::NewAddr), "{input:?} in {state:?}");
            }
        }
    }
}

#[test]
fn a_persistent_peer_is_never_left_alone_by_failures() {
    // From every state, failures and losses lead back to a dial without any command.
    for (mut state, _) in states().filter(|(state, retries)| state.intent == Intent::Persistent && *retries) {
        state.presence = Presence::Absent;
        let mut trace = String::new();
        for input in [Input::DialFailed, Input::HandshakeFailed, Input::Lost, Input::TimerExpired] {
            if let Cell::Next(next, _) = step(state, input) {
                state.effort = next;
            }
            trace.push_str(&std::format!("{input:?} -> {:?}; ", state.effort));
        }
        assert_eq!(state.effort, Effort::Dialing, "{trace}");
    }
}
