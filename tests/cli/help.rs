//! Help, and the QR code on a small terminal.

use super::harness::NodeDir;

#[test]
fn every_command_explains_itself_with_examples() {
    let place = NodeDir::empty();
    let help = place.ok(&["--help"]);
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        // What is longer than a line goes on under its own column.
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    for expected in [
        "init",
        "id",
        "up",
        "recover",
        "invite",
        "invites",
        "join",
        "adopt",
        "peers",
        "trust",
        "rename",
        "dial",
        "remove",
        "create",
        "set",
        "get",
        "del",
        "delete",
        "put",
        "ls",
        "watch",
        "state",
        "status",
        "conflicts",
        "links",
        "log",
        "doctor",
        "deploy",
        "catalogue",
        "revoke",
        "demo",
        "ping",
        "bundle",
        "health",
        "export",
        "import",
        "config",
        "backup",
        "restore",
        "completions",
        "man",
        "version",
    ] {
        assert!(commands.contains(&expected), "no {expected} in {commands:?}");
    }
    for command in commands.into_iter().filter(|command| *command != "help") {
        let help = place.ok(&[command, "--help"]);
        assert!(help.contains("Examples:\n  tombolo "), "{command}: {help}");
        assert!(help.contains("--json") && help.contains("--data-dir"), "{command}: {help}");
    }
    assert!(place.ok(&["--version"]).starts_with("tombolo "));
}

#[test]
fn an_invite_is_one_line_and_its_qr_code_fits_a_terminal() {
    let place = NodeDir::with_node("attic");
    let code = place.ok(&["invite"]);
    assert!(code.starts_with("fed1:") && code.lines().count() == 1, "{code}");
    for address in [
        &[][..],
        &["--addr", "192.168.1.20"],
        &["--addr", "192.168.1.20", "--addr", "fd00::20"],
        &["--addr", "fd00::20", "--addr", "fd00::21", "--addr", "192.168.1.20"],
    ] {
        let drawn = place.ok(&[&["invite", "--qr"], address].concat());
        assert!(drawn.lines().count() < 24, "{drawn}");
        assert!(drawn.lines().all(|line| line.chars().count() <= 80), "{drawn}");
        assert!(drawn.chars().all(|c| matches!(c, '█' | '▀' | '▄' | ' ' | '\n')));
    }
    // Below the picture stands nothing that would push its top out of the terminal.
    let output = place.run(&["invite", "--qr", "--addr", "192.168.1.20"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("works once"));
    let both = std::process::Command::new("sh")
        .args(["-c", "\"$0\" --data-dir \"$1\" invite --qr 2>&1", env!("CARGO_BIN_EXE_tombolo")])
        .arg(&place.folder)
        .output()
        .unwrap();
    let both = String::from_utf8_lossy(&both.stdout).into_owned();
    assert!(both.contains("works once") && both.trim_end().ends_with(['█', '▀', '▄']), "{both}");
}

#[test]
fn no_colour_is_ever_written() {
    let place = NodeDir::with_node("attic");
    for arguments in [&["--help"][..], &["status"], &["ls"], &["peers"]] {
        assert!(!place.ok(arguments).contains('\x1b'));
    }
}

#[test]
fn an_open_invite_is_listed_and_withdrawn() {
    let place = NodeDir::with_node("attic");
    assert_eq!(place.json(&["invites"]), serde_json::json!([]));
    place.ok(&["invite"]);
    place.ok(&["invite", "--level", "observer"]);
    let daemon = place.up();
    let open = place.json(&["invites"]);
    let ids: Vec<&str> = open.as_array().unwrap().iter().map(|i| i["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 2);
    assert!(place.ok(&["invites"]).contains(ids[0]));
    place.ok(&["invites", "withdraw", ids[0]]);
    assert_eq!(place.error_code(&["invites", "withdraw", ids[0]]), "unknown_invite");
    assert!(place.fails(1, &["invites", "withdraw", "zz"]).contains("`tombolo invites` lists them"));
    drop(daemon);
    let left = place.json(&["invites"]);
    assert_eq!((left.as_array().unwrap().len(), &left[0]["id"]), (1, &ids[1].into()));
}
