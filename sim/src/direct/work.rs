//! What the nodes of a world share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use septa_core::{Instant, connection::TRANSMIT_BUFFER};
use septa_driver::runtime::Runtime;

use super::Direct;
use crate::invariant::gist;

/// Bytes that one read takes at most.
const INPUT_BUFFER: usize = 64 * 1024;
// Rules that hold for nodes and connections alike.

pub(super) const NOT_AGAIN: &str = "a timer that fired is not due again at once";
pub(super) const NOTHING_LEFT: &str = "who has said that nothing is left has nothing";
pub(super) const NOT_TOO_EARLY: &str = "telling the time before its time changes nothing";

/// Buffers that are kept for connections whose sockets will be full.
const MAX_SPARES: usize = 64;

/// What has happened to nodes that are driven directly.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Counts {
    /// Reads that brought a connection at least one byte.
    pub deliveries: u64,
    /// The bytes that they brought.
    pub bytes: u64,
    /// Timers of connections that fired.
    pub timers: u64,
    /// Ends of connections that were made: each connection has two.
    pub connections: u64,
}

impl Counts {
    /// Deliveries and timers.
    pub fn events(&self) -> u64 {
        self.deliveries.saturating_add(self.timers)
    }
}

/// Something has happened that never should: a node or a connection broke the contract of its interface, or an
/// application [said so](super::Context::report).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{host}, at {at:?}: {what}")]
#[non_exhaustive]
pub struct Violation {
    /// On which host.
    pub host: String,
    /// When, by the host's clock.
    pub at: Instant,
    /// Which rule was broken, in the same words each time.
    pub rule: &'static str,
    /// What is wrong.
    pub what: String,
}

impl Violation {
    /// The rule of whatever an application [reports](super::Context::report).
    pub const REPORTED: &'static str = "the application finds nothing wrong";

    /// What is wrong, without its circumstances. An application has one rule for everything: there it is the first words
    /// of what it says that tell one thing from another.
    pub fn cause(&self) -> String {
        match self.rule {
            Self::REPORTED => format!("{}: {}", self.rule, gist(&self.what)),
            rule => rule.to_owned(),
        }
    }
}

type Reporter = Arc<dyn Fn(&Violation) + Send + Sync>;

pub(super) struct Shared {
    is_checked: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counts: Counts,
    violations: Vec<Violation>,
    reporter: Option<Reporter>,
    /// While no node uses it.
    buffers: Option<Buffers>,
}

/// Memory in which every connection reads and seals: none needs it between turns.
pub(super) struct Buffers {
    pub(super) input: Vec<u8>,
    pub(super) output: Vec<u8>,
    /// Tokens of sockets that are ready.
    pub(super) ready: Vec<u32>,
    spares: Vec<Vec<u8>>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self { input: vec![0; INPUT_BUFFER], output: new_output(), ready: Vec::new(), spares: Vec::new() }
    }
}

impl Buffers {
    /// Takes the output buffer away from here, and leaves another one.
    pub(super) fn take_output(&mut self) -> Vec<u8> {
        let spare = self.spares.pop().unwrap_or_else(new_output);
        std::mem::replace(&mut self.output, spare)
    }

    /// Puts a buffer back.
    pub(super) fn put_output(&mut self, buffer: Vec<u8>) {
        if self.spares.len() < MAX_SPARES {
            self.spares.push(buffer);
        }
    }
}

fn new_output() -> Vec<u8> {
    vec![0; TRANSMIT_BUFFER]
}

/// What a node works with in one run of its task.
pub(super) struct Work {
    pub(super) buffers: Buffers,
    pub(super) counts: Counts,
    pub(super) is_checked: bool,
    /// The rule that was broken first, and what was seen to be wrong.
    pub(super) violation: Option<(&'static str, String)>,
}

impl Work {
    /// A rule of the contract says that `kept`, which is looked at only if this world is checked.
    pub(super) fn check(&mut self, rule: &'static str, kept: impl FnOnce() -> bool, broken: impl FnOnce() -> String) {
        if self.is_checked && !kept() {
            self.violation.get_or_insert_with(|| (rule, broken()));
        }
    }

    /// The same, of what says itself what is wrong.
    pub(super) fn require(&mut self, rule: &'static str, kept: impl FnOnce() -> Result<(), String>) {
        if self.is_checked
            && let Err(broken) = kept()
        {
            self.violation.get_or_insert((rule, broken));
        }
    }
}

impl Shared {
    pub(super) fn new(is_checked: bool) -> Self {
        Self { is_checked, state: Mutex::default() }
    }

    pub(super) fn is_checked(&self) -> bool {
        self.is_checked
    }

    pub(super) fn take_work(&self) -> Work {
        let buffers = self.lock().buffers.take().unwrap_or_default();
        Work { buffers, counts: Counts::default(), is_checked: self.is_checked, violation: None }
    }

    pub(super) fn put_work(&self, host: &Arc<dyn Runtime>, work: Work) {
        let Work { buffers, counts, violation, .. } = work;
        {
            let mut state = self.lock();
            state.buffers = Some(buffers);
            let all = &mut state.counts;
            for (sum, more) in [
                (&mut all.deliveries, counts.deliveries),
                (&mut all.bytes, counts.bytes),
                (&mut all.timers, counts.timers),
                (&mut all.connections, counts.connections),
            ] {
                *sum = sum.saturating_add(more);
            }
        }
        violation.into_iter().for_each(|(rule, what)| self.violated(host, rule, what));
    }

    pub(super) fn violated(&self, host: &Arc<dyn Runtime>, rule: &'static str, what: String) {
        let violation = Violation { host: format!("{host:?}"), at: host.now(), rule, what };
        let reporter = self.lock().reporter.clone();
        reporter.into_iter().for_each(|report| report(&violation));
        let mut state = self.lock();
        if state.violations.len() < Direct::MAX_VIOLATIONS {
            state.violations.push(violation);
        }
    }

    pub(super) fn set_reporter(&self, reporter: Reporter) {
        self.lock().reporter = Some(reporter);
    }

    pub(super) fn counts(&self) -> Counts {
        self.lock().counts
    }

    pub(super) fn violations(&self) -> Vec<Violation> {
        self.lock().violations.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
