mod headers;
mod limits;
#[allow(dead_code, reason = "helpers for the tests to come")]
mod support;
mod two_sessions;
