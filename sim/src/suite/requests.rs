//! Requests with deadlines between nodes that lose each other, are slow to answer and quick to give up.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use septa_core::{PeerId, ProtocolId, SeedStream};
use septa_driver::{
    Requests,
    requests::{Config, Refusal, Request, RequestError, RequestOptions, RequestsError, Watermarks},
};

use super::{
    exchange::fill,
    label::{self, Label, hash},
    party::{Member, Options, Party, draw, draw_length, lock},
    setup,
    waiting::within,
};
use crate::{
    Failed, Menu, Run, Scenario,
    plan::FaultKind::{Crash, Fin, Partition, Reset, SpuriousWakes, Stall},
};

const DEADLINE: &str = "a request ends by its deadline";
const BELONGS: &str = "an answer belongs to its request";
const ONCE: &str = "a request is asked once, by whoever it says, and of whom it was for";
const AT_ONCE: &str = "no peer occupies an application with its requests";
const HONEST: &str = "an honest peer breaks no rule";

/// Longest request and answer.
const MAX_LEN: u64 = 4000;
/// The same with its frame.
const LONGEST: usize = MAX_LEN as usize + 16;
/// Those that ask one peer at once, in each mode: more than any limit lets through.
const ASKERS: usize = 6;

pub(super) struct Asked;

impl Scenario for Asked {
    fn name(&self) -> &str {
        "requests"
    }

    fn nodes(&self) -> u32 {
        3
    }

    fn menu(&self, nodes: u32) -> Menu {
        setup::menu(
            nodes,
            setup::once_each(nodes),
            &[Stall, Partition, Reset, Fin, Crash, SpuriousWakes],
            8,
            Duration::from_secs(30),
        )
    }

    fn play(&self, run: &Run<'_>) -> Result<(), Failed> {
        let nodes = run.nodes as usize;
        let mut options = Options::new(setup::all_pairs(run.nodes).collect());
        options.exchange_every = Duration::from_secs(3);
        // That of all requests, each way.
        options.lasting_streams = 2;
        let office =
            Arc::new(Office { desks: (0..nodes).map(|_| Mutex::default()).collect(), books: Mutex::default() });
        let begun = office.clone();
        options.pastime = Arc::new(move |member| begin(&begun, &member));
        let looked_at = office.clone();
        run.simulation.add_invariant("requests keep within their limits", 200, move |_| {
            looked_at.desks().try_for_each(|desk| desk.within_limits())
        });
        run.simulation.set_max_steps(100_000_000);
        let party = Party::start(run, options);
        run.chaos()?;
        party.come_together()?;
        office.answers(run)?;
        party.come_to_rest()?;
        run.comes("nothing is asked any more", Duration::from_secs(10), || office.is_at_rest())?;
        party.shut_down()
    }
}

/// How requests are laid on streams.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Mode {
    Multiplexed,
    Exchange,
}

const MODES: [Mode; 2] = [Mode::Multiplexed, Mode::Exchange];

/// Whoever asks, in which life, of whom, and how.
type Route = (usize, u32, PeerId, Mode);

/// The requests of the latest life of each node, and what became of them.
struct Office {
    desks: Vec<Mutex<Vec<Desk>>>,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    /// Who asks, and of whom.
    begun: BTreeMap<Label, (PeerId, PeerId)>,
    /// Those that have come to whom they were for.
    asked: BTreeSet<Label>,
    answered: BTreeMap<Route, u64>,
    /// Requests that an application has taken, by its place and life, who asks, and how.
    held: BTreeMap<Route, usize>,
    under_way: BTreeMap<(usize, u32), usize>,
}

#[derive(Clone)]
struct Desk {
    member: Member,
    mode: Mode,
    requests: Requests,
    options: RequestOptions,
    /// Connections to each peer when this was last looked at.
    connections: Arc<Mutex<BTreeMap<PeerId, usize>>>,
}

impl Office {
    fn desks(&self) -> impl Iterator<Item = Desk> {
        self.desks.iter().flat_map(|desks| lock(desks).clone())
    }

