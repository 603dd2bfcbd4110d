//! The page of a report in a real browser, from disk.
//!
//! `cargo test` alone does not run these, since they need Chromium: `.ci/run report` does, and says so if there is
//! none. They fail if `SEPTA_CHROMIUM` does not name one; they are never silently passed.

mod browser;
mod runs;

use browser::{Dom, Tag, open, open_at};
use septa_core::Instant;
use septa_sim::report::{Note, Report};

/// The script has run to its end, without an error, and nothing was refused to it.
fn assert_sound(dom: &Dom) {
    let html = dom.only("<html>", |tag| tag.name == "html");
    assert_eq!(html.attribute("data-error"), None);
    assert_eq!(html.attribute("data-ready"), Some("true"));
}

fn items<'d>(dom: &'d Dom, class: &str) -> Vec<&'d Tag> {
    dom.all(|tag| tag.has_class("item") && tag.has_class(class))
}

fn percent(tag: &Tag, name: &str) -> f64 {
    tag.attribute(name).and_then(|value| value.strip_suffix('%')).unwrap().parse().unwrap()
}

fn ticks(dom: &Dom) -> Vec<(String, String)> {
    let texts = dom.all(|tag| tag.name == "text" && tag.attribute("dx") == Some("3"));
    texts.iter().map(|tag| (tag.attribute("x").unwrap().to_owned(), tag.text.clone())).collect()
}

#[test]
#[ignore = "needs Chromium: `.ci/run report` runs it"]
fn a_failed_run_shows_where_it_failed() {
    let report = runs::failed();
    let dom = open("failed", &report.to_html());
    assert_sound(&dom);

    let lanes = dom.all(|tag| tag.has_class("lane"));
    let names: Vec<_> = lanes.iter().map(|lane| lane.attribute("data-name").unwrap()).collect();
    assert_eq!(names, ["the run", "alice", "bob", "carol"]);
    // Each connection is drawn at both its ends, each fault once for the run and once at each host that it strikes.
    assert_eq!(items(&dom, "connection").len(), 2 * report.connections.len());
    assert_eq!(items(&dom, "fault").len(), report.faults.len());
    assert_eq!(items(&dom, "band").len(), report.faults.iter().map(|fault| fault.hosts.len()).sum::<usize>());
    assert_eq!(items(&dom, "note").len(), report.notes.len());
    assert_eq!(items(&dom, "down").len(), 1);

    let failed = dom.only("a failed lane", |tag| tag.has_class("lane") && tag.has_class("failed"));
    assert_eq!(failed.attribute("data-name"), Some("bob"));
    let line = dom.only("the failure's line", |tag| tag.attribute("id") == Some("failure-line"));
    // 11.5 s of 12.
    assert!((percent(line, "x") - 95.8333).abs() < 0.001);
    let mark = dom.only("the failure's mark", |tag| tag.has_class("mark") && tag.has_class("failure"));
    assert_eq!(mark.attribute("tabindex"), Some("0"), "the key Tab leads to it");
    assert!(mark.attribute("aria-label").unwrap().contains("one connection per peer"));
    assert_eq!(dom.all(|tag| tag.attribute("data-key").is_some() && tag.attribute("tabindex") == Some("0")).len(), 1);

    let verdict = dom.only("the verdict", |tag| tag.attribute("id") == Some("verdict"));
    assert!(verdict.has_class("failed"));
    let command = dom.only("the command", |tag| tag.attribute("id") == Some("command"));
    assert_eq!(command.text, report.command);
    let hash = dom.only("the hash", |tag| tag.attribute("id") == Some("hash"));
    assert_eq!(hash.text, report.hash.unwrap().to_string());
    let plan = dom.only("the plan", |tag| tag.attribute("id") == Some("plan"));
    assert_eq!(plan.text.replace("&gt;", ">"), report.plan.trim_end());
    let controls = dom.only("the controls", |tag| tag.attribute("id") == Some("controls"));
    assert_eq!(controls.attribute("hidden"), None);
}

#[test]
#[ignore = "needs Chromium: `.ci/run report` runs it"]
fn a_passed_run_shows_no_failure() {
    let report = runs::mesh(50, 8);
    let dom = open("passed", &report.to_html());
    assert_sound(&dom);
    assert_eq!(dom.all(|tag| tag.has_class("lane") && tag.has_class("host")).len(), 50);
    assert_eq!(items(&dom, "connection").len(), 2 * report.connections.len());
    assert!(dom.all(|tag| tag.name != "span" && (tag.has_class("failed") || tag.has_class("failure"))).is_empty());
    assert!(dom.all(|tag| tag.attribute("id") == Some("left-out")).is_empty());
    let button = dom.only("the failure's button", |tag| tag.attribute("id") == Some("to-failure"));
    assert!(button.attribute("hidden").is_some());
}

/// The page brings the axis of all of the run with it; the script draws it anew, and must come to the same.
#[test]
#[ignore = "needs Chromium: `.ci/run report` runs it"]
fn the_script_draws_the_axis_that_the_page_came_with() {
    const SECOND: u64 = 1_000_000_000;
    let runs =
        [(0, 3_000_000), (0, 3600 * SECOND), (90 * SECOND, 1), (119 * SECOND, 3 * SECOND), (7, 864_000 * SECOND)];
    for (begin, length) in runs {
        let report = Report {
            begin: Instant::from_nanos(begin),
            end: Instant::from_nanos(begin + length),
            heal: None,
            failure: None,
            ..runs::failed()
        };
        let page = report.to_html();
        let (before, after) = (Dom::read(&page), open(&format!("axis-{begin}-{length}"), &page));
        assert_sound(&after);
        assert!((1..=10).contains(&ticks(&before).len()), "{begin} + {length}: {:?}", ticks(&before));
        assert_eq!(ticks(&after).len(), ticks(&before).len());
        for (after, before) in ticks(&after).iter().zip(ticks(&before)) {
            let place = |tick: &str| tick.trim_end_matches('%').parse::<f64>().unwrap();
            assert!((place(&after.0) - place(&before.0)).abs() < 0.001);
            assert_eq!(after.1, before.1);
        }
    }
}

