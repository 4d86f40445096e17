//! A backup is whole or refused; nothing that is there is overwritten; what was restored waits for a peer.

use super::*;
use crate::node::{Query, Reply, Write as NodeWrite};

const PASSPHRASE: &str = "tide and sand";

struct Place {
    _outer: tempfile::TempDir,
    folder: PathBuf,
    file: PathBuf,
}

/// A node with one document, and a place for its backup.
fn place() -> Place {
    let outer = tempfile::tempdir().unwrap();
    let (folder, file) = (outer.path().join("node"), outer.path().join("node.backup"));
    crate::folder::create(&folder, "attic").unwrap();
    crate::folder::ask(&folder, NodeWrite::Create { name: "plan".into(), kind: crate::layer::Kind::Map })
        .unwrap();
    Place { _outer: outer, folder, file }
}

fn documents(folder: &Path) -> Vec<String> {
    let Reply::Documents(rows) = crate::folder::ask(folder, Query::List).unwrap() else { panic!("a list") };
    rows.into_iter().map(|row| format!("{} {}", row.name, row.hash)).collect()
}

/// With the key: the same identity, settings and documents stand in an empty folder. Nothing is signed there until a peer has
/// answered, and no alarm but that one is raised.
#[test]
fn a_backup_with_the_key_makes_the_node_again() {
    let place = place();
    let made = write(&place.folder, &place.file, Some(PASSPHRASE)).unwrap();
    assert!(made.has_key && made.name == "attic");
    assert!(matches!(check(&place.file, None), Err(BackupError::NeedsPassphrase)));
    assert!(matches!(check(&place.file, Some("another")), Err(BackupError::Passphrase)));
    assert_eq!(check(&place.file, Some(PASSPHRASE)).unwrap(), made);
    let raw = std::fs::read(&place.file).unwrap();
    assert!(!raw.windows(8).any(|bytes| bytes == b"identity" || bytes == b"did:key:"), "it is sealed");

    let again = place.folder.with_file_name("again");
    assert_eq!(restore(&place.file, &again, Some(PASSPHRASE)).unwrap(), made);
    assert_eq!(documents(&again), documents(&place.folder));
    assert_eq!(key::load(&again).unwrap().peer_id(), key::load(&place.folder).unwrap().peer_id());
    let Reply::Status(status) = crate::folder::ask(&again, Query::Status).unwrap() else {
        panic!("a status")
    };
    let codes: Vec<&str> = status.alarms.iter().map(|alarm| alarm.code).collect();
    assert!(codes.contains(&"unconfirmed") && !codes.contains(&"stepped_back"), "{codes:?}");
    assert!(
        crate::folder::ask(&again, NodeWrite::Create { name: "b".into(), kind: crate::layer::Kind::Map })
            .is_err()
    );
    crate::folder::confirm_new(&again).unwrap();
    crate::folder::ask(&again, NodeWrite::Create { name: "b".into(), kind: crate::layer::Kind::Map })
        .unwrap();
    let left: Vec<_> = std::fs::read_dir(&again).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name == "restore.new"), "{left:?}");
}

/// Without the key the file is plain, has no secret, and needs the key of the same node.
#[test]
fn a_backup_without_the_key_needs_it() {
    let place = place();
    let made = write(&place.folder, &place.file, None).unwrap();
    assert!(
        !made.has_key && made.files.iter().all(|part| part.name != KEY_FILE && part.name != REVOCATION_FILE)
    );
    let again = place.folder.with_file_name("again");
    assert!(matches!(restore(&place.file, &again, None), Err(BackupError::KeyMissing { .. })));
    let other = place.folder.with_file_name("other");
    crate::folder::create(&other, "other").unwrap();
    assert!(matches!(restore(&place.file, &other, None), Err(BackupError::Occupied { .. })));
    std::fs::remove_file(other.join(STORE_FILE)).unwrap();
    assert!(matches!(restore(&place.file, &other, None), Err(BackupError::OtherNode { .. })));
    std::fs::create_dir(&again).unwrap();
    std::fs::copy(place.folder.join(KEY_FILE), again.join(KEY_FILE)).unwrap();
    // The count of a store that stood here before would make an alarm.
    std::fs::write(again.join("store.seq"), "tombolo-commits-1 00000000000000099999 89abcdef01234567\n")
        .unwrap();
    restore(&place.file, &again, None).unwrap();
    assert_eq!(documents(&again), documents(&place.folder));
}

/// A file cut anywhere or with any byte changed is refused, and leaves no node behind.
#[test]
fn damage_is_refused_before_anything_is_changed() {
    let place = place();
    for passphrase in [None, Some(PASSPHRASE)] {
        let file = place.file.with_extension(if passphrase.is_some() { "sealed" } else { "plain" });
        write(&place.folder, &file, passphrase).unwrap();
        assert!(matches!(write(&place.folder, &file, passphrase), Err(BackupError::Exists { .. })));
        let whole = std::fs::read(&file).unwrap();
        let damaged = place.file.with_extension("damaged");
        let again = place.folder.with_file_name("again");
        let at = |n: usize| n * (whole.len() - 1) / 3;
        for n in 0..=3 {
            let mut bytes = whole.clone();
            bytes[at(n)] ^= 0x40;
            std::fs::write(&damaged, &bytes).unwrap();
            assert!(restore(&damaged, &again, passphrase).is_err(), "byte {} of {}", at(n), whole.len());
            std::fs::write(&damaged, &whole[..at(n)]).unwrap();
            assert!(restore(&damaged, &again, passphrase).is_err(), "cut at {}", at(n));
        }
        std::fs::write(&damaged, [&whole[..], b"x"].concat()).unwrap();
        assert!(restore(&damaged, &again, passphrase).is_err(), "a byte more");
        assert!(!again.exists(), "nothing was made");
    }
}
