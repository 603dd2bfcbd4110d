//! What scenarios of several nodes have in common.

use std::{num::NonZeroU32, time::Duration};

use crate::{Menu, plan::FaultKind};

/// Everybody and everybody else, by place: each pair twice, so that two dial each other.
pub(super) fn all_pairs(nodes: u32) -> impl Iterator<Item = (usize, usize)> {
    let places = move || 0..nodes as usize;
    places().flat_map(move |one| places().map(move |other| (one, other))).filter(|(one, other)| one != other)
}

/// The same, each pair once.
pub(super) fn once_each(nodes: u32) -> impl Iterator<Item = (usize, usize)> {
    all_pairs(nodes).filter(|(one, other)| one < other)
}

/// The number of the host at a place.
pub(super) fn number(place: usize) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(u32::try_from(place).unwrap_or(u32::MAX))
}

/// Faults strike between these pairs and on every node, over links of all kinds.
pub(super) fn menu(
    nodes: u32,
    pairs: impl IntoIterator<Item = (usize, usize)>,
    faults: &[FaultKind],
    most: u32,
    length: Duration,
) -> Menu {
    Menu {
        length,
        faults: faults.to_vec(),
        most,
        pairs: pairs.into_iter().map(|(one, other)| (number(one), number(other))).collect(),
        hosts: (0..nodes as usize).map(number).collect(),
        links: true,
        crypto: None,
    }
}
