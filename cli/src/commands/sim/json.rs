//! What scripts read: one object a line.

use std::time::Duration;

use septa_sim::{Failure as Found, Outcome};
use serde_json::{Value, json};

/// One seed. Everything but `timing` is the same each time.
pub(super) fn seed(outcome: &Outcome, real: Duration) -> Value {
    let declared = outcome.declared();
    let kinds = declared.iter().chain(outcome.fired.keys());
    let faults: serde_json::Map<String, Value> =
        kinds.map(|kind| (kind.to_string(), json!(outcome.fired.get(kind).copied().unwrap_or(0)))).collect();
    json!({
        "kind": "seed",
        "scenario": outcome.plan.scenario,
        "seed": outcome.plan.seed,
        "ok": outcome.result.is_ok(),
        "failure": outcome.result.as_ref().err().map(ToString::to_string),
        "hash": outcome.hash.to_string(),
        "events": outcome.stats.events(),
        "steps": outcome.stats.steps,
        "bytes": outcome.stats.bytes,
        "connections": outcome.stats.connections,
        "virtual_seconds": outcome.took.as_secs_f64(),
        "faults": faults,
        "seen": outcome.seen,
        "timing": { "seconds": real.as_secs_f64() },
    })
}

/// The plan of a seed that failed, made small.
pub(super) fn shrunk(found: &Found) -> Value {
    let plan = &found.smallest.plan;
    json!({
        "scenario": plan.scenario,
        "seed": plan.seed,
        "kind": "shrunk",
        "plan": plan.to_string(),
        "failure": found.why(),
        "is_minimal": found.is_minimal,
    })
}

/// The kinds of faults that were declared and never changed anything.
pub(super) fn idle(scenario: &str, kinds: &[String]) -> Value {
    json!({ "kind": "never_fired", "scenario": scenario, "never_fired": kinds })
}

/// A scenario for which no time was left.
pub(super) fn unplayed(scenario: &str) -> Value {
    json!({ "kind": "unplayed", "scenario": scenario, "unplayed": true })
}

/// What no run has met, though the scenario is about it.
pub(super) fn unseen(scenario: &str, sights: &[&str]) -> Value {
    json!({ "kind": "never_seen", "scenario": scenario, "never_seen": sights })
}
