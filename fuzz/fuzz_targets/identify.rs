#![no_main]

septa_fuzz::target!(identify);
