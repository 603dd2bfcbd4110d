//! Runs every fuzz target on its committed corpus, with the heap counted.

use std::{
    fs,
    path::{Path, PathBuf},
};

use septa_benches::CountingAllocator;
use septa_core::testing::fuzz::{Heap, MAX_INPUT, TARGETS, check};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Corpora stay small: they are read in every run of the tests.
const MAX_FILES: usize = 128;
const MAX_BYTES: usize = 256 * 1024;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// File names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn target_names() -> Vec<String> {
    let mut names: Vec<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    names.sort();
    names
}

#[test]
fn every_committed_input_keeps_the_promises_of_its_target() {
    for target in TARGETS {
        let folder = fuzz().join("corpus").join(target.name);
        let inputs = names(&folder);
        assert!(!inputs.is_empty(), "the corpus of {} is empty", target.name);
        let mut bytes = 0;
        for name in &inputs {
            let input = fs::read(folder.join(name)).unwrap();
            assert!(input.len() <= MAX_INPUT, "{}/{name} is too long to count", target.name);
            bytes += input.len();
            // Shown by the test runner only if this input fails.
            println!("{}/{name}", target.name);
            check(target.name, &input, &ALLOCATOR);
        }
        assert!(inputs.len() <= MAX_FILES && bytes <= MAX_BYTES, "minimise the corpus of {}", target.name);
    }
}

#[test]
fn every_target_has_a_corpus_and_a_program_and_nothing_else_has() {
    let expected = target_names();
    assert_eq!(names(&fuzz().join("corpus")), expected);
    let programs: Vec<_> = expected.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names(&fuzz().join("fuzz_targets")), programs);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    assert_eq!(manifest.matches("[[bin]]").count(), expected.len());
    for name in expected {
        let program = fs::read_to_string(fuzz().join("fuzz_targets").join(format!("{name}.rs"))).unwrap();
        assert_eq!(program, format!("#![no_main]\n\nsepta_fuzz::target!({name});\n"));
        let entry = format!("[[bin]]\nname = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\n");
        assert!(manifest.contains(&entry), "fuzz/Cargo.toml has no program {name}");
    }
}

/// Says what a test wants it to say.
struct Claim {
    live: [isize; 2],
    peak: isize,
    calls: std::cell::Cell<usize>,
}

impl Heap for Claim {
    fn live(&self) -> isize {
        self.live[self.calls.replace(1)]
    }

    fn restart_peak(&self) {}

    fn peak(&self) -> isize {
        self.peak
    }
}

fn check_with(live: [isize; 2], peak: isize) {
    check(TARGETS[0].name, &[], &Claim { live, peak, calls: Default::default() });
}

#[test]
fn a_target_may_hold_its_bound() {
    check_with([100, 100], 100 + isize::try_from(TARGETS[0].max_heap).unwrap());
}

#[test]
#[should_panic = "bytes of heap, more than"]
fn a_target_may_not_hold_more_than_its_bound() {
    check_with([100, 100], 101 + isize::try_from(TARGETS[0].max_heap).unwrap());
}

#[test]
#[should_panic = "keeps memory"]
fn a_target_may_not_keep_memory() {
    check_with([100, 101], 200);
}
