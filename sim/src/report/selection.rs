//! What of a run is drawn if there is too much of it.
//!
//! A page of a million bars does not open. What is nearest to the failure is drawn, or else what came first.

use std::collections::BTreeSet;

use septa_core::Instant;

use super::{ConnectionBar, Level, Report};

/// Hosts that are drawn.
pub(super) const MAX_LANES: usize = 250;
/// Connections that are drawn, each at both its ends.
pub(super) const MAX_CONNECTIONS: usize = 3_000;
/// Faults that are drawn.
pub(super) const MAX_FAULTS: usize = 500;
/// Faults times the hosts that they strike: each is a band over a lane.
pub(super) const MAX_BANDS: usize = 4_000;
/// Notes that are drawn.
pub(super) const MAX_NOTES: usize = 3_000;
/// Times that hosts were up, which are drawn: a run with churn has many.
pub(super) const MAX_LIVES: usize = 4_000;
/// Lines of text at the end of the page.
pub(super) const MAX_LINES: usize = 5_000;

/// What is drawn, by index, ascending.
pub(super) struct Selection {
    pub(super) hosts: Vec<usize>,
    pub(super) connections: Vec<usize>,
    pub(super) faults: Vec<usize>,
    /// Fault and host.
    pub(super) bands: BTreeSet<(usize, usize)>,
    pub(super) notes: Vec<usize>,
    /// Host and life.
    pub(super) lives: BTreeSet<(usize, usize)>,
}

impl Selection {
    pub(super) fn new(report: &Report) -> Self {
        let hosts = hosts(report);
        let is_drawn = |host: usize| hosts.binary_search(&host).is_ok();
        let focus = report.focus();

        let connections = first((0..report.connections.len()).collect(), MAX_CONNECTIONS, |index| {
            let connection = report.connections.get(*index)?;
            let ends = [connection.dialer, connection.listener];
            let (from, to) = lifetime(report, connection);
            ends.into_iter().any(is_drawn).then(|| (!touches(report, &ends), distance(focus, from, to), *index))
        });
        let faults = first((0..report.faults.len()).collect(), MAX_FAULTS, |index| {
            let fault = report.faults.get(*index)?;
            Some((distance(focus, fault.from, fault.to), *index))
        });
        let notes = first((0..report.notes.len()).collect(), MAX_NOTES, |index| {
            let note = report.notes.get(*index)?;
            let is_minor = note.level < Level::Warning;
            let rank = (!touches(report, note.host.as_slice()), is_minor, distance(focus, note.at, note.at), *index);
            note.host.is_none_or(is_drawn).then_some(rank)
        });
        let bands = strikes(report, &hosts, &faults).into_iter().take(MAX_BANDS).collect();
        let lives = lives(report, &hosts);
        Self { hosts, connections, faults, bands, notes, lives }
    }
}

/// The times for which drawn hosts were up.
fn lives(report: &Report, hosts: &[usize]) -> BTreeSet<(usize, usize)> {
    let all = hosts.iter().flat_map(|host| {
        let count = report.hosts.get(*host).map_or(0, |lane| lane.lives.len());
        (0..count).map(|life| (*host, life))
    });
    let kept = first(all.collect(), MAX_LIVES, |(host, life)| {
        let span = report.hosts.get(*host)?.lives.get(*life)?;
        let away = distance(report.focus(), span.from, span.to.unwrap_or(report.end));
        Some((!touches(report, &[*host]), away, *host, *life))
    });
    kept.into_iter().collect()
}

/// Each drawn fault with each drawn host that it strikes.
pub(super) fn strikes(report: &Report, hosts: &[usize], faults: &[usize]) -> BTreeSet<(usize, usize)> {
    let of_fault = |index: &usize| report.faults.get(*index).map(|fault| (*index, fault));
    faults
        .iter()
        .filter_map(of_fault)
        .flat_map(|(index, fault)| fault.hosts.iter().map(move |host| (index, *host)))
        .filter(|(_, host)| hosts.binary_search(host).is_ok())
        .collect()
}

/// The failed host, those it had to do with, those that were struck, and of the others the first.
fn hosts(report: &Report) -> Vec<usize> {
    let failed = report.failed_host();
    let peers: BTreeSet<usize> = report
        .connections
        .iter()
        .map(|connection| [connection.dialer, connection.listener])
        .filter(|ends| touches(report, ends))
        .flatten()
        .collect();
    let struck: BTreeSet<usize> = report.faults.iter().flat_map(|fault| fault.hosts.iter().copied()).collect();
    first((0..report.hosts.len()).collect(), MAX_LANES, |host| {
        Some((Some(*host) != failed, !peers.contains(host), !struck.contains(host), *host))
    })
}

/// The `limit` items of the smallest rank, in their own order. What has no rank is left out.
pub(super) fn first<T: Ord, R: Ord>(items: Vec<T>, limit: usize, rank: impl Fn(&T) -> Option<R>) -> Vec<T> {
    let mut ranked: Vec<(R, T)> = items.into_iter().filter_map(|item| Some((rank(&item)?, item))).collect();
    ranked.sort();
    ranked.truncate(limit);
    let mut kept: Vec<T> = ranked.into_iter().map(|(_, item)| item).collect();
    kept.sort();
    kept
}

/// How long before or after an instant something was, in nanoseconds.
pub(super) fn distance(focus: Instant, from: Instant, to: Instant) -> u64 {
    let early = focus.as_nanos().saturating_sub(to.as_nanos());
    let late = from.as_nanos().saturating_sub(focus.as_nanos());
    early.max(late)
}

pub(super) fn lifetime(report: &Report, connection: &ConnectionBar) -> (Instant, Instant) {
    (connection.opened, connection.closed.unwrap_or(report.end))
}

fn touches(report: &Report, hosts: &[usize]) -> bool {
    report.failed_host().is_some_and(|failed| hosts.contains(&failed))
}
