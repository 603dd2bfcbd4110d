//! `septa sim`: scenarios in the deterministic simulator.
#![allow(clippy::disallowed_methods, reason = "it tells how much real time a campaign takes, and ends it in time")]

mod summary;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use septa_sim::{
    Campaign, Failure as Found, Outcome, Scenario, Summary, plan::Plan, plan_of, play, play_recorded, suite,
};
use serde_json::{Value, json};

use self::summary::{Row, Table};
use crate::{
    args::{SimArgs, seconds},
    failure::Failure,
    output::Output,
};

/// With fewer runs it may be chance that a fault found nothing to change.
const RUNS_THAT_PROVE: u64 = 20;

/// `septa sim`.
pub(crate) fn run(args: &SimArgs, output: Output) -> Result<(), Failure> {
    if args.list {
        for scenario in suite::all() {
            let (name, nodes) = (scenario.name(), scenario.nodes());
            output.print(format_args!("{name} ({nodes} nodes)"), json!({ "scenario": name, "nodes": nodes }));
        }
        return Ok(());
    }
    if let Some(file) = &args.plan {
        return replay(args, file, output);
    }
    let scenarios = chosen(&args.scenario)?;
    let limit = args.minutes.map(|minutes| seconds(minutes * 60.0)).transpose()?;
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let mut table = Table::default();
    let mut failed = Vec::new();
    // The first run that failed, or else the first of all.
    let mut shown: Option<(&dyn Scenario, Plan)> = None;
    for scenario in &scenarios {
        let (row, found) = campaign(&**scenario, args, deadline, output);
        let idle = row.summary.never_fired();
        if failed.is_empty() && (found.is_some() || shown.is_none()) {
            let first = || plan_of(&**scenario, args.seeds.start, args.nodes);
            shown = Some((&**scenario, found.as_ref().map_or_else(first, |found| found.smallest.plan.clone())));
        }
        if let Some(found) = found {
            failed.push(scenario.name().to_owned());
            output.note(&found);
            report_failure(&found, args, output)?;
        } else if !idle.is_empty() && row.summary.runs >= RUNS_THAT_PROVE {
            let kinds: Vec<String> = idle.iter().map(ToString::to_string).collect();
            output.note(format_args!("{}: these faults never changed anything: {}", scenario.name(), kinds.join(", ")));
            failed.push(scenario.name().to_owned());
        }
        table.add(row);
    }
    output.note(&table);
    if let (Some(file), Some((scenario, plan))) = (&args.report, shown) {
        write_report(file, scenario, &plan)?;
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(format_args!("failed: {}", failed.join(", ")), "replay the smallest plan with --plan FILE"))
    }
}

fn chosen(names: &[String]) -> Result<Vec<Box<dyn Scenario>>, Failure> {
    if names.is_empty() {
        return Ok(suite::all());
    }
    names.iter().map(|name| find(name)).collect()
}

fn find(name: &str) -> Result<Box<dyn Scenario>, Failure> {
    suite::find(name)
        .ok_or_else(|| Failure::usage(format_args!("there is no scenario '{name}'; septa sim --list names them")))
}

/// All seeds of one scenario, and the first that failed.
fn campaign(
    scenario: &dyn Scenario,
    args: &SimArgs,
    deadline: Option<Instant>,
    output: Output,
) -> (Row, Option<Found>) {
    let mut campaign = Campaign::new(args.seeds.clone());
    campaign.nodes = args.nodes;
    campaign.shard = args.shard.unwrap_or(campaign.shard);
    campaign.threads = args.threads.unwrap_or(campaign.threads);
    let progress = progress(scenario.name(), campaign.len(), output);
    let began = Instant::now();
    let mut first: Option<Outcome> = None;
    let summary = campaign.run(scenario, |outcome, real| {
        output.json_only(|| describe(outcome, real));
        progress.inc(1);
        if outcome.result.is_err() && first.as_ref().is_none_or(|first| outcome.plan.seed < first.plan.seed) {
            first = Some(outcome.clone());
        }
        deadline.is_none_or(|deadline| Instant::now() < deadline)
    });
    progress.finish_and_clear();
    let row = Row { scenario: scenario.name().to_owned(), summary, real: began.elapsed() };
    (row, first.map(|outcome| Found::shrink(scenario, outcome)))
}

fn progress(name: &str, seeds: u64, output: Output) -> ProgressBar {
    if output.is_json() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{prefix:20} [{bar:40}] {pos}/{len} seeds, {eta} left");
    let bar = ProgressBar::new(seeds).with_prefix(name.to_owned());
    style.map_or(bar.clone(), |style| bar.with_style(style.progress_chars("=> ")))
}

/// One seed. Everything but `timing` is the same each time.
fn describe(outcome: &Outcome, real: Duration) -> Value {
    let declared = outcome.declared();
    let kinds = declared.iter().chain(outcome.fired.keys());
    let faults: serde_json::Map<String, Value> =
        kinds.map(|kind| (kind.to_string(), json!(outcome.fired.get(kind).copied().unwrap_or(0)))).collect();
    json!({
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
        "timing": { "seconds": real.as_secs_f64() },
    })
}

fn replay(args: &SimArgs, file: &Path, output: Output) -> Result<(), Failure> {
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::new(format_args!("cannot read {}: {error}", file.display()), "check the path"))?;
    let plan: Plan = text.parse().map_err(|error| Failure::usage(format_args!("{}: {error}", file.display())))?;
    let name = plan.scenario.as_deref().ok_or_else(|| {
        Failure::usage(format_args!("{} does not name a scenario; add a line 'scenario NAME'", file.display()))
    })?;
    let scenario = find(name)?;
    let began = Instant::now();
    let outcome = play(&*scenario, &plan);
    let real = began.elapsed();
    output.json_only(|| describe(&outcome, real));
    if let Some(file) = &args.report {
        write_report(file, &*scenario, &plan)?;
    }
    let mut summary = Summary::default();
    summary.add(&outcome);
    let mut table = Table::default();
    table.add(Row { scenario: name.to_owned(), summary, real });
    output.note(&table);
    match &outcome.result {
        Ok(()) => Ok(()),
        Err(failed) => Err(Failure::new(failed, "the plan replays it as often as you like")),
    }
}

fn report_failure(found: &Found, args: &SimArgs, output: Output) -> Result<(), Failure> {
    let plan = &found.smallest.plan;
    output.json_only(|| json!({ "ok": false, "smallest_plan": plan.to_string(), "failure": found.why() }));
    if let Some(file) = &args.save_plan {
        write(file, &plan.to_string())?;
        output.note(format_args!("the plan is in {0}; replay it with: septa sim --plan {0}", file.display()));
    }
    Ok(())
}

/// Plays once more to see it: what is recorded changes nothing.
fn write_report(file: &Path, scenario: &dyn Scenario, plan: &Plan) -> Result<(), Failure> {
    write(file, &play_recorded(scenario, plan).1.to_html())
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    fs::write(file, text).map_err(|error| {
        Failure::new(format_args!("cannot write {}: {error}", file.display()), "check the path and the permissions")
    })
}
