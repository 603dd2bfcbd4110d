#![no_main]

septa_fuzz::target!(peer_id);
