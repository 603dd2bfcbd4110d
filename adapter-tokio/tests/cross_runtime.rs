//! The contract between two runtimes, each with each, over loopback TCP. Tokio has other cryptography than the others
//! here.

use std::sync::Arc;

use septa_async_std::AsyncStdRuntime;
use septa_driver::{Runtime, contract::Ends};
use septa_smol::SmolRuntime;
use septa_tokio::TokioRuntime;

fn smol() -> Arc<dyn Runtime> {
    Arc::new(SmolRuntime::new().unwrap())
}

fn async_std() -> Arc<dyn Runtime> {
    Arc::new(AsyncStdRuntime::new().unwrap())
}

/// Gives both ends when it is told which of them is tokio's.
fn with_tokio(ends: impl FnOnce(Arc<dyn Runtime>) -> [Arc<dyn Runtime>; 2]) -> Ends {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let runtime = {
        let _context = tokio.enter();
        Arc::new(TokioRuntime::current().unwrap())
    };
    let [dialer, listener] = ends(runtime);
    Ends::new(dialer, listener, move |case| tokio.block_on(case))
}

mod tokio_dials_smol {
    septa_driver::contract!(crate::with_tokio(|tokio| [tokio, crate::smol()]));
}

mod smol_dials_tokio {
    septa_driver::contract!(crate::with_tokio(|tokio| [crate::smol(), tokio]));
}

mod tokio_dials_async_std {
    septa_driver::contract!(crate::with_tokio(|tokio| [tokio, crate::async_std()]));
}

mod async_std_dials_tokio {
    septa_driver::contract!(crate::with_tokio(|tokio| [crate::async_std(), tokio]));
}

mod smol_dials_async_std {
    septa_driver::contract!(crate::with_tokio(|_| [crate::smol(), crate::async_std()]));
}

mod async_std_dials_smol {
    septa_driver::contract!(crate::with_tokio(|_| [crate::async_std(), crate::smol()]));
}
