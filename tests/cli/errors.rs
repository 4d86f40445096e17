//! Mistakes get one clear error, the right exit code, and never a panic.

use super::harness::NodeDir;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

#[test]
fn a_folder_without_a_node_is_refused_with_advice() {
    let place = NodeDir::empty();
    for command in [&["id"][..], &["up"], &["ls"], &["watch"], &["join", "fed1:x"], &["set", "a", "b", "c"]] {
        assert!(place.fails(1, command).contains("tombolo init --name NAME"), "{command:?}");
        assert_eq!(place.error_code(command), "no_node");
    }
    assert!(!place.folder.exists(), "asking made something");
}

#[test]
fn set_on_an_unknown_document_is_refused_with_advice() {
    let place = NodeDir::with_node("attic");
    assert!(place.fails(1, &["set", "plan", "a", "1"]).contains("tombolo create plan"));
    assert_eq!(place.error_code(&["get", "plan"]), "unknown_document");
    place.ok(&["create", "plan"]);
    assert_eq!(place.error_code(&["create", "plan"]), "document_exists");
    assert_eq!(place.error_code(&["get", "plan", "a"]), "unknown_key");
    assert_eq!(place.error_code(&["state", "nobody"]), "unknown_peer");
    assert_eq!(place.error_code(&["remove", "nobody"]), "unknown_peer");
    assert_eq!(place.error_code(&["create", "a/b"]), "bad_name");
}

