//! The book against a list that is searched from end to end.

use std::string::{String, ToString};

use proptest::prelude::*;

use super::*;

const MAX_PEERS: usize = 5;
const MAX_ADDRS: usize = 3;
const MAX_METADATA_BYTES: usize = 12;
const MAX_METADATA_KEYS: usize = 2;

#[derive(Clone, Debug)]
struct ModelAddr {
    port: u16,
    provenance: Provenance,
    last_success: Option<u64>,
    failures: u32,
}

#[derive(Clone, Debug)]
struct ModelPeer {
    id: u8,
    addrs: Vec<ModelAddr>,
    metadata: Vec<(String, Vec<u8>)>,
    protected: bool,
    intent: Intent,
    last_seen: u64,
}

impl ModelPeer {
    fn cost(&self) -> usize {
        let addrs = self.addrs.len() * (ADDR_COST + 8);
        PEER_COST + addrs + self.metadata.iter().map(|(k, v)| METADATA_COST + k.len() + v.len()).sum::<usize>()
    }

    fn is_chosen(&self) -> bool {
        !self.metadata.is_empty() || self.addrs.iter().any(|known| known.provenance == Provenance::Manual)
    }

    /// The best comes first.
    fn sort(&mut self) {
        self.addrs.sort_by(|a, b| {
            (b.last_success.cmp(&a.last_success))
                .then(b.provenance.cmp(&a.provenance))
                .then(a.failures.cmp(&b.failures))
                .then(a.port.cmp(&b.port))
        });
    }
}

#[derive(Clone, Debug, Default)]
struct Model {
    max_bytes: usize,
    now: u64,
    peers: Vec<ModelPeer>,
    pins: Vec<u8>,
}

impl Model {
    fn find(&mut self, id: u8) -> Option<&mut ModelPeer> {
        self.peers.iter_mut().find(|peer| peer.id == id)
    }

    fn may_go(&self, peer: &ModelPeer) -> bool {
        !peer.protected && peer.intent != Intent::Persistent && !self.pins.contains(&peer.id)
    }

    /// Tries the change on a copy and evicts until it fits.
    fn change(&mut self, id: u8, change: impl FnOnce(&mut ModelPeer)) -> bool {
        let mut after = self.clone();
        if after.find(id).is_none() {
            let last_seen = after.now;
            let (addrs, metadata, intent) = (vec![], vec![], Intent::Transient);
            after.peers.push(ModelPeer { id, addrs, metadata, protected: false, intent, last_seen });
        }
        change(after.find(id).unwrap());
        let fits = |model: &Self| {
            model.peers.len() <= MAX_PEERS && model.peers.iter().map(ModelPeer::cost).sum::<usize>() <= model.max_bytes
        };
        while !fits(&after) {
            let candidates = after.peers.iter().filter(|peer| peer.id != id && after.may_go(peer));
            let Some(victim) =
                candidates.min_by_key(|peer| (peer.is_chosen(), peer.last_seen, peer.id)).map(|peer| peer.id)
            else {
                return false;
            };
            after.peers.retain(|peer| peer.id != victim);
        }
        *self = after;
        true
    }

    fn add_addr(&mut self, id: u8, port: u16, provenance: Provenance) -> bool {
        let mut peer = self.find(id).cloned();
        if let Some(known) = peer.as_mut().and_then(|peer| peer.addrs.iter_mut().find(|known| known.port == port)) {
            known.provenance = known.provenance.max(provenance);
            *self.find(id).unwrap() = peer.unwrap();
            return true;
        }
        let mut addrs = peer.map(|peer| peer.addrs).unwrap_or_default();
        if addrs.len() == MAX_ADDRS {
            let Some(worst) = addrs.iter().rposition(|known| known.provenance <= provenance) else { return false };
            addrs.remove(worst);
        }
        addrs.push(ModelAddr { port, provenance, last_success: None, failures: 0 });
        self.change(id, |peer| peer.addrs = addrs)
    }

    fn set_metadata(&mut self, id: u8, key: &str, value: &[u8]) -> bool {
        let Some(peer) = self.find(id) else { return false };
        let mut metadata = peer.metadata.clone();
        metadata.retain(|(known, _)| known != key);
        if value.is_empty() {
            peer.metadata = metadata;
            return true;
        }
        metadata.push((key.into(), value.into()));
        let bytes: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
        bytes <= MAX_METADATA_BYTES
            && metadata.len() <= MAX_METADATA_KEYS
            && self.change(id, |peer| peer.metadata = metadata)
    }

