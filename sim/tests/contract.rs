//! The contract of runtimes, kept by the simulator: in order, and at random with every read and write cut short.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use septa_driver::contract::Ends;
use septa_sim::{Cut, LinkOptions, Order, Simulation};

fn ends(order: Order, link: LinkOptions) -> Ends {
    let simulation = Arc::new(Simulation::with_order(1, order));
    simulation.set_link(link);
    simulation.add_name("localhost", vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    let host = simulation.host("host");
    Ends::new(host.clone(), host, move |case| simulation.block_on(case).unwrap())
}

mod in_order {
    septa_driver::contract!(crate::ends(septa_sim::Order::Fifo, septa_sim::LinkOptions::default()));
}

fn at_random() -> Ends {
    let cut = Cut::Random(5000);
    ends(Order::Seeded, LinkOptions { read_cut: cut, write_cut: cut, capacity: 9000, ..LinkOptions::default() })
}

mod at_random {
    septa_driver::contract!(crate::at_random());
}
