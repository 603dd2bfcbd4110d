//! Channels with small limits and impatient senders between nodes that lose each other.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use septa_core::SeedStream;
use septa_driver::{
    Channel,
    channel::{ChannelOptions, Config, DropReason, Received, Watermarks},
};

use super::{
    flows::{self, FlowId, Flows},
    party::{Member, Options, Party, draw, draw_length, lock},
    setup, sights,
    waiting::within,
};
use crate::{
    Failed, Menu, Run, Scenario,
    plan::FaultKind::{Crash, Fin, Partition, Reset, Stall},
};

const NAME: &str = "sim";
/// Those that send to one peer at once.
const SENDERS: usize = 3;
/// Longest message.
const MAX_LEN: u64 = 6000;
/// How long a channel may take to open its stream once there is a connection.
const OPENING: Duration = Duration::from_secs(65);

pub(super) struct Channels;

impl Scenario for Channels {
    fn name(&self) -> &str {
        "channels"
    }

    fn nodes(&self) -> u32 {
        3
    }

    fn menu(&self, nodes: u32) -> Menu {
        setup::menu(nodes, setup::once_each(nodes), &[Stall, Partition, Reset, Fin, Crash], 8, Duration::from_secs(30))
    }

    fn sights(&self) -> &'static [&'static str] {
        &[sights::EPOCH, sights::PRESSURE]
    }

    fn play(&self, run: &Run<'_>) -> Result<(), Failed> {
        let nodes = run.nodes as usize;
        let mut options = Options::new(setup::all_pairs(run.nodes).collect());
        options.exchange_every = Duration::from_secs(3);
        // One each way, and what was left for the peer to end.
        options.lasting_streams = 4;
        let hall = Arc::new(Hall { seats: (0..nodes).map(|_| Mutex::default()).collect(), flows: Mutex::default() });
        let begun = hall.clone();
        options.pastime = Arc::new(move |member| begin(&begun, member));
        let looked_at = hall.clone();
        run.simulation.add_invariant("a channel keeps within its limits", 200, move |_| {
            looked_at.seats().try_for_each(|seat| seat.within_limits())
        });
        run.simulation.set_max_steps(100_000_000);
        let party = Party::start(run, options);
        run.chaos()?;
        party.come_together()?;
        hall.moves_on(run)?;
        party.come_to_rest()?;
        run.comes("nothing waits on a channel, and what was sent last has come", OPENING, || hall.is_at_rest())?;
        hall.adds_up()?;
        party.shut_down()
    }
}

/// The channels of the latest life of each node, and what went through them.
struct Hall {
    seats: Vec<Mutex<Option<Seat>>>,
    flows: Mutex<Flows>,
}

#[derive(Clone)]
struct Seat {
    member: Member,
    channel: Channel,
    options: ChannelOptions,
}

impl Hall {
    fn seats(&self) -> impl Iterator<Item = Seat> {
        self.seats.iter().filter_map(|seat| lock(seat).clone())
    }

    /// The flows between those that are there.
    fn live_flows(&self) -> Vec<FlowId> {
        let seats: Vec<Seat> = self.seats().collect();
        let flows = seats.iter().flat_map(|from| {
            let others = seats.iter().filter(|to| to.member.place != from.member.place);
            others.map(|to| from.flow_to(to.member.node.peer_id()))
        });
        flows.collect()
    }

    /// No place in a line is lost for ever: messages of everybody come to everybody.
    fn moves_on(&self, run: &Run<'_>) -> Result<(), Failed> {
        let received = |id: FlowId| lock(&self.flows).of(id).map_or(0, |flow| flow.received);
        let before: Vec<_> = self.live_flows().into_iter().map(|id| (id, received(id))).collect();
        let wanted = setup::all_pairs(run.nodes).count();
        if before.len() != wanted {
            let why = format!("{} of {wanted}", before.len());
            return Err(Failed::Unmet { wish: "everybody has a channel to everybody".to_owned(), why });
        }
        run.comes("new messages arrive", OPENING, || {
            match before.iter().find(|(id, count)| received(*id) < count + 5) {
                Some((id, count)) => {
                    let stats = |seat: Seat| (seat.place() + 1, seat.channel.totals(), seat.channel.stats(&id.to));
                    let all: Vec<_> = self.seats().map(stats).collect();
                    Err(format!("{} have on {id:?}: {all:?}", received(*id) - count))
                }
                None => Ok(()),
            }
        })
    }

