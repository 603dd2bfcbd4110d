//! Handshakes of the applications, which end in every way at any moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use septa_core::{
    ConnectionId, Instant, PeerId, SeedStream,
    channel::handshake::Party as RejectedBy,
    connection::{CloseReason, HandshakeError, HandshakeMode},
    node::{Event, PeerState},
};
use septa_driver::{Connection, node::InboundStream};

use super::{
    party::{Member, Options, Party, draw, lock},
    setup, sights,
    waiting::within,
};
use crate::{
    Failed, Menu, Run, Scenario,
    plan::FaultKind::{Crash, DialHanging, Partition, Reset, Stall},
};

const BOTH: &str = "nothing flows before both applications have accepted each other";
const REJECTED: &str = "who is rejected hears the code that was said";
const HEARD: &str = "who is rejected hears of it";
const ENDS_SO: &str = "a connection ends so as its application says";
const COOLDOWN: &str = "who failed the handshake stays away for a while";

const HANDSHAKE: Duration = Duration::from_secs(5);
const COOLING: Duration = Duration::from_secs(4);
/// How long a connection waits for its last bytes to leave, and then for those of the peer.
const DRAIN: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(100);

pub(super) struct HandshakeRaces;

impl Scenario for HandshakeRaces {
    fn name(&self) -> &str {
        "handshake-races"
    }

    fn nodes(&self) -> u32 {
        4
    }

    fn menu(&self, nodes: u32) -> Menu {
        setup::menu(
            nodes,
            setup::once_each(nodes),
            &[Reset, Stall, Partition, Crash, DialHanging],
            8,
            Duration::from_secs(40),
        )
    }

    fn sights(&self) -> &'static [&'static str] {
        &[sights::REJECTED, sights::BANNED]
    }

    fn play(&self, run: &Run<'_>) -> Result<(), Failed> {
        let mut options = Options::new(setup::all_pairs(run.nodes).collect());
        options.connection.handshake = HandshakeMode::Application { timeout: HANDSHAKE };
        options.config.cooldown = COOLING;
        // Two handshakes that fail within a while lead to a ban, which would outlast the run and ends before the cooldown.
        (options.config.score.graylist, options.config.score.ban) = (6, 10);
        options.config.bans.base = Duration::from_secs(1);
        options.config.bans.max = Duration::from_secs(1);
        options.connection.drain_timeout = DRAIN;
        let register: Arc<Mutex<Register>> = Arc::default();
        let begun = register.clone();
        options.pastime = Arc::new(move |member| {
            let guests = receive_guests(begun.clone(), member.clone());
            member.spawn("handshakes", guests);
        });
        let failed = register.clone();
        options.on_event = Arc::new(move |member, event| {
            if let Event::Banned { .. } = event {
                member.saw(sights::BANNED);
            }
            // Of a connection that ends as soon as it opens the application does not hear.
            if let Event::Closed { peer: Some(peer), reason, .. } = event
                && is_to_blame(reason)
            {
                let now = member.node.runtime().now();
                lock(&failed).cool((member.place, member.life, *peer), now);
            }
        });
        options.on_stream = Arc::new(move |member, stream| lock(&register).check_stream(member, stream));
        run.simulation.set_max_steps(100_000_000);
        let party = Party::start(run, options);
        run.chaos()?;
        party.settle()
    }
}

/// Who has accepted whom. Each end of each connection has a token, which it tells the other one.
#[derive(Default)]
struct Register {
    accepted: BTreeSet<u64>,
    /// With which code and words somebody has rejected the other end of a connection.
    rejected: BTreeMap<([u8; 32], PeerId), (u8, &'static str)>,
    /// Until when a life of a node stays away from a peer.
    cooling: BTreeMap<Pair, Instant>,
    /// The tokens of both ends, own first.
    ends: BTreeMap<(usize, u32, ConnectionId), (u64, u64)>,
    /// The connections that this end has left in its own words.
    left: BTreeSet<(usize, u32, ConnectionId)>,
    meetings: BTreeMap<Pair, Meetings>,
}

/// A life of a node, and a peer.
type Pair = (usize, u32, PeerId);

/// The connections of a pair on which handshakes were begun.
#[derive(Default)]
struct Meetings {
    begun: u64,
    live: u64,
}

impl Register {
    /// A handshake begins. Its number, if there is no other connection.
    fn begin(&mut self, pair: Pair) -> Option<u64> {
        let Meetings { begun, live } = self.meetings.entry(pair).or_default();
        (*begun, *live) = (*begun + 1, *live + 1);
        (*live == 1).then_some(*begun)
    }

