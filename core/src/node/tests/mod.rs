mod backoff;
mod prefix;
mod prefix_count;
mod rate_limit;
mod score;
mod token_bucket;
mod transition;
mod wall;