    fn is_at_rest(&self) -> Result<(), String> {
        for seat in self.seats() {
            let (sent, received) = seat.channel.totals();
            if (sent.messages, sent.bytes, sent.waiting, received.messages, received.bytes) != (0, 0, 0, 0, 0) {
                return Err(format!("node {}: {sent:?} {received:?}", seat.member.place + 1));
            }
        }
        let flows = lock(&self.flows);
        self.live_flows()
            .into_iter()
            .filter_map(|id| Some((id, flows.of(id)?)))
            .try_for_each(|(id, flow)| flow.is_at_rest().map_err(|why| format!("{id:?}: {why}")))
    }

    /// Each message that a channel has taken was sent or dropped, and was told lost if a stream took its beginning along.
    fn adds_up(&self) -> Result<(), Failed> {
        for seat in self.seats() {
            let (stats, _) = seat.channel.totals();
            let (sent, lost) = lock(&self.flows).sums(seat.place(), seat.member.life);
            let counted = (stats.sent_messages + stats.dropped.total(), stats.dropped.get(DropReason::StreamLost));
            if counted != (sent, lost) {
                let why = format!("node {}: {sent} taken, {lost} told lost, {stats:?}", seat.member.place + 1);
                return Err(Failed::Unmet { wish: "the counts of a channel add up".to_owned(), why });
            }
        }
        Ok(())
    }
}

impl Seat {
    fn place(&self) -> u32 {
        u32::try_from(self.member.place).unwrap_or(u32::MAX)
    }

    fn flow_to(&self, to: septa_core::PeerId) -> FlowId {
        FlowId { place: self.place(), life: self.member.life, to }
    }

    fn within_limits(&self) -> Result<(), String> {
        let Config { watermarks, max_waiting, max_message_len, max_received_bytes, max_received_messages, .. } =
            self.options.config;
        // Where the limit is reached, one whole message may have come that goes beyond.
        let longest = max_message_len + 3;
        // What has come from those who are gone counts, too.
        for peer in self.member.everybody() {
            let (sent, received) =
                (self.channel.stats(&peer).unwrap_or_default(), self.channel.received(&peer).unwrap_or_default());
            if sent.waiting > 0 {
                self.member.saw(sights::PRESSURE);
            }
            let counts = [
                ("messages", sent.messages, watermarks.high_messages),
                ("bytes", sent.bytes, watermarks.high_bytes + longest),
                ("senders", sent.waiting, max_waiting),
                // A peer may have four streams of which something waits.
                ("received messages", received.messages, 4 * max_received_messages),
                ("received bytes", received.bytes, 4 * (max_received_bytes + longest)),
            ];
            if let Some((what, count, limit)) = counts.iter().find(|(_, count, limit)| count > limit) {
                return Err(format!("node {} has {count} {what} of {limit}", self.member.place + 1));
            }
        }
        let (_, received) = self.channel.totals();
        // Each stream may bring one message more.
        let bytes = self.options.max_received_bytes + 4 * longest * self.options.max_peers;
        if received.bytes > bytes {
            return Err(format!("node {} has received {} bytes of {bytes}", self.member.place + 1, received.bytes));
        }
        Ok(())
    }
}

