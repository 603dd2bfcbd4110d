//! `septa id`: identity files.

use std::path::Path;

use septa_core::Identity;
use serde_json::json;

use crate::{failure::Failure, identity_file, output::Output, world::World};

/// `septa id new`.
pub(crate) fn new(world: &World, out: &Path) -> Result<(), Failure> {
    print(&identity_file::create(out, world.seed())?, world.output);
    Ok(())
}

/// `septa id show`.
pub(crate) fn show(world: &World, file: &Path) -> Result<(), Failure> {
    print(&identity_file::load(file)?, world.output);
    Ok(())
}

fn print(identity: &Identity, output: Output) {
    let peer = identity.peer_id();
    output.print(peer, json!({ "peer_id": peer.to_string(), "key_type": "Ed25519" }));
}
