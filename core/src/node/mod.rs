//! Many peers: whom to reach and when, whom to let in, which connection to keep.
//!
//! Nothing here touches bytes. A `Node` is told what happened to dials and connections and answers with
//! actions; the connections run elsewhere.

mod backoff;
mod invalid_value;
mod prefix;
#[allow(dead_code, reason = "the node that uses it comes next")]
mod prefix_count;
#[allow(dead_code, reason = "the node that uses it comes next")]
mod rate_limit;
#[allow(dead_code, reason = "the node that uses it comes next")]
mod score;
#[cfg(test)]
mod tests;
#[allow(dead_code, reason = "the node that uses it comes next")]
mod token_bucket;
mod wall;

pub use backoff::Backoff;
pub use invalid_value::{InvalidValue, InvalidValues};
pub use prefix::{InvalidPrefix, Prefix, leading_ip};
pub use prefix_count::PrefixFull;
pub use rate_limit::{Limited, RateLimits};
pub use score::{MAX_SCORE, Misbehaviour, ScoreConfig, Threshold};
pub use token_bucket::{MAX_FILL_TIME, Rate};
pub use wall::WallTime;
