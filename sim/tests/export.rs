//! A run as lines of text, with what was said in the clear.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use septa_core::{
    Identity, Multiaddr, ProtocolId,
    node::{EventKind, PeerState},
};
use septa_driver::{
    Node,
    node::{EventFilter, Intent, NodeBuilder},
};
use septa_sim::{
    Crypto, Exported, Failed, Menu, Run, Scenario, Simulation, plan::Plan, plan_of, play, play_exported,
    scenarios::pair, suite,
};

const GREETING: ProtocolId = ProtocolId::from_static("/test/greeting/1");

/// A file that can still be read when it was given away.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn export(scenario: &dyn Scenario, plan: &Plan) -> (String, Exported) {
    let page = Page::default();
    let (outcome, exported) = play_exported(scenario, plan, page.clone()).unwrap();
    assert_eq!(outcome, play(scenario, plan));
    (page.text(), exported)
}

/// Each of these is in a line behind that of the one before.
fn assert_in_order(text: &str, parts: &[&str]) {
    let mut lines = text.lines();
    for part in parts {
        assert!(lines.any(|line| line.contains(part)), "'{part}' is not in its place in:\n{text}");
    }
}

fn node(number: u8) -> NodeBuilder {
    Node::builder(Identity::from_ed25519_seed([number; 32]))
}

/// Alice says good morning to bob, who says good evening.
struct Greeting;

impl Scenario for Greeting {
    fn name(&self) -> &str {
        "greeting"
    }

    fn nodes(&self) -> u32 {
        2
    }

    fn menu(&self, _: u32) -> Menu {
        unreachable!("the plan is given")
    }

    fn play(&self, run: &Run<'_>) -> Result<(), Failed> {
        let (alice, bob) = (run.simulation.host("alice"), run.simulation.host("bob"));
        let addr = Multiaddr::from_socket_addr((run.simulation.ip(2), 4001).into());
        let talk = async {
            let bob = node(2).build(bob).unwrap();
            let alice = node(1).build(alice).unwrap();
            bob.listen(&addr).await.unwrap();
            let mut incoming = bob.accept(GREETING).unwrap();
            let is_established =
                EventFilter::new().kind(EventKind::State).peer(bob.peer_id()).state(PeerState::Established);
            let mut events = alice.subscribe(is_established);
            alice.add_peer(bob.peer_id(), &[addr], Intent::Persistent).unwrap();
            events.next().await.unwrap();
            let mut stream = alice.open_stream(&bob.peer_id(), &[GREETING]).await.unwrap();
            stream.send(b"good morning").await.unwrap();
            let mut theirs = incoming.next().await.unwrap().stream;
            assert_eq!(theirs.read_chunk().await.unwrap().as_deref(), Some(b"good morning".as_slice()));
            theirs.send(b"good \"evening\"").await.unwrap();
            assert_eq!(stream.read_chunk().await.unwrap().as_deref(), Some(b"good \"evening\"".as_slice()));
            alice.shutdown(Duration::from_secs(1)).await;
            bob.shutdown(Duration::from_secs(1)).await;
        };
        run.simulation.block_on(talk)?;
        run.comes("nothing", Duration::ZERO, || Err("there is\nsomething".to_owned()))
    }
}

