//! What a request costs does not grow with what is held: counted in steps, not in time.

use super::*;
use crate::steps;

/// Steps of a `set`, a `get` and a `del` of one key on the node that is asked, with the change at its peer and both events.
fn steps_with(entries: u64, documents: usize) -> [u64; 3] {
    let mut wire = Wire::new(2);
    wire.join(0, 1, TrustLevel::Trusted);
    wire.connect(0, 1);
    wire.create(0, "notes");
    let all: Value = (0..entries).map(|n| (format!("k{n}"), Value::from(n))).collect();
    wire.ask(0, Write::Put { doc: "notes".into(), value: all, whole: true }).unwrap();
    (0..documents).for_each(|n| wire.create(0, &format!("other-{n}")));
    wire.pass(20_000);
    assert_eq!(wire.hashes(0), wire.hashes(1), "the two are in step");
    wire.events.clear();
    let key = || KeyPath::parse("k7").unwrap();
    steps::take();
    wire.set(0, "notes", "k7", "new").unwrap();
    let set = steps::take();
    let changed = wire.events.iter().filter(|(_, event)| matches!(event, Event::Changed(_))).count();
    assert_eq!(changed, 2, "both nodes have taken it");
    steps::take();
    wire.ask(0, Query::Get { doc: "notes".into(), key: Some(key()) }).unwrap();
    let get = steps::take();
    wire.ask(0, Write::Del { doc: "notes".into(), key: key() }).unwrap();
    let del = steps::take();
    [set, get, del]
}

/// 64 times the entries: a logarithm grows by 6, a walk over the keys 64 times. 20 times the documents: nothing grows.
#[test]
fn a_request_costs_no_more_with_many_entries_and_documents() {
    let small = steps_with(128, 4);
    let many_entries = steps_with(8_192, 4);
    let many_documents = steps_with(128, 80);
    for (of, small) in small.iter().enumerate() {
        let (entries, documents) = (many_entries[of], many_documents[of]);
        assert!(entries <= small * 4, "{of}: {small} steps with 128 entries, {entries} with 8,192");
        assert!(documents <= small + 8, "{of}: {small} steps with 4 documents, {documents} with 80");
    }
}
