#![no_main]

septa_fuzz::target!(connection_pair);
