//! Two connections joined in memory on one thread, and the cipher alone.
//!
//! With both ends on one thread no more than `1 / (1/seal + 1/open)` is possible; the benchmark
//! `bound` prints what fraction of it the connections reach.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use septa_benches::{Bulk, Cipher, RECORD};
use septa_core::testing::{Pair, PairConfig};

criterion_group!(benches, cipher, bulk, handshake);
criterion_main!(benches);

fn cipher(criterion: &mut Criterion) {
    let mut cipher = Cipher::default();
    let mut group = criterion.benchmark_group("aead");
    group.throughput(Throughput::Bytes(RECORD as u64));
    group.bench_function("seal", |bencher| bencher.iter(|| cipher.seal()));
    let mut cipher = Cipher::default();
    group.bench_function("open", |bencher| bencher.iter(|| cipher.open()));
    group.finish();
}

fn bulk(criterion: &mut Criterion) {
    let mut bulk = Bulk::default();
    let len = 1 << 20;
    let mut group = criterion.benchmark_group("pair");
    group.throughput(Throughput::Bytes(len as u64));
    group.bench_function("bulk, one stream", |bencher| bencher.iter(|| bulk.transfer(len)));
    group.finish();
}

fn handshake(criterion: &mut Criterion) {
    criterion.bench_function("handshake, both ends", |bencher| {
        bencher.iter(|| black_box(Pair::open(PairConfig::default())));
    });
}
