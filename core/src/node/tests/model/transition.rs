//! What may happen, and when.

use core::time::Duration;
use std::{vec, vec::Vec};

use proptest::{prelude::*, sample::select, strategy::Union};
use proptest_state_machine::ReferenceStateMachine;

use super::reference::{Answer, MYSELF, PEERS, Phase, Reason, Reference, Step};
use crate::{Instant, Role, node::Intent};

#[derive(Clone, Debug)]
pub(super) enum Transition {
    Add {
        peer: usize,
        intent: Intent,
        with_addrs: bool,
    },
    Connect(usize),
    Cancel(usize),
    Disconnect(usize),
    Remove(usize),
    Ban(usize, Option<Duration>),
    Unban(usize),
    BanNetwork(Duration),
    /// What became of one of the attempts to reach a peer.
    Dialed(usize, usize),
    DialFailed(usize, usize),
    Resolved(usize, usize, usize),
    /// Results that come too late, or that the step an attempt is at cannot have.
    Nonsense(usize),
    Incoming(u8),
    Secured(usize, usize),
    Opened(usize, bool),
    Reported(usize, Duration),
    Closed(usize, Reason),
    /// A connection looks into its mailbox.
    Reads(usize),
    /// Time passes, and nobody tells the node.
    Pass(Duration),
    Wake,
    /// The node is told a time that is over.
    WakeEarly(Duration),
}

use Transition::*;

impl ReferenceStateMachine for Reference {
    type State = Self;
    type Transition = Transition;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::new()).boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Transition> {
        let mut choices = vec![(16, command()), (2, pass().boxed()), (1, any::<usize>().prop_map(Nonsense).boxed())];
        choices.push((4, (1..12_u8).prop_map(Incoming).boxed()));
        let early = (0..u64::from(u32::MAX)).prop_map(Duration::from_nanos);
        choices.push((1, early.prop_map(WakeEarly).boxed()));
        choices.extend(results(state));
        choices.extend(messages(state));
        let deadlines = to_deadlines(state);
        if !deadlines.is_empty() {
            choices.push((8, select(deadlines).prop_map(Pass).boxed()));
        }
        if state.is_certain() {
            choices.push((10, Just(Wake).boxed()));
        }
        Union::new_weighted(choices).boxed()
    }

    fn preconditions(state: &Self, transition: &Transition) -> bool {
        match transition {
            Dialed(peer, index) | DialFailed(peer, index) => has_attempt(state, *peer, *index, &[Step::Connecting]),
            Resolved(peer, index, _) => has_attempt(state, *peer, *index, &[Step::Resolving]),
            Secured(number, _) => state.connections.get(number).is_some_and(|connection| !connection.is_secured),
            Opened(number, _) => state.connections.get(number).is_some_and(|connection| connection.is_admitted),
            // It is the application's handshake that failed, and that comes last.
            Closed(number, Reason::HandshakeTimeout) => {
                state.connections.get(number).is_some_and(|connection| connection.since().is_some())
            }
            // Whoever meets itself does not ban itself.
            Closed(number, Reason::Flood) => {
                state.connections.get(number).is_some_and(|connection| connection.peer != Some(MYSELF))
            }
            Closed(number, _) | Reported(number, _) | Reads(number) => state.connections.contains_key(number),
            Wake => state.is_certain(),
            // It counts as the latest that the node was told, and then there may be something to do.
            WakeEarly(_) => state.next_deadline().is_none_or(|deadline| deadline.from > state.now),
            Unban(peer) => state.has_ban(*peer),
            _ => true,
        }
    }

    fn apply(mut state: Self, transition: &Transition) -> Self {
        (state.answer, state.told) = (Answer::Nothing, vec![]);
        match *transition {
            Add { peer, intent, with_addrs } => state.add(peer, intent, with_addrs),
            Connect(peer) => state.connect(peer),
            Cancel(peer) => state.cancel(peer),
            Disconnect(peer) => state.disconnect(peer),
            Remove(peer) => state.remove(peer),
            Ban(peer, length) => state.ban(peer, length),
            Unban(peer) => state.unban(peer),
            BanNetwork(length) => state.ban_network(length),
            Dialed(peer, index) => state.dialed(peer, index),
            DialFailed(peer, index) => state.dial_failed(peer, index),
            Resolved(peer, index, count) => state.resolved(peer, index, count),
            Incoming(host) => state.incoming(host),
            Secured(number, peer) => state.secured(number, peer),
            Opened(number, is_ready) => state.opened(number, is_ready),
            Reported(number, rtt) => state.reported(number, rtt),
            Closed(number, reason) => state.closed(number, reason),
            Pass(time) => state.now = state.now.saturating_add(time),
            Wake => state.wake(),
            Nonsense(_) | Reads(_) | WakeEarly(_) => {}
        }
        state.forget();
        state
    }
}

