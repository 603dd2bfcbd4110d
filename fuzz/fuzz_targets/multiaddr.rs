#![no_main]

septa_fuzz::target!(multiaddr);
