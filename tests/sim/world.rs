//! A small federation on a network without faults, for stories that bring their own.

use tombolo::federation::TrustLevel;
use tombolo::layer::{KeyPath, Kind};
use tombolo::node::view::StatusView;
use tombolo::node::{CommandError, NodeSettings, Query, Reply, Write};
use tombolo::time::Millis;
use tombolo_delta::Value;
use tombolo_sim::checker::DocumentRef;
use tombolo_sim::faults::Rates;
pub(crate) use tombolo_sim::{HOUR, MINUTE};
use tombolo_sim::{SECOND, Seat, Simulation};

pub(crate) struct World {
    pub(crate) simulation: Simulation,
}

impl World {
    /// So many machines that do not know each other.
    pub(crate) fn new(seed: u64, machines: usize) -> Self {
        println!("seed {seed}");
        let mut simulation = Simulation::new(seed, Rates::CLEAN);
        for i in 0..machines {
            simulation.add(NodeSettings { name: format!("node{i}"), ..NodeSettings::default() });
        }
        World { simulation }
    }

    /// So many machines, all of which trust each other.
    pub(crate) fn of_friends(seed: u64, machines: usize) -> Self {
        let mut world = World::new(seed, machines);
        for a in 0..machines {
            for b in a + 1..machines {
                world.join(a, b, TrustLevel::Trusted);
            }
        }
        world
    }

    pub(crate) fn join(&mut self, inviter: usize, joiner: usize, level: TrustLevel) {
        self.simulation.federate(Seat(inviter), Seat(joiner), level, HOUR).unwrap();
    }

    pub(crate) fn create(&mut self, owner: usize, name: &str) -> DocumentRef {
        let create = Write::Create { name: name.into(), kind: Kind::Map };
        self.simulation.ask(Seat(owner), create).unwrap();
        DocumentRef { owner: Seat(owner), name: name.into() }
    }

    pub(crate) fn try_set(
        &mut self,
        who: usize,
        place: &DocumentRef,
        key: &str,
        value: u64,
    ) -> Result<Reply, CommandError> {
        let doc = place.text(&self.simulation);
        let set = Write::Set { doc, key: KeyPath::parse(key).unwrap(), value: Value::from(value) };
        self.simulation.ask(Seat(who), set)
    }

    /// Returns the sequence under which it was signed.
    pub(crate) fn set(&mut self, who: usize, place: &DocumentRef, key: &str, value: u64) -> u64 {
        match self.try_set(who, place, key, value) {
            Ok(Reply::Written(written)) => written.sequence,
            other => panic!("writing {key} gave {other:?}"),
        }
    }

    pub(crate) fn status(&mut self, who: usize) -> StatusView {
        match self.simulation.ask(Seat(who), Query::Status) {
            Ok(Reply::Status(status)) => *status,
            other => panic!("{other:?}"),
        }
    }

    /// The number of forks that a node knows.
    pub(crate) fn forks(&mut self, who: usize) -> usize {
        self.status(who).forks.len()
    }

    /// The value that a node reads at a key; `None` if it does not know the document or the key.
    pub(crate) fn get(&mut self, who: usize, place: &DocumentRef, key: &str) -> Option<u64> {
        use CommandError as E;
        let doc = place.text(&self.simulation);
        match self.simulation.ask(Seat(who), Query::Get { doc, key: Some(KeyPath::parse(key).unwrap()) }) {
            Ok(Reply::Value(value)) => Some(value.as_u64().unwrap()),
            Err(E::UnknownKey { .. } | E::UnknownDocument(_) | E::UnknownPeer(_)) => None,
            other => panic!("reading {key} gave {other:?}"),
        }
    }

    /// Lets time pass until a node reads this value; returns how long that took.
    pub(crate) fn await_value(
        &mut self,
        who: usize,
        place: &DocumentRef,
        key: &str,
        value: Option<u64>,
        within: Millis,
    ) -> Millis {
        let begin = self.simulation.time();
        while self.get(who, place, key) != value {
            let so_far = self.simulation.time().since(begin);
            assert!(
                so_far < within,
                "node{who} reads {:?} at {key} of {place:?} after {} ms, not {value:?}",
                self.get(who, place, key),
                so_far.ms()
            );
            // By radio it takes longer.
            self.simulation.run_for(if so_far < MINUTE { Millis::from_ms(20) } else { 2 * SECOND });
        }
        self.simulation.time().since(begin)
    }

    pub(crate) fn no_wrongs(&self) {
        assert_eq!(self.simulation.wrongs(), &[] as &[String]);
    }
}
