//! `septa sim`: scenarios in the deterministic simulator.
#![allow(clippy::disallowed_methods, reason = "it tells how much real time a campaign takes, and ends it in time")]

mod json;
mod shown;
mod summary;
#[cfg(test)]
mod tests;

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use septa_sim::{
    Campaign, Failure as Found, Outcome, Scenario, Summary,
    plan::{FaultKind, Plan},
    play, suite,
};
use serde_json::json;

use self::{
    shown::Shown,
    summary::{Row, Table},
};
use crate::{
    args::{SimArgs, seconds},
    failure::Failure,
    output::Output,
};

/// `septa sim`.
pub(crate) fn run(args: &SimArgs, output: Output) -> Result<(), Failure> {
    if args.list {
        for scenario in suite::all() {
            let (name, nodes) = (scenario.name(), scenario.nodes());
            output.print(format_args!("{name} ({nodes} nodes)"), json!({ "scenario": name, "nodes": nodes }));
        }
        return Ok(());
    }
    match &args.plan {
        Some(file) => replay(args, file, output),
        None => play_all(&chosen(&args.scenario)?, args, output),
    }
}

/// Refuses what would take all memory, or more addresses than there are.
fn check_nodes(scenario: &dyn Scenario, nodes: Option<u32>) -> Result<(), Failure> {
    let (name, most) = (scenario.name(), scenario.max_nodes());
    match nodes {
        Some(nodes) if nodes > most => {
            Err(Failure::usage(format!("{name} cannot be played with {nodes} nodes, but with {most} at most")))
        }
        _ => Ok(()),
    }
}

/// All seeds of all scenarios, one scenario after the other.
fn play_all(scenarios: &[Box<dyn Scenario>], args: &SimArgs, output: Output) -> Result<(), Failure> {
    scenarios.iter().try_for_each(|scenario| check_nodes(&**scenario, args.nodes))?;
    let limit = args.minutes.map(|minutes| seconds(minutes * 60.0)).transpose()?;
    if limit.is_some_and(|limit| limit.is_zero()) {
        return Err(Failure::usage("in 0 minutes nothing can be played"));
    }
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let (mut table, mut failed, mut unplayed) = (Table::default(), Vec::new(), Vec::new());
    // The first run that failed, or else the first of all.
    let (mut first_failure, mut first_run) = (None, None);
    for (place, scenario) in scenarios.iter().enumerate() {
        let scenario = &**scenario;
        let now = Instant::now();
        if deadline.is_some_and(|deadline| deadline <= now) {
            unplayed.push(scenario.name());
            output.json_only(|| json::unplayed(scenario.name()));
            continue;
        }
        let share = deadline.map(|deadline| now + share(deadline - now, scenarios.len() - place));
        let Played { row, found, first } = campaign(scenario, args, share, output);
        let (idle, unseen) = (row.summary.never_fired(), row.summary.never_seen());
        if let Some(found) = found {
            failed.push(scenario.name());
            report_failure(&found, args, first_failure.is_none(), output)?;
            let command = replay_command(&found, args, first_failure.is_none());
            first_failure.get_or_insert(Shown { scenario, plan: found.smallest.plan, command });
        } else if !idle.is_empty() || !unseen.is_empty() {
            failed.push(scenario.name());
            tell_untested(scenario.name(), &idle, &unseen, output);
        }
        if let Some(plan) = first.filter(|_| first_run.is_none()) {
            let command = seed_command(&plan);
            first_run = Some(Shown { scenario, plan, command });
        }
        table.add(row);
    }
    output.note(&table);
    if !unplayed.is_empty() {
        output.note(format_args!("no time was left to play: {}", unplayed.join(", ")));
    }
    if let Some(shown) = first_failure.or(first_run) {
        shown.write_files(args)?;
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(format_args!("failed: {}", failed.join(", ")), "replay a seed with --scenario and --seeds"))
    }
}