    /// A handshake has failed. One that fails while a cooldown runs prolongs nothing.
    fn cool(&mut self, pair: Pair, now: Instant) {
        let end = self.cooling.entry(pair).or_insert(Instant::EPOCH);
        if now >= *end {
            *end = now.saturating_add(COOLING);
        }
    }

    /// Whether a cooldown runs now, and does not just end.
    fn cools(&self, pair: Pair, now: Instant) -> bool {
        self.cooling.get(&pair).is_some_and(|end| now.saturating_add(MOMENT / 2) < *end)
    }

    fn end(&mut self, pair: Pair) {
        self.meetings.entry(pair).or_default().live -= 1;
    }

    /// There was no other connection beside that of this handshake, nor has one come.
    fn was_alone(&self, pair: Pair, number: Option<u64>) -> bool {
        number.is_some() && self.meetings.get(&pair).map(|meetings| meetings.begun) == number
    }

    fn check_stream(&self, member: &Member, stream: &InboundStream) {
        let tokens = self.ends.get(&(member.place, member.life, stream.connection));
        if !tokens.is_some_and(|(own, other)| self.accepted.contains(own) && self.accepted.contains(other)) {
            member.referee().blame(BOTH, format!("a stream of {:?} on node {}", stream.connection, member.place + 1));
        }
    }
}

async fn receive_guests(register: Arc<Mutex<Register>>, member: Member) {
    let mut luck = member.node.runtime().seed().public_stream();
    while let Ok(connection) = member.node.next_handshake().await {
        let manner = if member.is_healed() { Manner::Polite } else { Manner::draw(&mut luck) };
        let own = member.node.runtime().seed().public_stream();
        member.spawn("cooldown", stay_away(register.clone(), member.clone(), connection.clone()));
        member.spawn("handshake", meet(register.clone(), member.clone(), connection, manner, own));
    }
}

/// What one end makes of a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Manner {
    /// It accepts.
    Polite,
    /// It accepts when it is nearly too late, or is.
    Slow,
    Rejects,
    /// It rejects after it has said that it accepts.
    ChangesItsMind,
    /// It leaves the handshake to its deadline.
    Silent,
    Leaves,
    /// It talks until it may say no more, and then accepts.
    Talks,
}

impl Manner {
    fn draw(luck: &mut SeedStream) -> Self {
        match draw(luck, 12) {
            0 => Self::Slow,
            1 => Self::Rejects,
            2 => Self::ChangesItsMind,
            3 => Self::Silent,
            4 => Self::Leaves,
            5 => Self::Talks,
            _ => Self::Polite,
        }
    }
}

/// One end of one handshake.
async fn meet(
    register: Arc<Mutex<Register>>,
    member: Member,
    connection: Connection,
    manner: Manner,
    mut luck: SeedStream,
) {
    member.sleep(Duration::from_millis(draw(&mut luck, 300) >> draw(&mut luck, 8))).await;
    match manner {
        Manner::Silent => return,
        Manner::Leaves => {
            lock(&register).left.extend(connection.id().map(|id| (member.place, member.life, id)));
            return connection.close(0);
        }
        Manner::Rejects => return reject(&register, &member, &connection, (7, "no")).await,
        Manner::Slow => member.sleep(Duration::from_millis(4500 + draw(&mut luck, 600))).await,
        Manner::Polite | Manner::Talks | Manner::ChangesItsMind => {}
    }
    let token = luck.next_u64();
    let greets = connection.handshake_send(&token.to_be_bytes()).is_ok();
    while manner == Manner::Talks && connection.handshake_send(&token.to_be_bytes()).is_ok() {}
    let Ok(Some(answer)) = connection.handshake_recv().await else { return };
    let (Some(id), Ok(other), true) = (connection.id(), <[u8; 8]>::try_from(&answer[..]), greets) else {
        return;
    };
    let other = u64::from_be_bytes(other);
    lock(&register).ends.insert((member.place, member.life, id), (token, other));
    member.sleep(Duration::from_millis(draw(&mut luck, 100) >> draw(&mut luck, 8))).await;
    lock(&register).accepted.insert(token);
    if manner == Manner::ChangesItsMind {
        let _ = within(&**member.node.runtime(), Duration::ZERO, connection.finalize()).await;
        return reject(&register, &member, &connection, (8, "after all")).await;
    }
    match connection.finalize().await {
        Ok(()) if !lock(&register).accepted.contains(&other) => {
            member.referee().blame(BOTH, format!("node {} is ready with {}", member.place + 1, connection.peer_id()));
        }
        // It was too late.
        Ok(()) | Err(HandshakeError::ConnectionLost(_) | HandshakeError::Closing | HandshakeError::Command(_)) => {}
        Err(error) => member.referee().blame("a handshake can be made on an open connection", error.to_string()),
    }
}

