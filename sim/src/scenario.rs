//! What is played with many seeds, and how one play goes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::OnceLock,
    time::Duration,
};

use septa_core::Instant;

use crate::{
    Broken, Menu, Panicked, Sights, Simulation, Stalled, Stats, TraceHash,
    export::Exported,
    invariant::gist,
    plan::{FaultKind, Plan},
    report::{self, Report, escape},
    simulation::NO_PANICS,
};

/// Characters that an export shows of why a play failed.
const MAX_WHY: usize = 1_000;

/// A world with something going on in it that must come right, whatever its [`Menu`] does to it.
pub trait Scenario: Sync {
    /// A word, such as `partition-heal`.
    fn name(&self) -> &str;

    /// How many hosts there are, unless somebody wants more or fewer.
    fn nodes(&self) -> u32;

    /// How many there may be at most: what everybody has with everybody takes memory, and there are 65,535 addresses, of
    /// which a scenario may need some for hosts of its own. Six times as many as usual, and at least 1000, unless it says
    /// something else. Whoever lets people choose asks for it.
    fn max_nodes(&self) -> u32 {
        self.nodes().saturating_mul(6).max(1000)
    }

    /// What may go wrong among so many hosts.
    fn menu(&self, nodes: u32) -> Menu;

    /// What its runs [note](Sights::note) that they have met, each at least once in many seeds: otherwise they test less
    /// than they seem to. Nothing unless it is said.
    fn sights(&self) -> &'static [&'static str] {
        &[]
    }

    /// Plays once: makes the hosts, lets [chaos](Run::chaos) reign, and sees that everything comes right.
    ///
    /// # Errors
    /// It does not.
    fn play(&self, run: &Run<'_>) -> Result<(), Failed>;
}

/// One play of a [`Scenario`].
#[derive(Debug)]
pub struct Run<'p> {
    /// The world, in which there is nobody yet.
    pub simulation: Simulation,
    /// What goes wrong in it.
    pub plan: &'p Plan,
    /// How many hosts there are to be.
    pub nodes: u32,
    /// Where it notes what it has met.
    pub sights: Sights,
    /// How often the faults of the plan had changed something when it healed.
    fired: OnceLock<BTreeMap<FaultKind, u64>>,
}

