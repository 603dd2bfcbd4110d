//! What a person is told when something fails.

use std::fmt;

/// One line for the person at the terminal: what failed and what to try.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    hint: Option<&'static str>,
    usage: bool,
}

impl Failure {
    /// Something failed while running: exit code 1.
    pub(crate) fn new(what: impl fmt::Display, hint: &'static str) -> Self {
        Self { what: what.to_string(), hint: Some(hint), usage: false }
    }

    /// The command line makes no sense: exit code 2.
    pub(crate) fn usage(what: impl fmt::Display) -> Self {
        Self { what: what.to_string(), hint: Some("see septa --help"), usage: true }
    }

    /// The exit code of the process.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.usage { 2 } else { 1 }
    }

    /// The same as a JSON object.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "ok": false, "error": self.what, "try": self.hint })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(hint) = self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}
