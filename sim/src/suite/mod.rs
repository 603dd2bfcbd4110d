//! The scenarios that come with the simulator.

mod events;
mod exchange;
mod networks;
mod party;
mod waiting;

use crate::Scenario;

/// All of them.
pub fn all() -> Vec<Box<dyn Scenario>> {
    networks::all()
}

/// The one with this name.
pub fn find(name: &str) -> Option<Box<dyn Scenario>> {
    all().into_iter().find(|scenario| scenario.name() == name)
}
