use alloc::{collections::BTreeMap, vec::Vec};
use core::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use proptest::prelude::*;

use crate::{
    Instant, PeerId,
    node::{
        Ban, BanConfig, BanPhase, BanReason, BanRecord, BanSubject, BansFull, WallTime,
        bans::{Banned, Bans},
    },
};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const WALL: WallTime = WallTime::from_secs(1_700_000_000);

fn at(duration: Duration) -> Instant {
    Instant::EPOCH.saturating_add(duration)
}

fn mins(mins: u32) -> Instant {
    at(MINUTE * mins)
}

fn peer(number: u32) -> PeerId {
    let [a, b, c, d] = number.to_be_bytes();
    PeerId::from_bytes(&[0, 4, a, b, c, d]).unwrap()
}

fn prefix(text: &str) -> BanSubject {
    BanSubject::Prefix(text.parse().unwrap())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn bans() -> Bans {
    Bans::new(BanConfig::default())
}

/// How long the ban of an offence lasts.
fn offend(bans: &mut Bans, now: Instant, subject: impl Into<BanSubject>) -> Duration {
    let Banned { ban, .. } = bans.offence(now, subject.into(), BanReason::Score).unwrap();
    ban.ends.unwrap().saturating_duration_since(now)
}

fn by_hand(bans: &mut Bans, now: Instant, subject: impl Into<BanSubject>, length: Option<Duration>) -> Banned {
    bans.ban(now, subject.into(), BanReason::Manual, length).unwrap()
}

fn expired(bans: &mut Bans, now: Instant) -> Vec<BanSubject> {
    core::iter::from_fn(|| bans.expire(now)).map(|ban| ban.subject).collect()
}

/// What another process with another clock makes of the bans.
fn restarted(bans: &Bans, now: Instant, saved: WallTime, later: Instant, read: WallTime) -> Bans {
    let mut restored = Bans::new(BanConfig::default());
    for record in bans.to_records(now, saved) {
        assert_eq!(restored.restore(later, read, &record), Ok(None));
    }
    restored
}

fn rest(bans: &Bans, now: Instant, subject: impl Into<BanSubject>) -> Option<Duration> {
    Some(bans.get(now, subject.into())?.ends?.saturating_duration_since(now))
}

#[test]
fn a_ban_runs_until_its_end_and_not_longer() {
    let mut bans = bans();
    by_hand(&mut bans, mins(1), peer(1), Some(MINUTE));
    assert_eq!(bans.next_expiry(), Some(mins(2)));
    assert_eq!(bans.banned_peer(mins(1), peer(1)).unwrap().reason, BanReason::Manual);
    assert_eq!(bans.banned_peer(mins(1), peer(2)), None);
    let last = at(MINUTE * 2 - Duration::from_nanos(1));
    assert!(bans.banned_peer(last, peer(1)).is_some());
    assert_eq!(bans.expire(last), None);
    assert_eq!(bans.banned_peer(mins(2), peer(1)), None, "whether or not anybody calls expire");
    assert_eq!(expired(&mut bans, mins(2)), [peer(1).into()]);
    assert_eq!((bans.next_expiry(), bans.len()), (None, 0));
}

#[test]
fn a_ban_for_ever_ends_only_by_hand() {
    let mut bans = bans();
    assert_eq!(by_hand(&mut bans, mins(0), peer(1), None).ban.ends, None);
    assert_eq!(bans.next_expiry(), None);
    assert!(bans.banned_peer(Instant::NEVER, peer(1)).is_some());
    assert_eq!(bans.unban(mins(1), peer(1).into()).unwrap().subject, peer(1).into());
    assert_eq!(bans.unban(mins(1), peer(1).into()), None);
    assert_eq!(bans.len(), 0);
}

#[test]
fn a_ban_by_hand_replaces_the_one_before() {
    let mut bans = bans();
    by_hand(&mut bans, mins(0), peer(1), None);
    by_hand(&mut bans, mins(0), peer(1), Some(MINUTE * 9));
    by_hand(&mut bans, mins(0), peer(1), Some(MINUTE));
    assert_eq!(rest(&bans, mins(0), peer(1)), Some(MINUTE));
    assert_eq!(expired(&mut bans, mins(20)), [peer(1).into()]);
}

#[test]
fn bans_end_in_order() {
    let mut bans = bans();
    for (number, minutes) in [(1, 3), (2, 1), (3, 2)] {
        by_hand(&mut bans, mins(0), peer(number), Some(MINUTE * minutes));
    }
    assert_eq!(expired(&mut bans, mins(2)), [peer(2).into(), peer(3).into()]);
    assert_eq!(expired(&mut bans, mins(3)), [peer(1).into()]);
}

#[test]
fn a_network_is_banned_with_all_its_addresses() {
    let mut bans = bans();
    by_hand(&mut bans, mins(0), prefix("10.0.0.0/8"), Some(MINUTE));
    by_hand(&mut bans, mins(0), prefix("10.1.0.0/16"), Some(MINUTE * 2));
    by_hand(&mut bans, mins(0), prefix("192.0.2.7/32"), None);
    by_hand(&mut bans, mins(0), prefix("2001:db8::/32"), Some(MINUTE));
    by_hand(&mut bans, mins(0), prefix("2001:db9::7/128"), Some(MINUTE));
    for banned in ["10.255.0.1", "10.1.2.3", "::ffff:10.1.2.3", "192.0.2.7", "2001:db8:ffff::1", "2001:db9::7"] {
        assert!(bans.banned_addr(mins(0), ip(banned)).is_some(), "{banned}");
    }
    for free in ["11.0.0.1", "192.0.2.6", "2001:db9::8", "a00::", "::a00:1"] {
        assert_eq!(bans.banned_addr(mins(0), ip(free)), None, "{free}");
    }
    let longest = bans.banned_addr(mins(0), ip("10.1.2.3")).unwrap();
    assert_eq!(longest.subject, prefix("10.1.0.0/16"), "the ban that ends last decides");
    assert_eq!(bans.banned_addr(mins(1), ip("10.2.0.0")), None);
    by_hand(&mut bans, mins(1), prefix("10.0.0.0/8"), None);
    assert_eq!(bans.banned_addr(mins(1), ip("10.1.2.3")).unwrap().subject, prefix("10.0.0.0/8"));
}

#[test]
fn a_prefix_length_is_in_use_until_the_last_of_its_networks_goes() {
    let mut bans = bans();
    by_hand(&mut bans, mins(0), prefix("10.0.0.0/8"), None);
    by_hand(&mut bans, mins(0), prefix("11.0.0.0/8"), None);
    bans.unban(mins(0), prefix("10.0.0.0/8"));
    assert_eq!(bans.banned_addr(mins(0), ip("10.0.0.1")), None);
    assert!(bans.banned_addr(mins(0), ip("11.0.0.1")).is_some());
}

#[test]
fn each_offence_doubles_the_ban_up_to_the_longest() {
    let mut bans = bans();
    let mut now = Instant::EPOCH;
    for expected in [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10_080, 10_080] {
        let length = offend(&mut bans, now, peer(1));
        assert_eq!(length, MINUTE * expected);
        now = now.saturating_add(length);
        assert_eq!(expired(&mut bans, now), [peer(1).into()]);
        now = now.saturating_add(DAY);
    }
    assert_eq!(offend(&mut bans, now, peer(2)), MINUTE * 10, "others start at the beginning");
}

/// The defect of other systems: the offences are counted, lengthen nothing and are dropped at clean-up.
#[test]
fn regression_escalation_survives_the_end_of_the_ban_its_clean_up_and_a_restart() {
    let mut bans = bans();
    assert_eq!(offend(&mut bans, mins(0), peer(1)), MINUTE * 10);
    assert_eq!(expired(&mut bans, mins(10)), [peer(1).into()]);
    assert_eq!(bans.banned_peer(mins(10), peer(1)), None);
    let mut bans = restarted(&bans, mins(11), WALL, mins(0), WALL.saturating_add(DAY));
    assert_eq!(bans.banned_peer(mins(0), peer(1)), None);
    assert_eq!(offend(&mut bans, mins(1), peer(1)), MINUTE * 20);
    assert_eq!(bans.banned_peer(mins(1), peer(1)).unwrap().offences, 2);
    // Over, but nobody has called `expire` before the next offence.
    assert_eq!(offend(&mut bans, mins(21), peer(1)), MINUTE * 40);
}

#[test]
fn offences_are_forgotten_a_memory_after_the_last_ban_ended() {
    let end = DAY * 7 + MINUTE * 10;
    for (when, expected) in [(end - Duration::from_nanos(1), MINUTE * 20), (end, MINUTE * 10)] {
        for call_expire in [true, false] {
            let mut bans = bans();
            offend(&mut bans, mins(0), peer(1));
            if call_expire {
                assert_eq!(expired(&mut bans, mins(15)).len(), 1, "late, which does not prolong the memory");
            }
            assert_eq!(offend(&mut bans, at(when), peer(1)), expected);
        }
    }
}

#[test]
fn what_is_forgotten_takes_no_room() {
    let mut bans = bans();
    for number in 0..10 {
        offend(&mut bans, mins(0), peer(number));
    }
    assert_eq!(expired(&mut bans, mins(10)).len(), 10);
    assert_eq!(bans.len(), 10);
    assert_eq!(bans.next_expiry(), None, "forgetting needs no timer");
    let forgotten = at(DAY * 7 + MINUTE * 10);
    assert_eq!(bans.to_records(forgotten, WALL).count(), 0);
    for _ in 0..5 {
        assert_eq!(bans.expire(forgotten), None);
    }
    assert_eq!(bans.len(), 0);
}

#[test]
fn an_offence_of_somebody_banned_counts_for_nothing() {
    let mut bans = bans();
    offend(&mut bans, mins(0), peer(1));
    assert_eq!(offend(&mut bans, mins(4), peer(1)), MINUTE * 6);
    assert_eq!(bans.banned_peer(mins(4), peer(1)).unwrap().offences, 1);
    by_hand(&mut bans, mins(4), peer(1), None);
    let ban = bans.offence(mins(5), peer(1).into(), BanReason::Score).unwrap().ban;
    assert_eq!((ban.ends, ban.reason), (None, BanReason::Manual), "a ban for ever stays one");
}

#[test]
fn a_ban_by_hand_is_no_offence_and_a_pardon_forgets_all() {
    let mut bans = bans();
    by_hand(&mut bans, mins(0), peer(1), Some(MINUTE));
    assert_eq!(offend(&mut bans, mins(1), peer(1)), MINUTE * 10);
    by_hand(&mut bans, mins(2), peer(1), Some(MINUTE));
    assert_eq!(offend(&mut bans, mins(3), peer(1)), MINUTE * 20, "nor does it hide the earlier one");
    bans.unban(mins(4), peer(1).into());
    assert_eq!(offend(&mut bans, mins(4), peer(1)), MINUTE * 10);
}

/// The defect of other systems: bans on the wall clock, which a clock that is set back prolongs.
#[test]
fn regression_a_clock_that_is_set_back_prolongs_no_ban_and_loses_none() {
    let mut bans = bans();
    offend(&mut bans, mins(0), peer(1));
    for back in [0, 1, 3_600, 1_700_000_001, i64::MAX] {
        let read = WallTime::from_secs(WALL.as_secs().saturating_sub(back));
        let restored = restarted(&bans, mins(9), WALL, mins(50), read);
        assert_eq!(rest(&restored, mins(50), peer(1)), Some(MINUTE), "one minute was left; set back by {back} s");
    }
}

#[test]
fn time_between_two_processes_counts() {
    let mut bans = bans();
    offend(&mut bans, mins(0), peer(1));
    by_hand(&mut bans, mins(0), peer(2), None);
    by_hand(&mut bans, mins(0), peer(3), Some(MINUTE));
    let after = |minutes| restarted(&bans, mins(0), WALL, mins(7), WALL.saturating_add(MINUTE * minutes));
    assert_eq!(rest(&after(9), mins(7), peer(1)), Some(MINUTE));
    assert_eq!(rest(&after(10), mins(7), peer(1)), None);
    assert_eq!(after(1).len(), 2, "a ban by hand that is over is gone");
    assert!(after(u32::MAX).banned_peer(mins(7), peer(2)).is_some());
    assert_eq!(after(u32::MAX).len(), 1);
    // Seven days and ten minutes after the offence it is forgotten, wherever the time passed.
    let forgotten = 7 * 24 * 60 + 10;
    assert_eq!(offend(&mut after(forgotten - 1), mins(7), peer(1)), MINUTE * 20);
    assert_eq!(offend(&mut after(forgotten), mins(7), peer(1)), MINUTE * 10);
}

#[test]
fn memories_are_stored_and_clamped_like_bans() {
    let mut bans = bans();
    offend(&mut bans, mins(0), peer(1));
    expired(&mut bans, mins(10));
    let day = 24 * 60;
    let restored = restarted(&bans, mins(10 + day), WALL, mins(0), WallTime::from_secs(-5));
    let record = restored.to_records(mins(0), WALL).next().unwrap();
    assert_eq!(record.phase, BanPhase::Over { remembered: DAY * 6 });
    assert_eq!((record.offences, record.subject, record.ends()), (1, peer(1).into(), None));
    // A record from a time when the memory was longer.
    let long = BanRecord { phase: BanPhase::Over { remembered: DAY * 99 }, ..record };
    let mut restored = Bans::new(BanConfig::default());
    restored.restore(mins(0), WALL, &long).unwrap();
    assert_eq!(restored.to_records(mins(0), WALL).next().unwrap().phase, BanPhase::Over { remembered: DAY * 7 });
}

#[test]
fn records_tell_people_when_a_ban_ends() {
    let mut bans = bans();
    by_hand(&mut bans, mins(0), peer(1), Some(MINUTE));
    by_hand(&mut bans, mins(0), peer(2), None);
    let before_1970 = WallTime::from_secs(-100);
    let ends: Vec<_> = bans.to_records(mins(0), before_1970).map(|record| record.ends()).collect();
    assert_eq!(ends, [Some(WallTime::from_secs(-40)), None]);
}

#[test]
fn records_are_stored_as_plain_text() {
    let record = BanRecord {
        subject: prefix("10.0.0.0/8"),
        reason: BanReason::Score,
        offences: 2,
        saved: WallTime::from_secs(-1),
        phase: BanPhase::Running { rest: MINUTE },
    };
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(
        text,
        r#"{"subject":{"prefix":"10.0.0.0/8"},"reason":"score","offences":2,"saved":-1,"phase":{"running":{"rest":{"secs":60,"nanos":0}}}}"#
    );
    assert_eq!(serde_json::from_str::<BanRecord>(&text).unwrap(), record);
    let record = BanRecord { subject: peer(1).into(), phase: BanPhase::ForEver, ..record };
    let text = serde_json::to_string(&record).unwrap();
    assert!(text.ends_with(r#""phase":"for_ever"}"#), "{text}");
    assert_eq!(serde_json::from_str::<BanRecord>(&text).unwrap(), record);
    assert!(serde_json::from_str::<BanRecord>(&text.replace("score", "whim")).is_err());
}

#[test]
fn a_clock_before_1970_bans_as_well_as_any() {
    let mut bans = bans();
    offend(&mut bans, mins(0), peer(1));
    let restored = restarted(&bans, mins(0), WallTime::from_secs(-3_600), mins(0), WallTime::from_secs(-3_540));
    assert_eq!(rest(&restored, mins(0), peer(1)), Some(MINUTE * 9));
    let (first, last) = (WallTime::from_secs(i64::MIN), WallTime::from_secs(i64::MAX));
    assert_eq!(rest(&restarted(&bans, mins(0), last, mins(0), first), mins(0), peer(1)), Some(MINUTE * 10));
    assert_eq!(restarted(&bans, mins(0), first, mins(0), last).len(), 0);
}

#[test]
fn a_monotonic_clock_that_jumps_does_no_harm() {
    let mut bans = bans();
    offend(&mut bans, mins(5), peer(1));
    by_hand(&mut bans, mins(0), peer(2), Some(MINUTE));
    assert_eq!(rest(&bans, mins(5), peer(2)), Some(MINUTE), "an earlier now counts as the last one");
    assert_eq!(expired(&mut bans, mins(6)), [peer(2).into()]);
    assert_eq!(bans.get(mins(0), peer(2).into()), None);
    assert_eq!(expired(&mut bans, Instant::NEVER), [peer(1).into()]);
    // At the end of time all bans are over, and a new one ends at once rather than never.
    assert_eq!(offend(&mut bans, Instant::NEVER, peer(3)), Duration::ZERO);
    assert_eq!(expired(&mut bans, Instant::NEVER), [peer(3).into()]);
}

#[test]
fn a_full_table_gives_up_memories_first_and_then_what_ends_first() {
    let mut bans = Bans::new(BanConfig { max_entries: 3, ..BanConfig::default() });
    offend(&mut bans, mins(0), peer(1));
    expired(&mut bans, mins(10));
    by_hand(&mut bans, mins(10), peer(2), None);
    offend(&mut bans, mins(10), peer(3));
    assert_eq!(by_hand(&mut bans, mins(10), peer(4), Some(MINUTE)).displaced, None, "the memory of 1 went");
    let displaced = by_hand(&mut bans, mins(10), peer(5), None).displaced.unwrap();
    assert_eq!(displaced.subject, peer(4).into());
    let displaced = bans.offence(mins(10), prefix("10.0.0.0/8"), BanReason::Score).unwrap().displaced.unwrap();
    assert_eq!(displaced.subject, peer(3).into());
    assert_eq!(bans.len(), 3);
    by_hand(&mut bans, mins(10), prefix("10.0.0.0/8"), None);
    assert_eq!(bans.ban(mins(10), peer(6).into(), BanReason::Manual, None), Err(BansFull));
    assert_eq!(bans.offence(mins(10), peer(6).into(), BanReason::Score), Err(BansFull));
    assert_eq!(by_hand(&mut bans, mins(10), peer(2), None).displaced, None, "whoever is banned needs no new place");
    let subjects: Vec<_> = bans.iter(mins(10)).map(|ban| ban.subject).collect();
    assert_eq!(subjects, [peer(2).into(), peer(5).into(), prefix("10.0.0.0/8")], "a refusal changes nothing");
}

#[test]
fn a_flood_of_identities_does_not_grow_the_table() {
    let mut bans = Bans::new(BanConfig { max_entries: 8, ..BanConfig::default() });
    by_hand(&mut bans, mins(0), peer(0), None);
    by_hand(&mut bans, mins(0), prefix("10.0.0.0/8"), Some(DAY));
    for number in 1..1_000 {
        offend(&mut bans, mins(number), peer(number));
        assert!(bans.len() <= 8);
        expired(&mut bans, mins(number));
    }
    assert!(bans.banned_peer(mins(1_000), peer(0)).is_some());
    assert!(bans.banned_addr(mins(1_000), ip("10.0.0.1")).is_some(), "longer bans outlive the flood");
}

#[test]
fn restoring_keeps_to_the_bound_and_prefers_bans_to_memories() {
    let mut bans = bans();
    offend(&mut bans, mins(0), peer(1));
    expired(&mut bans, mins(10));
    by_hand(&mut bans, mins(10), peer(2), Some(MINUTE));
    by_hand(&mut bans, mins(10), peer(3), Some(MINUTE * 2));
    let records: Vec<_> = bans.to_records(mins(10), WALL).collect();
    let mut small = Bans::new(BanConfig { max_entries: 2, ..BanConfig::default() });
    for record in &records {
        assert_eq!(small.restore(mins(0), WALL, record), Ok(None));
    }
    assert_eq!(small.len(), 2);
    assert_eq!(small.restore(mins(0), WALL, &records[0]), Err(BansFull), "a memory displaces no ban");
    assert_eq!(small.restore(mins(0), WALL, &records[1]), Ok(None), "known already");
    assert_eq!(small.iter(mins(0)).count(), 2);
    let longer = BanRecord { subject: peer(4).into(), phase: BanPhase::ForEver, ..records[0] };
    assert_eq!(small.restore(mins(0), WALL, &longer).unwrap().unwrap().subject, peer(2).into());
}

#[test]
fn configurations_that_cannot_work_are_refused() {
    assert_eq!(BanConfig::default().validate(), Ok(()));
    let wrong = BanConfig { base: Duration::ZERO, max_entries: 0, ..BanConfig::default() };
    assert_eq!(wrong.validate().unwrap_err().iter().count(), 2);
    let swapped = BanConfig { base: DAY * 8, ..BanConfig::default() };
    assert_eq!(swapped.validate().unwrap_err().iter().count(), 1);
    let mut forgetful = Bans::new(BanConfig { memory: Duration::ZERO, ..BanConfig::default() });
    for start in [0, 10, 20] {
        assert_eq!(offend(&mut forgetful, mins(start), peer(1)), MINUTE * 10);
    }
}

const MODEL: BanConfig = BanConfig {
    base: Duration::from_secs(10),
    max: Duration::from_secs(70),
    memory: Duration::from_secs(50),
    max_entries: 100,
};

/// A list of bans by second, without indexes, forgetting or bounds.
#[derive(Clone, Default)]
struct Naive {
    now: u64,
    /// Offences, the last ban's end (`None` is never), and whether its end was announced.
    bans: BTreeMap<BanSubject, (u32, Option<u64>, bool)>,
}

impl Naive {
    fn banned(&self, subject: BanSubject) -> bool {
        self.bans.get(&subject).is_some_and(|(_, end, _)| end.is_none_or(|end| end > self.now))
    }

    fn offences(&self, subject: BanSubject) -> u32 {
        match self.bans.get(&subject) {
            Some((_, Some(end), _)) if end + 50 <= self.now => 0,
            Some((offences, ..)) => *offences,
            None => 0,
        }
    }

    fn offence(&mut self, subject: BanSubject) {
        if !self.banned(subject) {
            let offences = self.offences(subject) + 1;
            let length = [10, 20, 40].get(offences as usize - 1).copied().unwrap_or(70);
            self.bans.insert(subject, (offences, Some(self.now + length), false));
        }
    }

    fn ban(&mut self, subject: BanSubject, length: Option<u64>) {
        let offences = self.offences(subject);
        self.bans.insert(subject, (offences, length.map(|length| self.now + length), false));
    }

    fn expire(&mut self) -> Vec<BanSubject> {
        let mut due = Vec::new();
        for (subject, (_, end, announced)) in &mut self.bans {
            if let Some(end) = end.filter(|end| *end <= self.now && !*announced) {
                due.push((end, *subject));
                *announced = true;
            }
        }
        due.sort();
        due.into_iter().map(|(_, subject)| subject).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Offence(BanSubject),
    Ban(BanSubject, Option<u64>),
    Unban(BanSubject),
    Wait(u64),
    Expire,
    /// How much later the other process reads what this one saved, and what its clock says then.
    Restart {
        saved: i64,
        elapsed: u64,
        epoch: u64,
    },
    ClockBack(u64),
}

fn any_subject() -> impl Strategy<Value = BanSubject> {
    let networks = ["10.0.0.0/8", "10.1.0.0/16", "10.1.0.0/24", "11.0.0.0/8"].map(prefix);
    prop_oneof![(0_u32..3).prop_map(|number| peer(number).into()), proptest::sample::select(networks.to_vec())]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any_subject().prop_map(Step::Offence),
        2 => (any_subject(), proptest::option::weighted(0.8, 0_u64..60)).prop_map(|(who, length)| Step::Ban(who, length)),
        1 => any_subject().prop_map(Step::Unban),
        4 => (0_u64..40).prop_map(Step::Wait),
        3 => Just(Step::Expire),
        2 => (any::<i32>(), 0_u64..30, 0_u64..1_000)
            .prop_map(|(saved, elapsed, epoch)| Step::Restart { saved: saved.into(), elapsed, epoch }),
        1 => (0_u64..100).prop_map(Step::ClockBack),
    ]
}

fn secs(secs: u64) -> Instant {
    at(Duration::from_secs(secs))
}

proptest! {
    #[test]
    fn bans_behave_like_a_list_of_them(steps in proptest::collection::vec(any_step(), 1..80)) {
        let mut bans = Bans::new(MODEL);
        let mut naive = Naive::default();
        // This process' clock is ahead of the model's by so much.
        let mut ahead: u64 = 0;
        for step in steps {
            let now = secs(naive.now + ahead);
            match step {
                Step::Offence(subject) => {
                    bans.offence(now, subject, BanReason::Score).unwrap();
                    naive.offence(subject);
                }
                Step::Ban(subject, length) => {
                    bans.ban(now, subject, BanReason::Manual, length.map(Duration::from_secs)).unwrap();
                    naive.ban(subject, length);
                }
                Step::Unban(subject) => {
                    prop_assert_eq!(bans.unban(now, subject).is_some(), naive.banned(subject));
                    naive.bans.remove(&subject);
                }
                Step::Wait(secs) => naive.now += secs,
                Step::Expire => prop_assert_eq!(expired(&mut bans, now), naive.expire()),
                Step::Restart { saved, elapsed, epoch } => {
                    let records: Vec<_> = bans.to_records(now, WallTime::from_secs(saved)).collect();
                    naive.now += elapsed;
                    // Every process has its own epoch, before which the model's cannot lie.
                    ahead = epoch;
                    let read = WallTime::from_secs(saved + elapsed as i64);
                    bans = Bans::new(MODEL);
                    for record in &records {
                        bans.restore(secs(naive.now + ahead), read, record).unwrap();
                    }
                    // What ended while no process ran, or was not announced before, nobody announces.
                    naive.expire();
                }
                Step::ClockBack(back) => {
                    let early = secs((naive.now + ahead).saturating_sub(back));
                    bans.unban(now, peer(99).into());
                    let at_early: Vec<Ban> = bans.iter(early).collect();
                    prop_assert_eq!(at_early, bans.iter(now).collect::<Vec<_>>());
                }
            }
            let now = secs(naive.now + ahead);
            for (&subject, (_, end, announced)) in &naive.bans {
                prop_assert_eq!(bans.get(now, subject).is_some(), naive.banned(subject), "{:?}", subject);
                let kept = bans.to_records(now, WALL).find(|record| record.subject == subject);
                prop_assert_eq!(kept.map_or(0, |record| record.offences), naive.offences(subject));
                prop_assert!(*announced || end.is_none() || bans.next_expiry().is_some());
            }
            for address in ["10.0.0.1", "10.1.0.1", "10.1.1.1", "11.0.0.1", "12.0.0.1", "::1"].map(ip) {
                let expected = naive.bans.keys().any(|subject| match subject {
                    BanSubject::Prefix(prefix) => prefix.contains(address) && naive.banned(*subject),
                    BanSubject::Peer(_) => false,
                });
                prop_assert_eq!(bans.banned_addr(now, address).is_some(), expected, "{}", address);
            }
        }
    }

    #[test]
    fn no_jump_of_any_clock_between_two_processes_lengthens_a_ban(
        length in 1_u64..1_000, ran in 0_u64..1_000, saved: i64, read: i64, epochs: (u64, u64),
    ) {
        let mut bans = bans();
        let start = Instant::from_nanos(epochs.0 / 2);
        by_hand(&mut bans, start, peer(1), Some(Duration::from_secs(length)));
        by_hand(&mut bans, start, prefix("10.0.0.0/8"), None);
        let now = start.saturating_add(Duration::from_secs(ran));
        let left = rest(&bans, now, peer(1));
        let later = Instant::from_nanos(epochs.1 / 2);
        let restored = restarted(&bans, now, WallTime::from_secs(saved), later, WallTime::from_secs(read));
        prop_assert!(rest(&restored, later, peer(1)) <= left);
        if read <= saved {
            prop_assert_eq!(rest(&restored, later, peer(1)), left, "lost or shortened by a clock that was set back");
        }
        prop_assert!(restored.banned_addr(later, Ipv4Addr::new(10, 0, 0, 1).into()).is_some());
    }

    #[test]
    fn a_full_table_never_gives_up_a_ban_for_ever(
        steps in proptest::collection::vec((0_u32..30, proptest::option::of(1_u64..50), any::<bool>()), 1..100),
    ) {
        let mut bans = Bans::new(BanConfig { max_entries: 5, ..MODEL });
        let mut for_ever = Vec::new();
        for (now, (number, length, offence)) in steps.into_iter().enumerate() {
            let (now, subject) = (secs(now as u64), BanSubject::from(peer(number)));
            let full = bans.len() == 5 && bans.next_expiry().is_none() && bans.to_records(now, WALL).count() == bans.iter(now).count();
            let known = bans.get(now, subject).is_some();
            let result = if offence {
                bans.offence(now, subject, BanReason::Score)
            } else {
                bans.ban(now, subject, BanReason::Manual, length.map(Duration::from_secs))
            };
            prop_assert_eq!(result.is_err(), full && !known);
            if let (Ok(_), false) = (&result, offence) {
                for_ever.retain(|other| *other != subject);
                for_ever.extend(length.is_none().then_some(subject));
            }
            prop_assert!(bans.len() <= 5);
            for subject in &for_ever {
                prop_assert!(bans.get(now, *subject).is_some_and(|ban| ban.ends.is_none()));
            }
            bans.expire(now);
        }
    }
}
