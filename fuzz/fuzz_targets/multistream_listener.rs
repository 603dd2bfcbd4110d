#![no_main]

septa_fuzz::target!(multistream_listener);
