//! Damaged stores, lost and foreign keys, files that are none, folders that vanish: one sentence, the right exit code, and nothing
//! lost without a word.

use super::harness::{Daemon, NodeDir, eventually, wait};
use std::path::Path;
use std::process::{Command, Stdio};

const PAGE: usize = 4096;

/// A small generator, so that a seed replays a run.
struct Dice(u64);

impl Dice {
    /// Draws a seed and prints it; `TOMBOLO_SEED` replays one.
    fn new() -> Self {
        let given = std::env::var("TOMBOLO_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()) << 20 | 77);
        eprintln!("TOMBOLO_SEED={seed}");
        Dice(seed | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

/// One kind of damage to one page.
fn damage(bytes: &mut Vec<u8>, page: usize, dice: &mut Dice) -> &'static str {
    let at = page * PAGE;
    match dice.below(6) {
        0 => {
            bytes[at..at + PAGE].fill(0);
            "zeroed"
        }
        1 => {
            let bit = dice.below(PAGE * 8);
            bytes[at + bit / 8] ^= 1 << (bit % 8);
            "a bit flipped"
        }
        2 => {
            bytes.truncate(at + dice.below(PAGE));
            "cut off"
        }
        3 => {
            let other = dice.below(bytes.len() / PAGE) * PAGE;
            let (a, b) = (bytes[at..at + PAGE].to_vec(), bytes[other..other + PAGE].to_vec());
            bytes[at..at + PAGE].copy_from_slice(&b);
            bytes[other..other + PAGE].copy_from_slice(&a);
            "swapped with another"
        }
        4 => {
            bytes[at..at + PAGE].fill_with(|| dice.below(256) as u8);
            "random"
        }
        _ => {
            let bit = dice.below(320 * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            "the header's bit flipped"
        }
    }
}

/// A node with some documents, written through a daemon.
fn node_with_documents() -> (NodeDir, Daemon) {
    let place = NodeDir::with_node("attic");
    let daemon = place.up();
    for doc in 0..4 {
        let name = format!("plan{doc}");
        place.ok(&["create", &name]);
        for key in 0..4 {
            place.ok(&["set", &name, &format!("k{key}"), &"x".repeat(40 + 300 * key)]);
        }
    }
    (place, daemon)
}

fn documents(place: &NodeDir) -> String {
    place.ok(&["ls", "--json"])
}

/// Opens the store with each damage; returns how often it was refused, how often it was read, and how often it had gone back.
fn open_damaged(place: &NodeDir, runs: usize) -> [usize; 3] {
    let (store, counted) = (place.folder.join("store.redb"), place.folder.join("store.seq"));
    let (whole, seq) = (std::fs::read(&store).unwrap(), std::fs::read(&counted).unwrap());
    let expected = documents(place);
    let mut dice = Dice::new();
    let mut counts = [0; 3];
    let pages = whole.len() / PAGE;
    for run in 0..runs {
        let mut bytes = whole.clone();
        let page = (run * pages / runs + dice.below(3)).min(pages - 1);
        let what = damage(&mut bytes, page, &mut dice);
        std::fs::write(&store, &bytes).unwrap();
        std::fs::write(&counted, &seq).unwrap();
        let output = place.run(&["ls", "--json"]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!error.contains("panicked") && !error.contains("backtrace"), "page {page} {what}: {error}");
        if output.status.success() {
            if String::from_utf8(output.stdout).unwrap().trim_end() == expected {
                counts[1] += 1;
            } else {
                let status = place.json(&["status"]);
                let codes = status["alarm_codes"].as_array().unwrap();
                assert!(
                    codes.iter().any(|code| code == "stepped_back"),
                    "page {page} {what}: lost without a word"
                );
                counts[2] += 1;
            }
            continue;
        }
        assert_eq!(output.status.code(), Some(1), "page {page} {what}: {error}");
        let error: serde_json::Value = serde_json::from_str(&error).unwrap();
        assert_eq!(error["error"]["code"], "store_damaged", "page {page} {what}: {error}");
        assert!(error["error"]["message"].as_str().unwrap().contains("`tombolo recover`"), "{error}");
        assert_eq!(std::fs::read(&store).unwrap(), bytes, "page {page} {what}: the evidence stays");
        counts[0] += 1;
    }
    std::fs::write(&store, &whole).unwrap();
    std::fs::write(&counted, &seq).unwrap();
    assert_eq!(documents(place), expected);
    counts
}

#[test]
fn a_damaged_page_of_a_closed_store_is_one_sentence() {
    let (place, daemon) = node_with_documents();
    assert_eq!(daemon.terminate(), Some(0));
    let [refused, read, _] = open_damaged(&place, 60);
    assert!(refused >= 10 && read >= 1, "refused {refused}, read {read}");
}

/// The database goes back to the commit before where the last one does not read after a crash. What it lacks then stands in the log; where
/// the log is gone too, that is shown, and stays shown.
#[test]
fn a_store_that_goes_back_after_a_kill_loses_nothing_or_shows_it() {
    let (place, daemon) = node_with_documents();
    place.ok(&["set", "plan0", "last", "1"]);
    daemon.kill();
    // Read as the kill left it: opening repairs it.
    let files = ["store.redb", "store.wal", "store.seq"].map(|name| place.folder.join(name));
    let killed = files.each_ref().map(|file| std::fs::read(file).unwrap());
    let mut went_back = 0;
    for (page, with_log) in (1..killed[0].len() / PAGE).flat_map(|page| [(page, true), (page, false)]) {
        for (file, bytes) in files.iter().zip(&killed) {
            std::fs::write(file, bytes).unwrap();
        }
        let mut bytes = killed[0].clone();
        bytes[page * PAGE..][..PAGE].fill(0xa5);
        std::fs::write(&files[0], &bytes).unwrap();
        if !with_log {
            std::fs::remove_file(&files[1]).unwrap();
        }
        let output = place.run(&["get", "plan0", "last"]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!error.contains("panicked"), "page {page}: {error}");
        if output.status.success() || error.contains("tombolo recover") {
            continue;
        }
        assert!(!with_log, "page {page}: {error}");
        went_back += 1;
        if went_back == 1 {
            for _ in 0..2 {
                let status = place.ok(&["status"]);
                assert!(status.contains("! the store lost its last"), "{status}");
            }
            let daemon = place.up();
            assert!(place.ok(&["status"]).contains("! the store lost its last"));
            drop(daemon);
        }
    }
    assert!(went_back > 0, "no page made the store go back");
}

#[test]
fn an_empty_or_foreign_file_is_no_new_node() {
    let place = NodeDir::with_node("attic");
    let store = place.folder.join("store.redb");
    for bytes in [&b""[..], b"no store", &[0; 70_000]] {
        std::fs::write(&store, bytes).unwrap();
        for command in [&["ls"][..], &["up"], &["set", "plan", "a", "1"]] {
            assert_eq!(place.error_code(command), "store_damaged", "{command:?}");
        }
        assert_eq!(std::fs::read(&store).unwrap(), bytes);
    }
    let found = place.run(&["doctor"]);
    let found = String::from_utf8(found.stdout).unwrap();
    let found = found.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(found.contains("the store is damaged") && found.contains("`tombolo recover`"), "{found}");
}

/// The remedy that the sentence names works: identity and settings stay, and a store that reads well is not touched.
#[test]
fn recover_puts_the_damaged_store_aside() {
    let place = NodeDir::with_node("attic");
    place.ok(&["create", "plan"]);
    let did = place.did();
    assert_eq!(place.error_code(&["recover"]), "not_damaged");
    let store = place.folder.join("store.redb");
    let mut bytes = std::fs::read(&store).unwrap();
    let half = bytes.len() / 2;
    bytes[512..half].fill(9);
    std::fs::write(&store, &bytes).unwrap();
    assert!(place.fails(1, &["ls"]).contains("`tombolo recover`"));
    let aside = place.json(&["recover"])["put_aside"].as_str().unwrap().to_owned();
    assert_eq!(std::fs::read(&aside).unwrap(), bytes, "nothing is deleted");
    assert_eq!(place.did(), did);
    let status = place.ok(&["status"]).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(status.contains("it signs nothing until a peer has answered"), "{status}");
    assert_eq!(place.error_code(&["create", "plan"]), "unconfirmed");
    assert!(place.fails(1, &["create", "plan"]).contains("`tombolo up --new`"));
    // The operator states that there is nothing to wait for.
    let daemon = place.up_with(&["--new"]);
    place.ok(&["create", "plan"]);
    assert_eq!(daemon.terminate(), Some(0));
    assert_eq!(place.error_code(&["recover"]), "not_damaged");
}

/// A store that was moved away, for a copy or by mistake: no command makes another one over its log, and it reads whole when it is back.
#[test]
fn a_store_that_is_away_keeps_its_log() {
    let place = NodeDir::with_node("attic");
    let daemon = place.up();
    place.ok(&["create", "plan"]);
    place.ok(&["set", "plan", "a", "1"]);
    daemon.kill();
    let [store, log, away] = ["store.redb", "store.wal", "away"].map(|name| place.folder.join(name));
    let logged = std::fs::read(&log).unwrap();
    std::fs::rename(&store, &away).unwrap();
    for command in [&["status"][..], &["ls"], &["up"], &["set", "plan", "a", "2"]] {
        assert_eq!(place.error_code(command), "store_away", "{command:?}");
    }
    let error = place.fails(1, &["status"]);
    assert!(error.contains("put store.redb back") && error.contains("`tombolo recover`"), "{error}");
    assert!(!store.exists() && std::fs::read(&log).unwrap() == logged);
    std::fs::rename(&away, &store).unwrap();
    assert_eq!(place.ok(&["get", "plan", "a"]), "1");

    // A new identity does not begin on it, and `recover` deletes nothing.
    std::fs::remove_file(&store).unwrap();
    let logged = std::fs::read(&log).unwrap();
    let kept = ["identity.key", "tombolo.toml"].map(|name| place.folder.join(name));
    let aside = kept.each_ref().map(|path| path.with_extension("aside"));
    kept.iter().zip(&aside).for_each(|(from, to)| std::fs::rename(from, to).unwrap());
    assert_eq!(place.error_code(&["init", "--name", "boat"]), "no_key");
    kept.iter().zip(&aside).for_each(|(to, from)| std::fs::rename(from, to).unwrap());
    let aside = place.json(&["recover"])["put_aside"].as_str().unwrap().to_owned();
    assert!(aside.contains("damaged-") && aside.ends_with(".wal"), "{aside}");
    assert_eq!(std::fs::read(&aside).unwrap(), logged);
    assert_eq!(place.error_code(&["create", "plan"]), "unconfirmed");
}

/// A user without rights to a file learns which owner it needs, and `recover` moves no store that may be whole.
#[test]
fn a_file_of_another_user_is_no_damage() {
    use std::os::unix::fs::PermissionsExt;
    let place = NodeDir::with_node("attic");
    place.ok(&["create", "plan"]);
    // In a user namespace root has no rights beyond those of the owner.
    let run = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["-U", env!("CARGO_BIN_EXE_tombolo")]).args(arguments);
        command.env("TOMBOLO_DATA_DIR", &place.folder).env_remove("RUST_LOG").stdin(Stdio::null());
        command.output()
    };
    if !run(&["ls"]).is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: needs unshare, and user namespaces");
        return;
    }
    let refused = |arguments: &[&str]| {
        let output = run(arguments).unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        error
    };
    let set_mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for (file, mode) in [("store.redb", 0o400), ("store.wal", 0), ("identity.key", 0), ("tombolo.toml", 0)] {
        let path = place.folder.join(file);
        set_mode(&path, mode);
        for command in ["ls", "recover", "up"] {
            let error = refused(&[command]);
            assert!(error.contains(file) && error.contains("chown -R USER"), "{file} {command}: {error}");
            assert!(!error.contains("tombolo recover"), "{file} {command}: {error}");
        }
        assert!(path.exists());
        set_mode(&path, 0o600);
    }
    let (store, away) = (place.folder.join("store.redb"), place.folder.join("away"));
    std::fs::rename(&store, &away).unwrap();
    std::os::unix::fs::symlink(place.folder.join("not-mounted"), &store).unwrap();
    for command in ["ls", "recover"] {
        let error = place.fails(1, &[command]);
        assert!(
            error.contains("what it leads to is not there") && error.contains("mount its disk"),
            "{error}"
        );
    }
    std::fs::rename(&away, &store).unwrap();
    assert!(place.ok(&["ls"]).contains("plan"));
}

#[test]
fn a_key_and_a_store_of_two_nodes_do_not_start() {
    let (a, b) = (NodeDir::with_node("attic"), NodeDir::with_node("boat"));
    a.ok(&["create", "plan"]);
    let (key, other) = (a.folder.join("identity.key"), b.folder.join("identity.key"));
    let own = std::fs::read(&key).unwrap();
    std::fs::write(&key, std::fs::read(other).unwrap()).unwrap();
    for command in [&["ls"][..], &["up"], &["id"]] {
        let error = a.fails(1, command);
        assert!(
            error.contains("the store belongs to did:key:") && error.contains("`tombolo recover`"),
            "{error}"
        );
        assert_eq!(a.error_code(command), "other_node");
    }
    // One changed digit is named, and does not make another identity.
    let text = String::from_utf8(own.clone()).unwrap();
    let at = text.find("identity ").unwrap() + 20;
    let mut changed = own.clone();
    changed[at] = if own[at] == b'7' { b'8' } else { b'7' };
    std::fs::write(&key, &changed).unwrap();
    assert!(a.fails(1, &["ls"]).contains("a digit has changed"));
    std::fs::write(&key, &own).unwrap();
    assert!(a.ok(&["ls"]).contains("plan"));
}

/// A pipe without a writer blocks the process that opens it.
#[test]
fn pipes_folders_and_devices_in_place_of_files_are_refused_at_once() {
    for file in ["identity.key", "store.redb", "tombolo.toml"] {
        let place = NodeDir::with_node("attic");
        let path = place.folder.join(file);
        let make: [&dyn Fn(&Path); 3] = [
            &|path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
            &|path| std::fs::create_dir(path).unwrap(),
            &|path| std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
        ];
        for make in make {
            if path.is_dir() { std::fs::remove_dir(&path) } else { std::fs::remove_file(&path) }.unwrap();
            make(&path);
            for command in [&["ls"][..], &["up"]] {
                let mut child = place.command(command).stderr(Stdio::piped()).spawn().unwrap();
                let status = wait(&mut child);
                let error = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
                assert_eq!(status.code(), Some(1), "{file} {command:?}: {error}");
                assert!(error.contains("regular file") && !error.contains("panicked"), "{file}: {error}");
            }
        }
    }
}

#[test]
fn a_deleted_socket_comes_back() {
    let place = NodeDir::with_node("attic");
    let daemon = place.up();
    let socket = place.folder.join("control.sock");
    std::fs::remove_file(&socket).unwrap();
    eventually("the socket is back", || socket.exists());
    assert_eq!(super::harness::mode(&socket), 0o600);
    place.ok(&["create", "plan"]);
    assert_eq!(daemon.terminate(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn a_daemon_whose_folder_is_deleted_states_it_and_ends() {
    let place = NodeDir::with_node("attic");
    let mut child = place.command(&["up"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("it answers", || place.folder.join("control.sock").exists());
    std::fs::remove_dir_all(&place.folder).unwrap();
    let status = wait(&mut child);
    let error = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert_eq!(status.code(), Some(1), "{error}");
    assert!(error.contains("identity.key is gone, so this node has stopped"), "{error}");
    assert!(!error.contains("panicked"), "{error}");
    assert!(!place.folder.exists(), "nothing is made again");
}

/// A log that is deleted under a running node would take commits that no path leads to; what it had is kept.
#[test]
fn a_daemon_whose_log_is_deleted_states_it_and_loses_nothing() {
    let place = NodeDir::with_node("attic");
    let mut child = place.command(&["up"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("it answers", || place.folder.join("control.sock").exists());
    place.ok(&["create", "plan"]);
    place.ok(&["set", "plan", "a", "1"]);
    std::fs::remove_file(place.folder.join("store.wal")).unwrap();
    let status = wait(&mut child);
    let error = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert_eq!(status.code(), Some(1), "{error}");
    assert!(error.contains("store.wal is gone, so this node has stopped"), "{error}");
    assert!(error.contains("`tombolo up` goes on") && !error.contains("identity.key"), "{error}");
    assert_eq!(place.ok(&["get", "plan", "a"]), "1");
}

/// `ulimit -f` is an error of the write; the signal that comes with it ends no process.
#[test]
fn a_limit_of_file_sizes_is_a_full_disk() {
    let place = NodeDir::with_node("attic");
    place.ok(&["create", "plan"]);
    place.ok(&["set", "plan", "a", "1"]);
    let limited = |command: &str| {
        let binary = env!("CARGO_BIN_EXE_tombolo");
        let script = format!("ulimit -f 80; {command}").replace("tombolo", binary);
        let mut shell = Command::new("bash");
        shell.env("TOMBOLO_DATA_DIR", &place.folder).args(["-c", &script]).stdin(Stdio::null());
        shell
    };
    let long = "x".repeat(60_000);
    let mut refused = None;
    for key in 0..8 {
        let output = limited(&format!("tombolo set plan k{key} {long}")).output().unwrap();
        if !output.status.success() {
            refused = Some(output);
            break;
        }
    }
    let output = refused.expect("the limit is reached");
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("the disk takes no writes"), "{error}");
    assert_eq!(place.ok(&["get", "plan", "a"]), "1");
    // A daemon under the limit lives, answers, and refuses writes, also where it has no room for a log.
    std::fs::remove_file(place.folder.join("store.wal")).unwrap();
    let mut daemon = limited("exec tombolo up").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("it answers", || place.folder.join("control.sock").exists());
    assert_eq!(place.error_code(&["set", "plan", "more", &"y".repeat(60_000)]), "disk_full");
    assert_eq!(place.ok(&["get", "plan", "a"]), "1");
    assert!(daemon.try_wait().unwrap().is_none());
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

/// The restore of the README: key and settings in an empty folder. Both sides are in step in the end, without an alarm.
#[test]
fn a_restored_key_raises_no_alarm_at_either_side() {
    let (a, b) = (NodeDir::with_node("attic"), NodeDir::with_node("boat"));
    let (up_a, up_b) = (a.up(), b.up());
    let code = a.ok(&["invite", "--addr", &up_a.address()]);
    b.ok(&["join", &code]);
    b.ok(&["create", "log-of-boat"]);
    b.ok(&["set", "log-of-boat", "monday", "calm"]);
    b.ok(&["set", "log-of-boat", "tuesday", "storm"]);
    eventually("it arrives", || a.run(&["get", "boat/log-of-boat", "tuesday"]).status.success());
    assert_eq!(up_b.terminate(), Some(0));
    let kept =
        ["identity.key", "tombolo.toml"].map(|name| (name, std::fs::read(b.folder.join(name)).unwrap()));
    std::fs::remove_dir_all(&b.folder).unwrap();
    std::fs::create_dir(&b.folder).unwrap();
    for (name, bytes) in kept {
        std::fs::write(b.folder.join(name), bytes).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(b.folder.join(name), private).unwrap();
    }
    let up_b = b.up();
    assert_eq!(b.error_code(&["create", "log-of-boat"]), "unconfirmed");
    let code = a.ok(&["invite", "--addr", &up_a.address()]);
    b.ok(&["join", &code]);
    eventually("it is back", || b.run(&["get", "log-of-boat", "tuesday"]).status.success());
    eventually("it writes", || b.run(&["set", "log-of-boat", "wednesday", "fog"]).status.success());
    eventually("that arrives", || a.run(&["get", "boat/log-of-boat", "wednesday"]).status.success());
    for node in [&a, &b] {
        eventually("no alarm", || {
            let status = node.json(&["status"]);
            let codes = status["alarm_codes"].as_array().unwrap().clone();
            codes.iter().all(|code| code == "clock_not_set" || code == "clock_differs")
        });
        assert_eq!(node.json(&["status"])["forks"], serde_json::json!({}), "nothing was signed twice");
    }
    drop((up_a, up_b));
}

/// A full disk, killed in the middle: the node starts, can be read, states why it does not write, and goes on when there is room.
/// A file system that takes no writes at all is the same, without the socket.
#[test]
fn a_full_and_a_read_only_disk_can_be_read() {
    let script = r#"
        set -e
        mount -t tmpfs -o size=6m none "$PLACE"
        export TOMBOLO_DATA_DIR="$PLACE/node"
        tombolo init --name attic >&2
        sed -i 's/^listen = \["0.0.0.0:8662".*/listen = ["127.0.0.1:0"]/; s/^mdns = true/mdns = false/; s/^containers = "auto"/containers = "off"/' \
            "$TOMBOLO_DATA_DIR/tombolo.toml"
        tombolo create plan >&2; tombolo set plan a one >&2
        long=$(head -c 60000 /dev/zero | tr '\0' x)
        fill() { dd if=/dev/zero of="$PLACE/fill" bs=4k 2>/dev/null || true; }
        start() { tombolo up --no-tor > "$PLACE/../up" 2>&1 & node=$!; sleep 1; }
        end() { kill -9 $node; wait $node || true; }
        fill
        start
        echo "full: $(tombolo get plan a)"
        tombolo backup "$PLACE/../full.backup" >&2 && echo "backup of a full disk"
        tombolo backup "$PLACE/full.backup" 2>&1 | grep "disk/full.backup: No space" || true
        # The log has room that it took before; what it has goes to the store once that is full.
        for n in $(seq 40); do tombolo set plan "b$n" "$long" --json 2>&1 || { echo "refused: $?"; break; }; done
        echo "verdict: $(tombolo status | grep -o '^ *This node can be read, not written')"
        echo "shown: $(tombolo status | grep '^! this node can be read, not written')"
        end
        start
        echo "killed: $(tombolo get plan a)"
        echo "kept: $(tombolo get plan b1 | wc -c)"
        rm "$PLACE/fill"
        tombolo set plan b "$long" >&2; tombolo set plan c three >&2
        echo "room: $(tombolo get plan c), $(tombolo status --json | grep -c disk_full || true)"
        end
        # The next start ends the tombstone, for which it writes.
        tombolo set plan gone 1 >&2; tombolo del plan gone >&2
        mount -o remount,ro "$PLACE"
        echo "read-only: $(tombolo get plan c)"
        tombolo backup "$PLACE/../read-only.backup" >&2 && echo "backup of a read-only disk"
        tombolo set plan d 4 --json 2>&1 || echo "refused: $?"
        start
        echo "up: $(grep 'can be read, not written' "$PLACE/../up")"
        mount -o remount,rw "$PLACE"
        for try in $(seq 300); do test -S "$TOMBOLO_DATA_DIR/control.sock" && break; sleep 0.1; done
        tombolo set plan d four >&2
        echo "writable: $(tombolo get plan d)"
        end
    "#;
    let outer = tempfile::tempdir().unwrap();
    let place = outer.path().join("disk");
    std::fs::create_dir(&place).unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_tombolo")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap_or_default());
    let in_namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-Urm", "bash", "-c", script]).env("PLACE", &place).env("PATH", &path);
        command.env_remove("RUST_LOG").stdin(Stdio::null()).output()
    };
    if !in_namespace("mount -t tmpfs none \"$PLACE\"").is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: needs unshare, and user namespaces that may mount");
        return;
    }
    let output = in_namespace(script).unwrap();
    let (text, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{log}");
    for line in [
        "full: one",
        "killed: one",
        "kept: 60001",
        "room: three, 0",
        "read-only: three",
        "writable: four",
        "backup of a full disk",
        "backup of a read-only disk",
    ] {
        assert!(text.lines().any(|found| found == line), "no `{line}` in:\n{text}\n{log}");
    }
    assert!(text.contains("disk/full.backup: No space left"), "the file that is meant is named: {text}");
    assert_eq!(text.matches("refused: 1").count(), 2, "{text}");
    assert_eq!(text.matches("\"code\":\"disk_full\"").count(), 2, "{text}");
    assert!(
        text.lines()
            .any(|line| line.starts_with("verdict: ") && line.ends_with("This node can be read, not written"))
            && text.contains("shown: ! this node can be read"),
        "{text}"
    );
    assert!(text.contains("\n! this node can be read"), "{text}");
}
