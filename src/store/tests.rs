//! The store gives back what it was given, refuses a second process and a later format.

use crate::time::Wall;
use std::fs::File;
use std::sync::Arc;

use super::*;
use crate::clock::Timestamp;
use crate::identity::Keypair;
use crate::layer::{Content, DocumentId, DocumentName, Entry, Head, KeyPath, Kind, MapContent, SignedHead};
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
    let value = Content::Snapshot(Value::from("a").into());
    let key = KeyPath::parse("a/b").unwrap();
    let gone = KeyPath::parse("gone").unwrap();
    let entry = Entry {
        stamp: Timestamp::new(Wall::from_ms(7), 1),
        value: Some(Value::from(5u64).into()),
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
        bases_from: None,
        is_own_map: false,
        all: None,
    };
    let map_write = LayerWrite {
        signed: signed(Kind::Map, "m", 3, &map),
        snapshot: None,
        entries: vec![(key.clone(), Some(Arc::new(entry.clone()))), (gone.clone(), None)],
        kept: None,
        forgotten: vec![],
        forgotten_keys: vec![],
        bases_from: Some(Sequence::new(3).unwrap()),
        is_own_map: true,
        all: None,
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
    assert_eq!(map.entries, [(gone, None, at), (key, Some(Arc::new(entry)), at)]);
    assert_eq!(map.bases, [MapBase::of(&map_write.signed)]);
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
    let mut store = Store::closed(Some(Arc::new(opener)));
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

/// A signed snapshot as a commit brings it.
fn snapshot_write(name: &str, sequence: u64, value: &Content) -> StoreWrite {
    StoreWrite::PutLayer(Box::new(LayerWrite {
        signed: signed(Kind::Snapshot, name, sequence, value),
        snapshot: Some(value.to_cbor()),
        entries: vec![],
        kept: None,
        forgotten: vec![],
        forgotten_keys: vec![],
        bases_from: None,
        is_own_map: false,
        all: None,
    }))
}

/// A store in a folder, with snapshots over several commits.
fn store_with_layers(folder: &Path) -> PathBuf {
    let path = folder.join("a.redb");
    Store::create(&path, PeerId([1; 32]), StoreOrigin::Known).unwrap();
    let mut store = Store::open(&path).unwrap();
    for n in 1..40u64 {
        let value = Content::Snapshot(Value::from("a".repeat(100 * usize::try_from(n).unwrap())).into());
        store.commit(&[snapshot_write(&format!("s{}", n % 7), n, &value)]).unwrap();
    }
    path
}

/// Each page of a closed store in turn, in four ways: refused as damage with the file as it was, or read as it was before. Of pages
/// that the last commit uses, none is read with another content.
#[test]
fn no_damaged_page_is_read_or_panics() {
    const PAGE: usize = 4096;
    let folder = tempfile::tempdir().unwrap();
    let path = store_with_layers(folder.path());
    let whole = std::fs::read(&path).unwrap();
    let contents = |loaded: &Loaded| -> Vec<_> {
        loaded.layers.iter().map(|layer| (layer.signed.clone(), layer.snapshot.clone())).collect()
    };
    let expected = contents(&Store::check(&path).unwrap());
    let mut damaged = 0;
    for page in 0..whole.len() / PAGE {
        for way in 0..4 {
            let mut bytes = whole.clone();
            let (at, other) = (page * PAGE, (page + 1) * PAGE % whole.len());
            match way {
                0 => bytes[at..at + PAGE].fill(0),
                1 => bytes[at + page * 97 % PAGE] ^= 0x10,
                2 => bytes.truncate(at + page * 31 % PAGE),
                _ => bytes.copy_within(other..other + PAGE, at),
            }
            std::fs::write(&path, &bytes).unwrap();
            match Store::check(&path) {
                Ok(loaded) => assert_eq!(contents(&loaded), expected, "page {page}, way {way}"),
                Err(error) => {
                    assert!(matches!(error, StoreError::Damaged(_)), "page {page}, way {way}: {error}");
                    assert_eq!(std::fs::read(&path).unwrap(), bytes, "page {page}, way {way}");
                    damaged += 1;
                }
            }
        }
    }
    assert!(damaged > whole.len() / PAGE, "{damaged} of {} pages in four ways", whole.len() / PAGE);
}

/// Bytes that rot under an open store: an error of the commit or of the next reading, never a panic.
#[test]
fn damage_under_an_open_store_is_an_error() {
    use std::os::unix::fs::FileExt;
    let folder = tempfile::tempdir().unwrap();
    let path = store_with_layers(folder.path());
    let mut store = Store::open(&path).unwrap();
    let length = std::fs::metadata(&path).unwrap().len();
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&vec![0x5a; usize::try_from(length - 4096).unwrap()], 4096).unwrap();
    let outcomes = [
        store.load().map(|_| ()),
        store.commit(&[StoreWrite::PutMeta("a".into(), vec![1; 5_000])]),
        store.heal(),
        store.load().map(|_| ()),
    ];
    assert!(outcomes.iter().any(Result::is_err), "{outcomes:?}");
    drop(store);
    assert!(matches!(Store::open(&path), Err(StoreError::Damaged(_))));
}

