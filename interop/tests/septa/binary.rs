//! The `septa` program against rust-libp2p, in a process of its own.

use std::{path::PathBuf, process::Stdio};

use septa_core::Multiaddr;
use septa_interop::{ECHO, Event, RustPeer, WAIT};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    sync::OnceCell,
    time::timeout,
};

use crate::support::{echo, listen_addr, patient, payload, rust_addr, rust_id, septa_id, within};

/// Builds the program, once, in the product's own workspace, and tells where it is.
async fn septa() -> Command {
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    let program = PROGRAM.get_or_init(|| async {
        // Not bounded: a first build may take minutes.
        let built = Command::new(env!("CARGO"))
            .args(["build", "--locked", "-p", "septa-cli", "--message-format", "json-render-diagnostics"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .stderr(Stdio::inherit())
            .output()
            .await
            .unwrap();
        assert!(built.status.success(), "septa-cli does not build");
        let messages = String::from_utf8(built.stdout).unwrap();
        let executable = messages.lines().find_map(|message| {
            let (_, rest) = message.split_once(r#""executable":""#)?;
            Some(rest.split_once('"')?.0.to_owned())
        });
        PathBuf::from(executable.expect("cargo names the program"))
    });
    let mut command = Command::new(program.await);
    command.kill_on_drop(true);
    command
}

/// Runs the program to its end against `address`; what it printed.
async fn run(command: &str, address: &Multiaddr, options: &[&str]) -> String {
    let mut septa = septa().await;
    septa.args(["--json", command, &address.to_string()]).args(options);
    let output = within(septa.output()).await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "septa {command} failed: {stderr}");
    assert_eq!(stderr, "");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn dials_to_ping_identify_and_echo() {
    let rust = RustPeer::spawn(patient());
    let address = listen_addr(&rust).await.with_peer(septa_id(rust.peer_id())).unwrap();

    let pinged = run("ping", &address, &["--count", "3", "--interval", "0.01"]).await;
    assert_eq!(pinged.lines().filter(|line| line.contains("rtt_ms")).count(), 3, "{pinged}");
    assert!(pinged.contains(r#""ok":true"#), "{pinged}");

    let identified = run("identify", &address, &[]).await;
    for said in [r#""ok":true"#, "rust-libp2p/", ECHO.as_ref(), &rust.peer_id().to_string()] {
        assert!(identified.contains(said), "{said} is missing in {identified}");
    }

    let bytes = (16 << 20).to_string();
    let echoed = run("echo", &address, &["--protocol", ECHO.as_ref(), "--bytes", &bytes, "--streams", "8"]).await;
    assert!(echoed.contains(r#""ok":true"#) && echoed.contains(&bytes), "{echoed}");
    let served = rust.wait_for_nth(WAIT, 7, |event| match event {
        Event::StreamServed { bytes, error: None, .. } => Some(*bytes),
        _ => None,
    });
    served.await.unwrap();
}

#[tokio::test]
async fn says_what_failed_if_the_protocol_or_the_peer_is_another() {
    let rust = RustPeer::spawn(patient());
    let address = listen_addr(&rust).await;
    let right = address.with_peer(septa_id(rust.peer_id())).unwrap().to_string();
    let wrong = address.with_peer(crate::support::stranger()).unwrap().to_string();
    let echo = ["--protocol", "/septa-interop/unknown/1.0.0", "--bytes", "1000"];
    for (arguments, options) in [(["echo", &right], &echo[..]), (["ping", &wrong], &[][..])] {
        let output = within(septa().await.args(arguments).args(options).output()).await.unwrap();
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.starts_with("septa: ") && error.lines().count() == 1, "{error}");
    }
}

/// A running `septa listen`.
struct Listening {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Listening {
    async fn start() -> Self {
        let mut septa = septa().await;
        septa.args(["listen", "--echo", ECHO.as_ref()]).stdout(Stdio::piped());
        let mut child = septa.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { _child: child, lines }
    }

    /// The next line that begins so, without its beginning.
    async fn line(&mut self, begin: &str) -> String {
        let mut seen = Vec::new();
        loop {
            let line = timeout(WAIT, self.lines.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("no {begin:?} in time; {seen:#?}")).unwrap();
            let line = line.unwrap_or_else(|| panic!("ended without {begin:?}; {seen:#?}"));
            if let Some(rest) = line.strip_prefix(begin) {
                return rest.to_owned();
            }
            seen.push(line);
        }
    }
}

#[tokio::test]
async fn listens_for_ping_identify_and_echo() {
    let mut listening = Listening::start().await;
    let address: Multiaddr = listening.line("LISTENING ").await.parse().unwrap();
    let septa = rust_id(address.peer_id().expect("the line names the peer"));
    let rust = RustPeer::spawn(patient());
    let me = rust.peer_id().to_string();
    rust.dial(rust_addr(&address.without_peer().unwrap()), Some(septa)).await.unwrap();
    assert!(listening.line("connected ").await.starts_with(&me));
    let said = listening.line("identified ").await;
    assert!(said.starts_with(&me) && said.contains("rust-libp2p/"), "{said}");

    let pinged = rust.wait_for(WAIT, |event| matches!(event, Event::PingSuccess { .. }).then_some(()));
    pinged.await.unwrap();
    let info = rust.wait_for(WAIT, |event| match event {
        Event::IdentifyReceived { info, .. } => Some(info.clone()),
        _ => None,
    });
    let info = info.await.unwrap();
    assert!(info.agent_version.starts_with("septa/") && info.protocols.contains(&ECHO), "{info:?}");

    let stream = rust.open_stream(septa, ECHO).await.unwrap();
    echo(stream, &payload(PAYLOAD, 7)).await;
    let finished = listening.line("echo finished ").await;
    assert!(finished.contains(&PAYLOAD.to_string()), "{finished}");

    rust.disconnect(septa).await.unwrap();
    let gone = listening.line("disconnected ").await;
    assert!(gone.contains("closed by the peer with code 0x0") || gone.contains("ended the connection"), "{gone}");
}

const PAYLOAD: usize = 1 << 20;
