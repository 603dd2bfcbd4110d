//! Races Septa against rust-libp2p and plain TCP over loopback, two processes each.
//!
//! Started by the script `benches/race`, which builds what is needed. See `benches/README.md`.
#![allow(clippy::disallowed_methods, reason = "a benchmark runs threads and reads the clock")]

mod metrics;
mod process;
mod septa;
mod septa_node;
mod statistics;
mod table;
mod tcp;

use std::{error::Error, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use septa_race_scenarios::{Scenario, node};

use crate::{metrics::metrics, process::Processes, septa::Septa, septa_node::SeptaNode, table::Outcome, tcp::Tcp};

/// Races Septa against rust-libp2p and plain TCP over loopback
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    node: Option<NodeCommand>,
    #[command(flatten)]
    race: Race,
}

#[derive(Subcommand)]
enum NodeCommand {
    /// What the race starts: one end of a run
    #[command(hide = true)]
    Node { variant: Variant, arguments: Vec<String> },
}

#[derive(Args)]
struct Race {
    /// Only scenarios whose names begin with one of these
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Who runs
    #[arg(long, value_delimiter = ',', default_value = "septa,rust-libp2p,tcp")]
    variants: Vec<Variant>,
    /// How often each runs; round is compared with round
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How long a run lasts, after a quarter of that to warm up
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Worker threads of each process
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: u32,
    /// One JSON object per line instead of tables
    #[arg(long)]
    json: bool,
    /// The program in `benches/peers`
    #[arg(long, value_name = "FILE")]
    rust_libp2p: Option<PathBuf>,
}

/// Who runs.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Variant {
    Septa,
    RustLibp2p,
    Tcp,
}

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Self::Septa => "septa",
            Self::RustLibp2p => "rust-libp2p",
            Self::Tcp => "tcp",
        }
    }

    fn runs(self, scenario: Scenario) -> bool {
        self != Self::Tcp || !scenario.needs_streams()
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(NodeCommand::Node { variant, arguments }) = arguments.node {
        return match variant {
            Variant::Septa if arguments.iter().any(|argument| argument == Scenario::Channel.name()) => {
                node::main::<SeptaNode>(&arguments)
            }
            Variant::Septa => node::main::<Septa>(&arguments),
            Variant::Tcp => node::main::<Tcp>(&arguments),
            Variant::RustLibp2p => failed("rust-libp2p is a program of its own"),
        };
    }
    match race(&arguments.race) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error),
    }
}

fn failed(error: impl std::fmt::Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

fn race(race: &Race) -> Result<(), Box<dyn Error>> {
    let length = Duration::try_from_secs_f64(race.seconds)?;
    let is_name = |text: &str| Scenario::ALL.iter().any(|scenario| scenario.name() == text);
    let chosen = |scenario: &Scenario| {
        let name = scenario.name();
        race.only.is_empty() || race.only.iter().any(|only| name == only || (!is_name(only) && name.starts_with(only)))
    };
    let scenarios: Vec<Scenario> = Scenario::ALL.into_iter().filter(chosen).collect();
    if scenarios.is_empty() {
        let names: Vec<&str> = Scenario::ALL.into_iter().map(Scenario::name).collect();
        return Err(format!("--only takes beginnings of these: {}", names.join(", ")).into());
    }
    let processes = Processes::new(race.rust_libp2p.clone(), race.workers, length)?;
    for scenario in scenarios {
        let mut outcomes: Vec<Outcome> = race
            .variants
            .iter()
            .filter(|variant| variant.runs(scenario))
            .map(|variant| Outcome::new(*variant, metrics(scenario)))
            .collect();
        for round in 0..race.rounds {
            // Whoever ran last has warmed the machine up for the next; so everybody takes every place.
            if round > 0 && !outcomes.is_empty() {
                outcomes.rotate_left(1);
            }
            for outcome in &mut outcomes {
                let run = processes.run(outcome.variant, scenario);
                outcome.add(&run.map_err(|error| format!("{} {scenario}: {error}", outcome.variant.name()))?);
            }
        }
        outcomes.sort_by_key(|outcome| race.variants.iter().position(|variant| *variant == outcome.variant));
        if race.json {
            table::print_json(scenario, &outcomes);
        } else {
            table::print(scenario, &outcomes);
        }
    }
    Ok(())
}
