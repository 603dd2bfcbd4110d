//! What a simulated host keeps over its restarts.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use septa_core::node::Snapshot;
use septa_driver::storage::{Loaded, Storage, StorageError};

use crate::draws::Draws;

/// A disk that keeps one snapshot, and can be struck while it writes.
pub(crate) struct SimStorage {
    state: Mutex<State>,
}

struct State {
    luck: Draws,
    content: Content,
    /// The next store is torn.
    is_to_tear: bool,
    /// How many were set aside.
    corrupt: u32,
    on_torn: Arc<dyn Fn() + Send + Sync>,
}

enum Content {
    Nothing,
    Snapshot(Box<Snapshot>),
    /// The beginning of something.
    Torn,
}

impl SimStorage {
    /// An empty disk. `on_torn` is told of a store that was torn, while the host's code runs.
    pub(crate) fn new(luck: Draws, on_torn: Arc<dyn Fn() + Send + Sync>) -> Self {
        let state = State { luck, content: Content::Nothing, is_to_tear: false, corrupt: 0, on_torn };
        Self { state: Mutex::new(state) }
    }

    /// The next store does not come to its end.
    pub(crate) fn tear_next(&self) {
        self.lock(|state| state.is_to_tear = true);
    }

    pub(crate) fn tear_no_more(&self) {
        self.lock(|state| state.is_to_tear = false);
    }

    pub(crate) fn erase(&self) {
        self.lock(|state| state.content = Content::Nothing);
    }

    fn lock<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Storage for SimStorage {
    fn load(&self) -> Result<Loaded, StorageError> {
        self.lock(|state| match &state.content {
            Content::Nothing => Ok(Loaded::Nothing),
            Content::Snapshot(snapshot) => Ok(Loaded::Snapshot(snapshot.clone())),
            Content::Torn => {
                state.content = Content::Nothing;
                state.corrupt += 1;
                let set_aside = PathBuf::from(format!("node.json.corrupt-{}", state.corrupt));
                Ok(Loaded::Corrupt { set_aside, why: "it ends in the middle".to_owned() })
            }
        })
    }

    /// A store that is torn leaves the former snapshot, the new one, or half of it: disks differ in what they promise.
    fn store(&self, snapshot: &Snapshot) -> Result<(), StorageError> {
        let on_torn = self.lock(|state| {
            if !std::mem::take(&mut state.is_to_tear) {
                state.content = Content::Snapshot(Box::new(snapshot.clone()));
                return None;
            }
            match state.luck.next_u64() % 3 {
                0 => {}
                1 => state.content = Content::Snapshot(Box::new(snapshot.clone())),
                _ => state.content = Content::Torn,
            }
            Some(state.on_torn.clone())
        });
        match on_torn {
            None => Ok(()),
            Some(on_torn) => {
                on_torn();
                Err(StorageError::Interrupted)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use septa_core::Seed;

    use super::*;

    fn storage(seed: u8, torn: &Arc<Mutex<u32>>) -> SimStorage {
        let torn = torn.clone();
        let on_torn = Arc::new(move || *torn.lock().unwrap() += 1);
        SimStorage::new(Draws::new(Seed::from_bytes([seed; 32])), on_torn)
    }

    #[test]
    fn what_was_stored_is_there_until_it_is_erased() {
        let storage = storage(1, &Arc::default());
        assert_eq!(storage.load().unwrap(), Loaded::Nothing);
        storage.store(&Snapshot::default()).unwrap();
        assert_eq!(storage.load().unwrap(), Loaded::Snapshot(Box::default()));
        storage.erase();
        assert_eq!(storage.load().unwrap(), Loaded::Nothing);
    }

    #[test]
    fn a_torn_store_leaves_any_of_three_and_is_torn_once() {
        let torn = Arc::default();
        let mut seen = [false; 3];
        for seed in 0..50 {
            let storage = storage(seed, &torn);
            storage.tear_next();
            assert_eq!(storage.store(&Snapshot::default()), Err(StorageError::Interrupted));
            match storage.load().unwrap() {
                Loaded::Nothing => seen[0] = true,
                Loaded::Snapshot(_) => seen[1] = true,
                Loaded::Corrupt { .. } => seen[2] = true,
            }
            storage.store(&Snapshot::default()).unwrap();
            assert_eq!(storage.load().unwrap(), Loaded::Snapshot(Box::default()));
        }
        assert_eq!((seen, *torn.lock().unwrap()), ([true; 3], 50));
    }
}
