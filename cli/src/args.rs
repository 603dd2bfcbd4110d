//! The command line.

use std::{num::NonZeroUsize, ops::Range, path::PathBuf, time::Duration};

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
    /// Connect two nodes in this process over loopback TCP, show what the connection can do, then cut it and show
    /// how one node finds the other again.
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
    /// Accept connections, keep those to chosen peers, answer ping and identify, echo streams, and print what happens.
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
    /// Measure how fast bytes go to a peer that serves the libp2p perf protocol, and come back.
    ///
    /// Amounts are in bytes; k, M and G behind a number stand for 2^10, 2^20 and 2^30.
    Perf {
        #[command(flatten)]
        dial: DialArgs,
        /// How much to send.
        #[arg(long, default_value = "0", value_name = "BYTES", value_parser = byte_count)]
        upload: u64,
        /// How much to get back.
        #[arg(long, default_value = "0", value_name = "BYTES", value_parser = byte_count)]
        download: u64,
        /// Print the throughput of each second.
        #[arg(long)]
        verbose: bool,
    },
    /// Play scenarios in the deterministic simulator, seed after seed, and show what breaks. Exits with 1 if a seed fails.
    Sim(SimArgs),
}

/// What `sim` needs.
#[derive(Args, Debug)]
pub(crate) struct SimArgs {
    /// Play this scenario; may be given several times. All of them unless it is given.
    #[arg(long, value_name = "NAME")]
    pub(crate) scenario: Vec<String>,
    /// How many hosts there are, instead of as many as the scenario usually has: at most six times that, or 1000 if that is more.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=65_535))]
    pub(crate) nodes: Option<u32>,
    /// The seeds, from A up to but not including B.
    #[arg(long, value_name = "A..B", default_value = "0..20", value_parser = seeds)]
    pub(crate) seeds: Range<u64>,
    /// Play only the I-th of N equal parts of the seeds, counted from 0, so that N machines share them.
    #[arg(long, value_name = "I/N", value_parser = shard)]
    pub(crate) shard: Option<(u64, u64)>,
    /// Begin no further seed after so many minutes, of which each scenario gets its part.
    #[arg(long, value_name = "MINUTES")]
    pub(crate) minutes: Option<f64>,
    /// How many runs at once; as many as there are cores unless it is given. It changes no result.
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Write the timeline of the run that failed, or else of the first one, as a page for a browser.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Write down everything that happens in that run, a line each, and what its bytes say under the encryption: up to
    /// 1 GiB of text.
    #[arg(long, value_name = "FILE")]
    pub(crate) export: Option<PathBuf>,
    /// Play this plan instead of any seed.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["scenario", "nodes", "seeds", "shard", "minutes"])]
    pub(crate) plan: Option<PathBuf>,
    /// Write the plan of the first seed that fails, made as small as can be, into this file.
    #[arg(long, value_name = "FILE", conflicts_with = "plan")]
    pub(crate) save_plan: Option<PathBuf>,
    /// Print the names of the scenarios and play nothing.
    #[arg(long)]
    pub(crate) list: bool,
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
    /// Where to listen; may be given several times. Without it and without --peer, on /ip4/127.0.0.1/tcp/0; with
    /// --peer alone, nowhere.
    #[arg(long, value_name = "MULTIADDR")]
    pub(crate) listen: Vec<Multiaddr>,
    /// Keep a connection to this peer: dial it, and again whenever it is lost, 1 s later at first and up to 5 minutes
    /// later. The address must end in /p2p/PEER_ID; may be given several times. Each change of the peer's state is
    /// printed as one JSON object per line, with or without --json.
    #[arg(long, value_name = "MULTIADDR")]
    pub(crate) peer: Vec<Multiaddr>,
    /// Remember peers in this file, so that those of --peer are kept in later runs without being named again.
    #[arg(long, value_name = "FILE")]
    pub(crate) book: Option<PathBuf>,
    /// The identity file; a new identity for this run if not given.
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Append the keys of every connection to this file, to read a packet capture with. Whoever has the file
    /// can read everything that the connections have carried.
    #[arg(long, value_name = "FILE")]
    pub(crate) keylog: Option<PathBuf>,
    /// Echo every stream of this protocol; may be given several times.
    #[arg(long, value_name = "PROTOCOL")]
    pub(crate) echo: Vec<ProtocolId>,
    /// Serve the perf protocol: every peer may then use as much of the line as it likes.
    #[arg(long)]
    pub(crate) perf: bool,
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
    /// Append the keys of every connection to this file, to read a packet capture with. Whoever has the file
    /// can read everything that the connections have carried.
    #[arg(long, value_name = "FILE")]
    pub(crate) keylog: Option<PathBuf>,
    /// Give up after so many seconds.
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
    pub(crate) timeout: f64,
}

/// A number of seconds from the command line as a duration.
pub(crate) fn seconds(seconds: f64) -> Result<Duration, crate::failure::Failure> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| crate::failure::Failure::usage(format!("{seconds} is not a number of seconds")))
}

/// Two numbers such as `0..20`.
fn seeds(text: &str) -> Result<Range<u64>, String> {
    let ends = text.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    let range = ends.map(|(from, to)| from..to).filter(|range: &Range<u64>| !range.is_empty());
    range.ok_or_else(|| "write two numbers such as 0..20, the second larger than the first".to_owned())
}

/// Two numbers such as `0/4`.
fn shard(text: &str) -> Result<(u64, u64), String> {
    let numbers = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
    let shard = numbers.filter(|(index, of): &(u64, u64)| index < of);
    shard.ok_or_else(|| "write two numbers such as 0/4, the first from 0 and smaller than the second".to_owned())
}

/// A number of bytes, such as `1000`, `64k`, `10M` or `2G`.
fn byte_count(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.char_indices().next_back() {
        Some((end, 'k' | 'K')) => (&text[..end], 1 << 10),
        Some((end, 'm' | 'M')) => (&text[..end], 1 << 20),
        Some((end, 'g' | 'G')) => (&text[..end], 1 << 30),
        _ => (text, 1),
    };
    // `parse` would take a sign.
    let number = digits.parse::<u64>().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let bytes = number.and_then(|number| number.checked_mul(unit));
    bytes.ok_or_else(|| "write a number of bytes, such as 1000, 64k, 10M or 2G".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{byte_count, seeds, shard};

    #[test]
    fn seeds_are_a_range_that_is_not_empty() {
        assert_eq!(seeds("3..7"), Ok(3..7));
        for bad in ["", "3", "3..3", "7..3", "..7", "3..", "a..b", "-1..3", "3...7"] {
            assert!(seeds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_shard_is_one_of_some() {
        assert_eq!(shard("0/1"), Ok((0, 1)));
        assert_eq!(shard("3/4"), Ok((3, 4)));
        for bad in ["", "4/4", "0/0", "1", "/4", "1/", "-1/4"] {
            assert!(shard(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn amounts_have_units_of_1024() {
        let amounts = [("0", 0), ("1000", 1000), ("64k", 65_536), ("64K", 65_536), ("10M", 10 << 20), ("2g", 2 << 30)];
        for (text, bytes) in amounts {
            assert_eq!(byte_count(text), Ok(bytes), "{text}");
        }
        assert_eq!(byte_count("17179869183G"), Ok(17_179_869_183 << 30));
        for bad in
            ["", "k", "-1", "+1", "1.5M", "1 k", "1kB", "1T", "0x10", "\u{661}", "17179869184G", "18446744073709551616"]
        {
            assert!(byte_count(bad).is_err(), "{bad}");
        }
    }
}