/// An older database in place of the newer one: the log has what it lacks. Without the log the commits that were acknowledged since
/// are missed, also by the start after.
#[test]
fn a_store_that_has_gone_back_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = store_with_layers(folder.path());
    let early = std::fs::read(&path).unwrap();
    let mut store = Store::open(&path).unwrap();
    for n in 0..3u8 {
        store.commit(&[StoreWrite::PutMeta("n".into(), vec![n])]).unwrap();
    }
    drop(store);
    assert!(!Store::check(&path).unwrap().meta.contains_key(SETBACK_RECORD));
    std::fs::write(&path, &early).unwrap();
    let meta = Store::check(&path).unwrap().meta;
    assert_eq!((meta.get("n"), meta.get(SETBACK_RECORD)), (Some(&vec![2]), None));
    std::fs::write(&path, &early).unwrap();
    std::fs::remove_file(path.with_extension("wal")).unwrap();
    for _ in 0..2 {
        let missing = Store::check(&path).unwrap().meta.get(SETBACK_RECORD).cloned();
        assert_eq!(missing, Some(3u64.to_be_bytes().to_vec()));
    }
    // A count that does not read back is none, and no reason to refuse.
    std::fs::write(path.with_extension("seq"), "damaged").unwrap();
    assert!(Store::check(&path).is_ok());
}

/// A map of so many keys at a sequence, and the write that puts those of this state.
fn map_write(sequence: u64, keys: impl Iterator<Item = u64>) -> StoreWrite {
    let entry = |key: u64| {
        let value = Some(Value::from("x".repeat(100)).into());
        let stamp = Timestamp::new(Wall::from_ms(1_000 + sequence), 0);
        (KeyPath::parse(&format!("k/{key}")).unwrap(), Some(Arc::new(Entry { stamp, value, saw: None })))
    };
    StoreWrite::PutLayer(Box::new(LayerWrite {
        signed: signed(Kind::Map, "m", sequence, &Content::empty(Kind::Map)),
        snapshot: None,
        entries: keys.map(entry).collect(),
        kept: None,
        forgotten: vec![],
        forgotten_keys: vec![],
        bases_from: Sequence::new(sequence.saturating_sub(9).max(1)),
        is_own_map: true,
        all: None,
    }))
}

/// Copies what a store has on disk at this moment, as a kill of its process leaves it.
fn killed(path: &Path, to: &Path) -> PathBuf {
    let copy = to.join("a.redb");
    for (from, to) in Store::files(path).into_iter().zip(Store::files(&copy)) {
        let _ = std::fs::copy(from, to);
    }
    copy
}

