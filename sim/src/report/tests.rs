use std::time::Duration;

use super::{
    axis::{Axis, steps},
    escape,
    selection::{MAX_BANDS, MAX_CONNECTIONS, MAX_FAULTS, MAX_LANES, MAX_LINES, MAX_LIVES, MAX_NOTES, Selection},
    *,
};
use crate::trace::Trace;

const SECOND: u64 = 1_000_000_000;

fn at(millis: u64) -> Instant {
    Instant::EPOCH.saturating_add(Duration::from_millis(millis))
}

fn host(name: &str) -> HostLane {
    HostLane { name: name.to_owned(), lives: vec![Span { from: at(0), to: None }] }
}

fn connection(id: u64, dialer: usize, listener: usize, opened: u64, closed: Option<u64>) -> ConnectionBar {
    let end = if closed.is_some() { "done".to_owned() } else { String::new() };
    let (established, closed) = (Some(at(opened + 1)), closed.map(at));
    ConnectionBar { id, dialer, listener, opened: at(opened), established, closed, end, sent: 10, received: 20 }
}

fn fault(from: u64, to: u64, hosts: &[usize]) -> FaultBar {
    FaultBar { from: at(from), to: at(to), hosts: hosts.to_vec(), text: "stall 1>2".to_owned(), fired: 2 }
}

fn note(millis: u64, host: Option<usize>, level: Level) -> Note {
    Note { at: at(millis), host, level, text: format!("note of {millis}") }
}

fn failure(millis: u64, host: Option<usize>) -> Failure {
    let (invariant, message) = ("prefix".to_owned(), "7 is not 8".to_owned());
    Failure { at: at(millis), step: 99, host, invariant, message }
}

/// Ten seconds in which nothing happened.
fn quiet(hosts: usize) -> Report {
    Report {
        scenario: "pair".to_owned(),
        seed: 7,
        hash: Some(Trace::new().value()),
        plan: "seed 7\norder fifo\n".to_owned(),
        command: "SEPTA_SEED=7 cargo test pair".to_owned(),
        begin: at(0),
        end: at(10_000),
        heal: None,
        hosts: (0..hosts).map(|index| host(&format!("h{index}"))).collect(),
        connections: Vec::new(),
        faults: Vec::new(),
        notes: Vec::new(),
        failure: None,
        omitted: 0,
    }
}

fn eventful() -> Report {
    let mut report = quiet(0);
    report.hosts = vec![host("alice"), host("bob")];
    report.hosts[1].lives = vec![Span { from: at(0), to: Some(at(3_000)) }, Span { from: at(4_000), to: None }];
    report.heal = Some(at(5_000));
    report.connections = vec![connection(3, 0, 1, 1_500, Some(3_000)), connection(4, 1, 0, 6_000, None)];
    report.faults = vec![fault(2_000, 2_500, &[0, 1]), FaultBar { fired: 0, ..fault(7_000, 7_000, &[1]) }];
    report.notes = vec![note(8_000, Some(0), Level::Info), note(8_000, None, Level::Warning)];
    report.failure = Some(failure(9_000, Some(1)));
    report
}

fn count(page: &str, part: &str) -> usize {
    page.matches(part).count()
}

fn left_out(report: &Report) -> Option<String> {
    let page = report.to_html();
    let (_, text) = page.split_once("Left out to keep the page small: ")?;
    Some(text.split_once(".</p>").unwrap().0.to_owned())
}

#[test]
fn the_text_tells_the_run_in_the_order_of_time() {
    let expected = "\
# pair, seed 7
# plan: seed 7
# plan: order fifo
# hash: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
# again: SEPTA_SEED=7 cargo test pair
# from 0s to 10s
     0.000000000s  alice  starts
     0.000000000s  bob    starts
     1.500000000s  alice  connection 3 to bob opened
     1.501000000s  alice  connection 3 to bob established
     2.000000000s  -      fault 'stall 1>2' begins
     2.500000000s  -      fault 'stall 1>2' is over, changed something 2 times
     3.000000000s  bob    goes down
     3.000000000s  alice  connection 3 to bob closed: done, 10 bytes there, 20 back
     4.000000000s  bob    comes back
     5.000000000s  -      the safety phase ends, liveness begins
     6.000000000s  bob    connection 4 to alice opened
     6.001000000s  bob    connection 4 to alice established
     7.000000000s  bob    fault 'stall 1>2' strikes, never changed anything
     8.000000000s  alice  note of 8000
     8.000000000s  -      warning: note of 8000
     9.000000000s  bob    FAILED in step 99: prefix: 7 is not 8
";
    assert_eq!(eventful().to_text(), expected);
}

