//! What fraction of the cipher's own speed a pair of connections reaches.
//!
//! Both ends run on one thread, so `1 / (1/seal + 1/open)` is the bound. Seal, open and transfer are
//! measured in turns, many short rounds in one run, and compared by their medians: the machine's speed
//! drifts, the ratio does not.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use septa_benches::{Bulk, Cipher, RECORD};
use septa_core::{crypto::Provider, testing::providers};

const ROUNDS: usize = 101;
const BYTES: usize = 8 << 20;

fn main() {
    let rounds = if septa_benches::measures() { ROUNDS } else { 1 };
    for provider in providers() {
        compare(&provider, rounds);
    }
}

fn compare(provider: &Arc<dyn Provider>, rounds: usize) {
    let mut cipher = Cipher::new(&**provider);
    let mut bulk = Bulk::new(provider.clone(), 1, 64 * 1024);
    bulk.transfer(BYTES);
    let (mut seal, mut open, mut pair) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        seal.push(time(|| (0..BYTES / RECORD).for_each(|_| cipher.seal())));
        open.push(time(|| (0..BYTES / RECORD).for_each(|_| cipher.open())));
        pair.push(time(|| {
            bulk.transfer(BYTES);
        }));
    }
    let [seal, open, pair] = [seal, open, pair].map(median).map(gigabytes_per_second);
    let bound = 1.0 / (1.0 / seal + 1.0 / open);
    println!("{provider:?}: seal {seal:.3} GB/s, open {open:.3} GB/s, bound {bound:.3} GB/s");
    println!("{provider:?}: pair, one stream, bulk: {pair:.3} GB/s, {:.1} % of the bound", 100.0 * pair / bound);
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn median(mut rounds: Vec<Duration>) -> Duration {
    rounds.sort();
    rounds[rounds.len() / 2]
}

fn gigabytes_per_second(round: Duration) -> f64 {
    BYTES as f64 / round.as_secs_f64() / 1e9
}