#[test]
#[ignore = "needs Chromium: `.ci/run report` runs it"]
fn a_link_leads_to_a_time_and_to_hosts() {
    let page = runs::failed().to_html();
    let dom = open_at("link", &page, "#from=1000000000&to=1000003000&hosts=bob,%20carol");
    assert_sound(&dom);
    let hidden = |tag: &&&Tag| tag.attribute("hidden").is_some();
    let lanes = dom.all(|tag| tag.has_class("lane"));
    let names: Vec<_> = lanes.iter().filter(hidden).map(|lane| lane.attribute("data-name").unwrap()).collect();
    assert_eq!(names, ["alice"]);
    // Three microseconds a second after the beginning.
    let labels: Vec<String> = ticks(&dom).into_iter().map(|(_, label)| label).collect();
    assert_eq!(labels.first().unwrap(), "1.0000000 s");
    assert_eq!(labels.get(1).unwrap(), "1.0000005 s");
    // What happens later is not shown, and what spans this time fills all of it.
    let down = dom.only("carol's crash", |tag| tag.has_class("item") && tag.has_class("down"));
    assert_eq!(down.attribute("x"), Some("-101%"));
    let up = items(&dom, "life");
    assert!(up.iter().any(|life| (percent(life, "x"), percent(life, "width")) == (0.0, 100.0)));
}

#[test]
#[ignore = "needs Chromium: `.ci/run report` runs it"]
fn keys_move_zoom_and_filter() {
    let dom = open("keys", &browser::with_script(&runs::failed().to_html(), include_str!("keys.js")));
    let html = dom.only("<html>", |tag| tag.name == "html");
    assert_eq!(html.attribute("data-error"), None);
    assert_eq!(html.attribute("data-seen"), Some("done"));
}

/// Names, reasons and messages come from the other end.
#[test]
#[ignore = "needs Chromium: `.ci/run report` runs it"]
fn hostile_text_is_only_shown() {
    let evil = "</title></svg></pre></style></script><script>document.documentElement.dataset.evil=1</script>\
                <img src=x onerror=\"document.documentElement.dataset.evil=1\">\" ' onfocus=alert(1) & \0\u{1b}[31m\u{202e}";
    let mut report = runs::failed();
    for text in [&mut report.scenario, &mut report.plan, &mut report.command] {
        evil.clone_into(text);
    }
    report.hosts.iter_mut().for_each(|host| evil.clone_into(&mut host.name));
    report.connections.iter_mut().for_each(|connection| evil.clone_into(&mut connection.end));
    report.faults.iter_mut().for_each(|fault| evil.clone_into(&mut fault.text));
    report.notes.iter_mut().for_each(|note: &mut Note| evil.clone_into(&mut note.text));
    let failure = report.failure.as_mut().unwrap();
    evil.clone_into(&mut failure.invariant);
    evil.clone_into(&mut failure.message);

    let dom = open("hostile", &report.to_html());
    assert_sound(&dom);
    assert_eq!(dom.only("<html>", |tag| tag.name == "html").attribute("data-evil"), None);
    assert!(dom.all(|tag| tag.name == "img").is_empty());
    assert_eq!(dom.all(|tag| tag.has_class("lane")).len(), 4, "no text has broken out of its place");
    let message = dom.only("the command", |tag| tag.attribute("id") == Some("command"));
    assert!(message.text.contains("&lt;script&gt;"), "{}", message.text);
    assert!(message.text.ends_with(r"\u{0}\u{1b}[31m\u{202e}"), "{}", message.text);
}

/// The second line of defence.
#[test]
#[ignore = "needs Chromium: `.ci/run report` runs it"]
fn a_script_that_got_into_the_page_does_not_run() {
    let evil = "<script>document.documentElement.dataset.evil=1</script></main>";
    let page = runs::failed().to_html().replace("</main>", evil);
    let is_hit = |dom: &Dom| dom.only("<html>", |tag| tag.name == "html").attribute("data-evil") == Some("1");
    let dom = open("injected", &page);
    assert!(!is_hit(&dom));
    assert!(dom.all(|tag| tag.attribute("data-ready") == Some("true")).len() == 1, "the page's own script ran");
    assert!(is_hit(&open("unguarded", &browser::without_policy(&page))), "it would have run");
}

#[test]
#[ignore = "needs Chromium: `.ci/run report` runs it"]
fn a_thousand_hosts_open() {
    let page = runs::mesh(1_000, 8).to_html();
    assert!(page.len() < 16 << 20, "{} bytes", page.len());
    let dom = open("thousand", &page);
    assert_sound(&dom);
    assert_eq!(dom.all(|tag| tag.has_class("lane") && tag.has_class("host")).len(), 250);
    let left_out = dom.only("what is left out", |tag| tag.attribute("id") == Some("left-out"));
    assert!(left_out.text.contains("750 of 1000 hosts"), "{}", left_out.text);
}
