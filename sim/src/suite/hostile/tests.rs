use std::{collections::BTreeSet, time::Duration};

use super::*;
use crate::{Simulation, plan::Plan};

fn play(length: u64) -> Tally {
    let mut plan = Plan::calm(3);
    plan.heal = Duration::from_secs(length);
    let run = Run::new(Simulation::of_plan(&plan), &plan, 3, &[]);
    besiege(&run).unwrap()
}

/// In a world where nothing else goes wrong, each attack on each kind of victim is played and meets its fate.
#[test]
fn every_attack_meets_its_fate() {
    let tally = play(240);
    let unmet: BTreeSet<_> = attack::all()
        .flat_map(|attack| [(attack.name, false), (attack.name, true)])
        .filter(|attack| tally.attacks.get(attack).is_none_or(|count| count.met == 0))
        .collect();
    assert_eq!(unmet, BTreeSet::new(), "{tally:?}");
    // The budgets are really met: from 7/8 on streams are reset.
    assert!(tally.used > MEMORY.hard_cap * 3 / 4, "{} bytes at most", tally.used);
    assert_eq!(tally.lent, MEMORY.window_loans);
}
