//! Where instants lie on the page, and the marks of the axis.

use std::fmt;

use septa_core::Instant;

use super::Report;

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// At most so many steps fit into the axis.
const STEPS_SHOWN: u64 = 8;
/// A run to this instant or later is labelled as a clock shows it.
const CLOCK_FROM: u64 = 2 * MINUTE;
const UNITS: [(u64, &str); 4] = [(SECOND, "s"), (1_000_000, "ms"), (1_000, "µs"), (1, "ns")];
/// Right of this there is no room for a label.
const LAST_LABEL: Percent = Percent(95 * Percent::ONE);

/// A part of the width, in ten thousandths of a percent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Percent(u64);

impl Percent {
    const ONE: u64 = 10_000;
    const WHOLE: u64 = 100 * Self::ONE;
    /// What can still be seen and hit with a pointer.
    const LEAST: u64 = Self::ONE / 5;

    /// `part` of `whole`, which is not zero.
    pub(super) fn of(part: u64, whole: u64) -> Self {
        let percent = u128::from(part) * u128::from(Self::WHOLE) / u128::from(whole);
        Self(u64::try_from(percent).map_or(Self::WHOLE, |percent| percent.min(Self::WHOLE)))
    }

    /// From here to `end`, but not too narrow to be seen.
    pub(super) fn width_to(self, end: Self) -> Self {
        Self(end.0.saturating_sub(self.0).max(Self::LEAST))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:04}%", self.0 / Self::ONE, self.0 % Self::ONE)
    }
}

/// The run's time, from the left to the right edge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    begin: u64,
    /// Nanoseconds, at least 1.
    pub(super) span: u64,
}

/// A mark of the axis.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Tick {
    pub(super) place: Percent,
    /// None if there is no room.
    pub(super) label: Option<String>,
}

impl Axis {
    pub(super) fn new(report: &Report) -> Self {
        let begin = report.begin.as_nanos();
        Self { begin, span: report.end.as_nanos().saturating_sub(begin).max(1) }
    }

    pub(super) fn begin(self) -> u64 {
        self.begin
    }

    /// Nanoseconds since the beginning; what lies outside the run is at its edge.
    pub(super) fn offset(self, at: Instant) -> u64 {
        at.as_nanos().saturating_sub(self.begin).min(self.span)
    }

    pub(super) fn place(self, at: Instant) -> Percent {
        Percent::of(self.offset(at), self.span)
    }

    pub(super) fn ticks(self) -> Vec<Tick> {
        let step = step(self.span);
        let last = self.begin.saturating_add(self.span);
        let first = self.begin.div_ceil(step);
        (first..=last / step)
            .map(|number| {
                let at = number * step;
                let place = Percent::of(at - self.begin, self.span);
                Tick { place, label: (place <= LAST_LABEL).then(|| label(at, step, last)) }
            })
            .collect()
    }
}

/// The distances between marks that people like, in nanoseconds, ascending. The page's script chooses from the same.
pub(super) fn steps() -> Vec<u64> {
    let decimal = |unit: u64| [1, 2, 5].map(|factor| factor * unit);
    let mut steps: Vec<u64> = (0..10).map(|power| 10_u64.pow(power)).flat_map(decimal).collect();
    steps.extend([10, 15, 30].map(|seconds| seconds * SECOND));
    steps.extend([1, 2, 5, 10, 15, 30].map(|minutes| minutes * MINUTE));
    steps.extend([1, 2, 3, 6, 12].map(|hours| hours * HOUR));
    steps.extend((0..5).map(|power| 10_u64.pow(power) * DAY).flat_map(decimal));
    steps
}

fn step(span: u64) -> u64 {
    let steps = steps();
    let fits = steps.iter().find(|step| span / **step <= STEPS_SHOWN);
    fits.or(steps.last()).copied().unwrap_or(DAY)
}

/// An instant as a mark of an axis that goes up to `last` in steps of `step`.
fn label(at: u64, step: u64, last: u64) -> String {
    if last < CLOCK_FROM {
        let (unit, name) = UNITS.into_iter().find(|(unit, _)| last >= *unit).unwrap_or((1, "ns"));
        return format!("{}{} {name}", at / unit, fraction(at, step, unit));
    }
    let (hours, minutes, seconds) = (at / HOUR, at % HOUR / MINUTE, at % MINUTE / SECOND);
    let fraction = fraction(at, step, SECOND);
    if last < HOUR {
        format!("{minutes}:{seconds:02}{fraction}")
    } else {
        format!("{hours}:{minutes:02}:{seconds:02}{fraction}")
    }
}

/// The digits behind the point, as many as multiples of `step` need.
fn fraction(at: u64, step: u64, unit: u64) -> String {
    let needed = (0..=unit.ilog10()).find(|digits| step.is_multiple_of(unit / 10_u64.pow(*digits))).unwrap_or_default();
    if needed == 0 {
        return String::new();
    }
    let width = unit.ilog10() as usize;
    let digits = format!("{:0width$}", at % unit);
    format!(".{}", digits.get(..needed as usize).unwrap_or_default())
}
