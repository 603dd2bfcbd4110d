//! One attack on one victim, and what came of it.

use std::time::Duration;

use septa_core::{Identity, Role, connection::CloseReason};
use septa_driver::runtime::{Runtime, Socket};

use super::{
    super::waiting::{sleep, within},
    attack::{Act, Attack, Fate, Times, Word},
    floods::RESOURCE_LIMIT,
    frames::{FIN, GO_AWAY, Place, SYN, answer, exchange, whole},
    siege::{Siege, Victim},
    tricks::Trick,
    wire::Wire,
};

const ENDED: &str = "who breaks the rules is ended in time, and for that";
const TOLD: &str = "who breaks the rules is told";
const SERVED: &str = "who keeps the rules is served";

/// How long whoever breaks a rule of a protocol may stay: until the slowest link has brought it.
const AT_ONCE: Duration = Duration::from_secs(15);
/// How long anybody else may whom nothing good comes of: as long as a write may take, and a while.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// How long behind the end of a connection its victim may take to say why: as long as it lingers, and a while.
pub(super) const LAST_WORD: Duration = Duration::from_secs(3);
/// Bytes of the longest exchange that shows that somebody is served. One window holds them, and what precedes them.
const LONGEST: u64 = 200_000;

pub(super) struct Strike<'a> {
    pub(super) siege: &'a Siege,
    pub(super) victim: Victim,
    pub(super) runtime: &'a dyn Runtime,
    pub(super) identity: &'a Identity,
    pub(super) attack: &'static Attack,
}

/// What an attacker has seen of its victim.
struct Seen {
    /// The connection was ended, or the attacker was served: whatever its fate is.
    is_over: bool,
    is_served: bool,
    /// The last word was a goodbye for a breach of rules.
    was_told: bool,
    /// What it should have said and did not, or the other way round.
    wrong_word: Option<Word>,
}

