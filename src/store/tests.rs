//! The store gives back what it was given, refuses a second process and a later format.

use super::*;
use crate::clock::Timestamp;
use crate::identity::Keypair;
use crate::layer::{Content, DocumentId, DocumentName, Head, Kind, MapContent};
use tombolo_delta::Value;

fn signed(kind: Kind, name: &str, sequence: u64, content: &Content) -> SignedHead {
    let me = Keypair::from_seeds(&[1; 32], &[2; 32]);
    let document = DocumentId { owner: me.peer_id(), name: DocumentName::new(name).unwrap() };
    Head {
        kind,
        layer: LayerId { document, author: me.peer_id() },
        sequence: Sequence::new(sequence).unwrap(),
        time_ms: 1_800_000_000_000,
        audience_sequence: Sequence::NONE,
        root: content.root(),
    }
    .sign(&me)
}

#[test]
fn layers_of_both_kinds_come_back() {
    let store = Store::in_memory().unwrap();
    let value = Content::Snapshot(Value::from("a"));
    let key = KeyPath::parse("a/b").unwrap();
    let gone = KeyPath::parse("gone").unwrap();
    let entry = Entry { stamp: Timestamp::new(7, 1), value: Some(Value::from(5u64)), saw: Some([1; 4]) };
    let mut map = MapContent::default();
    map.change([(key.clone(), Some(entry.clone()))]).unwrap();
    let map = Content::Map(map);
    let kept = KeptState {
        sequence: Sequence::new(1).unwrap(),
        time_ms: 9,
        audience_sequence: Sequence::NONE,
        content: vec![0xf6],
    };
    let snapshot_write = LayerWrite {
        signed: signed(Kind::Snapshot, "s", 2, &value),
        snapshot: Some(value.to_cbor()),
        entries: vec![],
        kept: Some(kept.clone()),
        forgotten: vec![],
        bases: vec![],
    };
    let map_write = LayerWrite {
        signed: signed(Kind::Map, "m", 3, &map),
        snapshot: None,
        entries: vec![(key.clone(), Some(entry.clone())), (gone.clone(), None)],
        kept: None,
        forgotten: vec![],
        bases: vec![MapBase::of(&signed(Kind::Map, "m", 2, &map))],
    };
    let writes = [snapshot_write.clone(), map_write.clone()].map(|w| Write::PutLayer(Box::new(w)));
    store.commit(&writes).unwrap();

    let loaded = store.reopen().load().unwrap();
    let find = |kind| loaded.layers.iter().find(|l| l.signed.head.kind == kind).unwrap();
    let snapshot = find(Kind::Snapshot);
    assert_eq!(snapshot.signed, snapshot_write.signed);
    assert_eq!(snapshot.snapshot, snapshot_write.snapshot);
    assert_eq!(snapshot.kept, [kept]);
    let map = find(Kind::Map);
    let at = Sequence::new(3).unwrap();
    assert_eq!(map.entries, [(gone, None, at), (key, Some(entry), at)]);
    assert_eq!(map.bases, map_write.bases);

    let forget = LayerWrite { forgotten: vec![Sequence::new(1).unwrap()], kept: None, ..snapshot_write };
    store.commit(&[Write::PutLayer(Box::new(forget))]).unwrap();
    assert!(store.load().unwrap().layers.iter().all(|l| l.kept.is_empty()));
}

#[test]
fn a_second_process_is_refused_and_a_later_format_too() {
    let folder = std::env::temp_dir().join(format!("tombolo-store-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("a.redb");
    let first = Store::open(&path).unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::InUse)));
    first.commit(&[Write::PutMeta("format", 2u64.to_be_bytes().to_vec())]).unwrap();
    drop(first);
    assert!(matches!(Store::open(&path), Err(StoreError::TooNew { found: 2, known: 1 })));
    std::fs::remove_dir_all(&folder).unwrap();
}
