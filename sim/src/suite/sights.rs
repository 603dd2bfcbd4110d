//! What the runs of a scenario must meet now and then: without it they would say nothing of what they are about.

pub(super) const SILENT: &str = "a connection was given up because its peer was silent";
pub(super) const SUPPLANTED: &str = "one of two connections was supplanted";
pub(super) const UNREAD: &str = "more bytes than a window holds waited for slow readers";
pub(super) const LIMIT: &str = "there was no room for another connection";
pub(super) const SAME: &str = "a peer came back as itself";
pub(super) const OTHER: &str = "a peer came back as another";
pub(super) const UNBANNED: &str = "a ban has ended by itself";
pub(super) const REJECTED: &str = "one application rejected another";
pub(super) const BANNED: &str = "a peer was banned for handshakes that failed";
pub(super) const EPOCH: &str = "messages came behind those of a lost connection";
pub(super) const PRESSURE: &str = "a sender waited for room";
pub(super) const CROWD: &str = "a peer had no room for another connection to the same node";