impl Strike<'_> {
    pub(super) async fn run(self, socket: Socket, note: &(dyn Fn(&str) + Send + Sync)) {
        note(&self.to_string());
        self.siege.forget_reasons(self.victim, self.identity.peer_id());
        let mut wire = Wire::new(socket, self.role(), self.runtime.seed().public_stream());
        if !self.attack.is_early() {
            let upgraded = within(self.runtime, PATIENCE, wire.upgrade(self.runtime, self.identity)).await;
            if !matches!(upgraded, Some(Ok(()))) {
                // It may have been turned away, or its victim is down.
                return self.siege.count_turned_away();
            }
        }
        self.siege.count_struck(self.attack, self.victim);
        let seen = self.strike(&mut wire).await;
        let reasons = self.reasons(&mut wire, &seen).await;
        self.judge(&seen, &reasons);
    }

    fn role(&self) -> Role {
        if self.victim.role == Role::Dialer { Role::Listener } else { Role::Dialer }
    }

    async fn strike(&self, wire: &mut Wire) -> Seen {
        let (fate, runtime) = (self.attack.fate, self.runtime);
        let mut is_served = false;
        let strike = async {
            // Whoever is ended in the middle of it was ended.
            let outcome = self.attack.run(wire, runtime).await;
            if fate.is_ended() {
                wire.ended().await;
            } else if outcome.is_ok() {
                is_served = self.is_served(wire).await;
            }
        };
        let patience = if fate.is_at_once() { AT_ONCE } else { PATIENCE };
        let is_over = within(runtime, patience, strike).await.is_some();
        let heard = wire.inbox.heard();
        let was_told = heard.last().is_some_and(|heard| heard.kind == GO_AWAY && heard.length == 1);
        let wrong_word = match fate {
            Fate::Served(words) if is_served => words.iter().copied().find(|word| !is_kept(wire, *word)),
            _ => None,
        };
        Seen { is_over, is_served, was_told, wrong_word }
    }

    /// An exchange ends well. Where memory is short, because of others, it is tried again.
    async fn is_served(&self, wire: &mut Wire) -> bool {
        let longest = if matches!(self.attack.act, Act::Trick(Trick::LongFrame)) { LONGEST } else { 300 };
        for attempt in 0..20 {
            // Far from all streams that attacks name.
            let stream = wire.first_id() + 2 * (1_000_000 + attempt);
            let length = wire.draw(longest) as usize;
            let expected = answer(length);
            let is_over = |wire: &Wire| wire.inbox.has_finished(stream) || wire.inbox.reset(stream).is_some();
            if wire.send(&whole(SYN | FIN, stream, &exchange(length))).await.is_err()
                || wire.until(is_over).await.is_err()
            {
                return false;
            }
            match wire.inbox.reset(stream) {
                None => return wire.inbox.bytes(stream) == expected,
                Some(RESOURCE_LIMIT) => sleep(self.runtime, Duration::from_millis(500)).await,
                Some(_) => return false,
            }
        }
        false
    }

    /// Why the victim says that it has closed the connection, if it was closed.
    async fn reasons(&self, wire: &mut Wire, seen: &Seen) -> Vec<CloseReason> {
        let peer = self.identity.peer_id();
        // Nothing more comes, so that the victim need not wait.
        let _ = wire.hang_up().await;
        if seen.is_served {
            return Vec::new();
        }
        let looks = LAST_WORD.as_millis() / 20;
        for look in 0..looks {
            // Whoever has said who it is hardly is a stranger. It waits, and leaves to real ones what was said of them.
            let is_stranger = self.attack.is_early() || look > looks / 2;
            let wanted = |reason: &CloseReason| is_stranger && self.attack.fate.is(reason);
            let reasons = self.siege.take_reasons(self.victim, peer, &wanted);
            if !reasons.is_empty() {
                return reasons;
            }
            sleep(self.runtime, Duration::from_millis(20)).await;
        }
        Vec::new()
    }

    fn judge(&self, seen: &Seen, reasons: &[CloseReason]) {
        let (siege, fate) = (self.siege, self.attack.fate);
        if !seen.is_over {
            let rule = if fate.is_ended() { ENDED } else { SERVED };
            return siege.referee.blame(rule, format!("{self} goes on"));
        }
        if let Some(reason) = reasons.iter().find(|reason| !fate.allows(reason)) {
            return siege.referee.blame(ENDED, format!("{self} was ended: {reason}"));
        }
        if let Some(word) = seen.wrong_word {
            return siege.referee.blame(SERVED, format!("{self} was served, but without this: {word:?}"));
        }
        if seen.is_served || reasons.iter().any(|reason| fate.is(reason)) {
            siege.count_met(self.attack, self.victim);
        } else if siege.is_calm && !reasons.iter().any(is_turned_away) {
            let rule = if fate.is_ended() { ENDED } else { SERVED };
            return siege.referee.blame(rule, format!("{self} came to another end: {reasons:?}"));
        }
        // A flood may be cut off before it has read so far.
        let is_short = matches!((self.attack.act, fate), (Act::Frames { .. }, Fate::Violation(_)));
        if siege.is_calm && is_short && reasons.iter().any(|reason| fate.is(reason)) && !seen.was_told {
            siege.referee.blame(TOLD, format!("{self} heard no goodbye"));
        }
    }
}

impl std::fmt::Display for Strike<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "'{}' on node {} as {:?}", self.attack.name, self.victim.place + 1, self.role())
    }
}

/// The victim did not want the attacker, whatever it did, or wants nobody any more.
fn is_turned_away(reason: &CloseReason) -> bool {
    matches!(reason, CloseReason::Denied(_) | CloseReason::Local | CloseReason::DrainTimeout)
}

fn is_kept(wire: &Wire, word: Word) -> bool {
    let place = Place { first: wire.first_id(), round: 0, streams: 1 };
    let stream = word.stream.map(|stream| place.id(stream));
    let said = wire.inbox.heard().iter().filter(|heard| {
        (heard.kind, heard.flags, heard.length) == (word.kind, word.flags, word.length)
            && stream.is_none_or(|stream| stream == heard.stream)
    });
    matches!((said.count(), word.times), (0, Times::Never) | (1, Times::Once) | (1.., Times::Often))
}
