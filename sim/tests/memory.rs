//! What a simulated world costs in heap, counted by the allocator.
#![allow(unsafe_code, reason = "a global allocator cannot be written without it")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicIsize, Ordering},
    time::Duration,
};

use septa_sim::{
    LinkOptions, Simulation,
    direct::Counts,
    scenarios::{
        idle::{self, Crowd},
        mesh::{self, Mesh},
        pair,
    },
};

/// What a node may hold.
const NODE: isize = 16 * 1024;
/// What a connection between two nodes may hold, both of its ends and the network between them.
const CONNECTION: isize = 6 * 1024;
/// What all share: buffers in which they read and seal. A world of a thousand nodes must do without it.
const SHARED: isize = 512 * 1024;

static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

/// Passes everything on to the system allocator and counts the bytes that are live, and the most that ever were.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: usize, sign: isize) {
    let bytes = sign * isize::try_from(bytes).unwrap_or(isize::MAX);
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
    PEAK.fetch_max(live, Ordering::Relaxed);
}

// SAFETY: every call is passed on unchanged to the system allocator, which upholds the contract; counting neither
// allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller's contract is passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

fn live() -> isize {
    LIVE.load(Ordering::Relaxed)
}

/// The most that was live since the last call.
fn take_peak() -> isize {
    PEAK.swap(live(), Ordering::Relaxed)
}

/// One test, as others beside it would be counted too.
#[test]
fn a_world_holds_what_its_nodes_and_connections_may_and_nothing_when_it_is_gone() {
    let before = live();
    let world = || {
        let simulation = Simulation::new(1);
        simulation.set_link(LinkOptions { latency: Duration::from_millis(20), ..LinkOptions::default() });
        simulation
    };

    // Windows, quotas and blocks that were full go back when nothing moves any more.
    let simulation = world();
    let options = pair::Options { streams: 4, bytes: 1024 * 1024, ..pair::Options::default() };
    let counts = pair::run(&simulation, &options).unwrap();
    assert!(counts.bytes > 2 * 4 * 1024 * 1024);
    simulation.run_for(Duration::from_secs(60)).unwrap();
    check("pair at rest", live() - before, SHARED + allowed(2, 1));
    drop(simulation);

    let simulation = world();
    let options = idle::Options { hubs: 100, peers: 0, ..idle::Options::default() };
    let alone = Crowd::start(&simulation, &options);
    simulation.run_for(Duration::from_secs(1)).unwrap();
    check("nodes alone", live() - before, SHARED + allowed(100, 0));
    drop((alone, simulation));

    let simulation = world();
    let options = mesh::Options { nodes: 1000, ..mesh::Options::default() };
    take_peak();
    let mesh = Mesh::start(&simulation, &options);
    simulation.run_for(Duration::from_secs(10)).unwrap();
    assert_eq!(connections(mesh.outcome().counts), 4000);
    // Not only at the end: all of them begin at once, and handshakes need more than what comes after.
    check("mesh, at most", take_peak() - before, allowed(1000, 4000));
    drop((mesh, simulation));

    let simulation = world();
    let options = idle::Options { hubs: 2, peers: 300, ..idle::Options::default() };
    let crowd = Crowd::start(&simulation, &options);
    simulation.run_for(Duration::from_secs(30)).unwrap();
    assert_eq!(crowd.outcome().hellos, 300);
    check("crowd", live() - before, SHARED + allowed(302, connections(crowd.outcome().counts)));
    drop((crowd, simulation));

    let left = live() - before;
    assert!(left < 16 * 1024, "{left} bytes are left behind");
}

/// Both ends are counted.
fn connections(counts: Counts) -> isize {
    isize::try_from(counts.connections / 2).unwrap()
}

fn allowed(nodes: isize, connections: isize) -> isize {
    nodes * NODE + connections * CONNECTION
}

fn check(what: &str, held: isize, allowed: isize) {
    println!("{what}: {held} bytes, {allowed} allowed");
    assert!(held <= allowed, "{what}: {held} bytes, {allowed} allowed");
}
