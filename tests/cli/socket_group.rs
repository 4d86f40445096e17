//! The group of `control.sock` with users that are really others: the kernel decides, not this program.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use super::harness::{NodeDir, mode};

/// A user, the group that the settings name, and another. No machine needs to know them by name.
const USER: u32 = 60_001;
const GROUP: u32 = 60_002;
const OTHER_GROUP: u32 = 60_003;

/// A user of the group asks and writes through the socket, and reaches no file of the node; a user outside it learns that the folder is
/// closed, not that there is no node.
#[test]
fn a_user_of_the_group_can_ask_and_one_outside_it_cannot() {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("SKIPPED: only root can run a program as another user");
        return;
    }
    let place = NodeDir::with_node("attic");
    place.setting("group = \"\"", &format!("group = \"{GROUP}\""));
    let outer = place.folder.parent().unwrap();
    std::fs::set_permissions(outer, std::fs::Permissions::from_mode(0o755)).unwrap();
    // The folder in which the program was built may be closed to other users.
    let program = outer.join("tombolo");
    if std::fs::hard_link(env!("CARGO_BIN_EXE_tombolo"), &program).is_err() {
        std::fs::copy(env!("CARGO_BIN_EXE_tombolo"), &program).unwrap();
    }
    let run_as = |group: u32, arguments: &[&str]| run_as(&program, &place.folder, group, arguments);
    let _daemon = place.up();
    assert_eq!((mode(&place.folder), mode(&place.folder.join("control.sock"))), (0o710, 0o660));

    for arguments in [&["create", "plan"][..], &["set", "plan", "a", "1"], &["status"]] {
        let output = run_as(GROUP, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(place.ok(&["get", "plan", "a"]), "1");
    for file in ["identity.key", "tombolo.toml", "store.redb"] {
        assert_eq!(mode(&place.folder.join(file)) & 0o077, 0, "{file} is closed to the group");
    }

    for arguments in [&["status"][..], &["set", "plan", "a", "2"], &["id"], &["up"]] {
        let output = run_as(OTHER_GROUP, arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(
            error.contains("this user may not enter") && error.contains("[socket]"),
            "{arguments:?}: {error}"
        );
    }
    assert_eq!(place.ok(&["get", "plan", "a"]), "1");
    let doctor = run_as(OTHER_GROUP, &["doctor"]);
    let found = String::from_utf8_lossy(&doctor.stdout);
    assert!(found.contains("not looked at") && !found.contains("no node lives"), "{found}");
}

/// The standard library takes away the supplementary groups of root with the user.
fn run_as(program: &Path, folder: &Path, group: u32, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.env_clear().env("TOMBOLO_DATA_DIR", folder).current_dir("/");
    command.uid(USER).gid(group).args(arguments).output().unwrap()
}
