//! Shows what came out.

use septa_race_scenarios::Scenario;
use serde_json::json;

use crate::{
    Variant,
    metrics::Metric,
    process::Run,
    statistics::{median, ratios},
};

/// All rounds of one variant in one scenario.
pub(crate) struct Outcome {
    pub(crate) variant: Variant,
    metrics: &'static [Metric],
    /// For each metric the rounds in order.
    rounds: Vec<Vec<f64>>,
}

impl Outcome {
    pub(crate) fn new(variant: Variant, metrics: &'static [Metric]) -> Self {
        Self { variant, metrics, rounds: vec![Vec::new(); metrics.len()] }
    }

    pub(crate) fn add(&mut self, run: &Run) {
        for (rounds, metric) in self.rounds.iter_mut().zip(self.metrics) {
            rounds.push((metric.of)(run));
        }
    }

    /// For each metric the ratios to `other`, round by round.
    fn ratios(&self, other: &Self) -> impl Iterator<Item = Vec<f64>> {
        self.rounds.iter().zip(&other.rounds).map(|(rounds, others)| ratios(rounds, others))
    }
}

const NAME_WIDTH: usize = 22;
const WIDTH: usize = 28;

/// A table: medians with the smallest and largest round, then the same of Septa's rounds divided by the others' that
/// ran beside them.
pub(crate) fn print(scenario: Scenario, outcomes: &[Outcome]) {
    let Some(first) = outcomes.first() else { return };
    let units: Vec<String> = first.metrics.iter().map(|metric| metric.unit.to_owned()).collect();
    print_row(scenario.name(), &units);
    for outcome in outcomes {
        let cells = outcome.metrics.iter().zip(&outcome.rounds).map(|(metric, rounds)| cell(rounds, metric.digits));
        print_row(&format!("  {}", outcome.variant.name()), &cells.collect::<Vec<_>>());
    }
    let septa = outcomes.iter().find(|outcome| outcome.variant == Variant::Septa);
    for other in outcomes.iter().filter(|outcome| outcome.variant != Variant::Septa) {
        if let Some(septa) = septa {
            let cells = septa.ratios(other).map(|ratios| cell(&ratios, 2));
            print_row(&format!("  septa / {}", other.variant.name()), &cells.collect::<Vec<_>>());
        }
    }
    println!();
}

fn print_row(name: &str, cells: &[String]) {
    let cells: String = cells.iter().map(|cell| format!("{cell:>WIDTH$}")).collect();
    println!("{name:NAME_WIDTH$}{cells}");
}

fn cell(rounds: &[f64], digits: usize) -> String {
    let least = rounds.iter().copied().fold(f64::INFINITY, f64::min);
    let most = rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.digits$} ({least:.digits$}-{most:.digits$})", median(rounds))
}

/// One object per variant and metric.
pub(crate) fn print_json(scenario: Scenario, outcomes: &[Outcome]) {
    for outcome in outcomes {
        for (metric, rounds) in outcome.metrics.iter().zip(&outcome.rounds) {
            let line = json!({
                "scenario": scenario.name(),
                "variant": outcome.variant.name(),
                "unit": metric.unit,
                "median": median(rounds),
                "rounds": rounds,
            });
            println!("{line}");
        }
    }
}