    /// Everybody gets answers from everybody.
    fn answers(&self, run: &Run<'_>) -> Result<(), Failed> {
        let answered = |route: &Route| lock(&self.books).answered.get(route).copied().unwrap_or(0);
        let routes = self.desks().flat_map(|desk| {
            let partners = desk.member.partners().into_iter();
            let peers: Vec<PeerId> = partners.filter_map(|place| desk.member.peer_at(place)).collect();
            peers.into_iter().map(move |peer| (desk.member.place, desk.member.life, peer, desk.mode))
        });
        let before: Vec<(Route, u64)> = routes.map(|route| (route, answered(&route))).collect();
        let wanted = MODES.len() * setup::all_pairs(run.nodes).count();
        if before.len() != wanted {
            let why = format!("{} of {wanted}", before.len());
            return Err(Failed::Unmet { wish: "everybody can ask everybody".to_owned(), why });
        }
        // A peer that did not take a stream is left alone for a minute at most.
        run.comes("requests are answered", Duration::from_secs(65), || {
            match before.iter().find(|(route, count)| answered(route) < count + 3) {
                Some((route, count)) => Err(format!("{} were on {route:?}", answered(route) - count)),
                None => Ok(()),
            }
        })
    }

    fn is_at_rest(&self) -> Result<(), String> {
        for desk in self.desks() {
            let name = format!("node {}, {:?}", desk.member.place + 1, desk.mode);
            let under_way = lock(&self.books).under_way.get(&(desk.member.place, desk.member.life)).copied();
            if under_way.is_some_and(|count| count > 0) || desk.requests.answering() > 0 {
                return Err(format!("{name}: asks {under_way:?}, answers {}", desk.requests.answering()));
            }
            for peer in desk.member.partners().into_iter().filter_map(|place| desk.member.peer_at(place)) {
                if let Some(asks) = desk.requests.stats(&peer)
                    && (asks.pending, asks.waiting, asks.queued_messages, asks.queued_bytes) != (0, 0, 0, 0)
                {
                    return Err(format!("{name}: {asks:?}"));
                }
                if let Some(answers) = desk.requests.answering_stats(&peer)
                    && (answers.answering, answers.waiting, answers.queued_messages) != (0, 0, 0)
                {
                    return Err(format!("{name}: {answers:?}"));
                }
            }
        }
        Ok(())
    }
}

impl Desk {
    fn within_limits(&self) -> Result<(), String> {
        let (options, config) = (&self.options, &self.options.config);
        let (mut waiting, mut all_streams) = (0, 0);
        // What has come from those who are gone counts, too.
        for peer in self.member.everybody() {
            let asks = self.requests.stats(&peer).unwrap_or_default();
            let answers = self.requests.answering_stats(&peer).unwrap_or_default();
            waiting += answers.waiting;
            let streams = self.most_streams(peer);
            all_streams += streams;
            let (high_messages, high_bytes) = (config.watermarks.high_messages, config.watermarks.high_bytes);
            self.within(&[
                ("pending", asks.pending, config.max_pending),
                ("waiting", asks.waiting, config.max_waiting),
                // Cancellations go in any case, and so do the answers to what was taken.
                ("queued messages", asks.queued_messages, high_messages + config.max_pending),
                ("queued bytes", asks.queued_bytes, high_bytes + LONGEST * config.max_pending),
                ("answering", answers.answering, config.max_answering),
                ("queued answers", answers.queued_messages, streams * (high_messages + config.max_answering)),
                ("bytes of them", answers.queued_bytes, streams * (high_bytes + LONGEST * config.max_answering)),
                ("waiting for the application", answers.waiting, self.most_waiting(streams)),
            ])?;
        }
        let in_all = options.max_received_bytes_in_all.div_ceil(label::LEN);
        let in_all = in_all + if self.mode == Mode::Multiplexed { all_streams * self.most_held() } else { 0 };
        self.within(&[
            ("answering in all", self.requests.answering(), options.max_answering_in_all),
            ("waiting in all", waiting, in_all),
        ])
    }

    /// Streams on which a peer may ask: each connection has one. A lost one may be gone before its stream is.
    fn most_streams(&self, peer: PeerId) -> usize {
        let now = self.member.node.peer_info(&peer).map_or(0, |info| info.connections.len());
        let before = lock(&self.connections).insert(peer, now).unwrap_or_default();
        now.max(before).max(1)
    }

    /// How many requests of a peer may have come that the application has not taken. The one that reaches a limit of bytes
    /// is still taken, and each has a label at least.
    fn most_waiting(&self, streams: usize) -> usize {
        let (options, config) = (&self.options, &self.options.config);
        let received = config.max_answering.min(options.max_received_bytes.div_ceil(label::LEN));
        match self.mode {
            Mode::Multiplexed => streams * (received + self.most_held()),
            Mode::Exchange => received,
        }
    }

