//! The `septa` program as a person or a script uses it: real processes, real sockets.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use serde_json::Value;

const ECHO: &str = "/test/echo/1.0.0";

fn septa(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_septa")).args(args).output().expect("the binary runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("output is text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("errors are text")
}

fn json_lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).expect("each line is one JSON value")).collect()
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
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running `septa listen`.
struct Listen {
    child: Running,
    lines: BufReader<ChildStdout>,
    address: String,
}

impl Listen {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_septa"))
            .arg("listen")
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut listen = Self {
            lines: BufReader::new(child.stdout.take().expect("a pipe")),
            child: Running(child),
            address: String::new(),
        };
        listen.address = listen.line_with("LISTENING ").trim_start_matches("LISTENING ").trim().to_owned();
        listen
    }

    /// The next line that starts so.
    fn line_with(&mut self, start: &str) -> String {
        loop {
            let mut line = String::new();
            let n = self.lines.read_line(&mut line).expect("output is text");
            assert!(n > 0, "the listener ended before it said {start:?}");
            if line.starts_with(start) {
                return line;
            }
        }
    }

    /// Sends SIGTERM and waits for the exit code; returns what else was printed.
    #[cfg(unix)]
    fn terminate(mut self) -> (Option<i32>, String) {
        let pid = self.child.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).expect("output is text");
        (self.child.0.wait().expect("the listener ends").code(), rest)
    }
}