#[test]
fn what_was_said_is_there_in_the_clear_and_in_order() {
    for crypto in ["fast", "real"] {
        let plan: Plan =
            format!("seed 3\ncrypto {crypto}\nlink latency=10ms read=random:50 write=random:50").parse().unwrap();
        let (text, exported) = export(&Greeting, &plan);
        assert_in_order(
            &text,
            &[
                "# greeting, seed 3",
                "# plan: seed 3",
                "     0.000000000s        0  alice         is there",
                "alice         connection 1 to bob is made",
                "alice         connection 1 > multistream /multistream/1.0.0",
                "alice         connection 1 > multistream /noise",
                "alice         connection 1 > noise handshake message 1, 32 bytes",
                "bob           connection 1 reads ",
                "bob           connection 1 > multistream /noise",
                "bob           connection 1 > noise handshake message 2, ",
                "alice         connection 1 > noise handshake message 3, ",
                "alice         connection 1 > noise record, ",
                r#"alice         connection 1 > yamux data SYN stream 1 length 50 "\x13/multistream/1.0.0\n\x11/test/greeting/1\ngood morning""#,
                r#"bob           connection 1 > yamux data ACK stream 1 length 52 "\x13/multistream/1.0.0\n\x11/test/greeting/1\ngood \"evening\"""#,
                "alice         connection 1 > yamux go away stream 0 length ",
                "alice         connection 1 ends its output",
                "connection 1 is closed",
                "# FAILED: not met: nothing: there is\\nsomething",
                "# hash: ",
            ],
        );
        for task in
            ["alice         runs alice: ", "bob           runs bob: ", "-             runs what the scenario waits for"]
        {
            assert!(text.contains(task), "{task}");
        }
        assert!(!text.contains("somebody else") && !text.contains("something else"), "{text}");
        let lines = text.lines().filter(|line| !line.starts_with('#')).count() as u64;
        assert_eq!(exported, Exported { lines, omitted: 0 });
        // And the same twice.
        assert_eq!(export(&Greeting, &plan).0, text);
    }
}

#[test]
fn whatever_goes_wrong_what_is_sent_can_be_read() {
    let scenario = suite::find("partition-heal").unwrap();
    let mut plan = plan_of(&*scenario, 1, None);
    plan.faults.extend("at 1s tamper 1>2 flip after=100\nat 2s for 1s crash 2 new".parse::<Plan>().unwrap().faults);
    let (text, _) = export(&*scenario, &plan);
    assert_in_order(&text, &["fault 'crash 2 new' begins", "node 2        goes down", "node 2        starts"]);
    for part in ["fault 'tamper 1>2 flip after=100' begins", "# it came right", "/septa/sim/exchange/1\\n", "notes: "] {
        assert!(text.contains(part), "{part}");
    }
    assert!(!text.contains("sealed by somebody else") && !text.contains("something else"));
}

#[test]
fn nodes_that_are_driven_directly_can_be_read_too() {
    for crypto in [Crypto::Fast, Crypto::Real] {
        let simulation = Simulation::new(1);
        let page = Page::default();
        simulation.export(page.clone());
        let options =
            pair::Options { bytes: 3000, streams: 1, provider: crypto.provider(), ..pair::Options::default() };
        pair::run(&simulation, &options).unwrap();
        let exported = simulation.end_export().unwrap();
        let text = page.text();
        assert_in_order(&text, &["noise handshake message 3, ", "/septa-sim/transfer\\n", "yamux data FIN stream "]);
        assert!(!text.contains("sealed by somebody else"), "{text}");
        assert_eq!(exported.lines, text.lines().count() as u64);
        // Nothing is written any more, and there is nothing to end.
        simulation.run_for(Duration::from_secs(60)).unwrap();
        assert_eq!((page.text(), simulation.end_export().unwrap()), (text, Exported::default()));
    }
}

/// Who has connections already, and cryptography of their own.
#[test]
fn what_began_before_is_told_as_far_as_it_is_known() {
    let simulation = Simulation::new(1);
    let page = Page::default();
    let options = pair::Options { bytes: 3000, streams: 1, ..pair::Options::default() };
    pair::run(&simulation, &options).unwrap();
    simulation.export(page.clone());
    simulation.run_for(Duration::from_secs(60)).unwrap();
    simulation.end_export().unwrap();
    let text = page.text();
    assert_in_order(&text, &["connection 1 sends ", "listener      runs listener: node"]);
    assert!(!text.contains('>'), "{text}");
}

#[test]
fn a_file_that_cannot_be_written_is_an_error() {
    /// Takes so many writes.
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let plan = Plan::calm(1);
    for writes in [0, 100] {
        let error = play_exported(&Greeting, &plan, Full(writes)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
