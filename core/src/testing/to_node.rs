//! What a connection would tell its node, for those who drive a node without connections.

use alloc::boxed::Box;

use crate::{
    PeerId,
    connection::CloseReason,
    link::{NodeMessage, ToNode},
};

/// The peer has proved who it is and waits for admission.
pub fn secured(peer: PeerId) -> ToNode {
    ToNode(NodeMessage::Secured { peer })
}

/// Streams are possible; `is_ready` if the application's handshake is done too.
pub fn opened(is_ready: bool) -> ToNode {
    ToNode(NodeMessage::Opened { is_ready })
}

/// A sign of life, with nothing counted.
pub fn report() -> ToNode {
    ToNode(NodeMessage::Report(Box::default()))
}

/// It is over; the last message.
pub fn closed(reason: CloseReason) -> ToNode {
    ToNode(NodeMessage::Closed { reason, last: Box::default() })
}
