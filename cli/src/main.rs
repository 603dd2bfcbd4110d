//! The `septa` command: talk to libp2p peers from a terminal.

mod args;
mod commands;
mod echo;
mod failure;
mod identity_file;
mod key_log;
mod output;
mod signals;
mod world;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command, IdCommand};
use failure::Failure;
use output::Output;
use world::World;

fn main() -> ExitCode {
    // clap prints its own errors and exits with code 2.
    let cli = Cli::parse();
    let output = Output::new(cli.json);
    match run(cli.command, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.fail(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(command: Command, output: Output) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::new(format_args!("cannot start: {error}"), "check the limits of this process"))?;
    runtime.block_on(async {
        let world = World::new(output)?;
        match command {
            Command::Demo { timeout } => commands::demo::run(&world, timeout).await,
            Command::Id { command: IdCommand::New { out } } => commands::id::new(&world, &out),
            Command::Id { command: IdCommand::Show { file } } => commands::id::show(&world, &file),
            Command::Listen(args) => commands::listen::run(&world, args).await,
            Command::Ping { dial, count, interval } => commands::ping::run(&world, dial, count, interval).await,
            Command::Identify { dial } => commands::identify::run(&world, dial).await,
            Command::Echo { dial, protocol, bytes, streams } => {
                commands::echo::run(&world, dial, protocol, bytes, streams).await
            }
            // Nothing real happens in a simulation: it needs no runtime and no sockets.
            Command::Sim(args) => commands::sim::run(&args, output),
            Command::Perf { dial, upload, download, verbose } => {
                commands::perf::run(&world, dial, upload, download, verbose).await
            }
        }
    })
}