/// Whatever the log holds at a kill, each acknowledged commit is there after it, and nothing is counted as missing; so it is where the
/// database was killed in the middle of a transaction, and goes back to the one before. A record that was cut short is gone as if it had
/// never begun.
#[test]
fn what_was_committed_before_a_kill_is_there_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.redb");
    Store::create(&path, PeerId([1; 32]), StoreOrigin::Known).unwrap();
    let mut store = Store::open(&path).unwrap();
    // More than the log has room for.
    let mut expected = std::collections::BTreeSet::new();
    let mut databases = vec![std::fs::read(&path).unwrap()];
    for sequence in 1..=200u64 {
        let keys = |sequence: u64| (0..200).map(move |n| sequence * 37 % 50 * 100 + n);
        expected.extend(keys(sequence));
        store.commit(&[map_write(sequence, keys(sequence))]).unwrap();
        // What is copied while the database writes is no state that a kill leaves.
        store.logged().unwrap().await_handover().unwrap();
        let now = std::fs::read(&path).unwrap();
        if databases.last() != Some(&now) {
            databases.push(now);
        }
        if sequence % 7 != 0 {
            continue;
        }
        for database in databases.iter().rev().take(2) {
            let after = tempfile::tempdir().unwrap();
            let copy = killed(&path, after.path());
            std::fs::write(&copy, database).unwrap();
            let mut found = Store::open(&copy).unwrap();
            let loaded = found.load().unwrap();
            assert_eq!(loaded.layers[0].signed.head.sequence.get(), sequence);
            assert_eq!(loaded.layers[0].entries.len(), expected.len(), "after {sequence} commits");
            let bases: Vec<u64> = loaded.layers[0].bases.iter().map(|base| base.sequence.get()).collect();
            assert_eq!(bases, (sequence.saturating_sub(9).max(1)..=sequence).collect::<Vec<_>>());
            assert_eq!(loaded.meta.get(SETBACK_RECORD), None);
            found.commit(&[StoreWrite::PutMeta("after".into(), vec![1])]).unwrap();
        }
    }
    assert!(databases.len() > 3, "the database has taken {} times", databases.len() - 1);
    let whole = std::fs::read(path.with_extension("wal")).unwrap();
    let before = store.load().unwrap().layers[0].entries.len();
    store.commit(&[map_write(201, 100_000..100_001)]).unwrap();
    let last = std::fs::read(path.with_extension("wal")).unwrap();
    let cut = (0..last.len()).find(|at| whole[*at] != last[*at]).unwrap();
    for at in [cut + 1, cut + 20, cut + 60] {
        let after = tempfile::tempdir().unwrap();
        let copy = killed(&path, after.path());
        std::fs::write(copy.with_extension("wal"), &last[..at]).unwrap();
        std::fs::remove_file(copy.with_extension("seq")).unwrap();
        assert_eq!(Store::check(&copy).unwrap().layers[0].entries.len(), before, "cut at {at}");
    }
}

/// The database takes what is logged beside the commits. Where the disk refuses that, a later commit is, and all that was acknowledged
/// is there as soon as the disk takes writes again.
#[test]
fn a_refused_handover_refuses_later_commits_and_loses_none() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, fill) = on_a_disk_that_fills();
    store.path = Some(folder.path().join("a.redb"));
    store.heal().unwrap();
    fill(true);
    let mut acknowledged = 0;
    let refused = (1..=200).find_map(|sequence| {
        let result = store.commit(&[map_write(sequence, sequence * 200..sequence * 200 + 200)]);
        acknowledged += u64::from(result.is_ok());
        result.err()
    });
    assert!(refused.is_some() && acknowledged > 20, "{refused:?} after {acknowledged}");
    let again = store.commit(&[map_write(acknowledged + 1, 0..1)]);
    assert_eq!(again.err(), refused, "nothing goes past what was refused");
    fill(false);
    store.heal().unwrap();
    store.commit(&[map_write(acknowledged + 1, 0..1)]).unwrap();
    let loaded = store.load().unwrap();
    assert_eq!(loaded.layers[0].signed.head.sequence.get(), acknowledged + 1);
    assert_eq!(loaded.layers[0].entries.len() as u64, acknowledged * 200 + 1);
    assert_eq!(loaded.meta.get(SETBACK_RECORD), None);
}

