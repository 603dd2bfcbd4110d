//! What a handshake costs, both ends on one thread, against the least that it can cost: 8 X25519 operations
//! and 2 Ed25519 verifications of the same provider.
//!
//! The three are measured in turns, many short rounds in one run, and compared by their medians: the
//! machine's speed drifts, the ratio does not. Then criterion measures each by itself.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group};
use septa_benches::{Handshakes, measures};
use septa_core::testing::providers;

const ROUNDS: usize = 2001;

criterion_group!(benches, each);

fn main() {
    ratios(if measures() { ROUNDS } else { 1 });
    benches();
    Criterion::default().configure_from_args().final_summary();
}

fn ratios(rounds: usize) {
    for provider in providers() {
        let mut handshakes = Handshakes::new(provider.clone());
        let (mut least, mut noise, mut connections) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            least.push(time(|| handshakes.least()));
            noise.push(time(|| handshakes.noise()));
            connections.push(time(|| handshakes.connections()));
        }
        let [least, noise, connections] = [least, noise, connections].map(median);
        println!(
            "{provider:?}: least {:.1} us, Noise {:.1} us = {:.3} of it, connections to open {:.1} us = {:.3} of it",
            micros(least),
            micros(noise),
            micros(noise) / micros(least),
            micros(connections),
            micros(connections) / micros(least),
        );
    }
}

fn each(criterion: &mut Criterion) {
    for provider in providers() {
        let mut group = criterion.benchmark_group(format!("handshake {provider:?}"));
        let mut handshakes = Handshakes::new(provider);
        group.bench_function("least", |bencher| bencher.iter(|| handshakes.least()));
        group.bench_function("noise", |bencher| bencher.iter(|| handshakes.noise()));
        group.bench_function("connections", |bencher| bencher.iter(|| handshakes.connections()));
        group.finish();
    }
}

fn time<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    let made = work();
    let elapsed = start.elapsed();
    drop(made);
    elapsed
}

fn median(mut rounds: Vec<Duration>) -> Duration {
    rounds.sort();
    rounds[rounds.len() / 2]
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