    fn snapshot(&self) -> Vec<KnownPeer> {
        let wall = |then: u64| WallTime::from_secs(WALL.as_secs() - i64::try_from(self.now - then).unwrap());
        let mut peers = self.peers.clone();
        peers.sort_by_key(|peer| peer.id);
        let known_addr = |known: &ModelAddr| KnownAddr {
            addr: addr(known.port),
            provenance: known.provenance,
            last_success: known.last_success.map(wall),
            failures: known.failures,
        };
        peers
            .iter()
            .map(|known| KnownPeer {
                peer: peer(known.id),
                addrs: known.addrs.iter().map(known_addr).collect(),
                metadata: known.metadata.iter().cloned().collect(),
                protected: known.protected,
                intent: known.intent,
                last_seen: wall(known.last_seen),
            })
            .collect()
    }
}

#[derive(Clone, Debug)]
enum Command {
    AddPeer,
    AddAddr(u16, Provenance),
    RemoveAddr(u16),
    Remove,
    Seen,
    Succeeded(u16),
    Failed(u16),
    SetMetadata(String, Vec<u8>),
    Protect(bool),
    SetIntent(Intent),
    Pin,
    Unpin,
}

fn command() -> impl Strategy<Value = Command> {
    let provenance = prop::sample::select(vec![
        Provenance::Inbound,
        Provenance::Identify,
        Provenance::PeerRecord,
        Provenance::Manual,
    ]);
    let intent = prop::sample::select(vec![Intent::Transient, Intent::Dormant, Intent::Persistent]);
    let port = || 1..6_u16;
    prop_oneof![
        2 => Just(Command::AddPeer),
        6 => (port(), provenance).prop_map(|(port, provenance)| Command::AddAddr(port, provenance)),
        1 => port().prop_map(Command::RemoveAddr),
        1 => Just(Command::Remove),
        2 => Just(Command::Seen),
        2 => port().prop_map(Command::Succeeded),
        2 => port().prop_map(Command::Failed),
        3 => (0..4_u8, prop::collection::vec(1..9_u8, 0..8))
            .prop_map(|(key, value)| Command::SetMetadata(key.to_string(), value)),
        1 => prop::bool::weighted(0.3).prop_map(Command::Protect),
        1 => intent.prop_map(Command::SetIntent),
        1 => Just(Command::Pin),
        2 => Just(Command::Unpin),
    ]
}

