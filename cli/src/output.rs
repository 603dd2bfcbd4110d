//! Standard output: readable text or one JSON object per line.

use std::io::Write;

use serde_json::Value;

/// How to print.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints one event or result, in the form asked for. Flushes, so that a program that reads our
    /// output sees each line when it is true.
    pub(crate) fn print(self, text: impl std::fmt::Display, json: Value) {
        let mut out = std::io::stdout().lock();
        // A reader that went away is no reason to fail: the work goes on.
        let _ = if self.json { writeln!(out, "{json}") } else { writeln!(out, "{text}") };
        let _ = out.flush();
    }

    /// Prints a JSON object on a line of its own, whichever form was asked for.
    pub(crate) fn json_line(self, json: Value) {
        Self { json: true }.print("", json);
    }

    /// Whether JSON was asked for.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Prints a JSON object on a line of its own if that form was asked for.
    pub(crate) fn json_only(self, json: impl FnOnce() -> Value) {
        if self.json {
            self.json_line(json());
        }
    }

    /// Prints a line for people only.
    pub(crate) fn note(self, text: impl std::fmt::Display) {
        if !self.json {
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{text}");
            let _ = out.flush();
        }
    }

    /// Reports the failure that ends the program.
    pub(crate) fn fail(self, failure: &crate::failure::Failure) {
        if self.json {
            self.print("", failure.to_json());
        }
        let _ = writeln!(std::io::stderr().lock(), "septa: {failure}");
    }
}

/// Text that a peer chose, safe to show on a terminal: control characters are escaped.
pub(crate) fn untrusted(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}
