//! A process that serves or dials, and the lines by which it is told what to do.
//!
//! Arguments: `serve SCENARIO WORKERS`, `dial SCENARIO WORKERS ADDRESS SECONDS`,
//! `both SCENARIO WORKERS SECONDS`, or `once`. What a node writes to standard output, in this order, with what it waits
//! for on standard input in brackets:
//!
//! * serving: `listening ADDRESS`, \[`mark`\], `marked`, \[`report`\], results, `done`, \[end of input\]
//! * dialing, or both: `ready`, \[`go`\], results, `done`, \[end of input\]
//! * once, which is for counting system calls: `listening ADDRESS`; then it connects to itself and sends one byte
//!   there and back; `echoed`
//!
//! A result is a line `result NAME NUMBER`. What is measured of a process begins with `mark` or `go`. A node
//! that cannot go on writes `error TEXT` and ends.

use std::{io, process::ExitCode, sync::Arc, time::Duration};

use crate::{
    client::{Client, Results},
    measure::{cpu_time, resident_kib},
    network::{Failure, Network},
    scenario::Scenario,
    server::Server,
};

/// What is read at the end of standard input.
const END: &str = "";
/// From the last handshake to the measurement of memory.
const SETTLE: Duration = Duration::from_millis(500);

/// How long a node may take for what should take `length`; then it fails instead of hanging.
pub fn time_limit(length: Duration) -> Duration {
    length * 3 + Duration::from_secs(20)
}

/// Runs a node of `N` as `args` say, without the name of the program.
pub fn main<N: Network>(args: &[String]) -> ExitCode {
    match start::<N>(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error {error}");
            ExitCode::FAILURE
        }
    }
}

fn start<N: Network>(args: &[String]) -> Result<(), Failure> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["serve", scenario, workers] => on_workers(workers, serve::<N>(scenario.parse()?)),
        ["dial", scenario, workers, address, seconds] => {
            let address = address.to_owned();
            on_workers(workers, dial::<N>(scenario.parse()?, address, length(seconds)?))
        }
        ["both", scenario, workers, seconds] => on_workers(workers, both::<N>(scenario.parse()?, length(seconds)?)),
        ["once"] => on_workers("1", once::<N>()),
        _ => Err(format!("a node cannot be started with {args:?}").into()),
    }
}

fn length(seconds: &str) -> Result<Duration, Failure> {
    Ok(Duration::try_from_secs_f64(seconds.parse()?)?)
}

/// Polls `node` on a worker: what `block_on` polls would wake another thread for every message.
fn on_workers(workers: &str, node: impl Future<Output = Result<(), Failure>> + Send + 'static) -> Result<(), Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(workers.parse()?).enable_all().build()?;
    let outcome = runtime.block_on(runtime.spawn(node))?;
    // Standard input is read by a thread that cannot be stopped.
    runtime.shutdown_background();
    outcome
}

async fn serve<N: Network>(scenario: Scenario) -> Result<(), Failure> {
    let server = Server::new(scenario);
    let network = N::new()?;
    println!("listening {}", network.listen(server.clone()).await?);
    expect("mark").await?;
    let before = server.counts();
    let usage = Usage::now()?;
    println!("marked");
    expect("report").await?;
    usage.report()?;
    for ((name, before), (_, now)) in before.into_iter().zip(server.counts()) {
        // How many are open is not something that adds up.
        let count = if name == "open" { now } else { now - before };
        println!("result {name} {count}");
    }
    println!("done");
    expect(END).await
}

async fn dial<N: Network>(scenario: Scenario, address: String, length: Duration) -> Result<(), Failure> {
    let client = Arc::new(Client { network: N::new()?, address });
    within(length, client.warm_up(scenario, length)).await?;
    println!("ready");
    expect("go").await?;
    let usage = Usage::now()?;
    let (results, held) = within(length, client.run(scenario, length)).await?;
    if scenario == Scenario::Idle {
        tokio::time::sleep(SETTLE).await;
    }
    usage.report()?;
    print(&results);
    println!("result held {}", held.len());
    println!("done");
    expect(END).await?;
    for connection in held {
        within(length, N::close(connection)).await?;
    }
    Ok(())
}

async fn both<N: Network>(scenario: Scenario, length: Duration) -> Result<(), Failure> {
    let server = Server::new(scenario);
    let serving = N::new()?;
    let address = serving.listen(server.clone()).await?;
    dial::<N>(scenario, address, length).await
}

async fn once<N: Network>() -> Result<(), Failure> {
    let serving = N::new()?;
    let address = serving.listen(Server::new(Scenario::RoundTrip)).await?;
    println!("listening {address}");
    let client = Client { network: N::new()?, address };
    let held = within(Duration::ZERO, client.echo_once()).await?;
    println!("echoed");
    drop(held);
    Ok(())
}

async fn within<T>(length: Duration, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let limit = time_limit(length);
    match tokio::time::timeout(limit, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("not finished within {limit:?}").into()),
    }
}

fn print(results: &Results) {
    for (name, value) in results {
        println!("result {name} {value}");
    }
}

/// What the process had used when the measurement began.
struct Usage {
    cpu: Duration,
    resident_kib: f64,
}

impl Usage {
    fn now() -> Result<Self, Failure> {
        Ok(Self { cpu: cpu_time()?, resident_kib: resident_kib()? })
    }

    fn report(&self) -> Result<(), Failure> {
        let now = Self::now()?;
        println!("result cpu_s {}", (now.cpu - self.cpu).as_secs_f64());
        println!("result grown_kib {}", now.resident_kib - self.resident_kib);
        Ok(())
    }
}

async fn expect(order: &str) -> Result<(), Failure> {
    match next_line().await? {
        line if line == order => Ok(()),
        line => Err(format!("expected '{order}' on standard input, got '{line}'").into()),
    }
}

/// A line of standard input; empty at its end.
async fn next_line() -> Result<String, Failure> {
    let line = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    Ok(line.await??.trim_end().to_owned())
}