#[test]
fn text_says_what_was_not_recorded_and_keeps_to_its_line() {
    let mut report = quiet(1);
    report.omitted = 12;
    report.notes = vec![Note { text: "one\ntwo\r\n".to_owned(), ..note(1, Some(0), Level::Info) }];
    let text = report.to_text();
    assert!(text.contains("# 12 entries were not recorded\n"), "{text}");
    assert!(text.ends_with("0.001000000s  h0  one\\ntwo\\r\\n\n"), "{text}");
}

/// A reader without a script has it all too.
#[test]
fn the_page_says_what_it_shows_without_its_script() {
    let page = eventful().to_html();
    for part in [
        "<title>pair, seed 7: failed</title>",
        "Failed: <b>prefix</b> at bob, at 9s, in step 99",
        "<pre>7 is not 8</pre>",
        "<code id=\"command\">SEPTA_SEED=7 cargo test pair</code>",
        "<code id=\"hash\">e3b0c442",
        "<pre id=\"plan\">seed 7\norder fifo</pre>",
        "from 0s to 10s, healed at 5s",
        "2 hosts, 2 connections, 2 faults (1 changed nothing), 2 notes",
        "<title>connection 3: alice dialed bob\nopened 1.5s, established 1.501s\nclosed 3s: done\n10 bytes there, 20 back</title>",
        "<title>bob is down\nfrom 3s to 4s</title>",
        "     9.000000000s  bob    FAILED in step 99: prefix: 7 is not 8",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(quiet(1).to_html().contains("Passed: no invariant was broken."));
}

#[test]
fn the_failed_lane_is_marked_and_no_other() {
    let page = eventful().to_html();
    assert_eq!(count(&page, "class=\"lane host failed\" data-name=\"bob\""), 1);
    assert_eq!(count(&page, "class=\"lane host\" data-name=\"alice\""), 1);
    assert_eq!(count(&page, "id=\"failure-line\" class=\"instant\" data-from=\"9000000000\""), 1);

    let mut whole = eventful();
    for host in [None, Some(2)] {
        whole.failure = Some(failure(9_000, host));
        let page = whole.to_html();
        assert_eq!(count(&page, "class=\"lane run failed\" data-name=\"the run\""), 1, "of no host: of the run");
        assert_eq!(count(&page, "lane host failed"), 0);
    }
    assert!(whole.to_html().contains("Failed: <b>prefix</b> at host 3"));
}

#[test]
fn equal_reports_give_equal_pages() {
    assert_eq!(eventful().to_html(), eventful().to_html());
    assert_eq!(eventful().to_text(), eventful().to_text());
}

#[test]
fn the_page_loads_nothing() {
    let page = eventful().to_html();
    for part in ["https:", " src=", " href=", "url(", "@import", "import(", "fetch(", "XMLHttpRequest", " style="] {
        assert!(!page.contains(part), "{part}");
    }
    // The name of a namespace is no address.
    assert_eq!(page.replace("http://www.w3.org/2000/svg", "").matches("http:").count(), 0);
    assert!(page.contains("content=\"default-src 'none'; style-src 'sha256-"));
}

#[test]
fn what_cannot_be_seen_is_written_out() {
    assert_eq!(escape::line("a\0b\x1b[31m\r\n\u{85}\u{202e}\u{2066}\u{feff}\u{ffff}", 99), {
        r"a\u{0}b\u{1b}[31m\r\n\u{85}\u{202e}\u{2066}\u{feff}\u{ffff}"
    });
    assert_eq!(escape::block("a\nb\tc\0", 99), "a\nb\\tc\\u{0}");
    assert_eq!(escape::line("häßlich 漢字", 99), "häßlich 漢字");
    assert_eq!(escape::html("<a href=\"x\" b='y'>&amp;"), "&lt;a href=&quot;x&quot; b=&#39;y&#39;&gt;&amp;amp;");
}

#[test]
fn long_text_is_cut() {
    assert_eq!(escape::line("häß", 3), "häß");
    assert_eq!(escape::line("häßlich", 3), "häß... (4 more characters)");
}

/// The browser's test shows that nothing of it runs; this, that nothing of it is markup, wherever it stands.
#[test]
fn hostile_text_is_escaped_everywhere() {
    let evil = "<script>evil()</script></svg></title></pre>\"'&\0\u{202e}";
    let mut report = eventful();
    report.hosts.iter_mut().for_each(|host| host.name = evil.to_owned());
    report.connections.iter_mut().for_each(|connection| connection.end = evil.to_owned());
    report.faults.iter_mut().for_each(|fault| fault.text = evil.to_owned());
    report.notes.iter_mut().for_each(|note| note.text = evil.to_owned());
    report.failure = Some(Failure { invariant: evil.to_owned(), message: evil.to_owned(), ..failure(9_000, Some(1)) });
    (report.scenario, report.plan, report.command) = (evil.to_owned(), evil.to_owned(), evil.to_owned());

    let (page, usual) = (report.to_html(), eventful().to_html());
    for tag in ["<script", "</script", "</svg", "</title", "</pre", "<"] {
        assert_eq!(count(&page, tag), count(&usual, tag), "{tag}");
    }
    assert!(page.contains("&lt;script&gt;evil()"));
    assert!(!page.contains(['\0', '\u{202e}']));
    assert!(!report.to_text().contains(['\0', '\u{202e}']));
}

#[test]
fn nothing_has_to_fit_together() {
    let mut report = eventful();
    report.connections.push(connection(5, 7, 8, 1, None));
    report.connections.push(connection(6, 0, 0, 9_000, Some(1)));
    report.connections.push(connection(7, 0, 9, 99_000, Some(u64::MAX)));
    report.faults.push(fault(20_000, 1, &[5, 0, 0]));
    report.notes.push(note(u64::MAX, Some(77), Level::Info));
    report.hosts[0].lives = vec![Span { from: at(5), to: Some(at(1)) }, Span { from: at(2), to: Some(at(70_000)) }];
    report.heal = Some(at(99_000));
    report.failure = Some(failure(99_000, Some(usize::MAX)));
    for (begin, end) in [(at(0), at(10_000)), (at(10_000), at(0)), (at(3), at(3)), (Instant::NEVER, Instant::NEVER)] {
        (report.begin, report.end) = (begin, end);
        let page = report.to_html();
        assert!(page.contains("host 10"), "one that is not there is shown by its number");
        assert!(!page.contains(" x=\"101.") && !page.contains(" x=\"-"));
        assert!(report.to_text().contains("connection 5 to host 9 opened"));
    }
}

fn labels(begin: u64, length: u64) -> Vec<String> {
    let mut report = quiet(0);
    report.begin = Instant::from_nanos(begin);
    report.end = report.begin.saturating_add(Duration::from_nanos(length));
    Axis::new(&report).ticks().into_iter().filter_map(|tick| tick.label).collect()
}

#[test]
fn each_length_of_a_run_has_an_axis_that_people_can_read() {
    assert_eq!(labels(0, 3_000_000), ["0.0 ms", "0.5 ms", "1.0 ms", "1.5 ms", "2.0 ms", "2.5 ms"]);
    assert_eq!(labels(0, 3600 * SECOND), ["0:00:00", "0:10:00", "0:20:00", "0:30:00", "0:40:00", "0:50:00"]);
    assert_eq!(labels(0, 130 * SECOND), ["0:00", "0:15", "0:30", "0:45", "1:00", "1:15", "1:30", "1:45", "2:00"]);
    assert_eq!(labels(0, 40 * SECOND), ["0 s", "5 s", "10 s", "15 s", "20 s", "25 s", "30 s", "35 s"]);
    assert_eq!(
        labels(3_600 * SECOND, 2_000),
        ["1:00:00.0000000", "1:00:00.0000005", "1:00:00.0000010", "1:00:00.0000015"]
    );
    assert_eq!(labels(90 * SECOND, 1), ["90.000000000 s"]);
    assert_eq!(labels(0, 0), ["0 ns"]);
}

#[test]
fn no_axis_is_crowded_or_empty() {
    for step in steps() {
        for length in [step - 1, step, step.saturating_mul(8), step.saturating_mul(8).saturating_add(1)] {
            let count = labels(0, length).len();
            assert!((1..=9).contains(&count), "{length}: {count}");
        }
    }
    assert!((2..=9).contains(&labels(0, u64::MAX).len()));
}

#[test]
fn steps_ascend() {
    assert!(steps().is_sorted_by(|one, next| one < next));
}

#[test]
fn a_page_draws_so_many_hosts_and_says_how_many_it_left_out() {
    assert_eq!(left_out(&quiet(MAX_LANES)), None);
    let mut report = quiet(MAX_LANES + 10);
    assert_eq!(left_out(&report).unwrap(), "10 of 260 hosts");
    assert_eq!(count(&report.to_html(), "class=\"lane host"), MAX_LANES);

    // Those that have to do with the failure, then those that were struck, are among them.
    report.failure = Some(failure(1, Some(259)));
    report.connections = vec![connection(1, 258, 259, 1, None), connection(2, 1, 257, 1, None)];
    report.faults = vec![fault(1, 2, &[256])];
    let hosts = Selection::new(&report).hosts;
    assert_eq!(hosts.len(), MAX_LANES);
    assert_eq!(hosts[MAX_LANES - 4..], [246, 256, 258, 259]);
}

#[test]
fn of_too_many_connections_the_nearest_to_the_failure_are_drawn() {
    let mut report = quiet(80);
    report.connections = (0..MAX_CONNECTIONS as u64)
        .map(|id| connection(id, id as usize % 79, id as usize % 79 + 1, id, Some(id + 2)))
        .collect();
    assert_eq!(left_out(&report), None);
    let later = MAX_CONNECTIONS as u64 + 1;
    report.connections.push(connection(later, 1, 2, later, None));
    assert_eq!(left_out(&report).unwrap(), "1 of 3001 connections");
    assert!(!Selection::new(&report).connections.contains(&MAX_CONNECTIONS), "the first are drawn");
    report.failure = Some(failure(9_000, None));
    let drawn = Selection::new(&report).connections;
    assert!(drawn.contains(&MAX_CONNECTIONS) && !drawn.contains(&0), "the last are nearest");
    // Those of the failed host come before the nearest.
    report.failure = Some(failure(9_000, Some(0)));
    assert!(Selection::new(&report).connections.contains(&0));
}

#[test]
fn so_many_faults_notes_and_lives_are_drawn() {
    let mut report = quiet(9);
    report.faults = (0..=MAX_FAULTS as u64).map(|index| fault(10 * index, 10 * index + 5, &[0])).collect();
    report.notes = (0..=MAX_NOTES as u64).map(|millis| note(millis, Some(1), Level::Info)).collect();
    let life = |millis| Span { from: at(millis), to: Some(at(millis)) };
    report.hosts[2].lives = (0..MAX_LIVES as u64).map(life).collect();
    assert_eq!(left_out(&report).unwrap(), "1 of 501 faults, 1 of 3001 notes, 8 of 4008 lives of hosts");
    report.notes.push(note(9_999, Some(1), Level::Warning));
    assert!(Selection::new(&report).notes.contains(&(MAX_NOTES + 1)), "a warning is never the first to go");
    report.faults.pop();
    report.notes.truncate(MAX_NOTES);
    report.hosts[2].lives.drain(..8);
    assert_eq!(left_out(&report), None);
}

#[test]
fn so_many_strikes_are_drawn() {
    let mut report = quiet(MAX_LANES);
    let all: Vec<usize> = (0..MAX_LANES).collect();
    report.faults = (0..16).map(|index| fault(10 * index, 10 * index + 5, &all)).collect();
    assert_eq!(left_out(&report), None);
    assert_eq!(count(&report.to_html(), "class=\"item band\""), MAX_BANDS);
    report.faults.push(fault(900, 950, &[0, 0, 3]));
    assert_eq!(left_out(&report).unwrap(), "2 of 4002 strikes of faults at hosts");
    report.faults.truncate(1);
    assert!(report.to_html().contains("\nat h0, h1, h2, h3, h4, h5, h6, h7, 242 more\n"));
}

#[test]
fn a_lane_has_so_many_rows() {
    let mut report = quiet(2);
    report.connections = (0..64).map(|id| connection(id, 0, 1, id, Some(1_000 + id))).collect();
    report.connections.push(connection(64, 0, 1, 1_063, None));
    assert_eq!(left_out(&report), None, "a row that has become free is used again");
    report.connections.push(connection(65, 0, 1, 500, Some(501)));
    assert_eq!(left_out(&report).unwrap(), "2 bars for which their lanes had no room", "at either end");
}

#[test]
fn the_page_repeats_so_many_lines() {
    let mut report = quiet(0);
    report.notes = (0..MAX_LINES as u64).map(|millis| note(millis, None, Level::Info)).collect();
    assert!(report.to_html().contains("The same as text (5000 lines)"));
    report.notes.push(note(9_000, None, Level::Info));
    assert!(report.to_html().contains("The same as text (5000 of 5001 lines)"));
    assert!(report.to_text().contains("note of 9000"));
}

#[test]
fn what_was_not_recorded_is_said() {
    let mut report = quiet(1);
    report.omitted = 3;
    assert_eq!(left_out(&report).unwrap(), "3 entries that were not recorded");
}
