//! The scenarios that come with the simulator.

mod bans;
mod channels;
mod direct;
mod events;
mod exchange;
mod flows;
mod handshakes;
mod hostile;
mod label;
mod levels;
mod networks;
mod party;
mod requests;
mod setup;
mod sights;
mod waiting;

use crate::Scenario;

/// All of them.
pub fn all() -> Vec<Box<dyn Scenario>> {
    let mut all = networks::all();
    all.push(Box::new(channels::Channels));
    all.push(Box::new(requests::Asked));
    all.push(Box::new(handshakes::HandshakeRaces));
    all.push(Box::new(hostile::Hostile));
    all.push(Box::new(direct::Transfer));
    all.push(Box::new(direct::IdlePeers));
    all.push(Box::new(levels::BothLevels));
    all
}

/// The one with this name.
pub fn find(name: &str) -> Option<Box<dyn Scenario>> {
    all().into_iter().find(|scenario| scenario.name() == name)
}
