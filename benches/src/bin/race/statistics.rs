//! Medians and ratios.

/// The middle of `values`, or the mean of the two middle ones; NaN if there are none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle.wrapping_sub(1)), sorted.get(middle)) {
        (Some(low), Some(high)) if sorted.len().is_multiple_of(2) => (low + high) / 2.0,
        (_, high) => high.copied().unwrap_or(f64::NAN),
    }
}

/// Each of `values` divided by the one of `others` in its place. What was measured side by side has shared what the
/// machine was going through, so that these ratios vary less than their parts, and their median less than the ratio
/// of the medians.
pub(crate) fn ratios(values: &[f64], others: &[f64]) -> Vec<f64> {
    values.iter().zip(others).map(|(value, other)| value / other).collect()
}

#[cfg(test)]
mod tests {
    use super::{median, ratios};

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(&[7.0]), 7.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_machine_that_slows_down_changes_no_ratio() {
        let (fast, slow) = ([10.0, 10.0, 30.0], [12.0, 12.0, 36.0]);
        assert_eq!(ratios(&slow, &fast), [1.2, 1.2, 1.2]);
    }

    #[test]
    fn ratios_are_of_rounds_that_ran_side_by_side() {
        // Slow phases hit other rounds of one than of the other: the medians alone, 20 and 15, would say 1.33.
        let (septa, tcp) = ([20.0, 20.0, 11.0, 40.0, 12.0], [20.0, 15.0, 10.0, 40.0, 12.0]);
        assert_eq!(median(&ratios(&septa, &tcp)), 1.0);
    }
}