#[test]
fn a_new_identity_is_private_and_never_overwritten() {
    let folder = Folder::new("identity");
    let file = folder.file("node.key");
    let made = septa(&["id", "new", "--out", &file]);
    assert!(made.status.success(), "{}", stderr(&made));
    let shown = septa(&["id", "show", &file]);
    assert_eq!(stdout(&made), stdout(&shown));
    assert!(stdout(&shown).starts_with("12D3KooW"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&file).expect("the file is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let before = std::fs::read(&file).expect("the file is there");
    let again = septa(&["id", "new", "--out", &file]);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(stderr(&again).lines().count(), 1, "one line says what failed and what to try");
    assert_eq!(std::fs::read(&file).expect("the file is there"), before);
}

#[test]
fn a_file_that_is_no_identity_is_refused() {
    let folder = Folder::new("no-identity");
    let file = folder.file("junk");
    std::fs::write(&file, b"junk").expect("a file");
    for file in [file, folder.file("absent")] {
        let shown = septa(&["id", "show", &file]);
        assert_eq!(shown.status.code(), Some(1));
        assert_eq!(stderr(&shown).lines().count(), 1);
    }
}

#[test]
fn wrong_usage_exits_with_two() {
    for args in [
        &["ping"][..],
        &["frobnicate"],
        &["ping", "not-an-address"],
        &["ping", "/ip4/127.0.0.1/tcp/1"],
        &["echo", "/ip4/127.0.0.1/tcp/1", "--any-peer", "--bytes", "1", "--protocol", "no-slash"],
        &["demo", "--timeout", "-1"],
        &["perf", "/ip4/127.0.0.1/tcp/1", "--any-peer"],
        &["perf", "/ip4/127.0.0.1/tcp/1", "--any-peer", "--upload", "1.5M"],
        &["listen", "--peer", "/ip4/127.0.0.1/tcp/1"],
        &["listen", "--peer", "/ip4/127.0.0.1/udp/1/p2p/12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5"],
    ] {
        let refused = septa(args);
        assert_eq!(refused.status.code(), Some(2), "{args:?}: {}", stderr(&refused));
    }
}

#[test]
fn a_peer_that_is_not_there_is_a_failure_with_a_hint() {
    let failed = septa(&["ping", "/ip4/127.0.0.1/tcp/1", "--any-peer", "--json"]);
    assert_eq!(failed.status.code(), Some(1));
    assert_eq!(stderr(&failed).lines().count(), 1);
    let lines = json_lines(&failed);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["ok"], false);
    assert!(lines[0]["error"].is_string() && lines[0]["try"].is_string());
}

#[test]
fn the_demo_runs_to_its_end() {
    let demo = septa(&["demo", "--json"]);
    assert!(demo.status.success(), "{}", stderr(&demo));
    let lines = json_lines(&demo);
    let last = lines.last().expect("a result");
    assert_eq!(last["ok"], true);
    assert_eq!(last["bytes"], 64 << 20);
    let reconnect = &last["reconnect"];
    assert_eq!(
        reconnect["events"],
        serde_json::json!([
            "connecting",
            "opened",
            "established",
            "closed",
            "backoff",
            "connecting",
            "opened",
            "established"
        ])
    );
    assert_eq!(reconnect["lost_events"], 0);
    let [backoff, back_after] = ["backoff_ms", "back_after_ms"].map(|field| reconnect[field].as_f64().expect("a time"));
    // 200 ms, spread by a quarter, and looked at a moment later.
    assert!(backoff <= 250.0, "{reconnect}");
    assert!(back_after > backoff, "{reconnect}");
}

#[test]
fn a_listener_is_pinged_identified_and_echoes() {
    let mut listen = Listen::start(&["--echo", ECHO]);
    let address = listen.address.clone();

    let ping = septa(&["ping", &address, "--count", "2", "--interval", "0", "--json"]);
    assert!(ping.status.success(), "{}", stderr(&ping));
    assert_eq!(json_lines(&ping).len(), 3);
    assert!(json_lines(&ping)[0]["rtt_ms"].as_f64().is_some_and(|rtt| rtt > 0.0));
    assert!(listen.line_with("connected").contains("12D3KooW"));
    listen.line_with("disconnected");

    let identify = septa(&["identify", &address, "--json"]);
    assert!(identify.status.success(), "{}", stderr(&identify));
    let info = &json_lines(&identify)[0];
    assert!(address.ends_with(info["peer"].as_str().expect("a peer id")));
    assert!(info["protocols"].as_array().expect("a list").iter().any(|protocol| protocol == ECHO));

    assert_eq!(info["addresses_signed"], true);
    let (bare, _) = address.split_once("/p2p/").expect("the address names the peer");
    assert_eq!(info["listen_addresses"], serde_json::json!([bare]));

    let args = ["echo", &address, "--protocol", ECHO, "--bytes", "1000001", "--streams", "3", "--json"];
    let echo = septa(&args);
    assert!(echo.status.success(), "{}", stderr(&echo));
    let report = &json_lines(&echo)[0];
    assert_eq!((&report["ok"], &report["bytes"]), (&Value::from(true), &Value::from(1_000_001)));
    assert!(report["MBps"].as_f64().is_some_and(|rate| rate > 0.0));
    let counts: u64 = (0..3)
        .map(|_| {
            let line = listen.line_with("echo finished");
            let count = line.split_whitespace().rev().nth(1).expect("a byte count");
            count.parse::<u64>().expect("a number")
        })
        .sum();
    assert_eq!(counts, 1_000_001);
}

#[test]
fn perf_sends_and_gets_back_what_it_was_told() {
    let listen = Listen::start(&["--perf"]);
    let args = ["perf", &listen.address, "--upload", "3M", "--download", "100k", "--json"];
    let perf = septa(&args);
    assert!(perf.status.success(), "{}", stderr(&perf));
    let lines = json_lines(&perf);
    assert_eq!(lines.len(), 1);
    let report = &lines[0];
    assert_eq!(report["ok"], true);
    assert_eq!((&report["upload_bytes"], &report["download_bytes"]), (&Value::from(3 << 20), &Value::from(100 << 10)));
    for field in ["upload_seconds", "upload_MBps", "download_seconds", "download_MBps"] {
        assert!(report[field].as_f64().is_some_and(|number| number > 0.0), "{field} of {report}");
    }
    let text = septa(&["perf", &listen.address, "--download", "1"]);
    assert!(stdout(&text).starts_with("received 1 bytes in "), "{}", stdout(&text));
    assert_eq!(stdout(&text).lines().count(), 1);
}

#[test]
fn perf_tells_how_far_it_is_while_it_goes_on() {
    let listen = Listen::start(&["--perf"]);
    // More than can be sent in the two seconds that it is watched.
    let args = ["perf", &listen.address, "--upload", "1000G", "--verbose", "--json"];
    let perf = Command::new(env!("CARGO_BIN_EXE_septa"))
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let mut perf = Running(perf);
    let mut lines = BufReader::new(perf.0.stdout.take().expect("a pipe")).lines();
    let mut last = 0;
    for second in 1..=2 {
        let line = lines.next().expect("a line each second").expect("output is text");
        let progress: Value = serde_json::from_str(&line).expect("each line is one JSON value");
        assert_eq!((&progress["event"], &progress["seconds"]), (&Value::from("progress"), &Value::from(second)));
        let uploaded = progress["uploaded"].as_u64().expect("a byte count");
        assert!(uploaded >= last && progress["MBps"].is_f64(), "{line}");
        last = uploaded;
    }
    assert!(last > 0, "nothing moved in two seconds");
    assert!(perf.0.try_wait().expect("its state is known").is_none(), "it still runs");
}

#[test]
fn perf_is_refused_by_a_listener_that_was_not_told_to_serve_it() {
    let listen = Listen::start(&[]);
    let refused = septa(&["perf", &listen.address, "--upload", "1"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("does not support") && stderr(&refused).contains("--perf"),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn an_unsupported_protocol_and_a_wrong_peer_are_failures() {
    let listen = Listen::start(&[]);
    let unsupported = septa(&["echo", &listen.address, "--protocol", "/nobody/serves/this", "--bytes", "10"]);
    assert_eq!(unsupported.status.code(), Some(1));
    assert!(stderr(&unsupported).contains("does not support"), "{}", stderr(&unsupported));

    let (bare, _) = listen.address.split_once("/p2p/").expect("the address names the peer");
    let other = format!("{bare}/p2p/12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5");
    let wrong = septa(&["ping", &other]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(stderr(&wrong).contains("12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5"), "{}", stderr(&wrong));

    let anybody = septa(&["ping", bare, "--any-peer", "--count", "1"]);
    assert!(anybody.status.success(), "{}", stderr(&anybody));
}

#[test]
fn a_listener_keeps_its_identity_and_listens_on_every_address() {
    let folder = Folder::new("listen");
    let file = folder.file("node.key");
    let made = septa(&["id", "new", "--out", &file]);
    let loopback = "/ip4/127.0.0.1/tcp/0";
    let mut listen = Listen::start(&["--identity", &file, "--listen", loopback, "--listen", loopback]);
    let second = listen.line_with("LISTENING ");
    assert_ne!(listen.address, second);
    for address in [&listen.address, second.trim()] {
        assert!(address.ends_with(stdout(&made).trim()));
    }
    // The port is taken: a second listener says so at once.
    let (bare, _) = listen.address.split_once("/p2p/").expect("the address names the peer");
    let taken = septa(&["listen", "--listen", bare]);
    assert_eq!(taken.status.code(), Some(1));
}

#[test]
fn a_listener_with_a_timeout_ends_by_itself() {
    let listen = septa(&["listen", "--timeout", "0.1", "--json"]);
    assert!(listen.status.success(), "{}", stderr(&listen));
    assert_eq!(json_lines(&listen)[0]["event"], "listening");
}

#[cfg(unix)]
#[test]
fn sigterm_closes_connections_in_good_order() {
    let listen = Listen::start(&["--echo", ECHO]);
    let mut ping = Command::new(env!("CARGO_BIN_EXE_septa"))
        .args(["ping", &listen.address, "--count", "1000", "--interval", "0.01", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut lines = BufReader::new(ping.stdout.take().expect("a pipe"));
    let mut first = String::new();
    lines.read_line(&mut first).expect("output is text");
    assert!(first.contains("rtt_ms"));
    let (code, rest) = listen.terminate();
    assert_eq!(code, Some(0));
    assert!(rest.contains("disconnected") && rest.contains("closed by this node"), "{rest}");
    let mut all = String::new();
    lines.read_to_string(&mut all).expect("output is text");
    assert_eq!(ping.wait().expect("ping ends").code(), Some(1));
    // The listener said goodbye with the code of a shutdown; nothing was cut.
    assert!(all.contains("closed by the peer"), "{all}");
}

#[cfg(unix)]
#[test]
fn both_ends_can_write_down_the_keys_of_a_connection() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new("keylog");
    let (ours, theirs) = (folder.file("dialer.keys"), folder.file("listener.keys"));
    // A file that others can read is closed to them, and keeps its lines.
    std::fs::write(&theirs, "# before\n").expect("the folder can be written");
    std::fs::set_permissions(&theirs, PermissionsExt::from_mode(0o644)).expect("the file is ours");
    let listener = Listen::start(&["--keylog", &theirs]);
    for round in 1..=2 {
        let ping = septa(&["ping", &listener.address, "--count", "1", "--keylog", &ours, "--json"]);
        assert!(ping.status.success(), "{}", stderr(&ping));
        assert!(stderr(&ping).starts_with("septa: warning: the keys of every connection go to"), "{}", stderr(&ping));
        assert!(stderr(&ping).contains(&ours));

        let [ours, theirs] = [&ours, &theirs].map(|file| std::fs::read_to_string(file).expect("the log was written"));
        assert_eq!(format!("# before\n{ours}"), theirs);
        let lines: Vec<&str> = ours.lines().collect();
        assert_eq!(lines.len(), round);
        for line in lines {
            assert!(line.parse::<septa_core::noise::TransportKeys>().is_ok(), "{line}");
        }
    }
    for file in [&ours, &theirs] {
        let mode = std::fs::metadata(file).expect("the log was written").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }

    // A folder is no file.
    let refused = septa(&["ping", &listener.address, "--keylog", &folder.file(".")]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).starts_with("septa: cannot open the key log"), "{}", stderr(&refused));

    let unlogged = septa(&["ping", &listener.address, "--count", "1"]);
    assert!(unlogged.status.success());
    assert_eq!(stderr(&unlogged), "");
    assert_eq!(std::fs::read_to_string(&ours).expect("the log was written").lines().count(), 2);
}
