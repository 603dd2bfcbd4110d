//! Two connections joined in memory on one thread.
//!
//! With both ends on one thread no more than `1 / (1/seal + 1/open)` is possible; the benchmark
//! `bound` prints what fraction of it the connections reach.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::{sync::Arc, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use septa_benches::{Bulk, Churn};
use septa_core::{crypto::Provider, testing::providers};

/// What one iteration moves on each stream of a hundred, times a hundred.
const BULK_LEN: usize = 100 * 32 * 1024;
const MESSAGE_LEN: usize = 100;
const MESSAGES: usize = 10_000;

criterion_group! {
    name = benches;
    // Ten benchmarks in less than a minute.
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = bulk, messages, churn
}
criterion_main!(benches);

fn each_provider(criterion: &mut Criterion, mut measure: impl FnMut(&mut Criterion, &str, &Arc<dyn Provider>)) {
    for provider in providers() {
        measure(criterion, &format!("{provider:?}"), &provider);
    }
}

fn bulk(criterion: &mut Criterion) {
    each_provider(criterion, |criterion, name, provider| {
        let mut group = criterion.benchmark_group(format!("bulk {name}"));
        group.throughput(Throughput::Bytes(BULK_LEN as u64));
        for streams in [1, 100] {
            let mut bulk = Bulk::new(provider.clone(), streams, 64 * 1024);
            group.bench_function(BenchmarkId::new("streams", streams), |bencher| {
                bencher.iter(|| bulk.transfer(BULK_LEN));
            });
        }
        group.finish();
    });
}

/// Each message is a write of its own; they leave when the stream takes no more.
fn messages(criterion: &mut Criterion) {
    each_provider(criterion, |criterion, name, provider| {
        let mut group = criterion.benchmark_group(format!("messages {name}"));
        group.throughput(Throughput::Elements(MESSAGES as u64));
        let mut bulk = Bulk::new(provider.clone(), 1, MESSAGE_LEN);
        group.bench_function(BenchmarkId::new("bytes", MESSAGE_LEN), |bencher| {
            bencher.iter(|| bulk.transfer(MESSAGES * MESSAGE_LEN));
        });
        group.finish();
    });
}

/// Open, negotiate, two bytes there, one back, finish at both ends, release.
fn churn(criterion: &mut Criterion) {
    each_provider(criterion, |criterion, name, provider| {
        let mut group = criterion.benchmark_group(format!("stream churn {name}"));
        for at_once in [1, 16] {
            group.throughput(Throughput::Elements(at_once as u64));
            let mut churn = Churn::new(provider.clone());
            group.bench_function(BenchmarkId::new("at once", at_once), |bencher| {
                bencher.iter(|| churn.round(at_once));
            });
        }
        group.finish();
    });
}
