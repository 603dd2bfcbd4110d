//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use septa_core::{Multiaddr, ProtocolId};

/// Talk to libp2p peers over TCP, Noise and Yamux.
#[derive(Parser, Debug)]
#[command(name = "septa", version, propagate_version = true)]
pub(crate) struct Cli {
    /// Print one JSON object per line instead of readable text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Connect two nodes in this process over loopback TCP and show what the connection can do.
    Demo {
        /// Give up after so many seconds.
        #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
        timeout: f64,
    },
    /// Make or show an identity file.
    Id {
        #[command(subcommand)]
        command: IdCommand,
    },
    /// Accept connections, answer ping and identify, echo streams, and print what happens.
    Listen(ListenArgs),
    /// Measure round trips with the libp2p ping protocol.
    Ping {
        #[command(flatten)]
        dial: DialArgs,
        /// How many pings to send.
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
        count: u64,
        /// Seconds from one ping to the next.
        #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
        interval: f64,
    },
    /// Ask a peer who it is and what it can do.
    Identify {
        #[command(flatten)]
        dial: DialArgs,
    },
    /// Send pseudo-random bytes to an echo protocol and compare what comes back.
    Echo {
        #[command(flatten)]
        dial: DialArgs,
        /// The protocol that echoes.
        #[arg(long)]
        protocol: ProtocolId,
        /// How many bytes to send, over all streams together.
        #[arg(long)]
        bytes: u64,
        /// How many streams to spread the bytes over.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
        streams: u16,
    },
}

/// What to do with an identity file.
#[derive(Subcommand, Debug)]
pub(crate) enum IdCommand {
    /// Make an Ed25519 identity; an existing file is never overwritten.
    New {
        /// Where to write it, readable by its owner only.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Print the peer id of an identity file.
    Show {
        /// The file.
        file: PathBuf,
    },
}

/// What `listen` needs.
#[derive(Args, Debug)]
pub(crate) struct ListenArgs {
    /// Where to listen; may be given several times.
    #[arg(long, value_name = "MULTIADDR", default_value = "/ip4/127.0.0.1/tcp/0")]
    pub(crate) listen: Vec<Multiaddr>,
    /// The identity file; a new identity for this run if not given.
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Echo every stream of this protocol; may be given several times.
    #[arg(long, value_name = "PROTOCOL")]
    pub(crate) echo: Vec<ProtocolId>,
    /// Stop after so many seconds; without it, on Ctrl-C or SIGTERM.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<f64>,
}

/// What every dialing command needs.
#[derive(Args, Debug)]
pub(crate) struct DialArgs {
    /// The peer's address, such as /ip4/127.0.0.1/tcp/4001/p2p/12D3Koo...
    pub(crate) address: Multiaddr,
    /// Talk to whoever answers. Needed if the address has no /p2p part; nobody can then tell an
    /// impostor from the peer you meant.
    #[arg(long)]
    pub(crate) any_peer: bool,
    /// The identity file; a new identity for this run if not given.
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Give up after so many seconds.
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
    pub(crate) timeout: f64,
}

/// A number of seconds from the command line as a duration.
pub(crate) fn seconds(seconds: f64) -> Result<Duration, crate::failure::Failure> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| crate::failure::Failure::usage(format!("{seconds} is not a number of seconds")))
}
