use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;
use crate::Cut;

fn host() -> impl Strategy<Value = NonZeroU32> {
    (1..=u32::MAX).prop_map(|number| NonZeroU32::new(number).unwrap())
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        any::<u64>().prop_map(Duration::from_nanos),
        (0..100_000_u64).prop_map(Duration::from_millis),
        (0..100_000_u64).prop_map(Duration::from_micros),
    ]
}

fn cut() -> impl Strategy<Value = Cut> {
    prop_oneof![
        Just(Cut::Whole),
        any::<u32>().prop_map(|bytes| Cut::Fixed(bytes as usize)),
        any::<u32>().prop_map(|bytes| Cut::Random(bytes as usize)),
    ]
}

prop_compose! {
    fn link()(
        capacity in any::<u32>(),
        latency in duration(),
        jitter in duration(),
        bandwidth in any::<Option<u64>>(),
        read_cut in cut(),
        write_cut in cut(),
        reset_after in any::<Option<u64>>(),
    ) -> LinkOptions {
        LinkOptions { capacity: capacity as usize, read_cut, write_cut, latency, jitter, bandwidth, reset_after }
    }
}

fn tamper() -> impl Strategy<Value = Tamper> {
    prop_oneof![
        Just(Tamper::Flip),
        (1..=u16::MAX).prop_map(Tamper::Truncate),
        (1..=u16::MAX).prop_map(Tamper::Duplicate),
        (1..=u16::MAX).prop_map(Tamper::Insert),
    ]
}

fn restart() -> impl Strategy<Value = Restart> {
    prop_oneof![Just(Restart::Same), Just(Restart::New)]
}

fn dial_fault() -> impl Strategy<Value = DialFault> {
    prop_oneof![
        Just(DialFault::Refused),
        Just(DialFault::Unreachable),
        Just(DialFault::Hanging),
        Just(DialFault::BacklogFull),
        Just(DialFault::Nat),
    ]
}

fn hosts() -> impl Strategy<Value = (NonZeroU32, NonZeroU32)> {
    (host(), host()).prop_filter("two", |(from, to)| from != to)
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        hosts().prop_map(|(from, to)| Fault::Stall { from, to }),
        hosts().prop_map(|(one, other)| Fault::Partition { one, other }),
        (hosts(), any::<u64>()).prop_map(|((one, other), after)| Fault::Reset { one, other, after }),
        hosts().prop_map(|(from, to)| Fault::Fin { from, to }),
        (hosts(), tamper(), any::<u64>()).prop_map(|((from, to), how, after)| Fault::Tamper { from, to, how, after }),
        (host(), dial_fault()).prop_map(|(to, how)| Fault::Dial { to, how }),
        (host(), restart()).prop_map(|(host, restart)| Fault::Crash { host, restart }),
        (host(), restart()).prop_map(|(host, restart)| Fault::TornStore { host, restart }),
        host().prop_map(|host| Fault::ClockPause { host }),
        (host(), any::<i64>()).prop_map(|(host, seconds)| Fault::CalendarJump { host, seconds }),
        (host(), any::<i32>()).prop_map(|(host, ppm)| Fault::ClockDrift { host, ppm }),
        (host(), duration()).prop_map(|(host, by)| Fault::LateTimers { host, by }),
        host().prop_map(|host| Fault::SpuriousWakes { host }),
    ]
}

prop_compose! {
    fn plan()(
        scenario in prop::option::of("[a-z][a-z0-9-]{0,20}"),
        nodes in prop::option::of(1..=65_535_u32),
        seed in any::<u64>(),
        is_seeded in any::<bool>(),
        is_real in any::<bool>(),
        link in link(),
        heal in duration(),
        faults in prop::collection::vec((duration(), duration(), fault()), 0..20),
    ) -> Plan {
        // As late as can be.
        let at = |at: Duration| if at < heal { at } else { heal.saturating_sub(Duration::from_nanos(1)) };
        let faults = faults.into_iter().filter(|(_, length, fault)| !heal.is_zero() && fault.idleness(*length).is_none());
        let faults = faults.map(|(begin, length, fault)| Timed { at: at(begin), length, fault });
        let order = if is_seeded { Order::Seeded } else { Order::Fifo };
        let crypto = if is_real { Crypto::Real } else { Crypto::Fast };
        Plan { scenario, nodes, seed, order, crypto, link, heal, faults: faults.collect() }
    }
}

proptest! {
    #[test]
    fn a_plan_that_was_written_is_read_again(plan in plan()) {
        prop_assert_eq!(plan.to_string().parse(), Ok(plan));
    }

    #[test]
    fn nothing_that_is_read_panics(text in "(seed|order|link|at|for|1>2|1-2|reset|[ -~]{0,12}|\n| ){0,30}") {
        let _ = text.parse::<Plan>();
    }
}