fn has_attempt(state: &Reference, peer: usize, index: usize, steps: &[Step]) -> bool {
    state.attempts(peer).get(index).is_some_and(|attempt| steps.contains(&attempt.step))
}

fn command() -> BoxedStrategy<Transition> {
    let peer = || 0..PEERS;
    let or_myself = || prop_oneof![20 => 0..PEERS, 1 => Just(MYSELF)];
    let intent = prop_oneof![2 => Just(Intent::Transient), 3 => Just(Intent::Persistent), 1 => Just(Intent::Dormant)];
    let length = || (0..100_u64).prop_map(Duration::from_secs);
    let add = (or_myself(), intent, prop::bool::weighted(0.9));
    prop_oneof![
        5 => add.prop_map(|(peer, intent, with_addrs)| Add { peer, intent, with_addrs }),
        4 => or_myself().prop_map(Connect),
        1 => peer().prop_map(Cancel),
        1 => peer().prop_map(Disconnect),
        1 => peer().prop_map(Remove),
        1 => (peer(), prop::option::weighted(0.9, length())).prop_map(|(peer, length)| Ban(peer, length)),
        1 => peer().prop_map(Unban),
        1 => length().prop_map(BanNetwork),
    ]
    .boxed()
}

/// Mostly short.
fn pass() -> impl Strategy<Value = Transition> {
    prop_oneof![4 => 0..3_000_u64, 1 => 0..200_000_u64].prop_map(|millis| Pass(Duration::from_millis(millis)))
}

/// The time to whatever is next for somebody, a moment less, and a moment more.
fn to_deadlines(state: &Reference) -> Vec<Duration> {
    let mut times = vec![];
    for window in state.deadlines() {
        let rest = |deadline: Instant| deadline.saturating_duration_since(state.now);
        let moment = Duration::from_nanos(1);
        times.extend([rest(window.to), rest(window.to) + moment, rest(window.from).saturating_sub(moment)]);
    }
    times.retain(|time| !time.is_zero());
    times
}

/// What may become of attempts.
fn results(state: &Reference) -> Vec<(u32, BoxedStrategy<Transition>)> {
    let mut choices = vec![];
    for peer in 0..PEERS {
        for (index, attempt) in state.attempts(peer).iter().enumerate() {
            match attempt.step {
                Step::Resolving => choices.push((4, (0..4_usize).prop_map(move |n| Resolved(peer, index, n)).boxed())),
                Step::Connecting => {
                    choices.push((4, Just(Dialed(peer, index)).boxed()));
                    choices.push((3, Just(DialFailed(peer, index)).boxed()));
                }
                Step::Upgrading => {}
            }
        }
    }
    choices
}

/// What may become of connections.
fn messages(state: &Reference) -> Vec<(u32, BoxedStrategy<Transition>)> {
    let mut choices: Vec<(u32, BoxedStrategy<Transition>)> = vec![];
    for (number, connection) in &state.connections {
        let number = *number;
        if !connection.is_secured {
            let right = connection.peer.filter(|_| connection.role == Role::Dialer);
            // Mostly the same, so that there are several connections to one.
            let strangers = prop_oneof![20 => 0..2_usize, 20 => 0..PEERS, 1 => Just(MYSELF)];
            let who =
                right.map_or(strangers.clone().boxed(), |right| prop_oneof![20 => Just(right), 1 => strangers].boxed());
            choices.push((6, who.prop_map(move |peer| Secured(number, peer)).boxed()));
        }
        if connection.is_admitted {
            let weight = if connection.phase == Phase::Admitted { 6 } else { 1 };
            choices.push((weight, any::<bool>().prop_map(move |is_ready| Opened(number, is_ready)).boxed()));
        }
        let rtt = (0..600_u64).prop_map(Duration::from_millis);
        choices.push((1, rtt.prop_map(move |rtt| Reported(number, rtt)).boxed()));
        choices.push((1, Just(Reads(number)).boxed()));
        let is_leaving = matches!(connection.phase, Phase::Leaving { .. });
        choices.push((
            if is_leaving { 4 } else { 1 },
            reason(connection.since().is_some(), connection.peer)
                .prop_map(move |reason| Closed(number, reason))
                .boxed(),
        ));
    }
    choices
}

fn reason(has_opened: bool, peer: Option<usize>) -> impl Strategy<Value = Reason> {
    let mut reasons = vec![Reason::Eof, Reason::Local, Reason::Denied, Reason::KeepAlive, Reason::Lost];
    if has_opened {
        reasons.push(Reason::HandshakeTimeout);
    }
    if peer != Some(MYSELF) {
        reasons.push(Reason::Flood);
    }
    select(reasons)
}
