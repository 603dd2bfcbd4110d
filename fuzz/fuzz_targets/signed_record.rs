#![no_main]

septa_fuzz::target!(signed_record);
