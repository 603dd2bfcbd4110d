use proptest::prelude::*;

use super::*;

/// Names from a small pool, so that sets meet often.
fn names(count: core::ops::Range<usize>) -> impl Strategy<Value = Vec<ProtocolId>> {
    let pool = vec!["/a", "/b", "/c", "/ab", "/noise", "/ipfs/ping/1.0.0"];
    let long = String::from("/") + &"long".repeat(50);
    let name = prop_oneof![6 => proptest::sample::select(pool).prop_map(String::from), 1 => Just(long)];
    prop::collection::vec(name.prop_map(|name| ProtocolId::new(&name).unwrap()), count)
}

/// One end, what it has yet to read and what its application got.
struct End<M> {
    machine: M,
    inbox: Vec<u8>,
    progress: Progress,
    data: Vec<u8>,
}

impl<M: Machine> End<M> {
    fn new(machine: M) -> Self {
        Self { machine, inbox: Vec::new(), progress: Progress::Pending, data: Vec::new() }
    }

    fn read(&mut self, at_most: usize) {
        let piece: Vec<u8> = self.inbox.drain(..at_most.min(self.inbox.len())).collect();
        let mut taken = 0;
        if self.progress == Progress::Pending {
            (taken, self.progress) = self.machine.recv(&piece).unwrap();
        }
        self.data.extend_from_slice(&piece[taken..]);
    }

    fn write(&mut self, at_most: usize, to: &mut Vec<u8>) {
        let mut out = vec![0; at_most];
        let count = self.machine.transmit(&mut out);
        to.extend_from_slice(&out[..count]);
    }
}

/// Runs both ends with the given steps until nothing moves.
fn run(dialer: Dialer, listener: Listener, optimistic: &[u8], steps: &[(bool, usize)]) -> (End<Dialer>, End<Listener>) {
    let (mut dialer, mut listener) = (End::new(dialer), End::new(listener));
    let mut said = optimistic.is_empty();
    let rounds = steps.iter().cycle().take(20_000);
    for &(dialer_first, size) in rounds {
        if dialer_first {
            dialer.write(size, &mut listener.inbox);
            if !dialer.machine.wants() && !said {
                listener.inbox.extend_from_slice(optimistic);
                said = true;
            }
            dialer.read(size);
        } else {
            listener.read(size);
            listener.write(size, &mut dialer.inbox);
        }
        let idle = !dialer.machine.wants() && !listener.machine.wants();
        if idle && said && dialer.inbox.is_empty() && listener.inbox.is_empty() {
            break;
        }
    }
    (dialer, listener)
}

/// Steps of either end; each sequence holds both, so that a run always goes on.
fn steps() -> impl Strategy<Value = Vec<(bool, usize)>> {
    prop::collection::vec((any::<bool>(), 1..40_usize), 1..20).prop_map(|mut steps| {
        steps.extend([(true, 7), (false, 5)]);
        steps
    })
}

proptest! {
    #[test]
    fn both_ends_agree_on_the_first_proposal_that_is_served(
        proposed in names(1..8), served in names(0..4), steps in steps()
    ) {
        let expected = proposed.iter().find(|name| served.contains(name)).cloned();
        let (dialer, mut listener) = run(Dialer::new(proposed).unwrap(), super::listener(&served), b"", &steps);
        match expected {
            Some(name) => {
                prop_assert_eq!(dialer.progress, Progress::Agreed(name.clone()));
                prop_assert_eq!(listener.progress, Progress::Agreed(name));
            }
            None => {
                prop_assert_eq!(dialer.progress, Progress::Unsupported);
                prop_assert_eq!(listener.machine.eof(), Ok(Progress::Unsupported));
            }
        }
        prop_assert!(dialer.data.is_empty() && listener.data.is_empty());
    }

    #[test]
    fn optimistic_data_arrives_whole_if_the_protocol_is_served(
        name in names(1..2), served in names(0..4), steps in steps(), data in prop::collection::vec(any::<u8>(), 1..200)
    ) {
        let dialer = Dialer::optimistic(name[0].clone());
        if served.contains(&name[0]) {
            let (dialer, listener) = run(dialer, listener(&served), &data, &steps);
            prop_assert_eq!(dialer.progress, Progress::Agreed(name[0].clone()));
            prop_assert_eq!(listener.data, data);
        }
    }

    #[test]
    fn optimistic_data_that_is_refused_ends_as_unsupported_on_both_ends(
        served in names(0..4), steps in steps(), data in prop::collection::vec(11..=255_u8, 1..200)
    ) {
        let (mut dialer, mut listener) = run(Dialer::optimistic(IDENTIFY), listener(&served), &data, &steps);
        prop_assert_eq!(dialer.machine.eof(), Ok(Progress::Unsupported));
        prop_assert_eq!(listener.machine.eof(), Ok(Progress::Unsupported));
        prop_assert_eq!(dialer.progress, Progress::Unsupported, "the refusal arrives, whatever the data looks like");
    }

    #[test]
    fn random_bytes_end_the_same_way_however_they_are_cut(
        data in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), 0..4_u8], 0..300), cut in 0..300_usize
    ) {
        let data = [message(HEADER), data].concat();
        let (front, back) = data.split_at(cut.min(data.len()));
        let whole = feed(&mut listener(&[NOISE]), &[&data]);
        let parts = feed(&mut listener(&[NOISE]), &[front, back]);
        prop_assert_eq!((whole.0, whole.2), (parts.0, parts.2));
    }
}