/// Whatever happens to the connection from then on, this is why it ends.
async fn reject(register: &Mutex<Register>, member: &Member, connection: &Connection, words: (u8, &'static str)) {
    let binding = connection.channel_binding();
    if connection.reject(words.0, words.1).is_err() {
        return;
    }
    if let Some(binding) = binding {
        lock(register).rejected.insert((binding, member.node.peer_id()), words);
    }
    let reason = connection.closed().await;
    if reason != (CloseReason::HandshakeRejected { by: RejectedBy::Local, code: words.0 }) {
        let why = format!("node {} rejects {} with {words:?}: {reason}", member.place + 1, connection.peer_id());
        member.referee().blame(ENDS_SO, why);
    }
}

/// Behind a connection that ends so there is none for a while.
fn is_to_blame(reason: &CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::HandshakeRejected { .. } | CloseReason::HandshakeRefused(_) | CloseReason::HandshakeTimeout
    )
}

/// It had no reason of its own to end the connection.
fn is_of_peer(reason: &CloseReason) -> bool {
    use CloseReason::{DeniedByRemote, Eof, HandshakeRefused, Io, KeepAliveTimeout, Remote, Truncated, WriteStall};
    matches!(
        reason,
        DeniedByRemote | Eof | HandshakeRefused(_) | Io | KeepAliveTimeout | Remote { .. } | Truncated | WriteStall
    )
}

/// Of two connections the node may have left one by itself, just before it would have heard. The task that is told of the
/// other one may not have run yet.
async fn blame_if_alone(register: Arc<Mutex<Register>>, member: Member, pair: Pair, number: Option<u64>, why: String) {
    member.sleep(MOMENT).await;
    if lock(&register).was_alone(pair, number) {
        member.referee().blame(HEARD, why);
    }
}

/// If the handshake is to blame for the end of the connection, there is none for as long as it is said.
async fn stay_away(register: Arc<Mutex<Register>>, member: Member, connection: Connection) {
    let (own, peer, binding) = (member.node.peer_id(), connection.peer_id(), connection.channel_binding());
    let pair = (member.place, member.life, peer);
    let number = lock(&register).begin(pair);
    let reason = connection.closed().await;
    lock(&register).end(pair);
    let said_by = |who| binding.and_then(|binding| lock(&register).rejected.get(&(binding, who)).copied());
    if let CloseReason::HandshakeRejected { by, code } = reason {
        member.saw(sights::REJECTED);
        let who = if by == RejectedBy::Local { own } else { peer };
        let heard = connection.rejection().map(|heard| (heard.code, heard.by, heard.reason));
        let said = said_by(who);
        if said.map(|(code, words)| (code, by, words.into())) != heard || said.is_none_or(|said| said.0 != code) {
            let why = format!("node {} hears {heard:?} by {who}, who has said {said:?}: {reason}", member.place + 1);
            member.referee().blame(REJECTED, why);
        }
    } else if is_of_peer(&reason)
        && let Some(said) = said_by(peer)
        && let Some(place) = member.partners().into_iter().find(|place| member.peer_at(*place) == Some(peer))
        && member.is_undisturbed(place)
        && !connection.id().is_some_and(|id| lock(&register).left.contains(&(member.place, member.life, id)))
    {
        let why = format!("node {} hears {reason}, and {peer} has said {said:?}", member.place + 1);
        member.spawn("deaf", blame_if_alone(register.clone(), member.clone(), pair, number, why));
    }
    if !is_to_blame(&reason) {
        return;
    }
    for wait in [MOMENT, 2 * DRAIN - MOMENT, COOLING - 2 * DRAIN - MOMENT] {
        member.sleep(wait).await;
        let now = member.node.runtime().now();
        if !lock(&register).cools(pair, now) {
            return;
        }
        // Who is gone for good is forgotten, and with it that it failed.
        let is_known = member.partners().into_iter().any(|place| member.peer_at(place) == Some(peer));
        let Some(info) = member.node.peer_info(&peer).filter(|_| is_known && !member.is_quiet()) else { continue };
        let is_there = matches!(info.state, PeerState::Connected | PeerState::Established);
        if is_there || !info.dialing.is_empty() {
            return member.referee().blame(COOLDOWN, format!("{info:?} on node {}", member.place + 1));
        }
    }
}