/// What each of so many scenarios gets of the time that is left.
fn share(left: Duration, scenarios: usize) -> Duration {
    left / u32::try_from(scenarios).unwrap_or(u32::MAX).max(1)
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

/// What came of one scenario.
struct Played {
    row: Row,
    /// The first seed that failed.
    found: Option<Found>,
    /// The first seed that was played, which need not be the first that ended.
    first: Option<Plan>,
}

/// All seeds of one scenario. Behind the deadline none begins but the first of each thread.
fn campaign(scenario: &dyn Scenario, args: &SimArgs, deadline: Option<Instant>, output: Output) -> Played {
    let mut campaign = Campaign::new(args.seeds.clone());
    campaign.nodes = args.nodes;
    campaign.shard = args.shard.unwrap_or(campaign.shard);
    campaign.threads = args.threads.unwrap_or(campaign.threads);
    let progress = progress(scenario.name(), campaign.len(), output);
    let began = Instant::now();
    let (mut failed, mut first): (Option<Outcome>, Option<Plan>) = (None, None);
    let summary = campaign.run(scenario, |outcome, real| {
        output.json_only(|| json::seed(outcome, real));
        progress.inc(1);
        let seed = outcome.plan.seed;
        if first.as_ref().is_none_or(|first| seed < first.seed) {
            first = Some(outcome.plan.clone());
        }
        if outcome.result.is_err() && failed.as_ref().is_none_or(|failed| seed < failed.plan.seed) {
            failed = Some(outcome.clone());
        }
        deadline.is_none_or(|deadline| Instant::now() < deadline)
    });
    progress.finish_and_clear();
    let row = Row { scenario: scenario.name().to_owned(), summary, real: began.elapsed() };
    Played { row, found: failed.map(|outcome| Found::shrink(scenario, outcome)), first }
}

fn progress(name: &str, seeds: u64, output: Output) -> ProgressBar {
    if output.is_json() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{prefix:20} [{bar:40}] {pos}/{len} seeds, {eta} left");
    let bar = ProgressBar::new(seeds).with_prefix(name.to_owned());
    style.map_or(bar.clone(), |style| bar.with_style(style.progress_chars("=> ")))
}

fn replay(args: &SimArgs, plan_file: &Path, output: Output) -> Result<(), Failure> {
    let text = fs::read_to_string(plan_file).map_err(|error| {
        Failure::new(format_args!("cannot read {}: {error}", plan_file.display()), "check the path")
    })?;
    let plan: Plan = text.parse().map_err(|error| Failure::usage(format_args!("{}: {error}", plan_file.display())))?;
    let name = plan.scenario.as_deref().ok_or_else(|| {
        Failure::usage(format_args!("{} does not name a scenario; add a line 'scenario NAME'", plan_file.display()))
    })?;
    let scenario = find(name)?;
    check_nodes(&*scenario, plan.nodes)?;
    let began = Instant::now();
    let outcome = play(&*scenario, &plan);
    let real = began.elapsed();
    output.json_only(|| json::seed(&outcome, real));
    let command = format!("septa sim --plan {}", quoted(plan_file));
    Shown { scenario: &*scenario, plan: plan.clone(), command }.write_files(args)?;
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

/// Tells of the faults that never changed anything, and of what no run has met.
fn tell_untested(name: &str, idle: &[FaultKind], unseen: &[&str], output: Output) {
    if !idle.is_empty() {
        let kinds: Vec<String> = idle.iter().map(ToString::to_string).collect();
        output.note(format_args!("{name}: these faults never changed anything: {}", kinds.join(", ")));
        output.json_only(|| json::idle(name, &kinds));
    }
    if !unseen.is_empty() {
        output.note(format_args!("{name}: no run has met this: {}", unseen.join(", ")));
        output.json_only(|| json::unseen(name, unseen));
    }
}

/// Tells of a seed that failed. The plan of the first of them is saved, if any is to be.
fn report_failure(found: &Found, args: &SimArgs, is_first: bool, output: Output) -> Result<(), Failure> {
    output.note(found);
    output.json_only(|| json::shrunk(found));
    output.note(format_args!("replay the seed with: {}", seed_command(&found.found)));
    if let Some(file) = args.save_plan.as_ref().filter(|_| is_first) {
        write(file, &found.smallest.plan.to_string())?;
        output.note(format_args!(
            "the plan is in {}; replay it with: {}",
            file.display(),
            replay_command(found, args, is_first)
        ));
    }
    Ok(())
}

/// What plays the smallest plan again if it was saved, and the seed if not.
fn replay_command(found: &Found, args: &SimArgs, is_saved: bool) -> String {
    match args.save_plan.as_ref().filter(|_| is_saved) {
        Some(file) => format!("septa sim --plan {}", quoted(file)),
        None => seed_command(&found.found),
    }
}

/// What plays one seed again.
fn seed_command(plan: &Plan) -> String {
    let scenario = plan.scenario.as_deref().unwrap_or_default();
    let nodes = plan.nodes.map_or_else(String::new, |nodes| format!(" --nodes {nodes}"));
    // No seed of a campaign is the last one that there is.
    format!("septa sim --scenario {scenario}{nodes} --seeds {0}..{1}", plan.seed, plan.seed.saturating_add(1))
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = path.chars().all(|letter| letter.is_alphanumeric() || "/._-+".contains(letter));
    if is_plain { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    fs::write(file, text).map_err(|error| cannot_write(file, &error))
}

fn cannot_write(file: &Path, error: &io::Error) -> Failure {
    Failure::new(format_args!("cannot write {}: {error}", file.display()), "check the path and the permissions")
}
