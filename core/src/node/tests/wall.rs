use core::time::Duration;

use crate::node::WallTime;

#[test]
fn wall_time_counts_seconds_on_both_sides_of_1970() {
    let before = WallTime::from_secs(-3);
    let after = before.saturating_add(Duration::from_millis(5_900));
    assert_eq!(after.as_secs(), 2);
    assert_eq!(after.saturating_duration_since(before), Duration::from_secs(5));
    assert_eq!(before.saturating_duration_since(after), Duration::ZERO);
    assert!(before < after);
}

#[test]
fn wall_time_saturates() {
    let (first, last) = (WallTime::from_secs(i64::MIN), WallTime::from_secs(i64::MAX));
    assert_eq!(last.saturating_add(Duration::from_secs(1)), last);
    assert_eq!(first.saturating_add(Duration::MAX), last);
    assert_eq!(last.saturating_duration_since(first), Duration::from_secs(u64::MAX));
    assert_eq!(first.saturating_duration_since(last), Duration::ZERO);
}
