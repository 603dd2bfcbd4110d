//! What happened in a run, as a page that shows it on a timeline and as plain text.
//!
//! A [`Report`] is plain data: whoever ran something fills it in, by hand if need be, and nothing in it has to
//! fit together. A host that is not there is shown by its number, an instant outside the run at its edge.

mod axis;
pub(crate) mod escape;
mod events;
mod item;
mod lane;
mod page;
mod selection;
#[cfg(test)]
mod tests;

use septa_core::Instant;

use crate::TraceHash;

/// A run, as people want to see it.
///
/// Hosts are named by their index in [`hosts`](Self::hosts). Every text may come from the other end of a
/// connection and is taken for hostile: it is shown, never interpreted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// What was run.
    pub scenario: String,
    /// Its seed.
    pub seed: u64,
    /// The hash of its trace, if it came to one.
    pub hash: Option<TraceHash>,
    /// The text of its plan.
    pub plan: String,
    /// The command that runs it again.
    pub command: String,
    /// When it began.
    pub begin: Instant,
    /// When it ended.
    pub end: Instant,
    /// When the safety phase ended and the liveness phase began, if there are two.
    pub heal: Option<Instant>,
    /// The lanes, from top to bottom.
    pub hosts: Vec<HostLane>,
    /// The connections that were made.
    pub connections: Vec<ConnectionBar>,
    /// The faults of the plan.
    pub faults: Vec<FaultBar>,
    /// What else is worth knowing.
    pub notes: Vec<Note>,
    /// The invariant that was broken, if one was.
    pub failure: Option<Failure>,
    /// Entries that whoever filled in the report left out for want of room.
    pub omitted: u64,
}

/// A host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostLane {
    /// Its name.
    pub name: String,
    /// When it was up, in order. Between two lives it was down.
    pub lives: Vec<Span>,
}

/// A time that something lasted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Its beginning.
    pub from: Instant,
    /// Its end, if it ended before the run did.
    pub to: Option<Instant>,
}

/// A connection between two hosts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectionBar {
    /// What it is called.
    pub id: u64,
    /// Who dialed.
    pub dialer: usize,
    /// Who was dialed.
    pub listener: usize,
    /// When it was dialed.
    pub opened: Instant,
    /// When both ends could use it, if it came so far.
    pub established: Option<Instant>,
    /// When it ended, if it did before the run.
    pub closed: Option<Instant>,
    /// How it ended. Empty while it is open.
    pub end: String,
    /// Bytes from the dialer to the listener.
    pub sent: u64,
    /// Bytes from the listener to the dialer.
    pub received: u64,
}

/// A fault of the plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FaultBar {
    /// When it struck.
    pub from: Instant,
    /// When it was over; the same instant for one that does not last.
    pub to: Instant,
    /// Whom it struck; nobody, if it struck the run as a whole.
    pub hosts: Vec<usize>,
    /// What it was, in the words of the plan.
    pub text: String,
    /// How often it changed something.
    pub fired: u64,
}

/// Something that happened at an instant: a change of state, the reason of a close.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// When.
    pub at: Instant,
    /// Where, unless it was the run as a whole.
    pub host: Option<usize>,
    /// How much it matters.
    pub level: Level,
    /// What.
    pub text: String,
}

/// How much a note matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// As expected.
    Info,
    /// Worth a look.
    Warning,
}

/// A broken invariant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// When it was seen.
    pub at: Instant,
    /// In which step of the run.
    pub step: u64,
    /// At which host, unless it is one of the run as a whole.
    pub host: Option<usize>,
    /// The name of the invariant.
    pub invariant: String,
    /// What was seen instead.
    pub message: String,
}

impl Report {
    /// One page of HTML that needs nothing else: it opens from disk, loads nothing and, by its content security policy,
    /// cannot.
    ///
    /// It draws at most 250 hosts, 3,000 connections, 500 faults on 4,000 lanes together, 4,000 lives of hosts and 3,000
    /// notes, and has the 5,000 lines of text: those nearest to the failure. It says how many it left out. Equal reports
    /// give equal pages.
    pub fn to_html(&self) -> String {
        page::html(self)
    }

    /// The run as lines of text in the order of time, one for each event, with nothing left out. Lines that begin
    /// with `#` tell what was run.
    ///
    /// ```text
    ///     1.500000000s  alice  connection 3 to bob opened
    /// ```
    pub fn to_text(&self) -> String {
        events::text(self)
    }

    /// What to call a host. A plan counts them from 1.
    fn name(&self, host: usize) -> String {
        let name = self.hosts.get(host).map_or("", |host| &host.name);
        if name.is_empty() { format!("host {}", host.saturating_add(1)) } else { escape::line(name, NAME_LIMIT) }
    }

    /// The instant that matters most: what is nearest to it is shown if not all can be.
    fn focus(&self) -> Instant {
        self.failure.as_ref().map_or(self.begin, |failure| failure.at)
    }

    fn failed_host(&self) -> Option<usize> {
        self.failure.as_ref().and_then(|failure| failure.host)
    }
}

/// Characters of a host's name that are shown. A longer one would push all else aside.
const NAME_LIMIT: usize = 64;