#[test]
fn wrong_arguments_end_with_2() {
    let place = NodeDir::with_node("attic");
    for arguments in [
        &["frobnicate"][..],
        &[],
        &["set", "plan", "a"],
        &["set", "plan", "", "1"],
        &["set", "plan", "a\\", "1"],
        &["trust", "x", "friend"],
        &["invite", "--level", "admin"],
        &["invite", "--expires", "soon"],
        &["join", "fed1:x", "--addr", "not an address"],
        &["--data-dir", "", "id"],
    ] {
        place.fails(2, arguments);
    }
    let error = place.fails(2, &["trust", "x", "friend", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&error).unwrap();
    assert_eq!(error["error"]["code"], "usage");
    place.ok(&["create", "plan"]);
    place.fails(2, &["set", "plan", "a", "123456789012345678901234567890"]);
}

#[test]
fn bytes_that_are_no_text_are_no_panic() {
    let place = NodeDir::with_node("attic");
    let output = place.command(&["get"]).arg(OsStr::from_bytes(b"\xff\xfe")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let output = place.command(&["put", "plan"]).arg(OsStr::from_bytes(b"\xff")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}

#[test]
fn bad_settings_are_named_with_their_line() {
    let place = NodeDir::with_node("attic");
    place.setting("mdns = false", "mdns = maybe");
    let error = place.fails(1, &["id"]);
    let line = std::fs::read_to_string(place.folder.join("tombolo.toml")).unwrap();
    let line = line.lines().position(|line| line == "mdns = maybe").unwrap() + 1;
    assert!(error.contains(&format!("tombolo.toml, line {line}")), "{error}");
    place.setting("mdns = maybe", "multicast = true");
    assert!(place.fails(1, &["up"]).contains("multicast"));
    assert_eq!(place.error_code(&["up"]), "bad_settings");
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let place = NodeDir::with_node("attic");
    let key = place.folder.join("identity.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(place.fails(1, &["id"]).contains("chmod 600"));
}

/// A new identity beside an old store would be another node's: both ways out are named instead.
#[test]
fn a_store_without_its_key_is_not_taken_over() {
    let place = NodeDir::with_node("attic");
    std::fs::remove_file(place.folder.join("identity.key")).unwrap();
    for command in [&["init", "--name", "attic"][..], &["id"], &["up"]] {
        let error = place.fails(1, command);
        assert!(error.contains("put the key file back") && error.contains("empty folder"), "{error}");
        assert_eq!(place.error_code(command), "no_key");
    }
    assert!(!place.folder.join("identity.key").exists());
}

#[test]
fn a_damaged_store_is_an_error_and_stays_as_it_is() {
    let place = NodeDir::with_node("attic");
    let store = place.folder.join("store.redb");
    std::fs::write(&store, b"no store at all, but some bytes that somebody may still want").unwrap();
    assert_eq!(place.error_code(&["id"]), "store_damaged");
    assert!(std::fs::read(&store).unwrap().starts_with(b"no store at all"));
}

#[test]
fn codes_that_are_none_are_refused() {
    let place = NodeDir::with_node("attic");
    for code in ["x", "fed1:", "fed1:%%%", "FED1C:AAAA", "fed1:e30", "", &"fed1:".repeat(10_000)] {
        assert_eq!(place.error_code(&["join", code]), "bad_invite", "{code:.20}");
    }
    let own = place.ok(&["invite"]);
    assert_eq!(place.error_code(&["join", &own]), "own_invite");
}

#[test]
fn put_refuses_what_is_no_json() {
    let place = NodeDir::with_node("attic");
    place.ok(&["create", "plan"]);
    let file = place.folder.join("file");
    for junk in [&b"{"[..], b"", b"\xff", b"{\"a\":1,\"a\":2}", &[b'['; 100_000]] {
        std::fs::write(&file, junk).unwrap();
        place.fails(1, &["put", "plan", file.to_str().unwrap()]);
    }
    // Readers of JSON would round it; far too many values would take a gigabyte.
    let many = format!("{{\"a\":[{}0]}}", "0,".repeat(1_000_001));
    for (text, why) in [
        ("{\"a\":{\"b\":[18446744073709551616]}}", "beyond the whole numbers"),
        (&many, "at most 1000000 values"),
    ] {
        std::fs::write(&file, text).unwrap();
        let error = place.fails(1, &["put", "plan", file.to_str().unwrap()]);
        assert!(error.contains(why), "{error}");
    }
    assert!(
        place.fails(2, &["set", "plan", "k", "[18446744073709551616]"]).contains("beyond the whole numbers")
    );
    let daemon = place.up();
    let body = "{\"a\":-9223372036854775809}";
    let length = body.len();
    let put = format!(
        "PUT /v1/docs/plan HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let (status, answer) = place.http(&put);
    assert!(status.contains("400") && answer.contains("beyond the whole numbers"), "{status} {answer}");
    drop(daemon);
    assert_eq!(place.error_code(&["put", "plan", "/nonexistent"]), "file");
    assert_eq!(place.error_code(&["put", "plan", "/"]), "file");
}

/// `tombolo get plan | head -c 1`: the reader goes first, and that is no error.
#[test]
fn a_reader_that_leaves_is_no_panic() {
    let place = NodeDir::with_node("attic");
    place.ok(&["create", "plan"]);
    let file = place.folder.join("large.json");
    let large: Vec<String> = (0..50_000).map(|n| format!("item {n}")).collect();
    std::fs::write(&file, serde_json::json!({ "list": large[..4_000] }).to_string()).unwrap();
    place.ok(&["put", "plan", file.to_str().unwrap()]);
    let mut command = place.command(&["get", "plan"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 1]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr)), (Some(0), "".into()));
}

/// What failed for want of room leaves nothing behind that is in the way of the next try.
#[test]
fn without_room_init_and_export_leave_nothing() {
    let place = NodeDir::empty();
    let limited = |blocks: u32, arguments: &str| {
        let script = format!("ulimit -f {blocks}; exec {} {arguments}", env!("CARGO_BIN_EXE_tombolo"));
        let mut shell = std::process::Command::new("bash");
        shell.env("TOMBOLO_DATA_DIR", &place.folder).args(["-c", &script]).output().unwrap()
    };
    let refused = limited(64, "init --name attic --json");
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && error.contains("disk_full"), "{error}");
    place.ok(&["init", "--name", "boat"]);
    place.ok(&["create", "plan"]);
    place.ok(&["set", "plan", "a", &"x".repeat(9_000)]);
    let file = place.folder.with_file_name("plan.json");
    let refused = limited(4, &format!("export plan {}", file.display()));
    assert_eq!(refused.status.code(), Some(1), "{}", String::from_utf8_lossy(&refused.stderr));
    assert!(!file.exists(), "no part of a document");
}

#[test]
fn settings_without_a_name_and_no_socket_in_its_place_are_named() {
    let place = NodeDir::with_node("attic");
    let (settings, socket) = (place.folder.join("tombolo.toml"), place.folder.join("control.sock"));
    std::fs::create_dir(&socket).unwrap();
    assert!(place.fails(1, &["up"]).contains("no socket: move it away"));
    std::fs::remove_dir(&socket).unwrap();
    std::fs::write(&settings, "").unwrap();
    let error = place.fails(1, &["ls"]);
    assert!(error.contains("does not name the node") && !error.contains("default"), "{error}");
}
