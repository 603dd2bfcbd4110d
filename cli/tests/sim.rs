//! `septa sim` as a person or a script uses it.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

fn sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_septa")).arg("sim").args(args).output().expect("the binary runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("output is text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("errors are text")
}

/// One object per seed, without the time that it took.
fn seeds(args: &[&str]) -> Vec<Value> {
    let output = sim(&[args, &["--json"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let mut seeds: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for seed in &mut seeds {
        let timing = seed.as_object_mut().unwrap().remove("timing").unwrap();
        assert!(timing["seconds"].as_f64().unwrap() > 0.0);
    }
    seeds.sort_by_key(|seed| seed["seed"].as_u64());
    seeds
}

fn file(name: &str, content: &str) -> String {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    fs::write(&file, content).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn each_seed_is_one_object_and_the_same_in_every_process_with_any_number_of_threads() {
    let args = ["--scenario", "nat", "--seeds", "5..9"];
    let one = seeds(&[&args[..], &["--threads", "1"]].concat());
    let two = seeds(&[&args[..], &["--threads", "2"]].concat());
    assert_eq!(one, two);
    assert_eq!(one.iter().map(|seed| seed["seed"].as_u64().unwrap()).collect::<Vec<_>>(), [5, 6, 7, 8]);
    for seed in &one {
        assert_eq!(seed["hash"].as_str().unwrap().len(), 64);
        assert!(seed["events"].as_u64().unwrap() > 0);
        assert!(seed["faults"].is_object());
        assert_eq!((&seed["ok"], &seed["scenario"]), (&Value::Bool(true), &Value::from("nat")));
    }
}

#[test]
fn shards_share_the_seeds() {
    let args = ["--scenario", "restart", "--seeds", "0..5", "--nodes", "2"];
    let all = seeds(&args);
    let mut shared: Vec<Value> =
        ["0/2", "1/2"].into_iter().flat_map(|shard| seeds(&[&args[..], &["--shard", shard]].concat())).collect();
    shared.sort_by_key(|seed| seed["seed"].as_u64());
    assert_eq!(all, shared);
    assert_eq!(all.len(), 5);
}

/// The first scenario plays one seed on each thread, however little time there is.
#[test]
fn scenarios_for_which_no_time_was_left_are_named() {
    let words = ["--scenario", "nat", "--scenario", "restart", "--minutes", "0.000001", "--threads", "1", "--json"];
    let output = sim(&words);
    assert!(output.status.success(), "{}", stderr(&output));
    let lines: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!((&lines[0]["kind"], &lines[0]["scenario"]), (&Value::from("seed"), &Value::from("nat")));
    let unplayed = serde_json::json!({ "kind": "unplayed", "scenario": "restart", "unplayed": true });
    assert_eq!(lines[1], unplayed);
}

#[test]
fn people_get_a_table() {
    let output = sim(&["--scenario", "nat", "--seeds", "0..2"]);
    assert!(output.status.success());
    let text = stdout(&output);
    for part in ["scenario", "events/s", "MB/s", "virtual/real", "connections", "nat"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

#[test]
fn the_scenarios_are_listed() {
    let list = stdout(&sim(&["--list"]));
    assert!(list.lines().any(|line| line == "mesh-churn (50 nodes)"), "{list}");
}

#[test]
fn a_plan_is_replayed_and_one_that_fails_ends_with_1() {
    let plan = file("good.plan", "scenario restart\nnodes 2\nseed 3\nheal 5s\nat 1s for 2s crash 2 new\n");
    let output = sim(&["--plan", &plan]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("crash"), "{}", stdout(&output));
    let plan = file("bad.plan", "scenario restart\nnodes 2\nseed 3\nheal 5s\nat 1s for 2s crash 3 new\n");
    let output = sim(&["--plan", &plan]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("'crash 3 new' strikes a host that there is not"), "{}", stderr(&output));
}

#[test]
fn a_report_shows_the_run_and_changes_nothing_in_it() {
    let (page, plan) =
        (file("page.html", ""), file("shown.plan", "scenario nat\nseed 3\nheal 5s\nat 1s reset 1-2 after=0\n"));
    let plain = seeds(&["--plan", &plan]);
    assert_eq!(plain, seeds(&["--plan", &plan, "--report", &page]));
    let html = fs::read_to_string(&page).unwrap();
    for part in ["<!doctype html>", "node 4", "reset 1-2 after=0", plain[0]["hash"].as_str().unwrap()] {
        assert!(html.contains(part), "{part} is not in the page");
    }
}

#[test]
fn an_export_tells_what_happened_and_what_was_under_the_encryption() {
    let (text, plan) =
        (file("run.txt", ""), file("told.plan", "scenario nat\nseed 3\nheal 5s\nat 1s reset 1-2 after=0\n"));
    let plain = seeds(&["--plan", &plan]);
    assert_eq!(plain, seeds(&["--plan", &plan, "--export", &text]));
    let text = fs::read_to_string(&text).unwrap();
    let hash = format!("# hash: {}", plain[0]["hash"].as_str().unwrap());
    let first_and_last = (text.lines().next(), text.lines().last());
    assert_eq!(first_and_last, (Some("# nat, seed 3"), Some(&*hash)));
    for part in ["fault 'reset 1-2 after=0' begins", "noise record, ", "/ipfs/id/1.0.0", "# it came right"] {
        assert!(text.contains(part), "{part} is not in the text");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    for option in ["--report", "--export"] {
        let output = sim(&["--scenario", "nat", "--seeds", "0..1", option, "/nowhere/file"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("cannot write /nowhere/file: "), "{}", stderr(&output));
    }
}

#[test]
fn what_makes_no_sense_ends_with_2_and_says_what_to_write() {
    let nameless = file("nameless.plan", "seed 3\n");
    let broken = file("broken.plan", "scenario restart\nseed x\n");
    let crowded = file("crowded.plan", "scenario both-levels\nnodes 65535\nseed 1\n");
    for (args, expected) in [
        (&["--scenario", "war"][..], "there is no scenario 'war'; septa sim --list names them"),
        (&["--seeds", "3..3"], "write two numbers such as 0..20"),
        (&["--shard", "2/2"], "write two numbers such as 0/4"),
        (&["--plan", &nameless], "does not name a scenario; add a line 'scenario NAME'"),
        (&["--nodes", "65535"], " cannot be played with 65535 nodes, but with 1000 at most"),
        (&["--scenario", "nat", "--nodes", "1001"], "nat cannot be played with 1001 nodes, but with 1000 at most"),
        (&["--scenario", "idle-peers", "--nodes", "60001"], "idle-peers cannot be played with 60001 nodes"),
        (&["--plan", &crowded], "both-levels cannot be played with 65535 nodes, but with 1000 at most"),
        (&["--plan", &broken], "line 2 of the plan: 'x' is no whole number"),
    ] {
        let output = sim(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(expected), "{args:?}: {}", stderr(&output));
    }
}
