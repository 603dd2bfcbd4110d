//! What the attackers and those who see their victims know.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use septa_core::{PeerId, Role, connection::CloseReason};
use septa_driver::Node;

use super::{
    super::party::lock,
    attack::{self, Attack},
};
use crate::Referee;

/// From one attack to the next in the table: attacks that follow each other are of different kinds. Shares no divisor
/// with the number of attacks, so that all have their turn.
const STRIDE: usize = 41;

type Reasons = BTreeMap<(usize, Option<PeerId>), Vec<CloseReason>>;

pub(super) struct Siege {
    /// The number of the attackers' host.
    pub(super) host: u32,
    /// Who listens there.
    pub(super) listener: PeerId,
    pub(super) is_over: AtomicBool,
    /// The plan does nothing to anybody.
    pub(super) is_calm: bool,
    /// The latest lives of the nodes.
    pub(super) victims: Vec<Mutex<Option<Node>>>,
    /// An attacker that listens has this victim.
    pub(super) is_busy: Vec<AtomicBool>,
    pub(super) referee: Referee,
    pub(super) tally: Mutex<Tally>,
    /// Why a victim, by place, has closed connections to somebody, or to nobody known.
    reasons: Mutex<Reasons>,
    /// Attacks that go on.
    strikes: Arc<AtomicU64>,
    /// Whose turn is next, of attackers that dial and of those that listen.
    turns: [AtomicUsize; 2],
}

/// Who is attacked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Victim {
    pub(super) place: usize,
    pub(super) role: Role,
}

/// What came of the attacks, by name and by the role of the victim.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Tally {
    pub(super) attacks: BTreeMap<(&'static str, bool), Count>,
    /// Attackers whom the victim did not want.
    pub(super) turned_away: u64,
    /// The most bytes that were used, and the most that were lent.
    pub(super) used: usize,
    pub(super) lent: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Count {
    pub(super) struck: u64,
    /// Those whose fate was the one that they should have.
    pub(super) met: u64,
}

/// An attack that goes on.
pub(super) struct GoingOn(Arc<AtomicU64>);

impl Drop for GoingOn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Siege {
    /// Attacks are dealt in turn, from one on that `luck` says.
    pub(super) fn new(
        host: u32,
        listener: PeerId,
        nodes: usize,
        (is_calm, luck): (bool, [usize; 2]),
        referee: Referee,
    ) -> Self {
        Self {
            host,
            listener,
            is_over: AtomicBool::new(false),
            is_calm,
            victims: (0..nodes).map(|_| Mutex::default()).collect(),
            is_busy: (0..nodes).map(|_| AtomicBool::new(false)).collect(),
            referee,
            tally: Mutex::default(),
            reasons: Mutex::default(),
            strikes: Arc::default(),
            turns: luck.map(AtomicUsize::new),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// The attack whose turn it is on a victim with this role.
    pub(super) fn next(&self, role: Role) -> &'static Attack {
        let attacks: Vec<&'static Attack> = attack::all().collect();
        let turn = self.turns[usize::from(role == Role::Dialer)].fetch_add(1, Ordering::Relaxed);
        attacks[turn.wrapping_mul(STRIDE) % attacks.len()]
    }

    pub(super) fn begin(&self) -> GoingOn {
        self.strikes.fetch_add(1, Ordering::Relaxed);
        GoingOn(self.strikes.clone())
    }

    pub(super) fn strikes(&self) -> u64 {
        self.strikes.load(Ordering::Relaxed)
    }

    pub(super) fn add_reason(&self, place: usize, peer: Option<PeerId>, reason: CloseReason) {
        lock(&self.reasons).entry((place, peer)).or_default().push(reason);
    }

    pub(super) fn forget_reasons(&self, victim: Victim, peer: PeerId) {
        lock(&self.reasons).remove(&(victim.place, Some(peer)));
    }

    /// Why the victim has closed connections to this peer. Whoever leaves at once or never says who it is remains a
    /// stranger: then the first that is `wanted` of those that it has closed to such.
    pub(super) fn take_reasons(
        &self,
        victim: Victim,
        peer: PeerId,
        wanted: &dyn Fn(&CloseReason) -> bool,
    ) -> Vec<CloseReason> {
        let mut reasons = lock(&self.reasons);
        if let Some(reasons) = reasons.remove(&(victim.place, Some(peer))) {
            return reasons;
        }
        let Some(of_strangers) = reasons.get_mut(&(victim.place, None)) else { return Vec::new() };
        let found = of_strangers.iter().position(wanted);
        found.map(|index| of_strangers.swap_remove(index)).into_iter().collect()
    }

    pub(super) fn count_turned_away(&self) {
        lock(&self.tally).turned_away += 1;
    }

    pub(super) fn count_struck(&self, attack: &Attack, victim: Victim) {
        self.count(attack, victim, |count| count.struck += 1);
    }

    pub(super) fn count_met(&self, attack: &Attack, victim: Victim) {
        self.count(attack, victim, |count| count.met += 1);
    }

    fn count(&self, attack: &Attack, victim: Victim, add: impl FnOnce(&mut Count)) {
        let is_dialer = victim.role == Role::Dialer;
        add(lock(&self.tally).attacks.entry((attack.name, is_dialer)).or_default());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_attacks_have_their_turn() {
        let count = attack::all().count();
        let names: BTreeSet<&str> = attack::all().map(|attack| attack.name).collect();
        assert_eq!(names.len(), count, "two attacks have one name");
        let turns: BTreeSet<usize> = (0..count).map(|turn| turn * STRIDE % count).collect();
        assert_eq!(turns.len(), count);
    }
}
