//! How fast the simulator is, on one core.
//!
//! ```text
//! cargo run --release -p septa-sim --example speed            # everything, a few minutes
//! cargo run --release -p septa-sim --example speed pair 1024  # one figure, here with cuts of up to 1024 bytes
//! ```
#![allow(clippy::disallowed_methods, reason = "an example that measures needs a real clock")]

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use septa_core::crypto::{Provider, RustCrypto};
use septa_sim::{
    Cut, FastCrypto, LinkOptions, Simulation,
    direct::Counts,
    scenarios::{idle, mesh, pair},
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let which = arguments.next();
    let size: Option<usize> = arguments.next().map(|size| size.parse()).transpose()?;
    let only = arguments.next();
    let wants = |name: &str| which.as_deref().is_none_or(|which| which == name);
    for (name, provider) in [("fast", Arc::new(FastCrypto) as Arc<dyn Provider>), ("real", Arc::new(RustCrypto))] {
        if only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        if wants("pair") {
            for cut in size.map_or(vec![256, 1024, 4096, 16_384], |size| vec![size]) {
                transfer(name, &provider, cut)?;
            }
        }
        if wants("mesh") {
            messages(name, &provider, size.unwrap_or(1000))?;
        }
        if wants("idle") {
            crowd(name, &provider, size.unwrap_or(10_000))?;
        }
    }
    Ok(())
}

fn transfer(cipher: &str, provider: &Arc<dyn Provider>, cut: usize) -> Result<(), Box<dyn Error>> {
    let simulation = Simulation::new(1);
    let cuts = Cut::Random(cut);
    simulation.set_link(LinkOptions { read_cut: cuts, write_cut: cuts, ..LinkOptions::default() });
    // About two million events.
    let bytes = 2_000_000 * cut as u64 / 2 / 8;
    let options = pair::Options { streams: 4, bytes, provider: provider.clone(), is_checked: false };
    let begin = Instant::now();
    let counts = pair::run(&simulation, &options)?;
    report(&format!("pair, cuts up to {cut}, {cipher} cipher"), begin.elapsed(), &simulation, counts);
    Ok(())
}

fn messages(cipher: &str, provider: &Arc<dyn Provider>, nodes: usize) -> Result<(), Box<dyn Error>> {
    let simulation = Simulation::new(1);
    simulation.set_link(LinkOptions { latency: Duration::from_millis(20), ..LinkOptions::default() });
    let length = Duration::from_secs(600);
    let options = mesh::Options { nodes, length, provider: provider.clone(), ..mesh::Options::default() };
    let begin = Instant::now();
    let outcome = mesh::run(&simulation, &options)?;
    let name = format!("mesh of {nodes} nodes, {} messages, {cipher} cipher", outcome.received);
    report(&name, begin.elapsed(), &simulation, outcome.counts);
    Ok(())
}

fn crowd(cipher: &str, provider: &Arc<dyn Provider>, peers: usize) -> Result<(), Box<dyn Error>> {
    let simulation = Simulation::new(1);
    simulation.set_link(LinkOptions { latency: Duration::from_millis(20), ..LinkOptions::default() });
    let length = Duration::from_secs(600);
    let options = idle::Options { peers, length, provider: provider.clone(), ..idle::Options::default() };
    let begin = Instant::now();
    let outcome = idle::run(&simulation, &options)?;
    report(&format!("{} idle peers, {cipher} cipher", outcome.hellos), begin.elapsed(), &simulation, outcome.counts);
    Ok(())
}

fn report(name: &str, took: Duration, simulation: &Simulation, counts: Counts) {
    let per_second = |count: u64| count as f64 / took.as_secs_f64() / 1e6;
    println!(
        "{name}: {:.2} s for {:.0} virtual seconds; {} events, {:.3} M events/s, {:.1} MB/s, {} ends of connections",
        took.as_secs_f64(),
        simulation.now().as_nanos() as f64 / 1e9,
        counts.events(),
        per_second(counts.events()),
        per_second(counts.bytes),
        counts.connections,
    );
}
