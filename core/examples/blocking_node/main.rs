//! A node on threads that block: no runtime, no non-blocking sockets, no polling.
//!
//! ```text
//! cargo run --release -p septa-core --example blocking_node
//! ```
//!
//! Three nodes talk over TCP: one listens, two keep a connection to it, lose it, come back by themselves, and leave in
//! good order. What they say is in `application/`, which the example `mio` runs too. For one connection without a node
//! see the example `blocking`.
//!
//! There is a thread for everything that waits, and none of them waits for two things:
//!
//! * **The node** has a thread that waits for its inbox, or for its deadline with `recv_timeout`. It does what the node
//!   wants and never blocks on anybody else, so that nobody can be waiting for it in vain.
//! * **Listening** is one more, blocked in `accept`. **Each dial** is one, blocked in `connect_timeout`: as many as the
//!   node begins at once, and those that it has aborted until they run out.
//! * **Each connection** has three. One owns the [`Connection`] and waits for its inbox, or for its deadline. One is
//!   blocked in `read`, one in `write`. If the thread that owns the connection wrote by itself, two peers that send much
//!   to each other would both be stuck: neither would read. For the same reason the connection hears of the node by a
//!   [`Mailbox`], which never blocks the node.
//!
//! Every channel is bounded, and so is what is on its way: a connection has one buffer that goes round between it and its
//! reader, and one between it and its writer. Who has not got its buffer back waits.
//!
//! [`Connection`]: septa_core::Connection
//! [`Mailbox`]: septa_core::link::Mailbox
#![allow(clippy::disallowed_methods, reason = "an example is the boundary where clocks and threads are real")]
#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "of what it has counted itself")]
#![allow(clippy::expect_used, clippy::panic, reason = "an example that goes wrong must not pass")]

#[path = "../application/mod.rs"]
mod application;
mod connection_threads;
mod inbox;
mod node_thread;

use std::{error::Error, net::TcpListener, thread};

use application::{Application, Clock, Party, VISITORS, multiaddr};
use node_thread::NodeThread;
use septa_core::{Multiaddr, PeerId};

fn main() -> Result<(), Box<dyn Error>> {
    let clock = Clock::start();
    let party = Party::new()?;
    let host = party.peer_id();
    let node = party.node(clock.now())?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = multiaddr(listener.local_addr()?);
    println!("listening on {addr}");
    let mut host_node = NodeThread::new(clock, party, node, Application::host());
    host_node.listen(listener)?;
    let host_thread = thread::spawn(move || host_node.run());

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
    host_thread.join().map_err(|_| "the host panicked")?;
    Ok(())
}

fn visit(clock: Clock, number: usize, host: PeerId, addr: &Multiaddr) -> Result<(), Box<dyn Error>> {
    let party = Party::new()?;
    let mut node = party.node(clock.now())?;
    let application = Application::visitor(number, &mut node, clock.now(), host, addr)?;
    NodeThread::new(clock, party, node, application).run();
    Ok(())
}
