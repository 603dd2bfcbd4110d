//! What nodes that are driven directly can be made to do.

mod done;
pub mod idle;
pub mod mesh;
pub mod pair;

use septa_core::Identity;

pub use done::Done;

use crate::{Simulation, direct::Direct};

/// The identity of the node with this number.
fn identity(number: usize) -> Identity {
    let mut seed = [0x5e; 32];
    seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
    Identity::from_ed25519_seed(seed)
}

/// For nodes of this world, which ends when something happens to them that never should.
fn direct(simulation: &Simulation, is_checked: bool) -> Direct {
    let direct = if is_checked { Direct::checked() } else { Direct::new() };
    let referee = simulation.referee();
    direct.on_violation(move |violation| referee.blame(&violation.cause(), violation.to_string()));
    direct
}
