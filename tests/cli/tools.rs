//! What stands around a node: completions, manual pages, settings, documents as files, backups.

use super::harness::{NodeDir, eventually, mode};

#[test]
fn a_shell_and_man_know_every_command() {
    let place = NodeDir::empty();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let text = place.ok(&["completions", shell]);
        assert!(
            ["init", "watch-for", "completions", "data-dir"].iter().all(|word| text.contains(word)),
            "{shell}"
        );
    }
    let pages = place.folder.with_file_name("man");
    let written = place.json(&["man", pages.to_str().unwrap()]);
    let written: Vec<&str> =
        written["pages"].as_array().unwrap().iter().filter_map(|page| page.as_str()).collect();
    for page in ["tombolo.1", "tombolo-set.1", "tombolo-config-show.1", "tombolo-invites-withdraw.1"] {
        let text = std::fs::read_to_string(pages.join(page)).unwrap();
        assert!(
            written.contains(&page) && text.starts_with(".ie") && text.contains("Examples:"),
            "{page}: {text}"
        );
    }
    assert!(
        place.ok(&["help"]).contains("Commands:") && place.ok(&["help", "set"]).contains("tombolo set plan")
    );
    let version = place.json(&["version"]);
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert!(version["wire"].is_u64() && version["store"].is_u64() && version["codec"].is_u64());
    assert!(place.fails(2, &["completions", "csh"]).contains("bash"));
    assert!(!place.folder.exists(), "none of these needs a node");
}

/// The name of the machine, the documents that people made, the settings that were changed.
#[test]
fn a_node_without_arguments_is_called_as_its_machine() {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let host = host.trim().split('.').next().unwrap().to_owned();
    let place = NodeDir::empty();
    if matches!(&*host, "" | "localhost" | "(none)") {
        assert!(place.fails(2, &["init"]).contains("--name"));
        return;
    }
    place.ok(&["init"]);
    assert_eq!(place.json(&["id"])["name"], *host);
    place.ok(&["create", "plan"]);
    assert!(place.ok(&["ls"]).contains("plan") && !place.ok(&["ls"]).contains("audience"));
    assert!(place.ok(&["ls", "--all"]).contains("audience"));
    assert!(place.hash("audience").is_some(), "programs get all");

    assert!(place.ok(&["config", "check"]).contains("reads well"));
    place.setting("mdns = true", "mdns = false");
    assert_eq!(place.ok(&["config", "show", "--changed"]), "* lan.mdns = false");
    let all = place.json(&["config", "show"]);
    assert_eq!(
        (&all["lan.mdns"]["is_default"], &all["heartbeat"]["is_default"]),
        (&false.into(), &true.into())
    );
    place.setting("mdns = false", "mdns = 7");
    assert!(place.fails(1, &["config", "check"]).contains("line "));
    assert_eq!(place.error_code(&["config", "show"]), "bad_settings");
}

#[test]
fn a_document_goes_through_a_file_and_is_the_same() {
    let place = NodeDir::with_node("attic");
    place.ok(&["create", "plan"]);
    place.ok(&[
        "set",
        "plan",
        "a/b",
        "{\"whole\": 3, \"float\": 3.0, \"text\": \"ä\\n\", \"list\": [1, null, true]}",
    ]);
    let file = place.folder.with_file_name("plan.json");
    let file = file.to_str().unwrap();
    place.ok(&["export", "plan", file]);
    assert!(place.fails(1, &["export", "plan", file]).contains("exists"));
    assert_eq!(place.error_code(&["import", file]), "document_exists");
    place.ok(&["import", file, "--name", "copy"]);
    assert_eq!(place.ok(&["get", "copy"]), place.ok(&["get", "plan"]));
    let (plan, copy) = (place.hash("plan"), place.hash("copy"));
    assert_eq!(plan, copy, "to the last bit");
    place.ok(&["set", "plan", "more", "1"]);
    place.ok(&["import", file, "--replace"]);
    assert_eq!(place.hash("plan"), plan);
    std::fs::write(file, "{\"a\": 1}").unwrap();
    assert!(place.fails(1, &["import", file]).contains("tombolo put"));
}