#[test]
fn durations_are_exact_and_short() {
    for (nanos, written) in [
        (0, "0s"),
        (1, "1ns"),
        (999, "999ns"),
        (1000, "1us"),
        (1_500_000, "1.5ms"),
        (1_000_000_001, "1.000000001s"),
        (90_000_000_000, "90s"),
    ] {
        let duration = Duration::from_nanos(nanos);
        let plan = Plan {
            faults: vec![Timed { at: duration, length: Duration::ZERO, fault: "1".parse().map(pause).unwrap() }],
            ..Plan::calm(0)
        };
        assert!(plan.to_string().contains(&format!("at {written} clock-pause 1")), "{plan}");
    }
}

fn pause(host: NonZeroU32) -> Fault {
    Fault::ClockPause { host }
}

#[test]
fn a_plan_that_does_not_say_when_heals_behind_the_last_fault() {
    let heal = |text: &str| text.parse::<Plan>().unwrap().heal;
    assert_eq!(heal("at 1s for 5s crash 1 new\nat 2s reset 1-2 after=7"), Duration::from_secs(7));
    assert_eq!(heal("seed 3"), Duration::ZERO);
    assert_eq!(heal("at 1s crash 1 new\nheal 1.5s"), Duration::from_millis(1500));
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (text, expected) in [
        ("seed 1\nsow 2", "line 2 of the plan: there is no statement 'sow'"),
        ("# nothing\n\nseed", "line 3 of the plan: it ends too early"),
        ("seed -1", "line 1 of the plan: '-1' is no whole number"),
        ("order any", "line 1 of the plan: 'any' is none of fifo, seeded"),
        ("link speed=3", "line 1 of the plan: a link has no 'speed'"),
        ("link capacity", "line 1 of the plan: 'capacity' is not like 'name=value'"),
        ("at 1.5 crash 1 new", "line 1 of the plan: '1.5' is no duration such as 1.5s, 20ms, 3us or 7ns"),
        (
            "at 1.0000000001s crash 1 new",
            "line 1 of the plan: '1.0000000001s' is no duration such as 1.5s, 20ms, 3us or 7ns",
        ),
        ("at 1s crash 0 new", "line 1 of the plan: '0' is no number of a host, which begin at 1"),
        ("at 1s crash 1", "line 1 of the plan: it ends too early"),
        ("at 1s crash 1 new now", "line 1 of the plan: 'now' is too much"),
        ("at 1s stall 1>2", "line 1 of the plan: it is over at once: say for how long, as in 'for 3s'"),
        ("at 1s for 0s partition 1-2", "line 1 of the plan: it is over at once: say for how long, as in 'for 3s'"),
        ("at 1s dial 1 refused", "line 1 of the plan: it is over at once: say for how long, as in 'for 3s'"),
        ("at 1s clock-pause 1", "line 1 of the plan: it is over at once: say for how long, as in 'for 3s'"),
        ("at 1s spurious-wakes 1", "line 1 of the plan: it is over at once: say for how long, as in 'for 3s'"),
        ("at 1s for 1s stall 1>1", "line 1 of the plan: '1>1' is one host, and nothing stands between it and itself"),
        ("at 1s reset 2-2 after=1", "line 1 of the plan: '2-2' is one host, and nothing stands between it and itself"),
        ("at 1s for 1s clock-drift 1 ppm=0", "line 1 of the plan: a clock that drifts by nothing is right"),
        ("at 1s for 1s late-timers 1 by=0s", "line 1 of the plan: timers that are late by nothing are punctual"),
        ("at 1s calendar-jump 1 seconds=0", "line 1 of the plan: a calendar that jumps by nothing stays as it is"),
        ("at 1s stall 1-2", "line 1 of the plan: '1-2' is not like '1>2'"),
        ("at 1s reset 1-2 7", "line 1 of the plan: '7' is not like 'after=...'"),
        ("at 1s tamper 1>2 burn after=1", "line 1 of the plan: bytes cannot be changed by 'burn'"),
        ("at 1s tamper 1>2 insert len=65536 after=1", "line 1 of the plan: 65536 bytes are too many"),
        (
            "at 1s tamper 1>2 flip after=1\nat 1s tamper 1>2 truncate len=0 after=1",
            "line 2 of the plan: 0 bytes change nothing",
        ),
        ("nodes 0", "line 1 of the plan: there are 1 to 65535 nodes, not 0"),
        ("nodes 65536", "line 1 of the plan: there are 1 to 65535 nodes, not 65536"),
        ("nodes 4294967296", "line 1 of the plan: there are 1 to 65535 nodes, not 4294967296"),
        ("heal 0s\nat 0s crash 1 new", "line 2 of the plan: it never strikes, as the plan heals before"),
        (
            "at 1s crash 1 new\n\nat 2s crash 1 new\nheal 2s",
            "line 3 of the plan: it never strikes, as the plan heals before",
        ),
        ("at 1s explode", "line 1 of the plan: there is no fault 'explode'"),
    ] {
        assert_eq!(text.parse::<Plan>().unwrap_err().to_string(), expected);
    }
}
