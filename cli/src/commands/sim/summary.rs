//! What a campaign came to, as a table for people.

use std::{collections::BTreeMap, fmt, time::Duration};

use septa_sim::{Summary, plan::FaultKind};

/// One scenario.
pub(super) struct Row {
    pub(super) scenario: String,
    pub(super) summary: Summary,
    /// How long all its runs took together, several at once.
    pub(super) real: Duration,
}

/// All scenarios, and the faults of all.
#[derive(Default)]
pub(super) struct Table(Vec<Row>);

impl Table {
    pub(super) fn add(&mut self, row: Row) {
        self.0.push(row);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["seeds", "failed", "connections", "events/s", "MB/s", "virtual/real"];
        write!(f, "{:20}", "scenario")?;
        heads.iter().try_for_each(|head| write!(f, " {head:>13}"))?;
        let mut faults: BTreeMap<FaultKind, (u64, u64)> = BTreeMap::new();
        for Row { scenario, summary, real } in &self.0 {
            let per_second = |amount: f64| amount / real.as_secs_f64().max(1e-9);
            let cells = [
                summary.runs.to_string(),
                summary.failed.len().to_string(),
                summary.stats.connections.to_string(),
                format!("{:.0}", per_second(summary.stats.events() as f64)),
                format!("{:.2}", per_second(summary.stats.bytes as f64) / 1e6),
                format!("{:.0}", per_second(summary.took.as_secs_f64())),
            ];
            write!(f, "\n{scenario:20}")?;
            cells.iter().try_for_each(|cell| write!(f, " {cell:>13}"))?;
            for (kind, (declared, fired)) in &summary.faults {
                let sum = faults.entry(*kind).or_default();
                *sum = (sum.0 + declared, sum.1 + fired);
            }
        }
        if !faults.is_empty() {
            write!(f, "\n\n{:20} {:>13} {:>13}", "fault", "in seeds", "fired")?;
        }
        faults.iter().try_for_each(|(kind, (declared, fired))| write!(f, "\n{kind:20} {declared:>13} {fired:>13}"))
    }
}
