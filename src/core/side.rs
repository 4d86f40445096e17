//! A node's parts without a node, for the unit tests of every room: identity, replica and authoring on a store in memory.

use tombolo_delta::Value;
use tombolo_transports::{LinkCaps, Medium, PeerId};

use crate::authoring::{Authoring, MapEdits};
use crate::clock::{BUILD_DATE, Now};
use crate::core::{Core, NodeSettings};
use crate::federation::peer::Joined;
use crate::federation::{Audience, Peer, TrustLevel};
use crate::identity::Keypair;
use crate::io::{CommandError, Output};
use crate::layer::{DocumentId, DocumentName, Entry, KeyPath, LayerId};
use crate::replica::{ApplyOutcome, Arriving, Origin, Replica, Stored};
use crate::store::Store;
use crate::sync::frontier::State;
use crate::sync::message::Message;
use crate::time::{Millis, Mono, Wall};

/// Reference time at which every side starts.
pub(crate) const START: Wall = Wall::from_ms(BUILD_DATE.ms() + 1_000_000);

/// A replica with what it works with.
pub(crate) struct TestSide {
    pub(crate) core: Core,
    pub(crate) replica: Replica,
    pub(crate) authoring: Authoring,
}

impl TestSide {
    pub(crate) fn new(seed: u8) -> Self {
        TestSide::in_store(seed, Store::in_memory().unwrap())
    }

    pub(crate) fn in_store(seed: u8, store: Store) -> Self {
        let keypair = Keypair::from_seeds(&[seed; 32], &[seed + 100; 32]);
        let now = Now { mono: Mono::from_ms(1_000), wall: START };
        let mut core = Core::new(store, keypair, NodeSettings::default(), now, &[seed; 32]);
        let mut replica = Replica::new(core.me, now.mono);
        let mut loaded = core.gate.load().unwrap();
        replica.load(&mut core, &mut loaded).unwrap();
        TestSide { core, replica, authoring: Authoring::default() }
    }

    pub(crate) fn me(&self) -> PeerId {
        self.core.me
    }

    pub(crate) fn trust(&mut self, peer: PeerId, trust_level: TrustLevel) {
        self.replica.put_peer(Peer {
            id: peer,
            onion: String::new(),
            given_name: None,
            own_name: None,
            trust_level,
            added_at: Wall::default(),
            heard_at: None,
            joined: Joined::Agreed,
            addresses: Vec::new(),
            last_known: None,
        });
    }

    pub(crate) fn remove(&mut self, peer: PeerId) {
        self.replica.remove_peer(&mut self.core, &peer);
    }

    /// Signs the audience that follows from the peers.
    pub(crate) fn sign_audience(&mut self) {
        let audience: Audience = self.replica.audience_due([1; 16]).unwrap();
        self.sign_this_audience(&audience);
    }

    pub(crate) fn sign_this_audience(&mut self, audience: &Audience) {
        let document = self.core.own_document(DocumentName::AUDIENCE);
        self.authoring
            .commit_snapshot(&mut self.core, &mut self.replica, &document, audience.to_value())
            .unwrap();
    }

    /// A document of this side.
    pub(crate) fn document(&self, name: &str) -> DocumentId {
        DocumentId { owner: self.me(), name: DocumentName::new(name).unwrap() }
    }

    /// Entries of the own layer with fresh stamps; `None` drops a key.
    pub(crate) fn edits(&mut self, changes: &[(&str, Option<u64>)]) -> MapEdits {
        let mut map = MapEdits::new();
        for (key, value) in changes {
            let stamp = self.core.clock.tick();
            let entry = value.map(|value| Entry { stamp, value: Some(Value::from(value).into()), saw: None });
            map.insert(KeyPath::parse(key).unwrap(), entry);
        }
        map
    }

    pub(crate) fn commit(&mut self, document: &DocumentId, edits: MapEdits) -> Result<Stored, CommandError> {
        self.authoring.commit_map(&mut self.core, &mut self.replica, document, edits)
    }

    pub(crate) fn set(&mut self, document: &DocumentId, changes: &[(&str, Option<u64>)]) -> Stored {
        let edits = self.edits(changes);
        self.commit(document, edits).unwrap()
    }

    /// The message that brings `reader` from a state to the present one.
    pub(crate) fn supply(&self, reader: PeerId, id: &LayerId, held: Option<State>) -> Message {
        self.replica.supply(&reader, id, held).expect("the reader may have it")
    }

    pub(crate) fn receive(&mut self, from: PeerId, message: Message) -> ApplyOutcome {
        let origin = Origin::Link { peer: from };
        match message {
            Message::Whole(envelope) => {
                self.replica.apply(&mut self.core, &origin, Arriving::Whole(*envelope))
            }
            Message::Compact(envelope) => {
                self.replica.apply(&mut self.core, &origin, Arriving::delta(&envelope))
            }
            other => panic!("{other:?} carries no layer"),
        }
    }

    pub(crate) fn value(&self, document: &DocumentId) -> Option<Value> {
        self.replica.document(document)?.view()
    }

    pub(crate) fn roots_hold(&self) -> bool {
        self.replica.layers().layers().all(|layer| layer.content.root() == layer.head().root)
    }

    /// Sets both clocks so long after the start.
    pub(crate) fn at(&mut self, later: Millis) {
        self.core.clock.set_now(Now { mono: Mono::from_ms(1_000) + later, wall: START + later });
    }

    /// Commits, and returns what leaves.
    pub(crate) fn outputs(&mut self) -> Vec<Output> {
        self.core.gate.commit(self.core.now()).expect("a store in memory takes every commit");
        std::iter::from_fn(|| self.core.gate.pop()).collect()
    }
}

/// An owner, a reader that it lists as a writer, and the owner's map `list` with one key, held by both.
pub(crate) fn pair() -> (TestSide, TestSide, LayerId) {
    let (mut owner, mut reader) = (TestSide::new(1), TestSide::new(2));
    owner.trust(reader.me(), TrustLevel::Trusted);
    reader.trust(owner.me(), TrustLevel::Trusted);
    owner.sign_audience();
    let audience = owner.core.own_layer(&owner.core.own_document(DocumentName::AUDIENCE));
    let message = owner.supply(reader.me(), &audience, None);
    assert!(matches!(reader.receive(owner.me(), message), ApplyOutcome::Stored(_)));
    let document = owner.document("list");
    owner.set(&document, &[("a", Some(1))]);
    let id = owner.core.own_layer(&document);
    let message = owner.supply(reader.me(), &id, None);
    assert!(matches!(reader.receive(owner.me(), message), ApplyOutcome::Stored(_)));
    (owner, reader, id)
}

/// A link without limits.
pub(crate) fn link_caps(medium: Medium) -> LinkCaps {
    LinkCaps {
        medium,
        message_bytes_max: 1 << 20,
        rate_bps: None,
        latency_ms: 1,
        loss_permille: 0,
        broadcast: false,
        metered: false,
        confidential: true,
        airtime_us_per_byte: 0,
        airtime_left: None,
    }
}
