//! The words of a plan.

use std::{fmt, num::NonZeroU32, str::SplitWhitespace, time::Duration};

use crate::{Cut, LinkOptions, network::MAX_HOSTS};

/// The words of a line that were not read yet.
pub(super) struct Words<'t>(SplitWhitespace<'t>);

impl<'t> Words<'t> {
    pub(super) fn new(line: &'t str) -> Self {
        Self(line.split_whitespace())
    }

    pub(super) fn next(&mut self) -> Result<&'t str, String> {
        self.0.next().ok_or_else(|| "it ends too early".to_owned())
    }

    /// Passes over `word` if it is the next one.
    pub(super) fn skip(&mut self, word: &str) -> bool {
        let is_next = self.0.clone().next() == Some(word);
        if is_next {
            self.0.next();
        }
        is_next
    }

    pub(super) fn number(&mut self) -> Result<u64, String> {
        number(self.next()?)
    }

    pub(super) fn host(&mut self) -> Result<NonZeroU32, String> {
        host(self.next()?)
    }

    /// Two hosts with `between` in the middle, such as `1>2`.
    pub(super) fn hosts(&mut self, between: char) -> Result<(NonZeroU32, NonZeroU32), String> {
        let word = self.next()?;
        let (from, to) = word.split_once(between).ok_or_else(|| format!("'{word}' is not like '1{between}2'"))?;
        match (host(from)?, host(to)?) {
            (from, to) if from == to => Err(format!("'{word}' is one host, and nothing stands between it and itself")),
            hosts => Ok(hosts),
        }
    }

    pub(super) fn duration(&mut self) -> Result<Duration, String> {
        duration(self.next()?)
    }

    /// The next word, which begins with `name=`, without that.
    pub(super) fn named(&mut self, name: &str) -> Result<&'t str, String> {
        let word = self.next()?;
        let value = word.strip_prefix(name).and_then(|rest| rest.strip_prefix('='));
        value.ok_or_else(|| format!("'{word}' is not like '{name}=...'"))
    }

    pub(super) fn one_of<T: Copy>(&mut self, choices: &[(&str, T)]) -> Result<T, String> {
        let word = self.next()?;
        let chosen = choices.iter().find(|(name, _)| *name == word);
        chosen.map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            format!("'{word}' is none of {}", names.join(", "))
        })
    }

    pub(super) fn end(mut self) -> Result<(), String> {
        self.0.next().map_or(Ok(()), |word| Err(format!("'{word}' is too much")))
    }
}

/// How a choice is called.
pub(super) fn name_of<T: Copy + PartialEq>(choices: &[(&'static str, T)], choice: T) -> &'static str {
    choices.iter().find(|(_, other)| *other == choice).map_or("", |(name, _)| name)
}

pub(super) fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("'{word}' is no whole number"))
}

pub(super) fn nodes(number: u64) -> Result<u32, String> {
    let nodes = u32::try_from(number).ok().filter(|nodes| (1..=MAX_HOSTS).contains(nodes));
    nodes.ok_or_else(|| format!("there are 1 to {MAX_HOSTS} nodes, not {number}"))
}

fn host(word: &str) -> Result<NonZeroU32, String> {
    word.parse().map_err(|_| format!("'{word}' is no number of a host, which begin at 1"))
}

const UNITS: [(&str, u64); 4] = [("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];

/// A number with at most nine digits behind the point, and a unit: exact to the nanosecond.
pub(super) fn duration(word: &str) -> Result<Duration, String> {
    let wrong = || format!("'{word}' is no duration such as 1.5s, 20ms, 3us or 7ns");
    let (digits, unit) = UNITS
        .iter()
        .find_map(|(unit, nanos)| Some((word.strip_suffix(unit)?, *nanos)))
        .filter(|(digits, _)| digits.ends_with(|last: char| last.is_ascii_digit()))
        .ok_or_else(wrong)?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let mut nanos = whole.checked_mul(unit).ok_or_else(wrong)?;
    let mut place = unit;
    for digit in fraction.bytes() {
        place /= 10;
        if place == 0 || !digit.is_ascii_digit() {
            return Err(wrong());
        }
        nanos = nanos.checked_add(u64::from(digit - b'0') * place).ok_or_else(wrong)?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// Something as it stands in a plan.
pub(super) struct Written<T>(pub(super) T);

impl fmt::Display for Written<Duration> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        // The largest unit of which there is one.
        let (unit, size) = UNITS.into_iter().rev().find(|(_, size)| nanos >= *size).unwrap_or(("s", 1_000_000_000));
        let (whole, rest) = (nanos / size, nanos % size);
        if rest == 0 {
            return write!(f, "{whole}{unit}");
        }
        let width = size.ilog10() as usize;
        let fraction = format!("{rest:0width$}");
        write!(f, "{whole}.{}{unit}", fraction.trim_end_matches('0'))
    }
}

impl fmt::Display for Written<Cut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Cut::Whole => f.write_str("whole"),
            Cut::Fixed(bytes) => write!(f, "{bytes}"),
            Cut::Random(bytes) => write!(f, "random:{bytes}"),
        }
    }
}

/// What differs from the usual.
impl fmt::Display for Written<&LinkOptions> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (link, usual) = (self.0, LinkOptions::default());
        if link.capacity != usual.capacity {
            write!(f, " capacity={}", link.capacity)?;
        }
        if link.latency != usual.latency {
            write!(f, " latency={}", Written(link.latency))?;
        }
        if link.jitter != usual.jitter {
            write!(f, " jitter={}", Written(link.jitter))?;
        }
        if let Some(bandwidth) = link.bandwidth {
            write!(f, " bandwidth={bandwidth}")?;
        }
        if link.read_cut != usual.read_cut {
            write!(f, " read={}", Written(link.read_cut))?;
        }
        if link.write_cut != usual.write_cut {
            write!(f, " write={}", Written(link.write_cut))?;
        }
        if let Some(bytes) = link.reset_after {
            write!(f, " reset_after={bytes}")?;
        }
        Ok(())
    }
}

pub(super) fn read_link(words: &mut Words<'_>) -> Result<LinkOptions, String> {
    let mut link = LinkOptions::default();
    while let Ok(word) = words.next() {
        let (name, value) = word.split_once('=').ok_or_else(|| format!("'{word}' is not like 'name=value'"))?;
        match name {
            "capacity" => link.capacity = size(value)?,
            "latency" => link.latency = duration(value)?,
            "jitter" => link.jitter = duration(value)?,
            "bandwidth" => link.bandwidth = Some(number(value)?),
            "read" => link.read_cut = cut(value)?,
            "write" => link.write_cut = cut(value)?,
            "reset_after" => link.reset_after = Some(number(value)?),
            _ => return Err(format!("a link has no '{name}'")),
        }
    }
    Ok(link)
}

fn size(word: &str) -> Result<usize, String> {
    usize::try_from(number(word)?).map_err(|_| format!("'{word}' is too much"))
}

fn cut(word: &str) -> Result<Cut, String> {
    match word.strip_prefix("random:") {
        Some(bytes) => Ok(Cut::Random(size(bytes)?)),
        None if word == "whole" => Ok(Cut::Whole),
        None => Ok(Cut::Fixed(size(word)?)),
    }
}
