mod identify;
mod perf;
mod ping;
