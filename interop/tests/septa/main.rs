//! Septa on tokio against rust-libp2p, over real sockets. Every scenario runs twice: Septa dials, and
//! Septa listens. Who opens a stream is another question, so most scenarios about streams come in a
//! version for each opener too.
//!
//! One test binary, because linking libp2p takes longer than most of the tests.

mod binary;
mod closing;
mod connecting;
mod identify_push;
mod idle;
mod key_types;
mod node;
mod peer_record;
mod perf;
mod services;
mod shared_channel;
mod streams;
mod support;
