#![no_main]

septa_fuzz::target!(channel_inbox);
