//! The task that has faults strike in their time.

use std::{future::poll_fn, num::NonZeroU32, sync::Arc};

use septa_core::Instant;
use septa_driver::runtime::Timer as _;

use crate::{
    clock::SimTimer,
    network::{HostId, Network, Stall},
    plan::{Fault, FaultKind, Timed},
    socket::with,
};

/// The fault is none that strikes the network.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("'{0}' is no fault of the network")]
pub struct Unplayable(pub Fault);

pub(crate) struct Player {
    network: Arc<Network>,
    /// What happens, in order.
    cues: Vec<Cue>,
}

struct Cue {
    at: Instant,
    fault: Fault,
    begins: bool,
}

impl Player {
    pub(crate) fn new(network: Arc<Network>, start: Instant, faults: &[Timed]) -> Result<Self, Unplayable> {
        let mut cues = Vec::with_capacity(2 * faults.len());
        for Timed { at, length, fault } in faults {
            if !is_of_network(fault) {
                return Err(Unplayable(*fault));
            }
            let begin = start.saturating_add(*at);
            cues.push(Cue { at: begin, fault: *fault, begins: true });
            cues.push(Cue { at: begin.saturating_add(*length), fault: *fault, begins: false });
        }
        // Stable: what strikes at once does so in the order of the plan.
        cues.sort_by_key(|cue| cue.at);
        Ok(Self { network, cues })
    }

    pub(crate) async fn run(self) {
        let mut timer = SimTimer::new(self.network.clock.clone());
        for cue in self.cues {
            timer.reset(Some(cue.at));
            poll_fn(|cx| timer.poll_expired(cx)).await;
            if cue.begins {
                begin(&self.network, cue.fault);
            } else {
                end(&self.network, cue.fault);
            }
        }
    }
}

fn is_of_network(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Stall { .. }
            | Fault::Partition { .. }
            | Fault::Reset { .. }
            | Fault::Fin { .. }
            | Fault::Tamper { .. }
            | Fault::Dial { .. }
    )
}

fn begin(network: &Network, fault: Fault) {
    let now = network.clock.now();
    match fault {
        Fault::Stall { .. } | Fault::Partition { .. } => stalls(fault).for_each(|stall| network.stall(stall)),
        Fault::Reset { one, other, after } => {
            let pipes = [(one, other), (other, one)].map(|(from, to)| network.between(from.get(), to.get()));
            pipes.iter().flatten().for_each(|pipe| with(pipe, |pipe| pipe.reset_after(after)));
        }
        Fault::Fin { from, to } => {
            let pipes = network.between(from.get(), to.get());
            pipes.iter().for_each(|pipe| with(pipe, |pipe| pipe.cut_short(now)));
        }
        Fault::Tamper { from, to, how, after } => {
            let pipes = network.between(from.get(), to.get());
            pipes.iter().for_each(|pipe| with(pipe, |pipe| pipe.tamper(how, after)));
        }
        Fault::Dial { to, how } => network.fail_dials(to.get(), how),
        _ => {}
    }
}

fn end(network: &Network, fault: Fault) {
    match fault {
        Fault::Stall { .. } | Fault::Partition { .. } => stalls(fault).for_each(|stall| network.resume(stall)),
        Fault::Dial { to, how } => network.heal_dials(to.get(), how),
        _ => {}
    }
}

/// The directions in which nothing arrives.
fn stalls(fault: Fault) -> impl Iterator<Item = Stall> {
    let stall = |from: NonZeroU32, to: NonZeroU32, why: FaultKind| {
        let (from, to): (HostId, HostId) = (from.get(), to.get());
        Stall { from, to, why }
    };
    let (there, back) = match fault {
        Fault::Stall { from, to } => (Some(stall(from, to, fault.kind())), None),
        Fault::Partition { one, other } => {
            (Some(stall(one, other, fault.kind())), Some(stall(other, one, fault.kind())))
        }
        _ => (None, None),
    };
    there.into_iter().chain(back)
}
