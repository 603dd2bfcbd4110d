//! Wakers of many futures that wait for the same thing.

use std::{collections::BTreeMap, task::Waker};

/// Wakers that are woken when no lock is held any more, in the order in which they came. There is mostly one or
/// none, which costs next to nothing.
#[derive(Debug, Default)]
pub(crate) enum Woken {
    #[default]
    Nobody,
    One(Waker),
    Many(Vec<Waker>),
}

impl Woken {
    pub(crate) fn push(&mut self, waker: Waker) {
        match self {
            Self::Nobody => *self = Self::One(waker),
            Self::One(_) | Self::Many(_) => self.push_another(waker),
        }
    }

    #[cold]
    fn push_another(&mut self, waker: Waker) {
        *self = match std::mem::take(self) {
            Self::Nobody => Self::One(waker),
            Self::One(first) => Self::Many(vec![first, waker]),
            Self::Many(mut wakers) => {
                wakers.push(waker);
                Self::Many(wakers)
            }
        }
    }

    /// Wakes all of them.
    #[inline]
    pub(crate) fn wake(self) {
        match self {
            Self::Nobody => {}
            Self::One(waker) => waker.wake(),
            Self::Many(wakers) => wake_each(wakers),
        }
    }
}

#[inline(never)]
fn wake_each(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

impl Extend<Waker> for Woken {
    fn extend<I: IntoIterator<Item = Waker>>(&mut self, wakers: I) {
        wakers.into_iter().for_each(|waker| self.push(waker));
    }
}

/// One waker for each waiting future, woken in the order in which they began to wait.
///
/// Bounded by the number of futures that exist: each removes itself when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    wakers: BTreeMap<u64, Waker>,
    last_key: u64,
}

impl Waiters {
    /// Registers the future that owns `key`, which it keeps for its next call.
    pub(crate) fn wait(&mut self, key: &mut Option<u64>, waker: &Waker) {
        let key = *key.get_or_insert_with(|| {
            self.last_key = self.last_key.wrapping_add(1);
            self.last_key
        });
        self.wakers.insert(key, waker.clone());
    }

    /// Removes the future that owns `key`.
    pub(crate) fn forget(&mut self, key: Option<u64>) {
        if let Some(key) = key {
            self.wakers.remove(&key);
        }
    }

    /// Moves all wakers to `woken`, to be woken when no lock is held.
    pub(crate) fn wake_into(&mut self, woken: &mut Woken) {
        #[cfg(septa_mutant = "one-waiter-woken")]
        while self.wakers.len() > 1 {
            self.wakers.pop_last();
        }
        woken.extend(std::mem::take(&mut self.wakers).into_values());
    }
}
