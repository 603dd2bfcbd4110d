//! The contract of runtimes, kept by both kinds of tokio's.

use std::sync::Arc;

use septa_driver::contract::Ends;
use septa_tokio::TokioRuntime;
use tokio::runtime::Builder;

fn ends(mut builder: Builder) -> Ends {
    let tokio = builder.enable_all().build().unwrap();
    let runtime = {
        let _context = tokio.enter();
        Arc::new(TokioRuntime::current().unwrap())
    };
    Ends::new(runtime.clone(), runtime, move |case| tokio.block_on(case))
}

mod multi_thread {
    septa_driver::contract!(crate::ends(tokio::runtime::Builder::new_multi_thread()));
}

mod current_thread {
    septa_driver::contract!(crate::ends(tokio::runtime::Builder::new_current_thread()));
}

#[cfg(unix)]
#[test]
fn descriptors_run_out() {
    septa_driver::contract::descriptors_run_out("descriptors_run_out", || ends(Builder::new_multi_thread()));
}