/// Why a play failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failed {
    /// The world did not come to the end of what was asked of it.
    #[error(transparent)]
    Stalled(#[from] Stalled),
    /// Something that must come right again did not in time.
    #[error("not met: {wish}: {why}")]
    Unmet {
        /// What should be so.
        wish: String,
        /// What is so instead.
        why: String,
    },
    /// The scenario itself panicked.
    #[error("the scenario panicked: {0}")]
    Panicked(String),
    /// The plan strikes a host that the scenario has not.
    #[error(transparent)]
    Unplayable(#[from] crate::Unplayable),
}

impl From<Broken> for Failed {
    fn from(broken: Broken) -> Self {
        Self::Stalled(broken.into())
    }
}

impl Failed {
    /// What went wrong, without its circumstances: plans that are smaller must fail for the same. Of a panic it has the
    /// first words, without digits: one is seldom the same bug as another.
    pub fn cause(&self) -> String {
        match self {
            Self::Stalled(Stalled::Broken(Broken { invariant, why, .. })) if invariant == NO_PANICS => {
                format!("{NO_PANICS}: {}", gist(why))
            }
            Self::Panicked(message) => format!("panic: {}", gist(message)),
            _ => self.invariant(),
        }
    }

    /// What should have been so, for a report, which has the rest beside it.
    fn invariant(&self) -> String {
        match self {
            Self::Stalled(Stalled::Broken(broken)) => broken.invariant.clone(),
            Self::Stalled(Stalled::Deadlock { .. }) => "deadlock".to_owned(),
            Self::Stalled(Stalled::Endless { .. }) => "endless".to_owned(),
            Self::Unmet { wish, .. } => wish.clone(),
            Self::Panicked(_) => "panic".to_owned(),
            Self::Unplayable(_) => "unplayable".to_owned(),
        }
    }

    /// For a report of a run that has ended so. What is not said to have been seen earlier was seen at the end.
    fn seen(&self, stats: &Stats, end: Instant) -> report::Failure {
        let invariant = self.invariant();
        match self {
            Self::Stalled(Stalled::Broken(Broken { why, step, at, .. })) => {
                report::Failure { at: *at, step: *step, host: None, invariant, message: why.clone() }
            }
            Self::Unmet { why, .. } => {
                report::Failure { at: end, step: stats.steps, host: None, invariant, message: why.clone() }
            }
            _ => report::Failure { at: end, step: stats.steps, host: None, invariant, message: self.to_string() },
        }
    }
}

impl<'p> Run<'p> {
    /// In a world where nothing has happened yet.
    pub(crate) fn new(simulation: Simulation, plan: &'p Plan, nodes: u32, sights: &[&'static str]) -> Self {
        Self { simulation, plan, nodes, sights: Sights::of(sights), fired: OnceLock::new() }
    }

    /// Safety: lets the faults of the plan strike until it heals. What must never be so is looked for all the time; what
    /// must come right is asked later.
    ///
    /// # Errors
    /// An invariant broke, or nothing can happen any more.
    pub fn chaos(&self) -> Result<(), Failed> {
        self.simulation.play(&self.plan.faults)?;
        self.simulation.run_for(self.plan.heal)?;
        self.simulation.heal();
        // What a scenario plays of its own behind it says nothing of the plan.
        let _ = self.fired.set(self.simulation.faults_fired());
        Ok(())
    }

    /// Liveness: within so long it comes so that `holds`, which says what is missing and is asked every 100 ms.
    ///
    /// # Errors
    /// It does not, or an invariant breaks meanwhile.
    pub fn comes(
        &self,
        wish: &str,
        within: Duration,
        mut holds: impl FnMut() -> Result<(), String>,
    ) -> Result<(), Failed> {
        let mut why = String::new();
        let came = self.simulation.run_until(within, Duration::from_millis(100), || match holds() {
            Ok(()) => true,
            Err(missing) => {
                why = missing;
                false
            }
        })?;
        if came { Ok(()) } else { Err(Failed::Unmet { wish: wish.to_owned(), why }) }
    }
}

/// What became of one play.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What was played.
    pub plan: Plan,
    /// Over everything that happened.
    pub hash: TraceHash,
    /// How much that was.
    pub stats: Stats,
    /// In virtual time.
    pub took: Duration,
    /// How often faults of each kind had changed something when the plan healed.
    pub fired: BTreeMap<FaultKind, u64>,
    /// How often it has met what its scenario [says](Scenario::sights), and what else it has noted.
    pub seen: BTreeMap<&'static str, u64>,
    /// Whether it came right.
    pub result: Result<(), Failed>,
}

impl Outcome {
    /// The kinds of faults that the plan has.
    pub fn declared(&self) -> BTreeSet<FaultKind> {
        self.plan.faults.iter().map(|timed| timed.fault.kind()).collect()
    }
}

/// The plan that a seed stands for in a scenario, with so many hosts or as many as usual.
pub fn plan_of(scenario: &dyn Scenario, seed: u64, nodes: Option<u32>) -> Plan {
    let mut plan = scenario.menu(nodes.unwrap_or_else(|| scenario.nodes())).draw(seed);
    plan.scenario = Some(scenario.name().to_owned());
    plan.nodes = nodes;
    plan
}

/// Plays a plan once. Its world is gone afterwards.
pub fn play(scenario: &dyn Scenario, plan: &Plan) -> Outcome {
    let (mut outcome, simulation) = play_in(Simulation::of_plan(plan), scenario, plan);
    bury(simulation, &mut outcome);
    outcome
}

