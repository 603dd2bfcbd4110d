//! The contract of runtimes, kept by smol.

use std::sync::Arc;

use septa_driver::contract::Ends;
use septa_smol::SmolRuntime;

fn ends() -> Ends {
    let runtime = Arc::new(SmolRuntime::new().unwrap());
    Ends::new(runtime.clone(), runtime, |case| smol::block_on(case))
}

septa_driver::contract!(crate::ends());

#[cfg(unix)]
#[test]
fn descriptors_run_out() {
    septa_driver::contract::descriptors_run_out("descriptors_run_out", ends);
}
