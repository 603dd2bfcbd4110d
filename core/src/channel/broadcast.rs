//! The same thing to do for many peers, a few at a time, with a result for each.

use alloc::collections::{BTreeMap, VecDeque};

use crate::PeerId;

/// Something that is done for each of a set of peers, for at most so many at once.
///
/// It keeps the books only: what is done, and how long it may take, is the caller's affair. A peer goes from
/// waiting to under way ([`next_to_start`](Self::next_to_start)) to done ([`finish`](Self::finish)), and one that is
/// [given up](Self::give_up) from wherever it is to done. `R` is the result for one peer.
#[derive(Debug)]
pub struct Broadcast<R> {
    waiting: VecDeque<PeerId>,
    peers: BTreeMap<PeerId, Progress<R>>,
    under_way: usize,
    done: usize,
    max_parallel: usize,
}

#[derive(Debug)]
enum Progress<R> {
    Waiting,
    UnderWay,
    Done(R),
}

impl<R> Broadcast<R> {
    /// For each of `peers` once, however often it is named, in the order given; at least one at a time.
    ///
    /// `max_parallel` stops a large set from occupying memory and connections for all its peers at once.
    pub fn new(peers: impl IntoIterator<Item = PeerId>, max_parallel: usize) -> Self {
        let mut broadcast = Self {
            waiting: VecDeque::new(),
            peers: BTreeMap::new(),
            under_way: 0,
            done: 0,
            max_parallel: max_parallel.max(1),
        };
        for peer in peers {
            if broadcast.peers.insert(peer, Progress::Waiting).is_none() {
                broadcast.waiting.push_back(peer);
            }
        }
        broadcast
    }

    /// A peer for which to begin now; `None` while as many as may are under way, and when none is left.
    #[must_use]
    pub fn next_to_start(&mut self) -> Option<PeerId> {
        while self.under_way < self.max_parallel
            && let Some(peer) = self.waiting.pop_front()
        {
            if let Some(progress @ Progress::Waiting) = self.peers.get_mut(&peer) {
                *progress = Progress::UnderWay;
                self.under_way = self.under_way.saturating_add(1);
                return Some(peer);
            }
        }
        None
    }

    /// It is done for `peer`, which was under way. False, and nothing changes, if it was not.
    pub fn finish(&mut self, peer: PeerId, result: R) -> bool {
        let Some(progress @ Progress::UnderWay) = self.peers.get_mut(&peer) else { return false };
        *progress = Progress::Done(result);
        self.under_way = self.under_way.saturating_sub(1);
        self.done = self.done.saturating_add(1);
        true
    }

    /// Gives up all that is not done, with this result: nothing is begun any more, and results that still come are
    /// ignored.
    pub fn give_up(&mut self, mut result: impl FnMut(PeerId) -> R) {
        self.waiting = VecDeque::new();
        self.under_way = 0;
        self.done = self.peers.len();
        for (peer, progress) in &mut self.peers {
            if !matches!(progress, Progress::Done(_)) {
                *progress = Progress::Done(result(*peer));
            }
        }
    }

    /// Whether there is a result for each peer.
    pub fn is_done(&self) -> bool {
        self.done == self.peers.len()
    }

    /// Peers for which it is being done.
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// The results so far, in the order of the peers' ids.
    pub fn results(&self) -> impl Iterator<Item = (PeerId, &R)> {
        self.peers.iter().filter_map(|(peer, progress)| match progress {
            Progress::Done(result) => Some((*peer, result)),
            Progress::Waiting | Progress::UnderWay => None,
        })
    }

    /// The results, in the order of the peers' ids. Peers for which it is not done have none.
    pub fn into_results(self) -> impl Iterator<Item = (PeerId, R)> {
        self.peers.into_iter().filter_map(|(peer, progress)| match progress {
            Progress::Done(result) => Some((peer, result)),
            Progress::Waiting | Progress::UnderWay => None,
        })
    }
}