/// What one transaction takes of a map together is what the commits leave one by one: keys put again, dropped and forgotten, bases that
/// end, a layer that goes and comes again, as another kind too.
#[test]
fn commits_taken_together_are_those_taken_one_by_one() {
    let key = |n: u64| KeyPath::parse(&format!("k/{n}")).unwrap();
    let map = |sequence: u64, change: &dyn Fn(&mut LayerWrite)| {
        let StoreWrite::PutLayer(mut write) = map_write(sequence, 0..sequence % 5) else { unreachable!() };
        change(&mut write);
        StoreWrite::PutLayer(write)
    };
    let none = |_: &mut LayerWrite| {};
    let snapshot = |write: &mut LayerWrite| {
        *write =
            LayerWrite { snapshot: Some(vec![0xf6]), entries: vec![], bases_from: None, ..write.clone() };
        write.signed = signed(Kind::Snapshot, "m", 9, &Content::Snapshot(Value::Null.into()));
        write.is_own_map = false;
    };
    let layer = signed(Kind::Map, "m", 1, &Content::empty(Kind::Map)).head.layer;
    let writes = [
        map(1, &none),
        map(2, &none),
        map(3, &|write| write.entries = vec![(key(1), None), (key(8), None)]),
        map(4, &|write| write.forgotten_keys = vec![key(8)]),
        map(4, &|write| write.entries.push((key(8), None))),
        map(6, &|write| write.bases_from = Sequence::new(4)),
        StoreWrite::RemoveLayer(layer),
        map(7, &none),
        map(9, &snapshot),
        map(14, &none),
        map(15, &none),
    ];
    let state = |store: &Store| {
        let loaded = store.load().unwrap();
        let of = |layer: &StoredLayer| {
            (layer.signed.clone(), layer.snapshot.clone(), layer.entries.clone(), layer.bases.clone())
        };
        loaded.layers.iter().map(of).collect::<Vec<_>>()
    };
    for until in 1..=writes.len() {
        let [mut one_by_one, mut together] = [(); 2].map(|()| Store::in_memory().unwrap());
        for write in &writes[..until] {
            one_by_one.commit(vec![write.clone()]).unwrap();
        }
        together.commit(&writes[..until]).unwrap();
        assert_eq!(state(&together), state(&one_by_one), "the first {until}");
        let past = |store: &Store, at| {
            let id = signed(Kind::Map, "m", 1, &Content::empty(Kind::Map)).head.layer;
            store.past_state(&id, Sequence::new(at).unwrap()).unwrap()
        };
        (1..16).for_each(|at| assert_eq!(past(&together, at), past(&one_by_one, at), "{at} of {until}"));
    }
}

#[test]
fn a_store_belongs_to_one_identity() {
    let folder = tempfile::tempdir().unwrap();
    let path = store_with_layers(folder.path());
    let (store, key) = (PeerId([1; 32]), PeerId([2; 32]));
    assert_eq!(Store::open(&path).unwrap().belongs_to(store), Ok(()));
    assert_eq!(Store::open(&path).unwrap().belongs_to(key), Err(StoreError::OtherNode { store, key }));
    assert!(Store::create(&path, key, StoreOrigin::Known).is_err(), "one that is there stays");
    assert_eq!(Store::open(&path).unwrap().belongs_to(store), Ok(()));
}

/// Where the disk takes no commit, the store can be read, and the next commit tries again.
#[test]
fn a_disk_without_room_is_read_and_written_as_soon_as_there_is_some() {
    let (mut store, fill) = on_a_disk_that_fills();
    store.commit(&[StoreWrite::PutMeta("a".into(), vec![1])]).unwrap();
    fill(true);
    // This disk does not even open for writing.
    assert!(store.try_writing().is_err() || store.read_only().is_some());
    fill(false);
    store.heal().unwrap();
    assert_eq!(store.try_writing(), Ok(()));
    assert_eq!(store.read_only(), None);
    assert!(store.load().unwrap().meta.contains_key("a"));
}

