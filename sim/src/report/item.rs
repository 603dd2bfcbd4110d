//! What can be pointed at on the timeline, and where it has room.

use std::fmt::Write as _;

use septa_core::Instant;

use super::{
    axis::{Axis, Percent},
    escape,
};

/// Bars beside each other in time have their own rows, at most so many. Those that overlap with more are left out:
/// a host with ten thousand connections at once would be all there is on the page.
const MAX_ROWS: usize = 64;

/// Something on the timeline that can be pointed at.
pub(super) struct Item {
    pub(super) class: &'static str,
    /// The same for everything that shows the same thing.
    pub(super) key: String,
    pub(super) from: Instant,
    pub(super) to: Instant,
    /// The top edge, in pixels.
    pub(super) top: usize,
    /// Pixels; all of the lane if none.
    pub(super) height: Option<usize>,
    /// Until when a connection was not usable yet.
    pub(super) pending: Option<Instant>,
    /// Shown if it has a height of its own.
    pub(super) label: String,
    pub(super) details: String,
}

impl Item {
    /// As SVG. The script moves and stretches it by its `data-` attributes.
    pub(super) fn write(&self, out: &mut String, axis: Axis) {
        let (from, to) = (axis.offset(self.from), axis.offset(self.to.max(self.from)));
        let place = axis.place(self.from);
        let width = place.width_to(axis.place(self.to));
        let height = self.height.map_or_else(|| "100%".to_owned(), |height| height.to_string());
        let _ = write!(
            out,
            "<svg class=\"item {}\" data-key=\"{}\" data-from=\"{from}\" data-to=\"{to}\" x=\"{place}\" y=\"{}\" \
             width=\"{width}\" height=\"{height}\" tabindex=\"-1\" role=\"img\"><title>{}</title>",
            self.class,
            self.key,
            self.top,
            escape::html(&self.details)
        );
        if self.class.starts_with("mark") {
            out.push_str("<path d=\"M0 1 L6 7 L0 13 L-6 7 Z\"/></svg>");
            return;
        }
        out.push_str("<rect width=\"100%\" height=\"100%\"/>");
        if let Some(pending) = self.pending {
            let pending = axis.offset(pending).saturating_sub(from);
            let part = Percent::of(pending, (to - from).max(1));
            let until = from + pending;
            let _ = write!(out, "<rect class=\"pending\" data-until=\"{until}\" width=\"{part}\" height=\"100%\"/>");
        }
        if let Some(height) = self.height
            && !self.label.is_empty()
        {
            let base = height.saturating_sub(4);
            let _ = write!(out, "<text x=\"4\" y=\"{base}\">{}</text>", escape::html(&self.label));
        }
        out.push_str("</svg>");
    }
}

/// Rows for bars that overlap in time.
pub(super) struct Rows {
    /// The row of each bar; none if there was no room.
    pub(super) places: Vec<Option<usize>>,
    pub(super) count: usize,
}

impl Rows {
    /// Each bar in the first row that is free by then, bars that begin early first.
    pub(super) fn pack(bars: &[Item]) -> Self {
        let mut order: Vec<usize> = (0..bars.len()).collect();
        order.sort_by_key(|index| bars.get(*index).map(|bar| bar.from));
        let mut places = vec![None; bars.len()];
        let mut free_from: Vec<Instant> = Vec::new();
        for index in order {
            let (Some(bar), Some(place)) = (bars.get(index), places.get_mut(index)) else { continue };
            let row = free_from.iter().position(|free| *free <= bar.from).unwrap_or(free_from.len());
            if row < MAX_ROWS {
                free_from.resize(free_from.len().max(row + 1), bar.to);
                free_from[row] = bar.to.max(bar.from);
                *place = Some(row);
            }
        }
        Self { places, count: free_from.len() }
    }
}
