#![no_main]

septa_fuzz::target!(noise_handshake);