/// Small limits, other ones for each life.
fn tiny(luck: &mut SeedStream) -> ChannelOptions {
    let mut up_to = |most: u64| 1 + draw(luck, most) as usize;
    let (high_messages, high_bytes) = (1 + up_to(6), 1 + up_to(20_000));
    let mut options = ChannelOptions {
        max_peers: 6,
        max_received_bytes: up_to(10_000),
        // Those who come back as somebody else are forgotten before there are too many.
        keep: Duration::from_secs(5),
        ..ChannelOptions::default()
    };
    options.config = Config {
        max_message_len: MAX_LEN as usize,
        watermarks: Watermarks {
            high_messages,
            low_messages: up_to(high_messages as u64 - 1) - 1,
            high_bytes,
            low_bytes: up_to(high_bytes as u64 - 1) - 1,
        },
        max_waiting: up_to(SENDERS as u64),
        max_received_messages: up_to(4),
        max_received_bytes: up_to(8000),
        ..Config::default()
    };
    options
}

fn begin(hall: &Arc<Hall>, member: Member) {
    let mut luck = member.node.runtime().seed().public_stream();
    let options = tiny(&mut luck);
    let channel = match member.node.channel_with(NAME, options.clone()) {
        Ok(channel) => channel,
        // It was shut down meanwhile.
        Err(_) if member.is_quiet() => return,
        Err(error) => return member.referee().blame("a node can have a channel", error.to_string()),
    };
    let seat = Seat { member: member.clone(), channel, options };
    *lock(&hall.seats[member.place]) = Some(seat.clone());
    for partner in member.partners() {
        for _ in 0..SENDERS {
            let luck = member.node.runtime().seed().public_stream();
            member.spawn("sender", send(hall.clone(), seat.clone(), partner, luck));
        }
    }
    member.spawn("receiver", receive(hall.clone(), seat, luck));
}

/// Sends, and gives up at random.
async fn send(hall: Arc<Hall>, seat: Seat, partner: usize, mut luck: SeedStream) {
    let member = &seat.member;
    while !member.is_quiet() {
        member.sleep(Duration::from_millis(1 + draw(&mut luck, 400))).await;
        let Some(peer) = member.peer_at(partner) else { continue };
        let patience = Duration::from_millis(if draw(&mut luck, 3) == 0 { draw(&mut luck, 30) } else { 10_000 });
        let runtime = &**member.node.runtime();
        let (length, id) = (draw_length(&mut luck, MAX_LEN), seat.flow_to(peer));
        let is_ready = match draw(&mut luck, 8) {
            0 => within(runtime, patience, seat.channel.ready(peer)).await.is_some(),
            way => way == 1,
        };
        // Its place in the line is where it is first polled, which is at once.
        let number = lock(&hall.flows).begin(id, member.node.peer_id());
        let message = flows::write(id, number, length as usize);
        let is_sent = if is_ready {
            seat.channel.try_send(peer, &message).is_ok()
        } else {
            matches!(within(runtime, patience, seat.channel.send(peer, &message)).await, Some(Ok(_)))
        };
        lock(&hall.flows).end(id, number, is_sent);
    }
}

/// Takes what comes, slowly at times.
async fn receive(hall: Arc<Hall>, seat: Seat, mut luck: SeedStream) {
    let Seat { member, channel, .. } = &seat;
    let (own, referee) = ((member.node.peer_id(), member.life), member.referee());
    loop {
        let patience = Duration::from_millis(1 + draw(&mut luck, 500));
        match within(&**member.node.runtime(), patience, channel.recv()).await {
            Some(Some(Received::Message { peer, epoch, body })) => {
                let is_new = lock(&hall.flows).receive(own, peer, epoch, &body, referee);
                is_new.then(|| member.saw(sights::EPOCH));
            }
            Some(Some(Received::Lost { peer, epoch })) => lock(&hall.flows).lose(seat.flow_to(peer), epoch, referee),
            Some(None) => return,
            // Whoever gives up waiting loses nothing. Nor does `Received` have other news.
            _ => {}
        }
        if !member.is_healed() {
            let pause = match draw(&mut luck, 60) {
                0 => 4000,
                1..=20 => 100,
                _ => 0,
            };
            member.sleep(Duration::from_millis(draw(&mut luck, pause + 1))).await;
        }
    }
}