/// The log of another node follows no commit here, also not where there is none yet.
#[test]
fn the_log_of_another_node_has_no_effect() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, owner) in [("a.redb", 1), ("b.redb", 2)] {
        Store::create(&at(name), PeerId([owner; 32]), StoreOrigin::Known).unwrap();
    }
    let mut theirs = Store::open(&at("a.redb")).unwrap();
    theirs.commit(&[StoreWrite::PutMeta("theirs".into(), vec![1])]).unwrap();
    std::fs::copy(at("a.wal"), at("b.wal")).unwrap();
    let mut ours = Store::open(&at("b.redb")).unwrap();
    assert!(!ours.load().unwrap().meta.contains_key("theirs"));
    ours.commit(&[StoreWrite::PutMeta("ours".into(), vec![1])]).unwrap();
    drop(ours);
    assert!(Store::open(&at("b.redb")).unwrap().load().unwrap().meta.contains_key("ours"));
}

/// What stands in the place of the log and is none is named: the store itself is whole.
#[test]
fn a_log_that_is_no_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.redb");
    Store::create(&path, PeerId([1; 32]), StoreOrigin::Known).unwrap();
    std::fs::create_dir(path.with_extension("wal")).unwrap();
    let Err(StoreError::Disk(why)) = Store::open(&path) else { panic!("a folder is no log") };
    assert!(why.contains("a.wal") && why.contains("move it away"), "{why}");
}

/// An owner's documents are cleared without reading them, but for what this node has signed in them.
#[test]
fn documents_are_cleared_without_reading_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.redb");
    Store::create(&path, PeerId([1; 32]), StoreOrigin::Known).unwrap();
    let mut store = Store::open(&path).unwrap();
    let content = Content::Snapshot(Value::from("a").into());
    let put = |name: &str| snapshot_write(name, 1, &content);
    store.commit(&[put("one"), put("two")]).unwrap();
    let id = store.load().unwrap().layers[0].signed.head.layer.clone();
    let (owner, other) = (id.document.owner, PeerId([77; 32]));
    assert_eq!(store.clear_documents_of(&other, &owner).unwrap(), 0);
    assert_eq!(store.clear_documents_of(&owner, &id.author).unwrap(), 0, "its own layers stay");
    assert_eq!(store.clear_documents_of(&owner, &other).unwrap(), 2);
    drop(store);
    assert!(Store::open(&path).unwrap().load().unwrap().layers.is_empty());
}

/// What was removed is gone from the disk after the next start, and what stays is there.
#[test]
fn a_file_that_is_mostly_free_is_cut_off_at_the_next_start() {
    let folder = std::env::temp_dir().join(format!("tombolo-room-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("a.redb");
    Store::create(&path, PeerId([1; 32]), StoreOrigin::Known).unwrap();
    let value = Content::Snapshot(Value::Bytes(vec![7; 600_000]).into());
    let write = |name: &str| snapshot_write(name, 1, &value);
    let mut store = Store::open(&path).unwrap();
    for n in 0..40 {
        store.commit(&[write(&format!("d{n}"))]).unwrap();
    }
    // What stands in the log goes to the file. The last stands at its end.
    drop(store);
    let mut store = Store::open(&path).unwrap();
    let bytes = || std::fs::metadata(&path).unwrap().len();
    let removed: Vec<LayerId> =
        store.load().unwrap().layers.iter().map(|it| it.signed.head.layer.clone()).collect();
    let removed = removed.into_iter().filter(|layer| layer.document.name.as_str() != "d39");
    let removed: Vec<StoreWrite> = removed.map(StoreWrite::RemoveLayer).collect();
    store.commit(removed).unwrap();
    drop(store);
    let before = bytes();
    let mut store = Store::open(&path).unwrap();
    let left = store.load().unwrap().layers;
    assert!(bytes() < before / 4, "{before} {}", bytes());
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].snapshot.as_ref().unwrap().len(), 600_005);
    store.commit(&[write("d1")]).unwrap();
    drop(store);
    assert_eq!(Store::open(&path).unwrap().load().unwrap().layers.len(), 2);
    std::fs::remove_dir_all(&folder).unwrap();
}
