//! rust-libp2p as a node in the races against Septa; see `septa_race_scenarios::node` for its arguments.

mod behaviour;
mod network;

use std::process::ExitCode;

use septa_race_scenarios::node;

use crate::network::RustLibp2p;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    node::main::<RustLibp2p>(&arguments)
}
