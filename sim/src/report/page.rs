//! The page.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::{
    Report,
    axis::{self, Axis},
    escape::{self, html as escaped},
    events::{self, TEXT_LIMIT, time},
    lane::Lanes,
    selection::{self, MAX_LINES, Selection},
};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Characters of a text that has its own block: a plan, the message of a failure, the command.
const BLOCK_LIMIT: usize = 64 * 1024;

pub(super) fn html(report: &Report) -> String {
    let selection = Selection::new(report);
    let mut out = String::new();
    head(report, &mut out);
    out.push_str("<body>\n<header>\n");
    verdict(report, &mut out);
    facts(report, &mut out);
    out.push_str("</header>\n<main>\n");
    out.push_str(CONTROLS);
    let unfit = timeline(report, &selection, &mut out);
    left_out(report, &selection, unfit, &mut out);
    out.push_str(
        "<div id=\"details\" role=\"status\" aria-live=\"polite\">Point at something to see what it is.</div>\n",
    );
    listing(report, &mut out);
    let _ = write!(out, "</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n");
    out
}

fn head(report: &Report, out: &mut String) {
    let verdict = if report.failure.is_some() { "failed" } else { "passed" };
    let scenario = escaped(&escape::line(&report.scenario, TEXT_LIMIT));
    let (style, script) = (source_hash(STYLE), source_hash(SCRIPT));
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src {style}; \
         script-src {script}; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{scenario}, seed {}: {verdict}</title>\n<style>{STYLE}</style>\n</head>\n",
        report.seed
    );
}