    /// How many requests each stream holds back, behind what may wait.
    fn most_held(&self) -> usize {
        let config = &self.options.config;
        config.max_held.min(config.max_held_bytes.div_ceil(label::LEN))
    }

    fn within(&self, counts: &[(&str, usize, usize)]) -> Result<(), String> {
        match counts.iter().find(|(_, count, limit)| count > limit) {
            Some((what, count, limit)) => {
                Err(format!("node {}, {:?}: {count} {what} of {limit}", self.member.place + 1, self.mode))
            }
            None => Ok(()),
        }
    }
}

impl Books {
    fn begin(&mut self, member: &Member, number: u64, to: PeerId) {
        self.begun.insert(label(member, number), (member.node.peer_id(), to));
        *self.under_way.entry((member.place, member.life)).or_default() += 1;
    }

    fn end(&mut self, member: &Member) {
        self.under_way.entry((member.place, member.life)).and_modify(|count| *count -= 1);
    }

    /// A request has come to `to`.
    fn ask(&mut self, from: PeerId, to: PeerId, body: &[u8]) -> Result<(), String> {
        let label = Label::read(body).ok_or_else(|| format!("{} bytes that nobody has asked", body.len()))?;
        match self.begun.get(&label) {
            Some(ends) if *ends == (from, to) => {}
            ends => return Err(format!("{label:?} came from {from} to {to}, and was begun by {ends:?}")),
        }
        if self.asked.insert(label) { Ok(()) } else { Err(format!("{label:?} came twice to {to}")) }
    }
}

/// Small limits, other ones for each life.
fn tiny(luck: &mut SeedStream) -> RequestOptions {
    let mut up_to = |most: u64| 1 + draw(luck, most) as usize;
    let (high_messages, high_bytes) = (1 + up_to(4), 1 + up_to(8000));
    RequestOptions {
        config: Config {
            max_message_len: MAX_LEN as usize,
            watermarks: Watermarks {
                high_messages,
                low_messages: up_to(high_messages as u64 - 1) - 1,
                high_bytes,
                low_bytes: up_to(high_bytes as u64 - 1) - 1,
            },
            max_pending: up_to(6),
            max_answering: up_to(3),
            max_held: up_to(3),
            max_held_bytes: up_to(4000),
            max_waiting: up_to(ASKERS as u64),
        },
        max_answering_in_all: up_to(4),
        max_received_bytes: up_to(4000),
        max_received_bytes_in_all: up_to(6000),
        max_waiting_streams: up_to(4),
        read_timeout: Duration::from_secs(2),
        ..RequestOptions::default()
    }
}

fn open(member: &Member, mode: Mode, options: RequestOptions) -> Result<Requests, RequestsError> {
    match mode {
        Mode::Multiplexed => member.node.requests("sim", options),
        Mode::Exchange => member.node.exchanges(ProtocolId::from_static("/septa/sim/request/1"), options),
    }
}

fn begin(office: &Arc<Office>, member: &Member) {
    lock(&office.desks[member.place]).clear();
    for mode in MODES {
        let options = tiny(&mut member.node.runtime().seed().public_stream());
        let requests = match open(member, mode, options.clone()) {
            Ok(requests) => requests,
            // It was shut down meanwhile.
            Err(_) if member.is_quiet() => return,
            Err(error) => return member.referee().blame("a node can ask and answer", error.to_string()),
        };
        let desk = Desk { member: member.clone(), mode, requests, options, connections: Arc::default() };
        lock(&office.desks[member.place]).push(desk.clone());
        for partner in member.partners() {
            for asker in 0..ASKERS {
                let luck = member.node.runtime().seed().public_stream();
                // No two askers of a life have a number in common.
                let first = (((mode as usize * 256 + partner) * ASKERS + asker) as u64) << 32;
                member.spawn("asker", ask(office.clone(), desk.clone(), partner, first, luck));
            }
        }
        let luck = member.node.runtime().seed().public_stream();
        member.spawn("answerer", answer(office.clone(), desk, luck));
    }
}

