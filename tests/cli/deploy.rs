//! `deploy` and `catalogue` with two real nodes over QUIC on loopback, and a command of the operator that writes down each run.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::harness::{Daemon, NodeDir, eventually};
use super::installer::{CATALOGUE, allow, runs};

/// A port that stays the same over restarts: these nodes are not announced.
fn fixed_port(place: &NodeDir) {
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    place.setting("127.0.0.1:0", &format!("127.0.0.1:{port}"));
}

pub(super) struct Pair {
    pub(super) attic: NodeDir,
    attic_up: Option<Daemon>,
    pub(super) boat: NodeDir,
    boat_up: Option<Daemon>,
    runs: PathBuf,
}

/// The attic asks, the boat installs.
pub(super) fn pair() -> Pair {
    let (attic, boat) = (NodeDir::with_node("attic"), NodeDir::with_node("boat"));
    fixed_port(&attic);
    fixed_port(&boat);
    let runs = allow(&boat);
    let (attic_up, boat_up) = (attic.up(), boat.up());
    boat.ok(&["join", &attic.ok(&["invite"]), "--addr", &attic_up.address()]);
    eventually("a link", || attic.json(&["peers"])[0]["connected"] == true);
    Pair { attic, attic_up: Some(attic_up), boat, boat_up: Some(boat_up), runs }
}

const WEB: [&str; 6] = ["deploy", "boat", "web", "1.2", "--marketplace", "https://market.example"];

pub(super) fn status(place: &NodeDir, id: &str) -> String {
    place.json(&["deploy", "--status", id])["status"].as_str().unwrap().to_owned()
}

#[test]
fn an_app_in_the_catalogue_is_installed_and_both_ends_show_its_output() {
    let pair = pair();
    let done = pair.attic.json(&[&WEB[..], &["--wait"]].concat());
    assert_eq!(done["deployed"], true);
    assert_eq!((done["app_id"].as_str(), done["status"].as_str()), (Some("web"), Some("installed")));
    assert_eq!(done["peer_did"].as_str().unwrap(), pair.boat.did());
    assert!(done["peer_onion"].as_str().unwrap().ends_with(".onion"));
    assert_eq!(done["output"], "web is installed");
    assert_eq!(runs(&pair.runs), ["web 1.2 https://market.example"]);
    let id = done["id"].as_str().unwrap();
    for place in [&pair.attic, &pair.boat] {
        let shown = place.ok(&["deploy", "--status", &id[..12]]);
        assert!(shown.contains("installed") && shown.contains("    web is installed"), "{shown}");
        assert!(place.ok(&["deploy", "--status"]).contains("web"));
    }
    eventually("the document of outcomes", || pair.attic.run(&["get", "boat/deploys"]).status.success());
    assert_eq!(pair.attic.json(&["get", "boat/deploys"])["value"]["outcomes"][0]["id"], id);
    // For people: one sentence and where to look.
    let asked = pair.attic.ok(&WEB);
    assert!(asked.contains("tombolo deploy --status"), "{asked}");
}

#[test]
fn every_refusal_gives_its_reason() {
    let pair = pair();
    let wait = |words: &[&str]| pair.attic.error_code(&[&["deploy", "boat"], words, &["--wait"]].concat());
    assert_eq!(wait(&["sh", "1"]), "deploy_refused");
    let refused = pair.attic.fails(1, &["deploy", "boat", "sh", "1", "--wait"]);
    assert!(refused.contains("not in the receiver's catalogue"), "{refused}");
    let version = pair.attic.fails(1, &["deploy", "boat", "web", "2", "--wait"]);
    assert!(version.contains("other versions"), "{version}");
    let url = pair
        .attic
        .fails(1, &["deploy", "boat", "web", "1.2", "--marketplace", "https://x.example", "--wait"]);
    assert!(url.contains("another marketplace"), "{url}");
    assert_eq!(pair.attic.error_code(&["deploy", "boat", "a/b", "1"]), "bad_app");
    assert_eq!(pair.attic.error_code(&["deploy", "boat", "web", "1.2", "--expires", "8d"]), "bad_expiry");
    assert_eq!(pair.attic.error_code(&["deploy", "nobody", "web", "1.2"]), "unknown_peer");
    assert_eq!(pair.attic.error_code(&["deploy", "--status", "ffff"]), "unknown_deploy");
    // The boat's end shows the refusals too.
    assert!(pair.boat.ok(&["deploy", "--status"]).contains("refused: other_marketplace"));
    assert!(pair.boat.json(&["status"])["rejections"]["command_not_in_catalogue"].as_u64() >= Some(1));
    // A sender that is not trusted, and a receiver that is not.
    pair.boat.ok(&["trust", "attic", "observer"]);
    assert!(pair.attic.fails(1, &[&WEB[..], &["--wait"]].concat()).contains("trusted"));
    pair.attic.ok(&["trust", "boat", "observer"]);
    assert_eq!(pair.attic.error_code(&WEB), "not_trusted");
    assert!(runs(&pair.runs).is_empty());
}

