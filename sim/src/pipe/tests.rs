use septa_core::Seed;

use super::*;
use crate::{observer::Observer, schedule::Order, stats::Counters};

const NOW: Instant = Instant::EPOCH;

/// A pipe without latency, and what has fired in it.
fn pipe() -> (Pipe, Arc<Fired>) {
    let mut seed = Seed::from_bytes([1; 32]);
    let schedule = Arc::new(Schedule::new(Order::Fifo, seed.child("schedule")));
    let observer = Observer::new(schedule.clone(), Arc::new(Counters::default()));
    let fired = Arc::new(Fired::new(Arc::new(observer)));
    let common = Common { schedule, fired: fired.clone(), options: LinkOptions::default() };
    (Pipe::new(Arc::new(common), (1, 2), Draws::new(seed.child("pipe"))), fired)
}

fn stall(number: u64) -> Option<StallId> {
    Some(StallId { number, kind: FaultKind::Stall })
}

fn stalls(fired: &Fired) -> u64 {
    fired.counts().get(&FaultKind::Stall).copied().unwrap_or(0)
}

/// The first has held somebody back, who has gone by the time when it ends.
#[test]
fn the_end_of_a_stall_does_not_make_another_one_forgotten() {
    let (mut pipe, fired) = pipe();
    pipe.stall(stall(1));
    pipe.await_news(Waker::noop(), NOW);
    pipe.close(NOW);
    assert_eq!(stalls(&fired), 1);
    pipe.forget_writer();
    pipe.stall(stall(2));
    pipe.resume(stall(1), NOW);
    assert_eq!(stalls(&fired), 1);
    pipe.await_news(Waker::noop(), NOW);
    assert_eq!(stalls(&fired), 2);
}
