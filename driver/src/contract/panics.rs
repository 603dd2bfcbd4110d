//! Panics of what the application has given to the driver, and of its own tasks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use septa_core::{
    connection::ReadError,
    node::{Intent, Snapshot},
    noise::{KeyLog, TransportKeys},
};

use super::{
    ends::Ends,
    spawned::spawn,
    world::{LONG, World, exchange, identity, read, serve_echo},
};
use crate::{
    error::ConnectError,
    node::{Node, NodeLimits},
    storage::{Loaded, Storage, StorageError},
};

/// Panics when it is called for the first time.
#[derive(Default)]
struct PanickingLog(AtomicBool);

impl KeyLog for PanickingLog {
    fn log(&self, _keys: &TransportKeys) {
        assert!(self.0.swap(true, Ordering::SeqCst), "on purpose");
    }
}

/// Panics whenever it is to store something, and counts that.
#[derive(Default)]
struct PanickingStorage(AtomicUsize);

impl Storage for PanickingStorage {
    fn load(&self) -> Result<Loaded, StorageError> {
        Ok(Loaded::Nothing)
    }

    fn store(&self, _snapshot: &Snapshot) -> Result<(), StorageError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("on purpose");
    }
}

/// A connection whose task has panicked is lost, and counted; the others and the endpoint go on.
pub async fn a_key_log_that_panics_costs_its_connection_alone(ends: &Ends) {
    for dials in [true, false] {
        let (alices, bobs) = (Arc::new(PanickingLog::default()), Arc::new(PanickingLog::default()));
        let world = World::with(
            ends,
            |alice| if dials { alice.dangerous_key_log(alices) } else { alice },
            |bob| if dials { bob } else { bob.dangerous_key_log(bobs) },
        );
        let listener = Arc::new(world.listen().await);
        let addr = listener.local_addr();
        world.serve(listener);
        let lost = match world.alice.connect(&addr, world.bobs_id()).await {
            Err(error) => matches!(error, ConnectError::Upgrade { .. }),
            // This end was open before the other one was lost.
            Ok(connection) => {
                connection.closed().await;
                !dials
            }
        };
        assert!(lost);
        exchange(&world.alice.connect(&addr, world.bobs_id()).await.unwrap(), b"next").await;
        world.end_after_panics(u64::from(dials), u64::from(!dials)).await;
    }
}

/// A store that panicked is one that failed; it is tried again.
pub async fn a_storage_that_panics_costs_a_store_alone(ends: &Ends) {
    let limits = NodeLimits { store_interval: Duration::from_millis(5), ..NodeLimits::default() };
    let storage = Arc::new(PanickingStorage::default());
    let builder = Node::builder(identity(1)).limits(limits).storage(storage.clone());
    let node = builder.build(ends.dialer.clone()).unwrap();
    node.add_peer(identity(2).peer_id(), &[], Intent::Dormant).unwrap();
    ends.eventually(|| storage.0.load(Ordering::SeqCst) > 2).await;
    ends.eventually(|| node.health().storage_error == Some(StorageError::Interrupted.to_string())).await;
    node.shutdown(LONG).await;
    assert_eq!((node.live_tasks(), node.health().panicked_tasks), (0, 0));
}

/// Streams that a panic drops are reset. The connection goes on, even if it was the connection's callback that panicked.
pub async fn a_task_of_the_application_that_panics_costs_its_streams_alone(ends: &Ends) {
    let world = World::with(ends, |alice| alice, |bob| bob.serve_perf(1_000_000));
    let (near, far, _listener) = world.connected().await;
    let (stream, mut inbound) = world.stream(&near, &far).await;
    let panicking = spawn(&*ends.dialer, "panicking", async move {
        let _stream = stream;
        panic!("on purpose");
    });
    assert_eq!(panicking.await, None::<()>);
    let error = read(&mut inbound, &mut [0]).await.unwrap_err();
    assert_eq!(error.get_ref().and_then(|source| source.downcast_ref()), Some(&ReadError::Reset(0)));

    let measured = near.clone();
    let panicking = spawn(&*ends.dialer, "panicking", async move {
        measured.perf(100_000, 100_000, |_| panic!("on purpose")).await.is_ok()
    });
    assert_eq!(panicking.await, None);
    serve_echo(&ends.listener, far);
    exchange(&near, b"next").await;
    world.end().await;
}