/// The operator edits the catalogue of a running node.
#[test]
fn an_edited_catalogue_counts_without_a_restart() {
    let pair = pair();
    let path = pair.boat.folder.join("catalogue.toml");
    let broken = ["deploy", "boat", "broken", "1", "--marketplace", "https://market.example"];
    std::fs::write(&path, format!("{CATALOGUE}\n[[app]]\nid = \"broken\"\n")).unwrap();
    let mut last = String::new();
    eventually("the new app is in the catalogue", || {
        last = pair.attic.error_code(&[&broken[..], &["--wait"]].concat());
        last == "deploy_failed"
    });
    let failed = pair.attic.fails(1, &[&broken[..], &["--wait"]].concat());
    assert!(failed.contains("exit code 1") && failed.contains("--status"), "{failed}");
    std::fs::write(&path, "nonsense\n").unwrap();
    eventually("the damage is noticed", || {
        pair.boat.json(&["status"])["alarms"].to_string().contains("catalogue.toml")
    });
    assert!(pair.attic.fails(1, &[&WEB[..], &["--wait"]].concat()).contains("cannot be read"));
}

#[test]
fn a_deploy_waits_for_a_peer_that_is_off_and_expires() {
    let mut pair = pair();
    pair.boat_up.take().unwrap().terminate();
    let short = pair.attic.json(&[&WEB[..], &["--expires", "1s"]].concat());
    let long = pair.attic.json(&WEB);
    assert_eq!((short["status"].as_str(), short["deployed"].as_bool()), (Some("waiting"), Some(false)));
    eventually("the short one expires", || status(&pair.attic, short["id"].as_str().unwrap()) == "expired");
    // The sender restarts meanwhile: its commands are on disk.
    pair.attic_up.take().unwrap().kill();
    pair.attic_up = Some(pair.attic.up());
    pair.boat_up = Some(pair.boat.up());
    let id = long["id"].as_str().unwrap();
    eventually("the long one is installed", || status(&pair.attic, id) == "installed");
    assert_eq!(runs(&pair.runs).len(), 1);
    assert_eq!(status(&pair.attic, short["id"].as_str().unwrap()), "expired");
}

/// The link is cut while the command runs: the answer comes when it is there again, and the command ran once.
#[test]
fn a_sender_that_dies_meanwhile_gets_the_answer_later() {
    let mut pair = pair();
    let hold = pair.boat.folder.join("hold");
    std::fs::write(&hold, "").unwrap();
    let asked = pair.attic.json(&WEB);
    let id = asked["id"].as_str().unwrap();
    eventually("it runs", || runs(&pair.runs).len() == 1);
    pair.attic_up.take().unwrap().kill();
    std::fs::remove_file(&hold).unwrap();
    eventually("it has ended at the boat", || status(&pair.boat, id) == "installed");
    pair.attic_up = Some(pair.attic.up());
    eventually("the answer", || status(&pair.attic, id) == "installed");
    assert_eq!(runs(&pair.runs).len(), 1);
}

/// The receiver loses power while the command runs: unknown at both ends, and never a second run.
#[test]
fn a_receiver_killed_while_it_installs_answers_unknown() {
    let mut pair = pair();
    let hold = pair.boat.folder.join("hold");
    std::fs::write(&hold, "").unwrap();
    let asked = pair.attic.json(&WEB);
    let id = asked["id"].as_str().unwrap();
    eventually("it runs", || runs(&pair.runs).len() == 1);
    pair.boat_up.take().unwrap().kill();
    pair.boat_up = Some(pair.boat.up());
    eventually("unknown at both ends", || {
        status(&pair.boat, id) == "unknown" && status(&pair.attic, id) == "unknown"
    });
    assert_eq!(runs(&pair.runs).len(), 1);
    std::fs::remove_file(&hold).unwrap();
    // A new command is a new decision.
    let again = pair.attic.json(&[&WEB[..], &["--wait"]].concat());
    assert_eq!(again["deployed"], true);
    assert_eq!(runs(&pair.runs).len(), 2);
}

