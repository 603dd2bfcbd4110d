#![no_main]

septa_fuzz::target!(node_operations);