/// What may run or apply, by its hash (Content Security Policy Level 3, 2.3.1 `hash-source`): injected markup may not.
fn source_hash(source: &str) -> String {
    format!("'sha256-{}'", base64(&Sha256::digest(source)))
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let group = (0..3).fold(0, |group, place| group << 8 | usize::from(chunk.get(place).copied().unwrap_or(0)));
        for place in 0..4 {
            let digit = DIGITS[group >> (18 - 6 * place) & 63];
            out.push(if place > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    out
}

fn verdict(report: &Report, out: &mut String) {
    let scenario = escaped(&escape::line(&report.scenario, TEXT_LIMIT));
    let _ = writeln!(out, "<h1>{scenario} <small>seed {}</small></h1>", report.seed);
    let Some(failure) = &report.failure else {
        out.push_str("<p id=\"verdict\" class=\"passed\">\u{2713} Passed: no invariant was broken.</p>\n");
        return;
    };
    let invariant = escaped(&escape::line(&failure.invariant, TEXT_LIMIT));
    let place = failure.host.map_or_else(String::new, |host| format!(" at {}", escaped(&report.name(host))));
    let _ = write!(
        out,
        "<section id=\"verdict\" class=\"failed\"><p>\u{2717} Failed: <b>{invariant}</b>{place}, at {}, in step {}</p>\n\
         <pre>{}</pre></section>\n",
        time(failure.at),
        failure.step,
        escaped(&escape::block(&failure.message, BLOCK_LIMIT))
    );
}

fn facts(report: &Report, out: &mut String) {
    let hash = report.hash.map_or_else(|| "none".to_owned(), |hash| hash.to_string());
    let command = escaped(&escape::block(&report.command, BLOCK_LIMIT));
    let plan = escaped(&escape::block(report.plan.trim_end(), BLOCK_LIMIT));
    let heal = report.heal.map_or_else(String::new, |heal| format!(", healed at {}", time(heal)));
    let idle = report.faults.iter().filter(|fault| fault.fired == 0).count();
    let _ = write!(
        out,
        "<dl>\n<dt>Run it again</dt><dd><code id=\"command\">{command}</code></dd>\n\
         <dt>Trace hash</dt><dd><code id=\"hash\">{hash}</code></dd>\n\
         <dt>Virtual time</dt><dd>from {} to {}{heal}</dd>\n\
         <dt>What happened</dt><dd>{} hosts, {} connections, {} faults ({idle} changed nothing), {} notes</dd>\n</dl>\n\
         <details{}><summary>The plan</summary><pre id=\"plan\">{plan}</pre></details>\n",
        time(report.begin),
        time(report.end),
        report.hosts.len(),
        report.connections.len(),
        report.faults.len(),
        report.notes.len(),
        if report.failure.is_some() { " open" } else { "" }
    );
}

/// Of use with the script only, which shows them.
const CONTROLS: &str = r#"<noscript><p>All of the run is shown. To zoom and to filter, allow this page its script.</p></noscript>
<div id="controls" role="toolbar" aria-label="Timeline" hidden>
<label>Hosts <input id="filter" type="search" placeholder="all, or names: alice, bob" spellcheck="false" autocomplete="off"></label>
<button id="zoom-in" title="Zoom in (+)">+</button><button id="zoom-out" title="Zoom out (-)">&#8722;</button>
<button id="earlier" title="Earlier (Shift and left)">&#9664;</button><button id="later" title="Later (Shift and right)">&#9654;</button>
<button id="whole" title="All of the run (0)">All</button><button id="to-failure" title="Around the failure (f)">Failure</button>
<output id="view"></output>
</div>
<p class="legend"><span class="key dialed">dialed</span><span class="key accepted">accepted</span><span class="key pending">not yet established</span>
<span class="key band">fault</span><span class="key down">host down</span><span class="key note">note</span><span class="key warning">warning</span><span class="key failure">failure</span></p>
<p class="keys" hidden>Arrows move between items, + and - zoom, Shift with left and right pans, 0 shows all, f the failure. Drag to pan, Ctrl and wheel to zoom.</p>
"#;

fn timeline(report: &Report, selection: &Selection, out: &mut String) -> usize {
    let axis = Axis::new(report);
    let steps: Vec<String> = axis::steps().iter().map(u64::to_string).collect();
    let _ = write!(
        out,
        "<div id=\"timeline\" data-begin=\"{}\" data-span=\"{}\" data-steps=\"{}\">\n\
         <div class=\"axis\"><div class=\"name\">virtual time</div>",
        axis.begin(),
        axis.span,
        steps.join(" ")
    );
    let (mut labels, mut lines) = (String::new(), String::new());
    for tick in axis.ticks() {
        let place = tick.place;
        let _ = write!(lines, "<line x1=\"{place}\" x2=\"{place}\" y2=\"100%\"/>");
        if let Some(label) = tick.label {
            let _ = write!(labels, "<text x=\"{place}\" y=\"15\" dx=\"3\">{label}</text>");
        }
    }
    let _ = write!(
        out,
        "<svg class=\"track\" height=\"22\" aria-hidden=\"true\"><g id=\"labels\">{labels}</g></svg></div>\n\
         <svg id=\"grid\" aria-hidden=\"true\"><g id=\"lines\">{lines}</g></svg>\n\
         <svg id=\"instants\" aria-hidden=\"true\">"
    );
    let instants = report.heal.map(|at| (at, "heal")).into_iter();
    for (at, id) in instants.chain(report.failure.as_ref().map(|failure| (failure.at, "failure"))) {
        let (offset, place) = (axis.offset(at), axis.place(at));
        let _ = write!(
            out,
            "<svg id=\"{id}-line\" class=\"instant\" data-from=\"{offset}\" data-to=\"{offset}\" x=\"{place}\">\
             <line y2=\"100%\"/></svg>"
        );
    }
    out.push_str("</svg>\n");
    let mut lanes = Lanes::new(report, selection, axis);
    lanes.run(out);
    for host in &selection.hosts {
        lanes.host(out, *host);
    }
    out.push_str("</div>\n");
    lanes.unfit
}

/// What the timeline does not show.
fn left_out(report: &Report, selection: &Selection, unfit: usize, out: &mut String) {
    let bands = selection::strikes(report, &selection.hosts, &selection.faults).len();
    let lives = selection.hosts.iter().filter_map(|host| report.hosts.get(*host)).map(|lane| lane.lives.len()).sum();
    let counts = [
        (report.hosts.len(), selection.hosts.len(), "hosts"),
        (report.connections.len(), selection.connections.len(), "connections"),
        (report.faults.len(), selection.faults.len(), "faults"),
        (bands, selection.bands.len(), "strikes of faults at hosts"),
        (report.notes.len(), selection.notes.len(), "notes"),
        (lives, selection.lives.len(), "lives of hosts"),
    ];
    let mut missing: Vec<String> = counts
        .into_iter()
        .filter(|(all, drawn, _)| drawn < all)
        .map(|(all, drawn, what)| format!("{} of {all} {what}", all - drawn))
        .collect();
    if unfit > 0 {
        missing.push(format!("{unfit} bars for which their lanes had no room"));
    }
    if report.omitted > 0 {
        missing.push(format!("{} entries that were not recorded", report.omitted));
    }
    if !missing.is_empty() {
        let missing = missing.join(", ");
        let _ = writeln!(out, "<p id=\"left-out\">Left out to keep the page small: {missing}.</p>");
    }
}

/// The run as text, for those who read rather than look.
fn listing(report: &Report, out: &mut String) {
    let events = events::events(report);
    let lines = events::lines(report, &events);
    let indexes = (0..events.len()).collect();
    let shown = selection::first(indexes, MAX_LINES, |index| {
        let event = events.get(*index)?;
        Some((selection::distance(report.focus(), event.at, event.at), *index))
    });
    let part = if shown.len() < lines.len() { format!("{} of ", shown.len()) } else { String::new() };
    let _ =
        write!(out, "<details id=\"listing\"><summary>The same as text ({part}{} lines)</summary><pre>", lines.len());
    for line in shown.iter().filter_map(|index| lines.get(*index)) {
        out.push_str(&escaped(line));
        out.push('\n');
    }
    out.push_str("</pre></details>\n");
}