/// As [`play`], and tells what has happened, and by which `command` that is seen again. It takes more time and memory, as
/// much as [`Simulation::record`] says, and comes to the same outcome.
pub fn play_recorded(scenario: &dyn Scenario, plan: &Plan, command: &str) -> (Outcome, Report) {
    let simulation = Simulation::of_plan(plan);
    simulation.record();
    let (mut outcome, simulation) = play_in(simulation, scenario, plan);
    let recording = simulation.recording().expect("it records since it was made");
    bury(simulation, &mut outcome);
    let report = Report {
        scenario: scenario.name().to_owned(),
        seed: plan.seed,
        plan: plan.to_string(),
        command: command.to_owned(),
        failure: outcome.result.as_ref().err().map(|failed| failed.seen(&outcome.stats, recording.end)),
        ..recording
    };
    (outcome, report)
}

/// As [`play`], and writes everything down that happens; see [`Simulation::export`]. Lines that begin with `#` say what
/// was played and how it ended.
///
/// # Errors
/// Something could not be written.
pub fn play_exported(
    scenario: &dyn Scenario,
    plan: &Plan,
    mut out: impl io::Write + Send + 'static,
) -> io::Result<(Outcome, Exported)> {
    writeln!(out, "# {}, seed {}", scenario.name(), plan.seed)?;
    plan.to_string().lines().try_for_each(|line| writeln!(out, "# plan: {line}"))?;
    let simulation = Simulation::of_plan(plan);
    simulation.export(out);
    let (mut outcome, simulation) = play_in(simulation, scenario, plan);
    let ended = simulation.take_export();
    bury(simulation, &mut outcome);
    let (exported, mut out) = ended?.expect("it exports since it was made");
    match &outcome.result {
        Ok(()) => writeln!(out, "# it came right")?,
        Err(failed) => writeln!(out, "# FAILED: {}", escape::line(&failed.to_string(), MAX_WHY))?,
    }
    writeln!(out, "# hash: {}", outcome.hash)?;
    out.flush()?;
    Ok((outcome, exported))
}

fn play_in(simulation: Simulation, scenario: &dyn Scenario, plan: &Plan) -> (Outcome, Simulation) {
    let nodes = plan.nodes.unwrap_or_else(|| scenario.nodes());
    let run = Run::new(simulation, plan, nodes, scenario.sights());
    run.simulation.forbid_panics();
    let result = catch_unwind(AssertUnwindSafe(|| scenario.play(&run)));
    let result = result.unwrap_or_else(|payload| Err(Failed::Panicked(crate::executor::message(&*payload))));
    let Run { simulation, sights, fired, .. } = run;
    let outcome = Outcome {
        plan: plan.clone(),
        hash: simulation.trace(),
        stats: simulation.stats(),
        took: simulation.now().saturating_duration_since(Instant::EPOCH),
        fired: fired.into_inner().unwrap_or_else(|| simulation.faults_fired()),
        seen: sights.counts(),
        result,
    };
    (outcome, simulation)
}

/// Drops the world of a play. What panics then, or is blamed behind the last step, is why the play failed, unless it has
/// failed before.
fn bury(simulation: Simulation, outcome: &mut Outcome) {
    let (step, at) = (simulation.stats().steps, simulation.now());
    let no_panics = |why| (NO_PANICS.to_owned(), why);
    let dropped = catch_unwind(AssertUnwindSafe(|| {
        let panics = simulation.end();
        let broken = simulation.take_broken();
        drop(simulation);
        let panic = panics.into_iter().next();
        broken.or_else(|| panic.map(|Panicked { task, message }| no_panics(format!("{task}: {message}"))))
    }));
    let broken = dropped.unwrap_or_else(|payload| Some(no_panics(crate::executor::message(&*payload))));
    if let (Some((invariant, why)), Ok(())) = (broken, &outcome.result) {
        outcome.result = Err(Broken { invariant, why, step, at }.into());
    }
}

impl fmt::Debug for dyn Scenario + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
