#![no_main]

septa_fuzz::target!(yamux_session);
