//! What happens when the operating system gives no more file descriptors.

use std::{
    env, fs, iter,
    process::{Command, Stdio},
};

use futures_util::future::join;

use super::{
    ends::Ends,
    world::{World, exchange, serve_echo},
};
use crate::error::{AcceptError, ConnectError};

/// Set for the process that may open few files.
const CHILD: &str = "SEPTA_TEST_FEW_DESCRIPTORS";
/// How many that are: so few that they are soon used up, and enough for any runtime to begin.
const FEW: &str = "64";

/// Runs the calling test, which is called `name`, once more in a process that may open few files, with the ends that
/// `ends` makes there. Needs a shell with `ulimit -n`.
pub fn descriptors_run_out(name: &str, ends: impl FnOnce() -> Ends) {
    if env::var_os(CHILD).is_some() {
        return ends().run(run_out);
    }
    let child = Command::new("sh")
        .args(["-c", "ulimit -n \"$1\" && shift && exec \"$@\"", "sh", FEW])
        .arg(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, error) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && out.contains("1 passed"), "{out}\n{error}");
}

/// Opens files until there are no descriptors left.
fn take_all() -> Vec<fs::File> {
    iter::from_fn(|| fs::File::open("/dev/null").ok()).collect()
}

/// Connections that are open go on; new ones fail, or wait, until there are descriptors again.
async fn run_out(ends: &Ends) {
    let world = World::new(ends);
    let (near, far, listener) = world.connected().await;
    serve_echo(&ends.listener, far);
    let mut files = take_all();
    assert!(!files.is_empty());
    exchange(&near, b"without another descriptor").await;
    let failed = world.alice.connect(&listener.local_addr(), world.bobs_id()).await.unwrap_err();
    assert!(matches!(failed, ConnectError::Io { .. }), "{failed}");

    // One for the dialer, none for the listener.
    drop(files.pop());
    let accepting = async {
        let failed = listener.accept().await.unwrap_err();
        assert!(matches!(failed, AcceptError::Io { .. }), "{failed}");
        exchange(&near, b"while another one waits").await;
        drop(files);
        loop {
            match listener.accept().await {
                Ok(far) => break far,
                Err(AcceptError::Io { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    let (late, far) = join(world.connect(&listener), accepting).await;
    serve_echo(&ends.listener, far);
    exchange(&late, b"at last").await;
    world.end().await;
}
