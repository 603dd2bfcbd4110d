//! What is shown of each scenario.

use septa_race_scenarios::Scenario;

use crate::process::Run;

/// A figure of a run.
#[derive(Clone, Copy)]
pub(crate) struct Metric {
    pub(crate) unit: &'static str,
    /// Digits after the point.
    pub(crate) digits: usize,
    pub(crate) of: fn(&Run) -> f64,
}

const fn metric(unit: &'static str, digits: usize, of: fn(&Run) -> f64) -> Metric {
    Metric { unit, digits, of }
}

fn per_second(run: &Run) -> f64 {
    run.client("count") / run.client("seconds")
}

/// CPU microseconds of both ends for each of what was counted.
fn cpu_us_each(run: &Run) -> f64 {
    run.cpu() * 1e6 / run.client("count")
}

fn kib_each(grown: f64, held: f64) -> f64 {
    grown / held
}

const BULK: &[Metric] = &[
    metric("MB/s", 0, |run| run.client("bytes") / run.client("seconds") / 1e6),
    metric("CPU s/GB", 3, |run| run.cpu() / (run.client("bytes") / 1e9)),
];
const MESSAGES: &[Metric] =
    &[metric("M messages/s", 3, |run| per_second(run) / 1e6), metric("CPU ns each", 0, |run| cpu_us_each(run) * 1e3)];
const ROUND_TRIP: &[Metric] = &[
    metric("p50 us", 2, |run| run.client("p50_us")),
    metric("p99 us", 2, |run| run.client("p99_us")),
    metric("CPU us each", 1, cpu_us_each),
];
const CONNECTIONS: &[Metric] = &[metric("connections/s", 0, per_second), metric("CPU us each", 0, cpu_us_each)];
const STREAMS: &[Metric] = &[metric("streams/s", 0, per_second), metric("CPU us each", 1, cpu_us_each)];
const IDLE: &[Metric] = &[
    metric("client KiB each", 2, |run| kib_each(run.client("grown_kib"), run.client("held"))),
    metric("server KiB each", 2, |run| kib_each(run.server("grown_kib"), run.server("open"))),
];

/// What is shown of `scenario`, the figure that matters most first.
pub(crate) fn metrics(scenario: Scenario) -> &'static [Metric] {
    match scenario {
        Scenario::Bulk => BULK,
        Scenario::Messages | Scenario::Channel => MESSAGES,
        Scenario::RoundTrip | Scenario::RoundTripOneProcess => ROUND_TRIP,
        Scenario::Connections => CONNECTIONS,
        Scenario::Streams1 | Scenario::Streams16 => STREAMS,
        Scenario::Idle => IDLE,
    }
}
