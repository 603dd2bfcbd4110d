//! What goes wrong in a run, as text.
//!
//! A [`Plan`] says how connections behave and which faults strike when. It is made from a seed, written into the
//! message of a failure, shrunk, kept in a file, and replayed:
//!
//! ```
//! use septa_sim::plan::Plan;
//!
//! let text = "\
//! seed 7
//! order seeded
//! crypto fast
//! link capacity=4096 latency=20ms read=random:100
//! heal 30s
//! at 1.5s for 300ms stall 1>2
//! at 2s reset 1-2 after=65536
//! at 3s for 10s crash 2 new
//! ";
//! let plan: Plan = text.parse()?;
//! assert_eq!(plan.faults.len(), 3);
//! assert_eq!(plan.to_string(), text);
//! # Ok::<(), septa_sim::plan::ParseError>(())
//! ```
//!
//! Each line is one statement; empty lines and those that begin with `#` mean nothing. Faults may stand in any order. All
//! of them begin before the plan heals; without a `heal` line that is a second after the last of them is over. What could
//! change nothing is refused: a fault that goes on for no time, or by nothing, or between a host and itself.

mod fault;
mod text;

#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr, time::Duration};

pub use fault::{DialFault, Fault, FaultKind, Restart, Tamper};
use text::{Words, Written, name_of};

use crate::{Crypto, LinkOptions, Order};

const ORDERS: [(&str, Order); 2] = [("fifo", Order::Fifo), ("seeded", Order::Seeded)];
const CRYPTO: [(&str, Crypto); 2] = [("fast", Crypto::Fast), ("real", Crypto::Real)];

const TOO_LATE: &str = "it never strikes, as the plan heals before";
/// From the end of the last fault to the healing, where a plan says nothing about that: those that happen once may do so
/// some bytes later.
const GRACE: Duration = Duration::from_secs(1);

/// The faults of a run. See the [module](self).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// What is played, if it is one of the scenarios that have a name.
    pub scenario: Option<String>,
    /// With how many hosts, from 1 to 65,535, if not as many as usual.
    pub nodes: Option<u32>,
    /// Everything that is drawn in the run comes from it.
    pub seed: u64,
    /// Which of the tasks that can run is run next.
    pub order: Order,
    /// Whether ciphers are real.
    pub crypto: Crypto,
    /// How connections behave.
    pub link: LinkOptions,
    /// When all faults are over, in virtual time since the plan is played: from then on everything must come right again.
    pub heal: Duration,
    /// What strikes when.
    pub faults: Vec<Timed>,
}

/// A fault that strikes at an instant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Timed {
    /// Virtual time since the plan is [played](crate::Simulation::play), which need not be when the run begins.
    pub at: Duration,
    /// Until it is over, for those that last. When the plan heals it is over in any case.
    pub length: Duration,
    /// What happens.
    pub fault: Fault,
}

/// A line is no statement of a plan, or a fault that can do nothing, whatever happens.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line} of the plan: {why}")]
pub struct ParseError {
    /// Which, from 1.
    pub line: usize,
    /// What is wrong with it, for people.
    pub why: String,
}

impl Plan {
    /// One in which nothing goes wrong.
    pub fn calm(seed: u64) -> Self {
        Self {
            scenario: None,
            nodes: None,
            seed,
            order: Order::Fifo,
            crypto: Crypto::Real,
            link: LinkOptions::default(),
            heal: Duration::ZERO,
            faults: Vec::new(),
        }
    }

    /// Zero if there are no faults.
    fn usual_heal(&self) -> Duration {
        let ends = self.faults.iter().map(|timed| timed.at.saturating_add(timed.length));
        let end = ends.max().map(|end| end.saturating_add(GRACE));
        end.unwrap_or_default().min(Duration::from_nanos(u64::MAX))
    }

    fn read(&mut self, line: &str) -> Result<(), String> {
        let mut words = Words::new(line);
        match words.next()? {
            "scenario" => self.scenario = Some(words.next()?.to_owned()),
            "nodes" => self.nodes = Some(text::nodes(words.number()?)?),
            "seed" => self.seed = words.number()?,
            "order" => self.order = words.one_of(&ORDERS)?,
            "crypto" => self.crypto = words.one_of(&CRYPTO)?,
            "link" => self.link = text::read_link(&mut words)?,
            "heal" => self.heal = words.duration()?,
            "at" => {
                let at = words.duration()?;
                let length = if words.skip("for") { words.duration()? } else { Duration::ZERO };
                let fault = Fault::read(&mut words)?;
                fault.idleness(length).map_or(Ok(()), |why| Err(why.to_owned()))?;
                self.faults.push(Timed { at, length, fault });
            }
            other => return Err(format!("there is no statement '{other}'")),
        }
        words.end()
    }
}

impl FromStr for Plan {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut plan = Self::calm(0);
        let mut says_when = false;
        // Of each fault.
        let mut lines = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                plan.read(line).map_err(|why| ParseError { line: index + 1, why })?;
                lines.resize(plan.faults.len(), index + 1);
                says_when |= line.starts_with("heal");
            }
        }
        if !says_when {
            plan.heal = plan.usual_heal();
        }
        let late = plan.faults.iter().zip(lines).find(|(timed, _)| timed.at >= plan.heal);
        late.map_or(Ok(()), |(_, line)| Err(ParseError { line, why: TOO_LATE.to_owned() }))?;
        Ok(plan)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scenario) = &self.scenario {
            writeln!(f, "scenario {scenario}")?;
        }
        if let Some(nodes) = self.nodes {
            writeln!(f, "nodes {nodes}")?;
        }
        writeln!(f, "seed {}", self.seed)?;
        writeln!(f, "order {}", name_of(&ORDERS, self.order))?;
        writeln!(f, "crypto {}", name_of(&CRYPTO, self.crypto))?;
        if self.link != LinkOptions::default() {
            writeln!(f, "link{}", Written(&self.link))?;
        }
        if !self.heal.is_zero() {
            writeln!(f, "heal {}", Written(self.heal))?;
        }
        self.faults.iter().try_for_each(|timed| writeln!(f, "{timed}"))
    }
}

impl fmt::Display for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {} ", Written(self.at))?;
        if self.length > Duration::ZERO {
            write!(f, "for {} ", Written(self.length))?;
        }
        self.fault.fmt(f)
    }
}
