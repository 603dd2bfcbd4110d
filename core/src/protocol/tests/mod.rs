mod identify;
mod identify_push;
mod perf;
mod ping;