/// The boat installs, and the attic is off before the answer comes. Returns the id of the command; both are off then.
fn installed_and_not_answered(pair: &mut Pair) -> String {
    let hold = pair.boat.folder.join("hold");
    std::fs::write(&hold, "").unwrap();
    let asked = pair.attic.json(&WEB);
    let id = asked["id"].as_str().unwrap().to_owned();
    eventually("it runs", || runs(&pair.runs).len() == 1);
    pair.attic_up.take().unwrap().kill();
    std::fs::remove_file(&hold).unwrap();
    eventually("it has ended at the boat", || status(&pair.boat, &id) == "installed");
    pair.boat_up.take().unwrap().terminate();
    // Where the attic was killed early, it does not know either that the boat took it.
    let known = status(&pair.attic, &id);
    assert!(["waiting", "taken"].contains(&known.as_str()), "the answer came all the same: {known}");
    id
}

/// Both come back, the attic offers its command again, and the store of the boat does not know it any more.
fn check_unknown_at_both_ends(pair: &mut Pair, id: &str) {
    assert_eq!(pair.boat.error_code(&["deploy", "--status", id]), "unknown_deploy");
    pair.attic_up = Some(pair.attic.up());
    pair.boat_up = Some(pair.boat.up());
    eventually("unknown at both ends", || {
        [&pair.attic, &pair.boat].iter().all(|place| {
            let shown = place.run(&["deploy", "--status", id, "--json"]).stdout;
            String::from_utf8(shown).unwrap().contains("\"unknown\"")
        })
    });
    assert!(pair.attic.ok(&["deploy", "--status", id]).contains("restored"), "why");
    assert_eq!(runs(&pair.runs).len(), 1, "never a second run");
}

/// The boat is restored from a backup that it made before it installed.
#[test]
fn a_restored_receiver_does_not_run_what_it_ran_after_the_backup() {
    let mut pair = pair();
    let file = pair.boat.folder.with_file_name("boat.backup");
    let file = file.to_str().unwrap();
    pair.boat.ok(&["backup", file]);
    let id = installed_and_not_answered(&mut pair);
    std::fs::remove_file(pair.boat.folder.join("store.redb")).unwrap();
    pair.boat.ok(&["restore", file]);
    check_unknown_at_both_ends(&mut pair, &id);
}

/// The disk of the boat is set back as a whole: nothing on it shows that, but the attic has a newer document of the boat's.
#[test]
fn a_receiver_whose_disk_was_set_back_does_not_run_what_it_ran_before() {
    let mut pair = pair();
    pair.boat_up.take().unwrap().terminate();
    let files = ["store.redb", "store.wal", "store.seq"].map(|name| pair.boat.folder.join(name));
    let before = files.each_ref().map(|file| std::fs::read(file).unwrap());
    pair.boat_up = Some(pair.boat.up());
    pair.boat.ok(&["create", "log"]);
    eventually("the attic has it", || pair.attic.run(&["get", "boat/log"]).status.success());
    let id = installed_and_not_answered(&mut pair);
    for (file, bytes) in files.iter().zip(before) {
        std::fs::write(file, bytes).unwrap();
    }
    check_unknown_at_both_ends(&mut pair, &id);
}

#[test]
fn without_a_running_node_a_deploy_is_kept_for_later() {
    let mut pair = pair();
    pair.attic_up.take().unwrap().terminate();
    assert_eq!(pair.attic.error_code(&[&WEB[..], &["--wait"]].concat()), "needs_daemon");
    let asked = pair.attic.json(&WEB);
    pair.attic_up = Some(pair.attic.up());
    eventually("installed", || status(&pair.attic, asked["id"].as_str().unwrap()) == "installed");
}

#[test]
fn catalogue_lists_and_checks_the_file() {
    let place = NodeDir::with_node("attic");
    assert!(place.ok(&["catalogue"]).contains("deploys are off"));
    assert_eq!(place.json(&["catalogue"])["on"], false);
    allow(&place);
    let listed = place.ok(&["catalogue"]);
    assert!(
        listed.contains("web") && listed.contains("https://market.example") && listed.contains("any"),
        "{listed}"
    );
    let json = place.json(&["catalogue"]);
    assert_eq!((json["on"].as_bool(), json["apps"][0]["versions"][0].as_str()), (Some(true), Some("1.2")));
    std::fs::write(place.folder.join("catalogue.toml"), "[[app]]\nid = \"a b\"\n").unwrap();
    let error = place.fails(1, &["catalogue"]);
    assert!(error.contains("line 1") && error.contains("a b"), "{error}");
    assert_eq!(place.error_code(&["catalogue"]), "bad_catalogue");
    std::fs::write(place.folder.join("catalogue.toml"), CATALOGUE).unwrap();
    let script = place.folder.join("install.sh");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(place.error_code(&["catalogue"]), "bad_program");
    std::fs::remove_file(&script).unwrap();
    assert_eq!(place.error_code(&["catalogue"]), "bad_program");
}
