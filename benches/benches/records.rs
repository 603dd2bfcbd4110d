//! Sealing and opening Noise records, by size and provider.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use septa_benches::Handshakes;
use septa_core::{
    noise::{MAX_RECORD_PLAINTEXT, RECORD_OVERHEAD},
    testing::providers,
};

/// Bytes of plaintext; the last is the most that a record holds.
const SIZES: [usize; 4] = [64, 1024, 16 * 1024, MAX_RECORD_PLAINTEXT];

criterion_group!(benches, records);
criterion_main!(benches);

fn records(criterion: &mut Criterion) {
    for provider in providers() {
        let mut group = criterion.benchmark_group(format!("records {provider:?}"));
        let [mut dialer, mut listener] = Handshakes::new(provider).noise();
        for size in SIZES {
            group.throughput(Throughput::Bytes(size as u64));
            let mut record = vec![1; size + RECORD_OVERHEAD];
            group.bench_function(BenchmarkId::new("seal", size), |bencher| {
                bencher.iter(|| dialer.sealer.seal_in_place(&mut record, size).expect("it fits"));
            });
            // Each record opens once, in the order they were sealed.
            group.bench_function(BenchmarkId::new("open", size), |bencher| {
                let seal = || {
                    let mut record = vec![1; size + RECORD_OVERHEAD];
                    listener.sealer.seal_in_place(&mut record, size).expect("it fits");
                    record
                };
                bencher.iter_batched_ref(
                    seal,
                    |record| {
                        let opened = dialer.opener.open_in_place(record).expect("an authentic record");
                        assert_eq!(opened.len(), record.len() - RECORD_OVERHEAD);
                    },
                    BatchSize::SmallInput,
                );
            });
        }
        group.finish();
    }
}
