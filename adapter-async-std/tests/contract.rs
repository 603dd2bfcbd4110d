//! The contract of runtimes, kept by async-std.

use std::sync::Arc;

use septa_async_std::AsyncStdRuntime;
use septa_driver::contract::Ends;

fn ends() -> Ends {
    let runtime = Arc::new(AsyncStdRuntime::new().unwrap());
    Ends::new(runtime.clone(), runtime, |case| async_std::task::block_on(case))
}

septa_driver::contract!(crate::ends());

#[cfg(unix)]
#[test]
fn descriptors_run_out() {
    septa_driver::contract::descriptors_run_out("descriptors_run_out", ends);
}
