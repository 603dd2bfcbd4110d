mod identify;
mod ping;