/// A node is backed up while it runs, writes on, is lost, and is restored: it signs nothing until its peer has shown what it wrote
/// since, gets that back, and no alarm is left. The way there shows the round trip of a ping.
#[test]
fn a_restored_node_gets_back_what_it_wrote_after_the_backup() {
    let (attic, boat) = (NodeDir::with_node("attic"), NodeDir::with_node("boat"));
    let (attic_up, boat_up) = (attic.up(), boat.up());
    assert_eq!(attic.error_code(&["ping", "boat"]), "unknown_peer");
    let code = attic.ok(&["invite"]);
    boat.ok(&["join", &code, "--addr", &attic_up.address()]);
    let answer = boat.json(&["ping", "attic"]);
    assert!(answer["links"][0]["round_trip_us"].as_u64().is_some_and(|us| us > 0), "{answer}");
    assert!(boat.ok(&["health"]).contains("boat answers"));

    attic.ok(&["create", "plan"]);
    attic.ok(&["set", "plan", "watch", "Ada"]);
    let outer = attic.folder.parent().unwrap();
    let (file, words) = (outer.join("attic.backup"), outer.join("words"));
    std::fs::write(&words, "tide and sand\n").unwrap();
    let (file, words) = (file.to_str().unwrap(), words.to_str().unwrap());
    assert!(attic.fails(2, &["backup", file, "--with-key"]).contains("--passphrase-file"));
    attic.ok(&["backup", file, "--with-key", "--passphrase-file", words]);
    assert_eq!(mode(std::path::Path::new(file)), 0o600);
    attic.ok(&["set", "plan", "watch", "Grace"]);
    eventually("the newer watch at the boat", || boat.run(&["get", "plan", "watch"]).stdout == b"Grace\n");
    drop(attic_up);
    assert_eq!(attic.error_code(&["restore", file, "--passphrase-file", words]), "already_initialised");
    std::fs::rename(&attic.folder, outer.join("lost")).unwrap();

    let contents = NodeDir::empty().json(&["backup", file, "--check", "--passphrase-file", words]);
    assert_eq!((&contents["name"], &contents["has_key"]), (&"attic".into(), &true.into()));
    attic.ok(&["restore", file, "--passphrase-file", words]);
    assert_eq!(attic.ok(&["get", "plan", "watch"]), "Ada");
    let attic_up = attic.up();
    boat.ok(&["dial", "attic", &attic_up.address()]);
    eventually("what was written after the backup", || {
        attic.run(&["get", "plan", "watch"]).stdout == b"Grace\n"
    });
    eventually("no alarm is left", || {
        let status = attic.json(&["status"]);
        status["alarms"].as_array().unwrap().iter().all(|alarm| alarm["code"] == "clock_not_set")
    });
    attic.ok(&["set", "plan", "watch", "Edsger"]);
    eventually("the boat reads on", || boat.run(&["get", "plan", "watch"]).stdout == b"Edsger\n");
    drop(boat_up);
    assert_eq!(boat.error_code(&["health"]), "needs_daemon");
    assert_eq!(boat.error_code(&["ping", "attic"]), "needs_daemon");
}

/// Two nodes that meet once, and then share no link: what one writes reaches the other in a file, the answer comes back in another,
/// and the next bundle has only what is new. Damage, strangers and a second reading change nothing.
#[test]
fn a_bundle_is_carried_between_nodes_that_share_no_link_and_back() {
    let (attic, boat, mill) =
        (NodeDir::with_node("attic"), NodeDir::with_node("boat"), NodeDir::with_node("mill"));
    {
        let (attic_up, _boat_up) = (attic.up(), boat.up());
        let code = attic.ok(&["invite"]);
        boat.ok(&["join", &code, "--addr", &attic_up.address()]);
    }
    // From here on no daemon runs: nothing but files goes between them.
    let outer = attic.folder.parent().unwrap().to_owned();
    let path = |name: &str| outer.join(name).to_str().unwrap().to_owned();
    attic.ok(&["create", "plan"]);
    attic.ok(&["set", "plan", "watch", "Ada"]);
    let large: Vec<String> = (0..20_000).map(|n| format!("\"k{n}\": \"{n:040}\"")).collect();
    std::fs::write(outer.join("large.json"), format!("{{{}}}", large.join(","))).unwrap();
    attic.ok(&["create", "large"]);
    attic.ok(&["put", "large", &path("large.json")]);
    let written = attic.json(&["bundle", "write", &path("one"), "--for", "boat"]);
    assert!(written["peers"][0]["layers"].as_u64().unwrap() >= 3, "{written}");
    assert!(attic.fails(1, &["bundle", "write", &path("one"), "--for", "boat"]).contains("exists"));

    assert_eq!(mill.error_code(&["bundle", "read", &path("one")]), "bad_bundle");
    let mut damaged = std::fs::read(path("one")).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(path("damaged"), &damaged).unwrap();
    assert_eq!(boat.error_code(&["bundle", "read", &path("damaged")]), "bad_bundle");
    assert!(boat.hash("plan").is_none());

    let read = boat.json(&["bundle", "read", &path("one")]);
    assert_eq!(read["from"], "attic");
    assert_eq!(boat.ok(&["get", "plan", "watch"]), "Ada");
    assert_eq!(boat.hash("large"), attic.hash("large"));
    // The boat writes back: its layer goes home with the receipt of the next bundle.
    boat.ok(&["set", "attic/plan", "lamp", "Grace"]);
    attic.ok(&["bundle", "read", &path("one.receipt")]);
    attic.ok(&["set", "plan", "watch", "Edsger"]);
    let next = attic.json(&["bundle", "write", &path("two"), "--for", "boat"]);
    assert!(next["peers"][0]["bytes"].as_u64().unwrap() < 4_000, "the boat's receipt was read: {next}");
    boat.ok(&["bundle", "read", &path("two")]);
    assert_eq!(boat.ok(&["get", "plan", "watch"]), "Edsger");
    let back = attic.json(&["bundle", "read", &path("two.receipt")]);
    assert!(back["changed"].as_array().unwrap().iter().any(|row| row["name"] == "plan"), "{back}");
    assert_eq!(attic.ok(&["get", "plan", "lamp"]), "Grace");
    assert_eq!(boat.hash("plan"), attic.hash("plan"));
    // The same file again brings nothing, and its receipt has nothing to ask for.
    let again = boat.json(&["bundle", "read", &path("two"), "--no-receipt"]);
    assert_eq!(again["changed"], serde_json::json!([]), "{again}");
}
