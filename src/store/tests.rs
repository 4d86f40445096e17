//! The store gives back what it was given, refuses a second process and a later format.

use crate::time::Wall;
use std::sync::Arc;

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
        time: Wall::from_ms(1_800_000_000_000),
        audience_sequence: Sequence::NONE,
        root: content.root(),
    }
    .sign(&me)
}

#[test]
fn layers_of_both_kinds_come_back() {
    let mut store = Store::in_memory().unwrap();
    let value = Content::Snapshot(Value::from("a"));
    let key = KeyPath::parse("a/b").unwrap();
    let gone = KeyPath::parse("gone").unwrap();
    let entry = Entry {
        stamp: Timestamp::new(Wall::from_ms(7), 1),
        value: Some(Value::from(5u64)),
        saw: Some([1; 4]),
    };
    let mut map = MapContent::default();
    map.change([(key.clone(), Some(entry.clone()))]).unwrap();
    let map = Content::Map(map);
    let kept = KeptState {
        sequence: Sequence::new(1).unwrap(),
        time: Wall::from_ms(9),
        audience_sequence: Sequence::NONE,
        content: vec![0xf6],
    };
    let snapshot_write = LayerWrite {
        signed: signed(Kind::Snapshot, "s", 2, &value),
        snapshot: Some(value.to_cbor()),
        entries: vec![],
        kept: Some(kept.clone()),
        forgotten: vec![],
        forgotten_keys: vec![],
        bases: vec![],
        is_own_map: false,
    };
    let map_write = LayerWrite {
        signed: signed(Kind::Map, "m", 3, &map),
        snapshot: None,
        entries: vec![(key.clone(), Some(entry.clone())), (gone.clone(), None)],
        kept: None,
        forgotten: vec![],
        forgotten_keys: vec![],
        bases: vec![MapBase::of(&signed(Kind::Map, "m", 2, &map))],
        is_own_map: true,
    };
    let writes = [snapshot_write.clone(), map_write.clone()].map(|w| StoreWrite::PutLayer(Box::new(w)));
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
    let past = |sequence| store.past_state(map_write.layer(), Sequence::new(sequence).unwrap()).unwrap();
    assert_eq!(past(3), Some(map_write.signed.head.root.prefix4()));
    assert_eq!(past(2), None);
    assert_eq!(
        store.past_state(snapshot_write.layer(), Sequence::new(2).unwrap()).unwrap(),
        None,
        "only of our own maps"
    );

    let forget = LayerWrite { forgotten: vec![Sequence::new(1).unwrap()], kept: None, ..snapshot_write };
    store.commit(&[StoreWrite::PutLayer(Box::new(forget))]).unwrap();
    assert!(store.load().unwrap().layers.iter().all(|l| l.kept.is_empty()));
}

#[test]
fn a_second_process_is_refused_and_a_later_format_too() {
    let folder = std::env::temp_dir().join(format!("tombolo-store-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("a.redb");
    let owner = PeerId([1; 32]);
    Store::create(&path, owner, StoreOrigin::Known).unwrap();
    let mut first = Store::open(&path).unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::InUse)));
    first.commit(&[StoreWrite::PutMeta("format".into(), 2u64.to_be_bytes().to_vec())]).unwrap();
    drop(first);
    assert!(matches!(Store::open(&path), Err(StoreError::TooNew { found: 2, known: 1 })));
    std::fs::remove_dir_all(&folder).unwrap();
}

/// A disk of bytes in memory that outlives the database on it, and can be full.
#[derive(Clone, Debug, Default)]
struct Disk {
    bytes: Arc<std::sync::Mutex<Vec<u8>>>,
    full: Arc<std::sync::atomic::AtomicBool>,
}

impl redb::StorageBackend for Disk {
    fn len(&self) -> std::io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let at = offset as usize;
        out.copy_from_slice(&self.bytes.lock().unwrap()[at..at + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.refuse_when_full()?;
        self.bytes.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.refuse_when_full()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.refuse_when_full()?;
        let at = offset as usize;
        self.bytes.lock().unwrap()[at..at + data.len()].copy_from_slice(data);
        Ok(())
    }
}

impl Disk {
    fn refuse_when_full(&self) -> std::io::Result<()> {
        match self.full.load(std::sync::atomic::Ordering::Relaxed) {
            true => Err(std::io::Error::from(std::io::ErrorKind::StorageFull)),
            false => Ok(()),
        }
    }

    fn fill(&self, full: bool) {
        self.full.store(full, std::sync::atomic::Ordering::Relaxed);
    }
}

/// A store on a disk that tests can fill up.
pub(crate) fn on_a_disk_that_fills() -> (Store, impl Fn(bool)) {
    let disk = Disk::default();
    let backend = disk.clone();
    let founding = Founding { owner: None, origin: StoreOrigin::Known };
    migrate::create(&Database::builder().create_with_backend(disk.clone()).unwrap(), &founding).unwrap();
    let opener = move || {
        let database = Database::builder().create_with_backend(backend.clone())?;
        Ok(Opened { database, read_only: None })
    };
    let mut store = Store::closed(Arc::new(opener));
    store.heal().unwrap();
    (store, move |full| disk.fill(full))
}

#[test]
fn a_full_disk_refuses_and_takes_again_when_there_is_room() {
    let (mut store, fill) = on_a_disk_that_fills();
    store.commit(&[StoreWrite::PutMeta("a".into(), vec![1])]).unwrap();
    fill(true);
    assert!(store.commit(&[StoreWrite::PutMeta("b".into(), vec![2])]).is_err());
    assert!(store.heal().is_err() || store.commit(&[StoreWrite::PutMeta("b".into(), vec![2])]).is_err());
    fill(false);
    store.heal().unwrap();
    store.commit(&[StoreWrite::PutMeta("c".into(), vec![3])]).unwrap();
    let meta = store.load().unwrap().meta;
    assert!(meta.contains_key("a") && meta.contains_key("c") && !meta.contains_key("b"));
}