/// Does the same to both. Clocks may run backwards.
fn apply(book: &mut Book, model: &mut Model, id: u8, secs: u64, command: Command) -> Result<(), TestCaseError> {
    let now = at(secs);
    let tells = matches!(command, Command::AddPeer | Command::AddAddr(..) | Command::Seen | Command::Succeeded(_));
    if tells {
        model.now = model.now.max(secs);
    }
    let (told, peer) = (model.now, peer(id));
    match command {
        Command::AddPeer => prop_assert_eq!(book.add_peer(peer, now).is_ok(), model.change(id, |_| {})),
        Command::AddAddr(port, provenance) => prop_assert_eq!(
            book.add_addr(peer, &addr(port), provenance, now).is_ok(),
            model.add_addr(id, port, provenance)
        ),
        Command::RemoveAddr(port) => {
            let removed = book.remove_addr(&peer, &addr(port));
            let known = model.find(id).and_then(|peer| {
                let index = peer.addrs.iter().position(|known| known.port == port)?;
                Some(peer.addrs.remove(index))
            });
            prop_assert_eq!(removed, known.is_some());
        }
        Command::Remove => {
            prop_assert_eq!(book.remove(&peer), model.find(id).is_some());
            model.peers.retain(|peer| peer.id != id);
        }
        Command::Seen => {
            book.seen(&peer, now);
            model.find(id).map(|peer| peer.last_seen = told).unwrap_or_default();
        }
        Command::Succeeded(port) => {
            book.dial_succeeded(&peer, &addr(port), now);
            if let Some(peer) = model.find(id) {
                peer.last_seen = told;
                for known in peer.addrs.iter_mut().filter(|known| known.port == port) {
                    (known.last_success, known.failures) = (Some(told), 0);
                }
            }
        }
        Command::Failed(port) => {
            book.dial_failed(&peer, &addr(port));
            let addrs = model.find(id).map(|peer| &mut peer.addrs).into_iter().flatten();
            addrs.filter(|known| known.port == port).for_each(|known| known.failures += 1);
        }
        Command::SetMetadata(key, value) => {
            let set = book.set_metadata(&peer, &key, &value).is_ok();
            prop_assert_eq!(set, model.set_metadata(id, &key, &value));
        }
        Command::Protect(protected) => {
            let set = book.set_protected(&peer, protected).is_ok();
            prop_assert_eq!(set, model.find(id).map(|peer| peer.protected = protected).is_some());
        }
        Command::SetIntent(intent) => {
            let set = book.set_intent(&peer, intent).is_ok();
            prop_assert_eq!(set, model.find(id).map(|peer| peer.intent = intent).is_some());
        }
        Command::Pin => {
            book.pin(peer);
            model.pins.push(id);
        }
        Command::Unpin => {
            book.unpin(&peer);
            if let Some(index) = model.pins.iter().position(|pinned| *pinned == id) {
                model.pins.remove(index);
            }
        }
    }
    model.peers.iter_mut().for_each(ModelPeer::sort);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_book_is_the_list(
        max_bytes in prop::sample::select(vec![900_usize, 1500, 2500, 10_000]),
        commands in prop::collection::vec((1..9_u8, 0..40_u64, command()), 1..80),
    ) {
        let limits = BookLimits {
            max_peers: MAX_PEERS,
            max_addrs: MAX_ADDRS,
            max_metadata_bytes: MAX_METADATA_BYTES,
            max_metadata_keys: MAX_METADATA_KEYS,
            max_bytes,
        };
        let mut book = Book::new(limits);
        let mut model = Model { max_bytes, ..Model::default() };
        for (id, secs, command) in commands {
            apply(&mut book, &mut model, id, secs, command)?;
            check(&book);
            let snapshot = book.snapshot(at(model.now), WALL);
            prop_assert_eq!(&snapshot, &model.snapshot());
            for known in &snapshot {
                let dialed: Vec<_> = book.dial_addrs(&known.peer).collect();
                prop_assert_eq!(dialed, known.addrs.iter().map(|known| &known.addr).collect::<Vec<_>>());
                prop_assert_eq!(book.get(&known.peer, at(model.now), WALL), Some(known.clone()));
            }
        }
        // A restart: the driver's clock begins again, the wall goes on.
        let snapshot = book.snapshot(at(model.now), WALL);
        let (restored, report) = Book::restore(limits, snapshot.clone(), at(2), WALL);
        check(&restored);
        prop_assert_eq!(report, Restored { peers: snapshot.len(), ..Restored::default() });
        prop_assert_eq!(restored.snapshot(at(2), WALL), snapshot);
    }

    #[test]
    fn any_snapshot_restores_to_a_book_within_its_limits(
        max_peers in 1..6_usize,
        max_bytes in 256..3000_usize,
        peers in prop::collection::vec(any_known_peer(), 0..12),
        wall in any::<i64>(),
        now in any::<u64>(),
    ) {
        let limits = BookLimits { max_peers, max_addrs: 2, max_metadata_bytes: 6, max_metadata_keys: 2, max_bytes };
        let (now, wall) = (Instant::from_nanos(now), WallTime::from_secs(wall));
        let (book, report) = Book::restore(limits, peers.clone(), now, wall);
        check(&book);
        prop_assert_eq!(book.len(), report.peers);
        prop_assert!(report.peers + report.peers_left_out <= peers.len());
        let first = book.snapshot(now, wall);
        prop_assert!(first.iter().all(|known| known.last_seen <= wall));
        let (again, report) = Book::restore(limits, first.clone(), now, wall);
        prop_assert_eq!(report, Restored { peers: first.len(), ..Restored::default() });
        prop_assert_eq!(again.snapshot(now, wall), first);
    }
}

fn any_known_peer() -> impl Strategy<Value = KnownPeer> {
    let known_addr = (1..5_u16, any::<Option<i64>>(), any::<u32>(), prop::option::of(1..5_u8)).prop_map(
        |(port, last_success, failures, owner)| KnownAddr {
            addr: owner.map_or(addr(port), |owner| addr(port).with_peer(peer(owner)).unwrap()),
            provenance: Provenance::Identify,
            last_success: last_success.map(WallTime::from_secs),
            failures,
        },
    );
    let metadata = prop::collection::btree_map("[a-d]", prop::collection::vec(any::<u8>(), 0..4), 0..4);
    (1..9_u8, prop::collection::vec(known_addr, 0..5), metadata, any::<bool>(), any::<i64>()).prop_map(
        |(id, addrs, metadata, protected, last_seen)| KnownPeer {
            peer: peer(id),
            addrs,
            metadata,
            protected,
            intent: Intent::Dormant,
            last_seen: WallTime::from_secs(last_seen),
        },
    )
}
