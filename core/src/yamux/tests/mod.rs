mod headers;
mod limits;
mod support;
mod two_sessions;
