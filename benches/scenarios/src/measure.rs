//! What a process finds out about itself, on Linux.

use std::{fs, time::Duration};

use crate::network::Failure;

/// CPU time that the living threads of this process have used.
pub(crate) fn cpu_time() -> Result<Duration, Failure> {
    let mut total = 0;
    for task in fs::read_dir("/proc/self/task")? {
        // A thread that has just ended has no file any more.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let nanos: u64 = text.split(' ').next().unwrap_or_default().parse()?;
        total += nanos;
    }
    Ok(Duration::from_nanos(total))
}

/// Memory of this process that is resident, in KiB. Summed page by page: the counters of `statm` may be
/// behind by a fraction of a KiB for each of a thousand connections.
pub(crate) fn resident_kib() -> Result<f64, Failure> {
    let text = fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).ok_or("smaps_rollup has no Rss")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// The value below which `percent` of `sorted` lie.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    sorted.get(sorted.len() * percent / 100).or(sorted.last()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_has_its_share_below() {
        let sorted: Vec<Duration> = (0..200).map(Duration::from_micros).collect();
        assert_eq!(percentile(&sorted, 50), Some(Duration::from_micros(100)));
        assert_eq!(percentile(&sorted, 99), Some(Duration::from_micros(198)));
        assert_eq!(percentile(&sorted, 100), Some(Duration::from_micros(199)));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn a_process_that_works_uses_more_cpu_time() {
        let before = cpu_time().unwrap();
        let mut work = 1_u64;
        while cpu_time().unwrap() <= before {
            work = std::hint::black_box(work).wrapping_mul(3);
        }
    }

    #[test]
    fn memory_that_is_touched_is_resident() {
        let before = resident_kib().unwrap();
        let block = std::hint::black_box(vec![1_u8; 32 << 20]);
        assert!(resident_kib().unwrap() - before > 30_000.0, "{}", block.len());
    }
}
