//! `septa listen --peer` as a person or a script uses it: real processes that are killed and come back.
#![cfg(unix)]

use std::{
    io::{BufRead, BufReader, Lines},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::Value;

/// More than enough for anything that a test waits for, in seconds: a process that hangs ends with an error.
const DEADLINE: &str = "60";

/// A running `septa listen`, which does not outlive its test.
struct Listen {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Listen {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_septa"))
            .args(["listen", "--timeout", DEADLINE])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("the listener ended too early").expect("output is text")
    }

    /// What follows the next line that starts so.
    fn after(&mut self, start: &str) -> String {
        loop {
            if let Some(rest) = self.line().strip_prefix(start) {
                return rest.to_owned();
            }
        }
    }

    /// The next change of a state.
    fn state(&mut self) -> Value {
        loop {
            let line = self.line();
            if line.starts_with('{') {
                let event: Value = serde_json::from_str(&line).expect("one JSON object per line");
                if event["event"] == "state" {
                    return event;
                }
            }
        }
    }

    /// The states up to the first one that is `wanted`, which comes last.
    fn states_until(&mut self, wanted: &str) -> Vec<Value> {
        let mut states = vec![self.state()];
        while states.last().is_none_or(|state| state["state"] != wanted) {
            states.push(self.state());
        }
        states
    }

    /// Sends SIGKILL and waits until the process is gone.
    fn kill(mut self) {
        self.child.kill().expect("the process is ours");
        self.child.wait().expect("the process is ours");
    }

    /// Sends SIGTERM and waits until the process has ended well.
    fn terminate(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
        assert!(self.child.wait().expect("the process is ours").success());
    }
}

impl Drop for Listen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder of its own for each test, removed afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the test");
        Self(folder)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a plain path").to_owned()
    }

    fn identity(&self, name: &str) -> String {
        let file = self.file(name);
        let made = Command::new(env!("CARGO_BIN_EXE_septa")).args(["id", "new", "--out", &file]).output();
        assert!(made.expect("the binary runs").status.success());
        file
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A listener with a peer that keeps it and has talked to it.
struct Kept {
    folder: Folder,
    identity: String,
    listener: Listen,
    keeper: Listen,
    address: String,
}

impl Kept {
    fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        let identity = folder.identity("listener.key");
        let mut listener = Listen::start(&["--identity", &identity]);
        let address = listener.after("LISTENING ");
        let mut keeper = Listen::start(&["--peer", &address]);
        // It says nothing of listening: with --peer alone it only dials.
        let first: Value = serde_json::from_str(&keeper.line()).expect("a state is a JSON line");
        assert_eq!((&first["event"], &first["state"]), (&Value::from("state"), &Value::from("connecting")));
        let states = keeper.states_until("established");
        assert_eq!(states.len(), 1, "nothing between connecting and established: {states:?}");
        // The listener has answered, so that its end cannot be taken for a refusal.
        keeper.after("identified ");
        Self { folder, identity, listener, keeper, address }
    }

    /// Where the listener listens, without its peer id.
    fn bare_address(&self) -> String {
        let (bare, _) = self.address.split_once("/p2p/").expect("the address names the peer");
        bare.to_owned()
    }
}

/// The delay that a backoff announces, in milliseconds; checks that it is the one after `failures` earlier failures.
fn delay(backoff: &Value, failures: u32) -> u64 {
    assert_eq!(backoff["state"], "backoff", "{backoff}");
    let delay = backoff["retry_in_ms"].as_u64().expect("a backoff says how long it is");
    // 1 s, doubled each time, and up to a quarter more.
    let most = (1250 << failures) + 1;
    assert!(delay <= most, "{backoff}");
    delay
}

#[test]
fn a_listener_that_was_killed_is_found_again_within_the_backoff() {
    let kept = Kept::new("killed");
    let bare = kept.bare_address();
    let Kept { folder, identity, listener, mut keeper, address } = kept;
    listener.kill();
    let lost = keeper.state();
    delay(&lost, 0);

    let mut listener = Listen::start(&["--identity", &identity, "--listen", &bare]);
    assert_eq!(listener.after("LISTENING "), address);
    // An attempt that came before the listener was back is told, with its cause, and the next delay is longer.
    let states = keeper.states_until("established");
    let (mut failures, mut connecting) = (0, 0);
    for state in &states {
        assert!(address.ends_with(state["peer"].as_str().expect("a peer id")));
        match state["state"].as_str().expect("a name") {
            "backoff" => {
                failures += 1;
                delay(state, failures);
                assert_eq!(state["failed"][0]["error"], "the other end refused");
                assert_eq!(state["failed"][0]["address"], bare.as_str());
            }
            "connecting" => connecting += 1,
            name => assert_eq!(name, "established"),
        }
    }
    assert_eq!(connecting, failures + 1, "one attempt after each delay: {states:?}");
    assert!(listener.after("connected ").starts_with("12D3KooW"));
    keeper.terminate();
    drop(folder);
}

#[test]
fn somebody_else_on_the_port_of_a_kept_peer_is_refused() {
    let kept = Kept::new("impostor");
    let bare = kept.bare_address();
    let Kept { folder, listener, mut keeper, address, .. } = kept;
    let other = folder.identity("other.key");
    listener.kill();
    delay(&keeper.state(), 0);
    let mut impostor = Listen::start(&["--identity", &other, "--listen", &bare]);
    let found = impostor.after("LISTENING ");

    let (_, expected) = address.split_once("/p2p/").expect("the address names the peer");
    let (_, found) = found.split_once("/p2p/").expect("the address names the peer");
    let cause = format!("expected peer {expected}, found {found}");
    let mut refused = 0;
    while refused < 2 {
        let state = keeper.state();
        assert_ne!(state["state"], "established", "an impostor was taken for the peer");
        assert_eq!(state["peer"], expected);
        let causes = state["failed"].as_array().cloned().unwrap_or_default();
        let is_wrong_peer = |failed: &Value| failed["error"].as_str().is_some_and(|error| error.contains(&cause));
        refused += causes.iter().filter(|failed| is_wrong_peer(failed)).count();
    }
}

#[test]
fn a_book_keeps_peers_between_runs() {
    let folder = Folder::new("book");
    let book = folder.file("book.json");
    let mut listener = Listen::start(&[]);
    let address = listener.after("LISTENING ");
    let mut keeper = Listen::start(&["--book", &book, "--peer", &address, "--json"]);
    keeper.states_until("established");
    keeper.terminate();

    let mut keeper = Listen::start(&["--book", &book]);
    let states = keeper.states_until("established");
    assert!(address.ends_with(states[0]["peer"].as_str().expect("a peer id")));
    keeper.terminate();

    // What cannot be read is not lost, and the node says so.
    std::fs::write(&book, "junk").expect("the folder can be written");
    let mut begun_anew = Listen::start(&["--book", &book]);
    let said = begun_anew.after("the book could not be read ");
    assert!(said.contains(&book), "{said}");
    begun_anew.after("LISTENING ");
}