/// Asks, and gives up at random.
async fn ask(office: Arc<Office>, desk: Desk, partner: usize, first: u64, mut luck: SeedStream) {
    let Desk { member, mode, requests, .. } = &desk;
    let (runtime, referee) = (&**member.node.runtime(), member.referee());
    let mut number = first;
    while !member.is_quiet() {
        member.sleep(Duration::from_millis(1 + draw(&mut luck, 500))).await;
        let Some(peer) = member.peer_at(partner) else { continue };
        let timeout = Duration::from_millis(5000 >> draw(&mut luck, 8));
        let patience = if draw(&mut luck, 4) == 0 { timeout / 4 } else { 2 * timeout };
        let body = label(member, number).write(draw_length(&mut luck, MAX_LEN) as usize);
        let begin = runtime.now();
        lock(&office.books).begin(member, number, peer);
        let outcome = within(runtime, patience, requests.request(peer, &body, timeout)).await;
        lock(&office.books).end(member);
        let took = runtime.now().saturating_duration_since(begin);
        if took > timeout {
            referee.blame(DEADLINE, format!("{took:?} of {timeout:?}, with {outcome:?}"));
        }
        match outcome {
            Some(Ok(found)) if found != answer_to(&body, peer) => {
                referee.blame(BELONGS, format!("{} bytes came from {peer} for number {number:x}", found.len()));
            }
            Some(Ok(_)) => {
                let route = (member.place, member.life, peer, *mode);
                *lock(&office.books).answered.entry(route).or_default() += 1;
            }
            // Those of the node itself, when it shuts down or nobody wants to answer, begin otherwise.
            Some(Err(RequestError::Refused { why: Refusal::Reason(reason), .. }))
                if *reason != *no(number) && reason.starts_with(NO) =>
            {
                referee.blame(BELONGS, format!("{peer} refuses number {number:x} with {reason:?}"));
            }
            Some(Err(error @ (RequestError::Violation { .. } | RequestError::TooLong { .. }))) => {
                referee.blame(HONEST, error.to_string());
            }
            _ => {}
        }
        number += 1;
    }
}

/// Takes requests, and is slow to answer, or does not.
async fn answer(office: Arc<Office>, desk: Desk, mut luck: SeedStream) {
    let Desk { member, requests, .. } = &desk;
    let own = member.node.peer_id();
    while let Some(request) = requests.next().await {
        if let Err(why) = lock(&office.books).ask(request.peer(), own, request.body()) {
            return member.referee().blame(ONCE, why);
        }
        let (reply, held) = (answer_to(request.body(), own), Held::new(&office, &desk, request.peer()));
        let slowness = match draw(&mut luck, 16) {
            _ if member.is_healed() => 0,
            0 => 8000,
            1..=4 => 300,
            _ => 0,
        };
        match draw(&mut luck, 8) {
            0 => drop(request),
            1 => refuse(request),
            _ if slowness == 0 => drop(request.respond(&reply)),
            _ => {
                let pause = Duration::from_millis(draw(&mut luck, slowness));
                let member = member.clone();
                let respond = async move {
                    member.sleep(pause).await;
                    let _ = request.respond(&reply);
                    drop(held);
                };
                desk.member.spawn("slow answer", respond);
            }
        }
        if draw(&mut luck, 40) == 0 && !member.is_healed() {
            member.sleep(Duration::from_millis(draw(&mut luck, 3000))).await;
        }
    }
}

/// A request of a peer that the application has.
struct Held {
    office: Arc<Office>,
    route: Route,
}

impl Held {
    fn new(office: &Arc<Office>, desk: &Desk, peer: PeerId) -> Self {
        let (member, max) = (&desk.member, desk.options.config.max_answering);
        let route = (member.place, member.life, peer, desk.mode);
        let mut books = lock(&office.books);
        let count = books.held.entry(route).or_default();
        *count += 1;
        if *count > max {
            member.referee().blame(AT_ONCE, format!("{count} of at most {max} on {route:?}"));
        }
        Self { office: office.clone(), route }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.office.books).held.entry(self.route).and_modify(|count| *count -= 1);
    }
}

fn refuse(request: Request) {
    let Some(label) = Label::read(request.body()) else { return };
    let _ = request.refuse(&no(label.number));
}

const NO: &str = "not number ";

fn no(number: u64) -> String {
    format!("{NO}{number:x}")
}

fn label(member: &Member, number: u64) -> Label {
    Label { place: u32::try_from(member.place).unwrap_or(u32::MAX), life: member.life, number }
}

/// What nobody answers to anything else, and nobody else to this.
fn answer_to(body: &[u8], answerer: PeerId) -> Vec<u8> {
    let key = hash(body) ^ hash(answerer.as_bytes());
    let mut answer = vec![0; usize::try_from(key % (MAX_LEN >> (key >> 32 & 7))).unwrap_or(0).max(8)];
    fill(key, 0, &mut answer);
    answer
}
