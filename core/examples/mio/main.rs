//! A node in an event loop of one's own: `mio`, which is epoll on Linux and kqueue on BSD and macOS, and nothing else.
//!
//! ```text
//! cargo run --release -p septa-core --example mio
//! ```
//!
//! Three nodes, each in a loop on a thread of its own, talk over TCP: one listens, two keep a connection to it, lose it,
//! come back by themselves, and leave in good order. What they say is in `application/`, which the example
//! `blocking_node` runs too; this directory is all that an embedder has to write. The core has no clock and no sockets:
//! the loop tells it what has happened and when, and asks what to do. Step by step, with the same numbers in the code:
//!
//!  1. **Make the node** from an identity, a configuration and a seed, and what its connections will share: their
//!     configuration, with the protocols that are served, and their credentials.
//!  2. **Listen.** The listener is registered like any socket.
//!  3. **Say what you want**: [`Node::add_peer`] with [`Intent::Persistent`]. That does nothing yet but queue actions.
//!  4. **Sleep** until a socket is ready or the earliest deadline has come: the node's, or that of any connection.
//!     While something is left to do, do not sleep.
//!  5. **Do what the node wants**: give its events to the application, then take each [`Action`]. Dial without waiting;
//!     forget a dial that is aborted; hand a message to the connection that it names.
//!  6. **Finish dials** when their sockets are writable, and tell the node: connected, or failed and why. It answers a
//!     transport with a [`Link`], of which the connection is made, or does not want it any more.
//!  7. **Accept** until nothing waits. The node answers each transport with a `Link` or refuses it.
//!  8. **Read** until the socket would block, and never more than the connection has room for: it takes nothing while it
//!     waits for the node to let the peer in.
//!  9. **Give the connection's events to the application**, which calls streams. Calls make output and events; output
//!     that has left makes events. So ask again until there is neither.
//! 10. **Write** what the connection has. What the socket does not take is kept and comes first next time; only then
//!     is the loop interested in writability. Say when the socket is full and when it is not: the connection gives up a
//!     peer that never reads.
//! 11. **Half-close** when the last byte has left, and go on reading; **drop the socket** when the connection is closed.
//! 12. **Carry messages** from the connection to the node. The last one says that it is over.
//! 13. **Tell the time** to whoever has asked for it.
//! 14. **End**: [`Node::shutdown`] drains all connections; when the node is idle and no socket is left, the loop ends.
//!
//! Readiness is edge-triggered: an event comes once, so what it said is remembered until a call would block.
//!
//! [`Node::add_peer`]: septa_core::node::Node::add_peer
//! [`Node::shutdown`]: septa_core::node::Node::shutdown
//! [`Intent::Persistent`]: septa_core::node::Intent::Persistent
//! [`Action`]: septa_core::node::Action
//! [`Link`]: septa_core::Link
#![allow(clippy::disallowed_methods, reason = "an example is the boundary where clocks and threads are real")]
#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "of what it has counted itself")]
#![allow(clippy::expect_used, clippy::panic, reason = "an example that goes wrong must not pass")]

#[path = "../application/mod.rs"]
mod application;
mod dials;
mod event_loop;
mod transport;

use std::{error::Error, thread};

use application::{Application, Clock, Party, VISITORS, multiaddr};
use event_loop::EventLoop;
use septa_core::{Multiaddr, PeerId};

fn main() -> Result<(), Box<dyn Error>> {
    let clock = Clock::start();
    let party = Party::new()?;
    let host = party.peer_id();
    // 1. and 2.: from here on peers can connect, and wait in the listener's backlog for the loop.
    let node = party.node(clock.now())?;
    let mut host_loop = EventLoop::new(clock, party, node, Application::host())?;
    let addr = multiaddr(host_loop.listen("127.0.0.1:0".parse()?)?);
    println!("listening on {addr}");
    let host_thread = thread::spawn(move || host_loop.run());

    let visitors: Vec<_> = (1..=VISITORS)
        .map(|number| {
            let addr = addr.clone();
            thread::spawn(move || visit(clock, number, host, &addr).map_err(|error| error.to_string()))
        })
        .collect();
    // Visitors first: if one of them fails, so does the example.
    for visitor in visitors {
        visitor.join().map_err(|_| "a visitor panicked")??;
    }
    host_thread.join().map_err(|_| "the host panicked")??;
    Ok(())
}

fn visit(clock: Clock, number: usize, host: PeerId, addr: &Multiaddr) -> Result<(), Box<dyn Error>> {
    let party = Party::new()?;
    // 1. and 3.
    let mut node = party.node(clock.now())?;
    let application = Application::visitor(number, &mut node, clock.now(), host, addr)?;
    EventLoop::new(clock, party, node, application)?.run()?;
    Ok(())
}
