//! Runs of one variant: two processes, or one, that are told what to do line by line.

use std::{
    collections::BTreeMap,
    error::Error,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use septa_race_scenarios::{Scenario, node::time_limit};

use crate::Variant;

/// What the two ends measured, by name.
#[derive(Default)]
pub(crate) struct Run {
    pub(crate) client: BTreeMap<String, f64>,
    /// Empty if there was only one process.
    pub(crate) server: BTreeMap<String, f64>,
}

impl Run {
    pub(crate) fn client(&self, name: &str) -> f64 {
        self.client.get(name).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn server(&self, name: &str) -> f64 {
        self.server.get(name).copied().unwrap_or(f64::NAN)
    }

    /// CPU seconds of all processes.
    pub(crate) fn cpu(&self) -> f64 {
        self.client("cpu_s") + self.server.get("cpu_s").copied().unwrap_or_default()
    }
}

/// How processes are started.
pub(crate) struct Processes {
    this: PathBuf,
    rust_libp2p: Option<PathBuf>,
    workers: String,
    length: Duration,
}

impl Processes {
    pub(crate) fn new(rust_libp2p: Option<PathBuf>, workers: u32, length: Duration) -> Result<Self, Box<dyn Error>> {
        Ok(Self { this: std::env::current_exe()?, rust_libp2p, workers: workers.to_string(), length })
    }

    pub(crate) fn run(&self, variant: Variant, scenario: Scenario) -> Result<Run, Box<dyn Error>> {
        let run = match scenario {
            Scenario::RoundTripOneProcess => self.one(variant, scenario)?,
            _ => self.two(variant, scenario)?,
        };
        check(&run, scenario)?;
        Ok(run)
    }

    fn one(&self, variant: Variant, scenario: Scenario) -> Result<Run, Box<dyn Error>> {
        let seconds = self.length.as_secs_f64().to_string();
        let mut node = self.start("both ends", variant, &["both", scenario.name(), &self.workers, &seconds])?;
        node.expect("ready")?;
        node.order("go")?;
        let run = Run { client: node.results()?, ..Run::default() };
        node.end()?;
        Ok(run)
    }

    fn two(&self, variant: Variant, scenario: Scenario) -> Result<Run, Box<dyn Error>> {
        let seconds = self.length.as_secs_f64().to_string();
        let mut server = self.start("server", variant, &["serve", scenario.name(), &self.workers])?;
        let address = server.expect("listening")?;
        let dial = ["dial", scenario.name(), &self.workers, &address, &seconds];
        let mut client = self.start("client", variant, &dial)?;
        client.expect("ready")?;
        server.order("mark")?;
        server.expect("marked")?;
        client.order("go")?;
        let client_results = client.results()?;
        server.order("report")?;
        let run = Run { client: client_results, server: server.results()? };
        client.end()?;
        server.end()?;
        Ok(run)
    }

    fn start(&self, name: &'static str, variant: Variant, arguments: &[&str]) -> Result<Node, Box<dyn Error>> {
        let mut command = match variant {
            Variant::RustLibp2p => {
                Command::new(self.rust_libp2p.as_ref().ok_or("--rust-libp2p must say where the program is")?)
            }
            Variant::Septa | Variant::Tcp => {
                let mut command = Command::new(&self.this);
                command.args(["node", variant.name(), "--"]);
                command
            }
        };
        command.args(arguments);
        Node::start(name, command, time_limit(self.length))
    }
}

/// What must be true of every run: nothing failed, and both ends counted the same.
fn check(run: &Run, scenario: Scenario) -> Result<(), Box<dyn Error>> {
    for (end, failed) in [("client", run.client.get("failed")), ("server", run.server.get("failed"))] {
        if let Some(failed) = failed.filter(|failed| **failed > 0.0) {
            return Err(format!("{failed} failures at the {end}").into());
        }
    }
    let (counted, seen) = match scenario {
        Scenario::Connections => (run.client("count"), run.server("accepted")),
        Scenario::Streams1 | Scenario::Streams16 => (run.client("count"), run.server("served")),
        Scenario::Idle => (run.client("held"), run.server("open")),
        // The client compares what it sent with what came back, or with what the server says it has read.
        _ => return Ok(()),
    };
    if counted != seen || counted == 0.0 {
        return Err(format!("the client counted {counted}, the server {seen}").into());
    }
    Ok(())
}

/// A process. It is killed when this is dropped.
struct Node {
    name: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    limit: Duration,
}

impl Node {
    fn start(name: &'static str, mut command: Command, limit: Duration) -> Result<Self, Box<dyn Error>> {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|error| format!("cannot start {:?}: {error}", command.get_program()))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().ok_or("a pipe was asked for")?);
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
        });
        Ok(Self { name, child, stdin, lines, limit })
    }

    fn order(&mut self, order: &str) -> Result<(), Box<dyn Error>> {
        let stdin = self.stdin.as_mut().ok_or("standard input was closed")?;
        writeln!(stdin, "{order}").map_err(|error| format!("the {} takes no orders: {error}", self.name).into())
    }

    /// The rest of the next line, which must begin with `word`.
    fn expect(&self, word: &str) -> Result<String, Box<dyn Error>> {
        let (first, rest) = self.line(word)?;
        if first != word {
            return Err(format!("the {} said '{first} {rest}' instead of '{word}'", self.name).into());
        }
        Ok(rest)
    }

    fn results(&self) -> Result<BTreeMap<String, f64>, Box<dyn Error>> {
        let mut results = BTreeMap::new();
        loop {
            let (word, rest) = self.line("done")?;
            match (word.as_str(), rest.split_once(' ')) {
                ("done", _) => return Ok(results),
                ("result", Some((name, value))) => results.insert(name.to_owned(), value.parse()?),
                _ => return Err(format!("the {} said '{word} {rest}' instead of a result", self.name).into()),
            };
        }
    }

    fn line(&self, awaited: &str) -> Result<(String, String), Box<dyn Error>> {
        let line = match self.lines.recv_timeout(self.limit) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                return Err(format!("no '{awaited}' from the {} within {:?}", self.name, self.limit).into());
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(format!("the {} ended before '{awaited}'", self.name).into());
            }
        };
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        if word == "error" {
            return Err(format!("the {}: {rest}", self.name).into());
        }
        Ok((word.to_owned(), rest.to_owned()))
    }

    /// Ends the process in good order.
    fn end(mut self) -> Result<(), Box<dyn Error>> {
        drop(self.stdin.take());
        let started = Instant::now();
        while started.elapsed() < self.limit {
            if let Some(status) = self.child.try_wait()? {
                let text = || format!("the {} ended with {status}", self.name);
                return if status.success() { Ok(()) } else { Err(text().into()) };
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(format!("the {} did not end within {:?}", self.name, self.limit).into())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
